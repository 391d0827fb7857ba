"""The latency table: milliseconds of every engine, ratios with intervals, geometric means."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from benchmarks.latency import Row
from benchmarks.peer_engines import PEERS
from burnish.bench.stats import Estimate

SHORT = {
    "ort": "ORT",
    "openvino": "Open\nVINO",
    "openvino-bf16": "OV\nbf16",
    "torch": "torch",
    "torch-max-autotune": "torch\nmax",
}
"""What engines are called at the head of a column."""


@dataclass(frozen=True, slots=True)
class Mean:
    """The geometric mean of ratios, theirs over ours."""

    engine: str
    threads: int
    count: int
    ratio: Estimate
    least: float
    """The smallest ratio: where we are slowest against them."""


def geometric_mean(ratios: Sequence[Estimate]) -> Estimate:
    """The geometric mean of independent ratios, with the interval that follows from theirs.

    Raises:
        ValueError: if there are none.
    """
    if not ratios:
        raise ValueError("a mean needs at least one ratio")
    middle = sum(math.log(one.median) for one in ratios) / len(ratios)
    below = math.hypot(*(math.log(one.median / one.low) for one in ratios)) / len(ratios)
    above = math.hypot(*(math.log(one.high / one.median) for one in ratios)) / len(ratios)
    return Estimate(math.exp(middle), math.exp(middle - below), math.exp(middle + above))


def means(rows: Iterable[Row]) -> list[Mean]:
    """The geometric mean for every engine at every number of threads."""
    found: dict[tuple[int, str], list[Estimate]] = {}
    for row in rows:
        for name, versus in (row.figures.peers if row.figures else {}).items():
            found.setdefault((row.threads, name), []).append(versus.ratio)
    return [
        Mean(name, threads, len(every), geometric_mean(every), min(r.median for r in every))
        for (threads, name), every in sorted(found.items())
    ]


def remarks(rows: Iterable[Row]) -> list[str]:
    """Say which engines were not timed, or not with all their optimizations, and why."""
    found: dict[str, None] = {}
    for row in rows:
        for name, why in row.untimed.items():
            found[f"{row.model}: {_title(name)} is not timed: {why}"] = None
        for name, which in row.lowered.items():
            found[f"{row.model}: {_title(name)} has {which}"] = None
    return list(found)


def _title(engine: str) -> str:
    return PEERS[engine].title if engine in PEERS else engine


def as_table(rows: Sequence[Row]) -> Table:
    """Lay rows out for a terminal of 100 columns."""
    engines = [name for name in PEERS if any(row.versus(name) for row in rows)]
    roomy = len(engines) <= 2
    table = Table(
        title="Median milliseconds; their time over ours with half its 95% interval",
        title_justify="left",
        caption=escape("\n".join(remarks(rows))) or None,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    table.add_column("model", no_wrap=True)
    table.add_column("case", no_wrap=True)
    heads = ["thr", *(SHORT[name] for name in engines), "burnish"]
    heads += [f"{SHORT[name].replace(chr(10), '')}/us" for name in engines]
    heads += ["native", "error"] if roomy else []
    for heading in heads:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row.model, row.case, str(row.threads), *_cells(row, engines, roomy))
    table.add_section()
    every = means(rows)
    for threads in sorted({mean.threads for mean in every}):
        found = {mean.engine: mean for mean in every if mean.threads == threads}
        count = max(mean.count for mean in found.values())
        cells = [_ratio(found[name].ratio) if name in found else "" for name in engines]
        blank = [""] * (len(engines) + 1)
        table.add_row("geometric mean", f"{count} cases", str(threads), *blank, *cells)
    return table


def _cells(row: Row, engines: Sequence[str], roomy: bool) -> tuple[str, ...]:
    if row.figures is None:
        return (*[""] * len(engines), "[red]fails[/]")
    every = [row.versus(name) for name in engines]
    ends = (f"{row.native_share or 0.0:.0%}", f"{row.error or 0.0:.0e}") if roomy else ()
    return (
        *(_milliseconds(one.seconds) if one else "-" for one in every),
        _milliseconds(row.figures.burnish),
        *(_ratio(one.ratio) if one else "-" for one in every),
        *ends,
    )


def _milliseconds(seconds: Estimate) -> str:
    """Three digits or all before the point, at most five characters up to 100 s."""
    value = seconds.median * 1e3
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _ratio(ratio: Estimate) -> str:
    colour = "green" if ratio.median >= 1.0 else "yellow" if ratio.median >= 0.95 else "red"
    return f"[{colour}]{ratio.median:.2f}[/]±{min(ratio.spread / 2, 0.99):.0%}"
