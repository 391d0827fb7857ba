"""Pruning what a job builds: with which data, held to which bound."""

from __future__ import annotations

from burnish.building.deciding import timer_of
from burnish.building.job import Job
from burnish.calibration.store import Calibration
from burnish.errors import UnsupportedModel
from burnish.ir import Graph
from burnish.passes.quantization.quantize_int8 import quantized_already
from burnish.pipeline import Progress
from burnish.pruning.prune import prune_model
from burnish.pruning.record import leave
from burnish.pruning.request import AUTO
from burnish.pruning.result import Pruned
from burnish.quantization.guard import TaskGuard
from burnish.target import resolve
from burnish.wording import counted, few

SHARE = 0.75
"""Of the points that may be lost in all, where pruning goes as far as they allow and the result is
quantized: that is held to all of them."""


def require_float(graph: Graph) -> None:
    """Refuse a model that is quantized.

    Raises:
        UnsupportedModel: it is.
    """
    if already := quantized_already(graph):
        raise UnsupportedModel(
            f"--prune: the model is quantized already ({already}), and what is left is fitted in "
            "float: give the model that it was made from, with --prune and --quantize together"
        )


def prune(
    job: Job,
    graph: Graph,
    calibration: Calibration,
    guard: TaskGuard | None,
    progress: Progress,
) -> Pruned:
    """Prune a model that was optimized.

    Args:
        job: what is asked for.
        graph: what is left as it is.
        calibration: data that it is meant for.
        guard: what holds the result of the whole job to its budget, None if there is none.
        progress: told of every step.

    Raises:
        GateFailed: no widths keep to what is asked.
        BurnishError: the model or the data cannot be used.
    """
    asked = job.pruning
    assert asked is not None
    target = job.target
    if target is None and asked.measure == "latency":
        target = resolve("cpu")
    if guard is not None and asked.measure == AUTO and job.quantization is not None:
        guard = guard.tighter(SHARE)
    found = prune_model(
        graph, calibration, asked=asked, target=target, guard=guard,
        timer=timer_of(job, target, progress), progress=progress,
    )  # fmt: skip
    if found.count:
        leave(found)
    else:
        found.notices.append(f"nothing is pruned: {_why_nothing(found)}")
    return found


def _why_nothing(found: Pruned) -> str:
    if found.trials:
        best = min(found.trials, key=lambda one: one.loss.share)
        return f"of {counted(len(found.trials), 'trial')} the best loses {best.loss.text}"
    reasons = few(one.reason for one in found.structures if one.reason)
    return reasons or "the model has no channels, heads or blocks that could go"
