"""Doing one job of a build: optimize or compile, hold against budgets, and only then write."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.building.job import Job
from burnish.building.optional import Dropped, settle
from burnish.building.workshop import Made, Workshop
from burnish.gates import Found, Gate, judge, require
from burnish.ir import Graph
from burnish.output import check_target
from burnish.pipeline import Progress
from burnish.report import describe_run, note_of_defaults
from burnish.source import load


@dataclass(frozen=True)
class Built:
    """What a job came to."""

    job: Job
    original: Graph
    made: Made
    files: Mapping[str, int]
    """Bytes by file name."""
    gates: Sequence[Gate]
    dropped: Sequence[Dropped]
    notices: Sequence[str]
    seconds: float
    """Wall clock of all of it."""

    def judgement(self) -> dict[str, Any]:
        """What was held against budgets and what was left out, as plain values."""
        return {
            "budgets": [gate.as_json() for gate in self.gates],
            "dropped": {one.name: one.reason for one in self.dropped},
        }

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "model": str(self.job.source),
            "output": str(self.job.output),
            "files": dict(self.files),
            **self.judgement(),
            "notices": list(self.notices),
            **describe_run(self.made.report),
            "seconds": round(self.seconds, 3),
        }


def execute(job: Job, progress: Progress | None = None) -> Built:
    """Build one model; what stands at its output is replaced at the very end.

    Raises:
        GateFailed: a budget does not hold; nothing is written.
        BurnishError: it cannot be built.
    """
    started = time.perf_counter()
    _check_place(job)
    assert job.source is not None  # what is in memory is made by `finish`
    graph = load(job.source)
    finished = finish(Workshop(job, graph, progress))
    made, dropped = finished.made, finished.dropped
    files = made.save(job.output)
    notices = [*made.report.notices, *map(str, dropped)]
    seconds = time.perf_counter() - started
    return Built(
        job, graph, made, files, finished.gates, dropped, [*notices, *made.notices], seconds
    )


@dataclass(frozen=True)
class Finished:
    """A result that keeps to its budgets, in memory."""

    made: Made
    gates: Sequence[Gate]
    dropped: Sequence[Dropped]


def finish(shop: Workshop) -> Finished:
    """Make a result without what does not pay, and hold it against its budgets.

    Raises:
        GateFailed: a budget does not hold.
        BurnishError: it cannot be made.
    """
    if shop.job.budgets.max_drop is not None:
        _ = shop.task  # what is wrong with it is told now rather than after minutes of work
    dropped = settle(shop)
    made = shop.make([one.name for one in dropped])
    if note := note_of_defaults(shop.graph):
        made.report.notices.append(note)
    gates = _held(shop, made) if shop.job.budgets.are_set else []
    require(gates)
    return Finished(made, gates, dropped)


def _check_place(job: Job) -> None:
    from burnish.backends.archive import check_replaceable

    (check_target if job.target is None else check_replaceable)(job.output)


def _held(shop: Workshop, made: Made) -> list[Gate]:
    """Measure what the budgets are about, in a copy that is not at its place yet."""
    budgets = shop.job.budgets
    with tempfile.TemporaryDirectory(prefix="burnish-build-") as scratch:
        path = Path(scratch, shop.job.output.name)
        made.save(path)
        size = sum(file.stat().st_size for file in Path(scratch).rglob("*") if file.is_file())
        found: dict[str, Any] = {"size": size, "arena": made.arena}
        if budgets.min_speedup is not None:
            speedup = shop.ring.speedup(shop.contender(path))
            found["speedup"] = speedup.median
            found["speedup_interval"] = (speedup.low, speedup.high)
        if budgets.max_drop is not None:
            drop, low, high = shop.drop(made, path)
            found |= {"drop": drop, "drop_interval": (low, high)}
    return judge(budgets, Found(**found))
