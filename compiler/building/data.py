"""Whether the data and the task of a job fit its model, which is known before any of it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from burnish.bench.task import Task, TaskFailed, input_shapes_of
from burnish.bench.task_data import TaskData
from burnish.building.job import Job
from burnish.calibration.data import load_data
from burnish.calibration.replay import Replay
from burnish.calibration.store import Calibration
from burnish.compilation import require_shapes
from burnish.errors import UsageError
from burnish.ir import Graph
from burnish.passes import get_pass
from burnish.pipeline import PassContext, Progress, copy_of, run_pass


def given_data(job: Job, task: Task | None, progress: Progress | None = None) -> list[Calibration]:
    """The data that the user names, else those of the task, for each of the job's lossy stages.

    What only one of them has serves the other, too. There are none if there are neither.

    Raises:
        BurnishError: what is named is no data.
    """
    named = [asked.source for asked in job.lossy if asked.source is not None]
    given: list[Any] = [
        named[0] if named and asked.source is None else asked.source for asked in job.lossy
    ]
    if not named:
        if task is None:
            return []
        given = [TaskData(task)] * len(given)
    feeds = {id(each): _readable(each) for each in given}
    return [
        Calibration(feeds[id(each)], samples=asked.samples, most=asked.most, progress=progress)
        for asked, each in zip(job.lossy, given, strict=True)
    ]


def _readable(given: Any) -> Any:
    """Samples that each stage can read."""
    if isinstance(given, str | Path):
        return load_data(str(given))
    return Replay(given) if isinstance(given, Iterator) else given


def check_shapes(job: Job, graph: Graph) -> None:
    """Refuse input shapes that do not fit, or leave one open where code is to be generated.

    Raises:
        UsageError: there are such.
    """
    for shapes in job.shapes:
        if job.target is not None:
            require_shapes(graph, shapes)
        run_pass(copy_of(graph), get_pass("freeze-input-shapes", shapes=shapes), PassContext())


def declared(job: Job, graph: Graph) -> Graph:
    """``graph`` with the input shapes that data have to have.

    Those of artifacts may stay open: ranges are of all data, whatever their shapes.
    """
    shapes = job.shapes[0] if job.shapes else {}
    if job.target is not None or not shapes:
        return graph
    frozen = copy_of(graph)
    run_pass(frozen, get_pass("freeze-input-shapes", shapes=shapes), PassContext())
    return frozen


def require_task_fits(job: Job, graph: Graph, task: Task) -> None:
    """Refuse a task that feeds what a model in ONNX does not take, which is known from its shapes.

    Raises:
        UsageError: ``--input-shape`` is what does not suit it.
        TaskFailed: the model is.
    """
    fixed = job.shapes[0] if job.shapes and job.target is None else {}
    inputs = {value.name: value.shape for value in declared(job, graph).inputs}
    for shapes in input_shapes_of(task):
        for name, shape in shapes.items():
            own = inputs.get(name)
            if own is None or _suits(shape, own):
                continue
            told = f"task {task.name} feeds {name!r} as {_sizes(shape)}"
            if name not in fixed:
                raise TaskFailed(f"{told}, and the model takes {_sizes(own)}; feed it that")
            raise UsageError(
                f"{told}, and --input-shape fixes that to {_sizes(own)}, with which nothing can "
                "be scored: leave --input-shape out, and fix it in the result by another "
                "`burnish optimize`"
            )


def _suits(shape: Sequence[int], declared: Sequence[int | str | None]) -> bool:
    return len(shape) == len(declared) and all(
        not isinstance(want, int) or want == have
        for have, want in zip(shape, declared, strict=True)
    )


def _sizes(shape: Sequence[int | str | None]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
