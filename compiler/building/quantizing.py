"""Quantizing what a job builds: with which data, held to which bound, and whether it pays."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from burnish.bench.stats import Estimate
from burnish.building.deciding import timer_of
from burnish.building.job import Job
from burnish.calibration.store import Calibration
from burnish.ir import Graph
from burnish.oracle.exact_products import saturates
from burnish.pipeline import Progress
from burnish.quantization.guard import Guard
from burnish.quantization.quantize import quantize_model
from burnish.quantization.result import Quantized, least_of
from burnish.wording import few

if TYPE_CHECKING:
    from burnish.building.workshop import Made, Workshop

SATURATING = (
    "ONNX Runtime's products of bytes saturate on processors without VNNI, as this one: accuracy "
    "there is lower than told, unless session.disable_quant_qdq is 1; what compile writes does not"
)
PAYS = 1.02
"""Ratio of the time of the float model to that of the quantized one which has to be exceeded beyond
noise: rounding costs accuracy, and times of another day differ by as much."""
CLEAR, CLEAR_TUNED = 1.1, 1.4
"""The same measured without tuning that has to be exceeded for the artifacts not to be compared:
benchmarks hold code without tuning to 1.25 times the time of tuned code, and intervals do not show
all noise."""


def quantize(
    job: Job,
    graph: Graph,
    calibration: Calibration,
    guard: Guard | None,
    progress: Progress,
) -> Quantized:
    """Quantize a model that was optimized.

    Args:
        job: what is asked for.
        graph: what is left as it is.
        calibration: data that it is meant for.
        guard: what holds the result to its budget, None if there is none.
        progress: told of every step.

    Raises:
        GateFailed: no selection of layers keeps to the bound.
        BurnishError: the model or the data cannot be used.
    """
    asked = job.quantization
    assert asked is not None
    found = quantize_model(
        graph, calibration, target=job.target, guard=guard,
        timer=timer_of(job, job.target, progress),
        keep=asked.keep, seconds=asked.seconds, progress=progress,
    )  # fmt: skip
    found.sets = len(job.shapes)
    if not found.count and not found.decision.notice:
        reasons = [layer.format.reason for layer in found.layers]
        found.notices += [f"nothing is quantized: {few(reasons)}"] if reasons else []
    if found.count and job.target is None and saturates():
        found.notices.append(SATURATING)
    return found


def in_float(shop: Workshop, made: Made) -> Made:
    """The same result without quantization."""
    start = None if made.pruned is None or shop.start is None else shop.start.in_float
    job = replace(shop.job, quantization=None)
    return type(shop)(job, shop.graph, shop.progress, start).make(made.skipped)


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
