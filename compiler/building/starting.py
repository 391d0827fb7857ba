"""What the passes of a target begin with: a model that is optimized, pruned and quantized.

Each stage looks at what the one before it left, on data of its own: statistics of a wider model say
nothing of a thinner one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from burnish.bench.task import Task
from burnish.building.data import check_shapes, declared, given_data, require_task_fits
from burnish.building.deciding import guard_of
from burnish.building.job import Job
from burnish.building.pruning import prune, require_float
from burnish.building.quantizing import quantize
from burnish.calibration.store import Calibration
from burnish.errors import BurnishError
from burnish.ir import Graph
from burnish.kept import conceal, expose
from burnish.optimization import infer, optimize_model
from burnish.oracle import random_inputs
from burnish.passes import get_pass
from burnish.pipeline import PassContext, PipelineReport, Progress, run_pass
from burnish.pruning.request import Pruning
from burnish.pruning.result import Pruned
from burnish.quantization.guard import TaskGuard
from burnish.quantization.kept_layers import require_nodes
from burnish.quantization.result import Quantized
from burnish.selection import Selection
from burnish.shape_sets import Shapes
from burnish.verification import Feeds, random_feeds

TIDYING = "common-subexpressions"
RANDOM_DATA = (
    "{} on random inputs, as there are no calibration data: accuracy on real ones is not known; "
    "give --calibration with a folder of .npz files, or --eval"
)
COMPARED = 2
"""Samples of each set of shapes that compiled code is compared on."""
RANDOM = 16
"""Random inputs to calibrate on where there are no data."""


@dataclass(frozen=True)
class Start:
    """What the passes of a target begin with."""

    graph: Graph
    """As it came, if nothing was pruned or quantized."""
    plain: Graph
    """The same before it was quantized: what results in float are compared with."""
    report: PipelineReport
    """Of the passes that came before."""
    samples: Sequence[Feeds] = ()
    """For each set of shapes of the target: of the calibration data, if any fit."""
    pruned: Pruned | None = None
    """What was pruned, if that was asked for."""
    quantized: Quantized | None = None
    """What was quantized, if that was asked for."""

    @property
    def has_integers(self) -> bool:
        """Whether any layer is quantized."""
        return self.quantized is not None and self.quantized.count > 0

    @property
    def done(self) -> list[str]:
        """What changed the function, in words."""
        pruned = self.pruned is not None and self.pruned.count > 0
        return [*(["pruned"] if pruned else []), *(["quantized"] if self.has_integers else [])]

    @property
    def in_float(self) -> Start:
        """The same before it was quantized."""
        return replace(self, graph=self.plain, quantized=None)


def prepare(
    job: Job, graph: Graph, task: Task | None, progress: Progress, selection: Selection
) -> Start:
    """Optimize a model, then prune and quantize it as far as that is asked.

    Args:
        job: what is asked for.
        graph: the original.
        task: what its budget is about, None if there is none.
        progress: told of every step.
        selection: passes to run before.

    Raises:
        GateFailed: no widths or no selection of layers keep to the bound.
        BurnishError: the model or the data cannot be used.
    """
    check_shapes(job, graph)
    if job.pruning is not None:
        require_float(graph)
    for asked in job.lossy:
        require_nodes(graph, asked.keep, asked.KEEP)
    if task is not None:
        require_task_fits(job, graph, task)
    data = given_data(job, task, progress)
    for calibration in data:
        calibration.check(declared(job, graph))
    better, report = optimize_model(
        graph, selection, verify=job.verify, samples=job.samples, keep=job.keep,
        progress=progress,
    )  # fmt: skip
    is_random = not data
    if is_random:
        shapes = job.shapes[0] if job.shapes else {}
        data = [Calibration(_random(better, shapes), progress=progress)] * len(job.lossy)
    # Values that are to be kept are outputs meanwhile: no stage may change what they mean.
    exposed = expose(better, job.keep)
    start, guard = Start(better, graph, report), guard_of(job, graph, task)
    for asked, calibration in zip(job.lossy, data, strict=True):
        stage = _pruned if isinstance(asked, Pruning) else _quantized
        start = stage(job, start, calibration, guard, progress)
    for each in {
        id(each): each for each in (start.graph, start.plain) if each is not graph
    }.values():
        conceal(each, exposed)
    if job.target is None and TIDYING in job.passes:
        # Scales, zero points and shapes are often equal, and what is optimized once is to stay.
        report.passes.append(run_pass(start.graph, get_pass(TIDYING), PassContext()))
    if is_random and (done := start.done):
        report.notices.append(RANDOM_DATA.format(" and ".join(done)))
    report.notices[:] = dict.fromkeys(report.notices)
    return replace(start, samples=_fitting(data[-1], better, job))


def _pruned(
    job: Job, start: Start, data: Calibration, guard: TaskGuard | None, progress: Progress
) -> Start:
    """What pruning leaves of it."""
    found = prune(job, start.graph, data, guard, progress)
    start.report.passes += found.reports
    start.report.notices += found.notices
    plain = found.graph if found.count else start.plain
    return replace(start, graph=found.graph, plain=plain, pruned=found)


def _quantized(
    job: Job, start: Start, data: Calibration, guard: TaskGuard | None, progress: Progress
) -> Start:
    """The same in integers, where these pay."""
    found = quantize(job, start.graph, data, guard, progress)
    start.report.passes += found.reports
    start.report.notices += found.notices
    return replace(start, graph=found.graph, quantized=found)


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
