"""Quantizing a model: statistics, formats, which layers, and a record of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from burnish.calibration.store import Calibration
from burnish.ir import Graph
from burnish.layer_formats import LayerFormat
from burnish.passes import get_pass
from burnish.pipeline import PassContext, PassReport, Progress, copy_of, run_pass
from burnish.quantization.decision import Candidate, Decision, decide
from burnish.quantization.guard import PROBED, DistanceGuard, Guard
from burnish.target import Target

BEFORE: tuple[str, ...] = ()
"""Passes of the recipe that prepare a float model for quantization, in order."""
ROUNDING = "quantize-int8"
AFTER: tuple[str, ...] = ()
"""Passes of the recipe that refine a quantized model, in order."""

Gains = Callable[[Graph, Graph, Sequence[str]], Mapping[str, float]]
"""Seconds that layers gain, from the model in float and quantized, and their names."""


@dataclass(frozen=True)
class Layer:
    """What became of one layer."""

    format: LayerFormat
    sensitivity: float | None = None
    """The share of the bound that it takes when it alone is quantized."""
    gain: float | None = None
    """Seconds that it takes less in int8, measured."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        from dataclasses import asdict

        return {**asdict(self.format), "sensitivity": self.sensitivity, "gain": self.gain}


@dataclass
class Quantized:
    """A quantized model and how it came to be."""

    graph: Graph
    reports: list[PassReport]
    layers: list[Layer]
    decision: Decision
    bound: str
    """What was allowed."""
    seconds: float = 0.0
    notices: list[str] = field(default_factory=list)

    @property
    def loss(self) -> str:
        """What the result loses, in words; empty if nothing is quantized."""
        chosen = self.decision.chosen
        return "" if chosen is None else chosen.loss.text

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "bound": self.bound,
            "loss": self.loss,
            "layers": [layer.as_json() for layer in self.layers],
            "tried": [
                {"float_layers": len(point.floats), "loss": point.loss.text,
                 "share": point.loss.share}
                for point in self.decision.points
            ],
            "seconds": round(self.seconds, 3),
        }  # fmt: skip


def quantize_model(
    graph: Graph,
    calibration: Calibration,
    *,
    target: Target | None,
    guard: Guard | None = None,
    gains: Gains | None = None,
    keep: Sequence[str] = (),
    seconds: float,
    progress: Progress,
) -> Quantized:
    """Quantize a copy of ``graph``.

    Args:
        graph: in float, after the passes of ``optimize``.
        calibration: data that it is meant for.
        target: what will run it, None for ONNX Runtime.
        guard: what holds it to its bound; the distance to ``graph`` if there is none.
        gains: measures what layers gain; None to take multiply-adds for it.
        keep: layers to leave in float.
        seconds: what deciding may take.
        progress: told of every step.

    Raises:
        GateFailed: no selection of layers keeps to the bound.
        BurnishError: the model or the data cannot be used.
    """
    started = time.perf_counter()
    work = _Work(graph, calibration, target, progress)
    work.prepare()
    whole, formats = work.quantized(tuple(keep), {})
    work.ranges = found_ranges(whole)
    names = [one.layer for one in formats if not one.reason]
    saved = dict(gains(work.graph, whole, names)) if gains is not None and names else {}
    slow = {name: _no_gain(seconds) for name, seconds in saved.items() if seconds <= 0}
    stays = {**dict.fromkeys(keep, "it is to be kept"), **slow}
    weights = saved or work.sizes(names)
    judge = guard or DistanceGuard(graph, calibration)
    decision = decide(
        [Candidate(name, weights.get(name, 0.0)) for name in names],
        lambda floats: work.quantized(floats, work.ranges)[0],
        judge,
        DistanceGuard(work.graph, calibration, PROBED),
        keep=stays,
        seconds=seconds,
        progress=progress,
    )
    result, last = work.quantized(decision.floats, work.ranges)
    result = work.refine(result)
    layers = _layers(last, formats, decision, saved)
    return Quantized(
        result, work.reports, layers, decision, judge.bound, time.perf_counter() - started,
        list(calibration.notices),
    )  # fmt: skip


@dataclass
class _Work:
    """The graph that is quantized again and again."""

    graph: Graph
    calibration: Calibration
    target: Target | None
    progress: Progress
    reports: list[PassReport] = field(default_factory=list)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def context(self) -> PassContext:
        return PassContext(self.target, calibration=self.calibration)

    def prepare(self) -> None:
        """Run the passes that come before rounding, and have every size known."""
        self.graph = copy_of(self.graph)
        for name in ("infer-shapes", *BEFORE):
            self.reports.append(run_pass(self.graph, get_pass(name), self.context))

    def quantized(
        self, floats: Sequence[str], ranges: Mapping[str, tuple[float, float]]
    ) -> tuple[Graph, list[LayerFormat]]:
        """Quantize a copy, without the layers ``floats``."""
        copy = copy_of(self.graph)
        step = get_pass(ROUNDING, keep=tuple(floats), ranges=dict(ranges))
        report = run_pass(copy, step, self.context)
        self._latest = report
        return copy, list(report.layers)

    def refine(self, graph: Graph) -> Graph:
        """Run the passes that come after rounding; what was kept is reported."""
        self.reports.append(self._latest)
        for name in AFTER:
            self.reports.append(run_pass(graph, get_pass(name), self.context))
        return graph

    def sizes(self, names: Sequence[str]) -> Mapping[str, float]:
        """Multiply-adds of layers."""
        from burnish.quantization.gains import estimated_gains

        return estimated_gains(self.graph, names)


def found_ranges(graph: Graph) -> dict[str, tuple[float, float]]:
    """Least and greatest number that each quantized value of ``graph`` can have, by its name."""
    found = {}
    for node in graph.walk():
        scale, zero = node.constant_input(1), node.constant_input(2)
        value = node.input(0)
        if not node.is_op("QuantizeLinear") or value is None or scale is None or zero is None:
            continue
        if scale.size != 1:
            continue
        limits = np.iinfo(zero.numpy().dtype)
        step, at = float(scale.numpy().reshape(())), int(zero.numpy().reshape(()))
        found[value.name] = ((limits.min - at) * step, (limits.max - at) * step)
    return found


def _no_gain(seconds: float) -> str:
    return f"int8 gains no time: {-1e6 * seconds:.1f} us more than float"


def _layers(
    last: Sequence[LayerFormat],
    first: Sequence[LayerFormat],
    decision: Decision,
    gains: Mapping[str, float],
) -> list[Layer]:
    """What became of each layer, in the order of the graph."""
    from dataclasses import replace

    now = {one.layer: one for one in last}
    found = []
    for one in first:
        format = now.get(one.layer, one)
        if one.layer in decision.reasons:
            format = replace(format, reason=decision.reasons[one.layer])
        found.append(Layer(format, decision.sensitivities.get(one.layer), gains.get(one.layer)))
    return found
