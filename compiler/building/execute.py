"""Doing one job of a build: optimize or compile, hold against budgets, and only then write."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from burnish.bench.budgets import drop_of
from burnish.bench.document import Metric
from burnish.bench.environment import Stopwatch
from burnish.building.job import Job
from burnish.building.optional import Verdict, left_out, settle
from burnish.building.workshop import Made, Workshop
from burnish.compilation import tuning_seconds
from burnish.gates import Found, Gate, judge, require
from burnish.ir import Graph
from burnish.output import check_target
from burnish.pipeline import Progress
from burnish.report import describe_run, note_of_defaults
from burnish.source import load
from burnish.wording import counted


@dataclass(frozen=True)
class Built:
    """What a job came to."""

    job: Job
    original: Graph
    made: Made
    files: Mapping[str, int]
    """Bytes by file name, of an artifact in one file those of its members."""
    size: int
    """Bytes on the disk."""
    gates: Sequence[Gate]
    verdicts: Sequence[Verdict]
    """What became of optional passes."""
    metrics: Sequence[Metric]
    """What the task says of the result, against the original."""
    notices: Sequence[str]
    seconds: float
    """Wall clock of all of it, without waiting for others' measurements."""

    def judgement(self) -> dict[str, Any]:
        """What was held against budgets and what was left out, as plain values."""
        return {
            "budgets": [gate.as_json() for gate in self.gates],
            "metrics": [metric.model_dump() for metric in self.metrics],
            "kept": {one.name: one.reason for one in self.verdicts if one.kept},
            "dropped": {one.name: one.reason for one in self.verdicts if not one.kept},
        }

    def judgements(self) -> list[str]:
        """The same in lines for people, without what was left out: that is a notice."""
        kept = [str(one) for one in self.verdicts if one.kept]
        return [*kept, *map(score_line, self.metrics), *map(str, self.gates)]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "model": str(self.job.source),
            "output": str(self.job.output),
            "files": dict(self.files),
            "bytes": self.size,
            **self.judgement(),
            "notices": list(self.notices),
            **describe_run(self.made.report),
            "seconds": round(self.seconds, 3),
        }


def score_line(metric: Metric) -> str:
    """A metric of the result beside the original's, for people."""
    after, change = metric.value.value, metric.difference
    if change is None or not change.value:
        text = f"{after:.4f}, as the original's"
    else:
        text = (
            f"{after:.4f}, the original's {after - change.value:.4f}: {change.value:+.4f} "
            f"[{change.low:+.4f}, {change.high:+.4f}]"
        )
    return f"{metric.name}: {text}, on {counted(metric.items, 'item')}"


def execute(job: Job, progress: Progress | None = None) -> Built:
    """Build one model; what stands at its output is replaced at the very end.

    Raises:
        GateFailed: a budget does not hold; nothing is written.
        BurnishError: it cannot be built.
    """
    watch = Stopwatch()
    _check_place(job)
    assert job.source is not None  # what is in memory is made by `finish`
    graph = load(job.source)
    finished = finish(Workshop(job, graph, progress))
    made, verdicts = finished.made, finished.verdicts
    files = made.save(job.output)
    dropped = [str(one) for one in verdicts if not one.kept]
    notices = [*made.report.notices, *dropped, *made.notices]
    return Built(
        job, graph, made, files, _bytes_at(job.output, files), finished.gates, verdicts,
        finished.metrics, notices, watch.seconds,
    )  # fmt: skip


def _bytes_at(output: Path, files: Mapping[str, int]) -> int:
    """What a result takes on the disk: a folder, one file, or ONNX with its weights beside it."""
    paths = output.rglob("*") if output.is_dir() else {output, *map(output.with_name, files)}
    return sum(path.stat().st_size for path in paths if path.is_file())


@dataclass(frozen=True)
class Finished:
    """A result that keeps to its budgets, in memory."""

    made: Made
    gates: Sequence[Gate]
    verdicts: Sequence[Verdict]
    metrics: Sequence[Metric]

    @property
    def scores(self) -> list[str]:
        """What the task says, a line for each metric."""
        return [score_line(metric) for metric in self.metrics]


def finish(shop: Workshop) -> Finished:
    """Make a result without what does not pay, and hold it against its budgets.

    Raises:
        GateFailed: a budget does not hold.
        BurnishError: it cannot be made.
    """
    if shop.job.task is not None:
        _ = shop.task  # what is wrong with it is told now rather than after minutes of work
    verdicts = settle(shop)
    made = _paying(shop, shop.make(left_out(verdicts)))
    if note := note_of_defaults(shop.graph):
        made.report.notices.append(note)
    gates, metrics = _held(shop, made)
    require(gates)
    made.report.budgets = gates
    return Finished(made, gates, verdicts, metrics)


def _paying(shop: Workshop, made: Made) -> Made:
    """``made``, or the same in float where that is faster on this machine."""
    target, found = shop.job.target, made.quantized
    if found is None or not made.is_quantized or target is None or not target.is_host:
        return made
    from burnish.building.quantizing import in_float, is_clear, slower, speedup_of

    is_tuned = tuning_seconds(shop.job.tune) > 0
    if len(shop.job.shapes) == 1 and is_clear(found.speedup, is_tuned=is_tuned):
        return made
    plain = in_float(shop, made)
    gain = speedup_of(shop, made, plain)
    found = replace(found, final_speedup=gain)
    reason = slower(gain, found.sets)
    if not reason:
        return made.stating(found)
    plain.report.notices.append(reason)
    return plain.stating(found.in_float(reason).narrowed(plain.report))


def _check_place(job: Job) -> None:
    from burnish.backends.archive import check_replaceable

    (check_target if job.target is None else check_replaceable)(job.output)


def _held(shop: Workshop, made: Made) -> tuple[list[Gate], list[Metric]]:
    """Measure what budgets and the task are about, in a copy that is not at its place yet."""
    budgets, metrics = shop.job.budgets, list[Metric]()
    if not budgets.are_set and shop.job.task is None:
        return [], []
    with tempfile.TemporaryDirectory(prefix="burnish-build-") as scratch:
        path = Path(scratch, shop.job.output.name)
        made.save(path)
        size = sum(file.stat().st_size for file in Path(scratch).rglob("*") if file.is_file())
        found: dict[str, Any] = {"size": size, "arena": made.arena}
        if budgets.min_speedup is not None:
            speedup = shop.ring.speedup(shop.contender(path, made))
            found["speedup"] = speedup.median
            found["speedup_interval"] = (speedup.low, speedup.high)
        if shop.job.task is not None:
            metrics = shop.metrics(made, path)
            drop, low, high = drop_of(metrics)
            found |= {"drop": drop, "drop_interval": (low, high)}
    return judge(budgets, Found(**found)), metrics
