"""Recorded latencies as pages show them: means, the main models, and every case with intervals."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.latency import Row
from benchmarks.latency_table import means, remarks
from benchmarks.peer_engines import PEERS
from benchmarks.zoo import MAIN_JOB
from burnish.bench.stats import Estimate

RECORD = Path(__file__).resolve().parent / "results" / "latency.json"
"""What `python -m benchmarks latency --json` wrote, or `acceptance cpu-kernels --json`."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded run."""

    environment: dict[str, Any]
    plan: dict[str, Any]
    rows: tuple[Row, ...]

    @property
    def engines(self) -> list[str]:
        """Names of the engines that were measured."""
        return [name for name in PEERS if any(row.versus(name) for row in self.rows)]

    def at(self, threads: int) -> list[Row]:
        """The rows with figures at a number of threads."""
        return [row for row in self.rows if row.threads == threads and row.figures]


def load_record(path: Path = RECORD) -> Recorded:
    """Read what was recorded."""
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = content.get("rows") or [row for one in content["kernels"] for row in one["rows"]]
    return Recorded(content["environment"], content["plan"], tuple(map(Row.from_json, rows)))


def circumstances(record: Recorded) -> str:
    """In a line: machine, versions, date, tuning, and engines that were held back."""
    found = record.environment
    names = ("burnish", *dict.fromkeys(PEERS[name].package for name in record.engines))
    versions = ", ".join(f"{name} {found['versions'][name]}" for name in names)
    tune = record.plan["tune"] or "default"
    return (
        f"{found['cores']} cores of {found['cpu']}, {found['date'][:10]}, {versions}; "
        f"tuning: {tune}; load of the machine before: {found['load']:.1f}.{_held_back(record)}"
    )


def _held_back(record: Recorded) -> str:
    """Say which engines were timed with less than all their optimizations, and on which models."""
    models: dict[str, dict[str, None]] = {}
    for row in record.rows:
        for name in row.lowered:
            models.setdefault(PEERS[name].title, {})[row.model] = None
    if not models:
        return ""
    listed = "; ".join(f"{title} on {', '.join(those)}" for title, those in models.items())
    return f" With fewer optimizations, as it is wrong or fails with all: {listed}."


def means_table(record: Recorded) -> str:
    """Geometric means of the ratios to every engine, with the least."""
    rows = ["| compared with | threads | cases | geometric mean | slowest against it |"]
    rows.append("|---|---|---|---|---|")
    for mean in means(record.rows):
        if mean.engine not in PEERS:  # another artifact of our own
            continue
        title, ratio = PEERS[mean.engine].title, mean.ratio
        middle = f"**{ratio.median:.2f}** ({ratio.low:.2f} to {ratio.high:.2f})"
        rows.append(f"| {title} | {mean.threads} | {mean.count} | {middle} | {mean.least:.2f} |")
    return "\n".join(rows)


def main_table(record: Recorded) -> str:
    """Milliseconds and ratios of the main models, at their first shapes and most threads."""
    most = max(row.threads for row in record.rows)
    first = [(model.name, model.cases[0].label) for model in MAIN_JOB]
    rows = [row for row in record.at(most) if (row.model, row.case) in first]
    return _table(record, rows, intervals=False)


def full_table(record: Recorded) -> str:
    """Every case at every number of threads, with the intervals of the ratios."""
    return _table(record, [row for row in record.rows if row.figures], intervals=True)


def remarks_list(record: Recorded) -> str:
    """Which engines were not timed, or not with all their optimizations, and why."""
    return "\n".join(f"- {remark}" for remark in remarks(record.rows))


def _table(record: Recorded, rows: Sequence[Row], *, intervals: bool) -> str:
    engines = record.engines
    titles = [PEERS[name].title for name in engines]
    heads = ["model", "input", "threads", *(f"{title}, ms" for title in titles), "burnish, ms"]
    heads += [f"{title} / burnish" for title in titles]
    lines = [_line(heads), "|---|---|---|" + "---:|" * (2 * len(engines) + 1)]
    for row in rows:
        assert row.figures is not None
        every = [row.versus(name) for name in engines]
        cells = [row.model, row.case, str(row.threads)]
        cells += [_milliseconds(one.seconds) if one else "-" for one in every]
        cells.append(_milliseconds(row.figures.burnish))
        cells += [_ratio(one.ratio, intervals=intervals) if one else "-" for one in every]
        lines.append(_line(cells))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _milliseconds(seconds: Estimate) -> str:
    return f"{seconds.median * 1e3:.3g}" if seconds.median < 1 else f"{seconds.median * 1e3:.0f}"


def _ratio(ratio: Estimate, *, intervals: bool) -> str:
    interval = f" ({ratio.low:.2f} to {ratio.high:.2f})" if intervals else ""
    return f"{ratio.median:.2f}{interval}"
