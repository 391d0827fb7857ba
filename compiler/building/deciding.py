"""What decides about stages that change the function: a task's metric, and measured times."""

from __future__ import annotations

from dataclasses import replace

from burnish.bench.task import Task
from burnish.building.job import Job
from burnish.compilation import Request
from burnish.ir import Graph
from burnish.pipeline import Progress
from burnish.quantization.gains import Clock
from burnish.quantization.guard import TaskGuard
from burnish.selection import Selection
from burnish.target import Target


def guard_of(job: Job, graph: Graph, task: Task | None) -> TaskGuard | None:
    """What holds results to the points that the job allows, None if it says none.

    Args:
        job: what is asked for.
        graph: the original.
        task: what the budget is about.
    """
    drop = job.budgets.max_drop
    if task is None or drop is None:
        return None
    return TaskGuard(graph, task, drop, job.target.threads if job.target is not None else 0)


def timer_of(job: Job, target: Target | None, progress: Progress) -> Clock | None:
    """Times models on ``target``, if that is this machine."""
    if target is None or not target.is_host:
        return None
    request = Request(
        target, Selection(compiling=True), "off", tune="off", winograd=job.winograd,
        # How far it moves outputs is judged of what is chosen.
        precision=replace(job.precision, tolerance=1.0), shapes=job.shapes[:1],
    )  # fmt: skip
    return Clock(request, progress)
