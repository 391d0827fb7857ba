"""Quantizing what a job builds: with which data, held to which bound, and whether it pays."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from burnish.bench.stats import Estimate
from burnish.bench.task import Task
from burnish.building.data import (
    check_shapes,
    declared,
    given_data,
    require_task_fits,
)
from burnish.building.job import Job
from burnish.calibration.store import Calibration
from burnish.compilation import Request
from burnish.errors import BurnishError
from burnish.ir import Graph
from burnish.kept import conceal, expose
from burnish.optimization import infer, optimize_model
from burnish.oracle import random_inputs
from burnish.passes import get_pass
from burnish.pipeline import PassContext, PipelineReport, Progress, run_pass
from burnish.quantization.gains import Clock
from burnish.quantization.guard import Guard, TaskGuard
from burnish.quantization.kept_layers import require_nodes
from burnish.quantization.quantize import Timer, quantize_model
from burnish.quantization.result import Quantized, least_of
from burnish.selection import Selection
from burnish.shape_sets import Shapes
from burnish.verification import Feeds, random_feeds
from burnish.wording import counted

if TYPE_CHECKING:
    from burnish.building.workshop import Made, Workshop

TIDYING = "common-subexpressions"
RANDOM_DATA = (
    "quantized on random inputs, as there are no calibration data: accuracy on real ones is not "
    "known; give --calibration with a folder of .npz files, or --eval"
)
COMPARED = 2
"""Samples of each set of shapes that compiled code is compared on."""
RANDOM = 16
"""Random inputs to calibrate on where there are no data."""
NAMED = 3
"""Reasons why layers stay in float that one notice names."""
PAYS = 1.02
"""Ratio of the time of the float model to that of the quantized one which has to be exceeded beyond
noise: rounding costs accuracy, and times of another day differ by as much."""
CLEAR, CLEAR_TUNED = 1.1, 1.4
"""The same measured without tuning that has to be exceeded for the artifacts not to be compared:
benchmarks hold code without tuning to 1.25 times the time of tuned code, and intervals do not show
all noise."""


@dataclass(frozen=True)
class Start:
    """What the passes of a target begin with: a quantized model."""

    graph: Graph
    report: PipelineReport
    """Of the passes that came before."""
    quantized: Quantized
    samples: Sequence[Feeds]
    """For each set of shapes of the target: of the data that ranges were found on, if any fit."""


def prepare(
    job: Job, graph: Graph, task: Task | None, progress: Progress, selection: Selection
) -> Start:
    """Optimize and quantize a model.

    Args:
        job: what is asked for.
        graph: the original.
        task: what its budget is about, None if there is none.
        progress: told of every step.
        selection: passes to run before.

    Raises:
        GateFailed: no selection of layers keeps to the bound.
        BurnishError: the model or the data cannot be used.
    """
    asked = job.quantization
    assert asked is not None
    check_shapes(job, graph)
    require_nodes(graph, asked.keep)
    if task is not None:
        require_task_fits(job, graph, task)
    calibration = given_data(asked, task, progress)
    if calibration is not None:
        calibration.check(declared(job, graph))
    better, report = optimize_model(
        graph, selection, verify=job.verify, samples=job.samples, keep=job.keep,
        progress=progress,
    )  # fmt: skip
    is_random = calibration is None
    if calibration is None:
        shapes = job.shapes[0] if job.shapes else {}
        calibration = Calibration(_random(better, shapes), progress=progress)
    # Values that are to be kept are outputs meanwhile: no pass may give them another scale.
    exposed = expose(better, job.keep)
    found = quantize_model(
        better, calibration, target=job.target, guard=_guard(job, graph, task),
        timer=_timer(job, progress),
        keep=asked.keep, seconds=asked.seconds, progress=progress,
    )  # fmt: skip
    found.sets = len(job.shapes)
    conceal(found.graph, exposed)
    if job.target is None and TIDYING in job.passes:
        # Scales and zero points are often equal, and what is optimized once is to stay as it is.
        found.reports.append(run_pass(found.graph, get_pass(TIDYING), PassContext()))
    report.passes += found.reports
    samples = _fitting(calibration, better, job)
    if is_random and found.count:
        report.notices.append(RANDOM_DATA)
    report.notices += [*found.notices, *_left(found)]
    return Start(found.graph, report, found, samples)


def _guard(job: Job, graph: Graph, task: Task | None) -> Guard | None:
    """What holds the model to the points that the job allows, None if it says none."""
    drop = job.budgets.max_drop
    if task is None or drop is None:
        return None
    return TaskGuard(graph, task, drop, job.target.threads if job.target is not None else 0)


def _left(found: Quantized) -> list[str]:
    """Why all layers stay in float, if they do and nothing else says so."""
    if found.count or found.decision.notice:
        return []
    reasons = list(dict.fromkeys(layer.format.reason for layer in found.layers))
    more = f"; and {counted(len(reasons) - NAMED, 'other reason')}" if len(reasons) > NAMED else ""
    return [f"nothing is quantized: {'; '.join(reasons[:NAMED])}{more}"] if reasons else []


def _fitting(calibration: Calibration, graph: Graph, job: Job) -> list[Feeds]:
    """Samples of each set of shapes to compare and time on; random ones where none has them.

    Numbers far from the data say nothing of int8, but how long it takes.
    """
    found: list[Feeds] = []
    for shapes in job.shapes:
        static = infer(graph, shapes)
        try:
            own = list(islice(calibration.feeds(static), COMPARED))
        except BurnishError:
            # Samples of several shapes, the first ones of which are of another set.
            fitting = (feeds for feeds in calibration.feeds(graph) if _has(feeds, shapes))
            own = list(islice(fitting, COMPARED))
        found += own or random_feeds(static)[:COMPARED]
    return found


def _has(feeds: Feeds, shapes: Shapes) -> bool:
    return all(feeds[name].shape == shape for name, shape in shapes.items())


def _random(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> list[Feeds]:
    found = random_feeds(graph, shapes)
    static = infer(graph, {name: array.shape for name, array in found[0].items()})
    return [random_inputs(static, seed) for seed in range(RANDOM)]


def _timer(job: Job, progress: Progress) -> Timer | None:
    """Times models, where that is possible."""
    target = job.target
    if target is None or not target.is_host:
        return None
    request = Request(
        target, Selection(compiling=True), "off", tune="off", winograd=job.winograd,
        # How far it moves outputs is judged of what is chosen.
        precision=replace(job.precision, tolerance=1.0), shapes=job.shapes[:1],
    )  # fmt: skip
    return Clock(request, progress)


def in_float(shop: Workshop, made: Made) -> Made:
    """The same result without quantization."""
    job = replace(shop.job, quantization=None)
    return type(shop)(job, shop.graph, shop.progress).make(made.skipped)


def is_clear(gain: Estimate | None, *, is_tuned: bool) -> bool:
    """Whether ``gain``, measured without tuning, leaves no doubt that int8 is faster.

    Args:
        gain: the time in float over that in int8; None if that was not measured.
        is_tuned: whether artifacts are tuned: float may gain more by that than int8 does.
    """
    return gain is not None and gain.low > (CLEAR_TUNED if is_tuned else CLEAR)


def speedup_of(shop: Workshop, made: Made, plain: Made) -> Estimate:
    """The time of ``plain``, in float, over that of a quantized artifact.

    Raises:
        GateFailed: one of them fails, or is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="burnish-build-") as scratch:
        paths = Path(scratch, "float"), Path(scratch, "int8")
        for path, each in zip(paths, (plain, made), strict=True):
            each.save(path)
        return shop.ring.least_ratio(*map(shop.contender, paths, (plain, made)))


def slower(gain: Estimate, sets: int) -> str:
    """Why a quantized artifact does not pay that gains so much, at least of ``sets`` of shapes.

    Empty if it does.
    """
    if gain.low > PAYS:
        return ""
    where = least_of(sets)
    if gain.median < 1:
        return f"left in float: int8 takes {1 / gain.median:.2f} times as long, measured{where}"
    return (
        f"left in float: int8 gains too little: float takes {gain.median:.2f} "
        f"[{gain.low:.2f}, {gain.high:.2f}] times as long{where}, where {PAYS:g} has to be exceeded"
    )
