"""Quantizing a model: statistics, formats, which layers, and a record of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from typing import Any, Protocol

import numpy as np

from burnish.bench.environment import Stopwatch
from burnish.bench.stats import Estimate
from burnish.calibration.store import Calibration
from burnish.ir import Graph
from burnish.layer_formats import LayerFormat
from burnish.passes import get_pass
from burnish.pipeline import PassContext, PassReport, Progress, copy_of, run_pass
from burnish.quantization.decision import Attempt, Candidate, Decision, decide
from burnish.quantization.distance import BOUND
from burnish.quantization.gains import estimated_gains
from burnish.quantization.guard import PROBED, DistanceGuard, Guard
from burnish.target import Target

BEFORE: tuple[str, ...] = ()
"""Passes of the recipe that prepare a float model for quantization, in order."""
ROUNDING = "quantize-int8"
AFTER: tuple[tuple[str, ...], ...] = (("correct-bias",), ("round-weights", "correct-bias"))
"""Passes of the recipe that refine a quantized model: ways to do so, those first that take less
time. The next is tried where the loss is not small yet, and the best is kept."""

LEAST_GAIN = 0.02
"""Share of the loss that a pass of the recipe has to take away to be kept."""
CLEAR = 0.01
"""By how much of its time a selection has to be faster than another to be taken for it."""
HOPELESS = 0.85
"""Speedup without tuning below which no tuning makes integers faster than float."""
_IMPROVING = 0.3
"""Share of the time until which passes of the recipe begin that prepare the model."""
_REFINING = 0.7
"""The same of those that refine it."""
_SMALL_LOSS = 0.1
"""Share of the bound below which neither is worth its time."""


class Timer(Protocol):
    """Times models; `gains.Clock` does."""

    def gains(self, before: Graph, after: Graph, layers: Sequence[str]) -> Mapping[str, Estimate]:
        """Seconds that layers gain, from the model in float and quantized, and their names."""

    def seconds(self, graph: Graph) -> float | None:
        """The fastest run of a graph that `speedups` timed."""

    def speedups(self, base: Graph, others: Sequence[Graph]) -> Sequence[Estimate]:
        """The time of ``base`` over that of each of ``others``."""


@dataclass(frozen=True)
class Layer:
    """What became of one layer."""

    format: LayerFormat
    sensitivity: float | None = None
    """The share of the bound that it takes when it alone is quantized."""
    gain: Estimate | None = None
    """Seconds that it takes less in int8, measured."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        gain = self.gain
        return {
            **asdict(self.format), "sensitivity": self.sensitivity,
            "gain": gain and gain.median, "gain_interval": gain and [gain.low, gain.high],
        }  # fmt: skip


@dataclass(frozen=True)
class Times:
    """What timing the model in float and quantized came to."""

    gains: Mapping[str, Estimate]
    """By layer, in seconds."""
    slow: Mapping[str, str]
    """Layers that are to stay in float, and why."""
    seconds: float | None = None
    """Of a run in float, without tuning."""
    speedup: Estimate | None = None
    """The time of the model in float over that without the slow layers, without tuning."""


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
    times: Times = field(default_factory=lambda: Times({}, {}))

    @property
    def loss(self) -> str:
        """What the result loses, in words; empty if nothing is quantized."""
        chosen = self.decision.chosen
        return "" if chosen is None else chosen.loss.text

    @property
    def count(self) -> int:
        """Layers that are quantized."""
        return sum(not layer.format.reason for layer in self.layers)

    def summary(self) -> dict[str, Any]:
        """What the manifest of an artifact says of it."""
        return {
            "format": "int8", "layers": self.count, "of": len(self.layers), "loss": self.loss,
            "bound": self.bound,
        }  # fmt: skip

    @property
    def speedup(self) -> Estimate | None:
        """The time in float over that of just this result, both without tuning, if measured."""
        return self.times.speedup if set(self.decision.floats) <= set(self.times.slow) else None

    def in_float(self, reason: str) -> Quantized:
        """The record of a model that was left in float after all."""
        layers = [
            replace(one, format=replace(one.format, reason=one.format.reason or reason))
            for one in self.layers
        ]
        return replace(self, layers=layers, decision=replace(self.decision, chosen=None))

    def latency(self, floats: Sequence[str]) -> float | None:
        """Seconds that a run takes with layers in float, by what each was measured to gain."""
        if self.times.seconds is None:
            return None
        gains = self.times.gains.items()
        return self.times.seconds - sum(each.median for name, each in gains if name not in floats)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        speedup = self.speedup
        return {
            "bound": self.bound,
            "loss": self.loss,
            "layers": [layer.as_json() for layer in self.layers],
            "tried": [
                {"float_layers": len(point.floats), "loss": point.loss.text,
                 "share": point.loss.share, "latency": self.latency(point.floats)}
                for point in self.decision.points
            ],
            "untuned_speedup": speedup and [speedup.median, speedup.low, speedup.high],
            "seconds": round(self.seconds, 3),
        }  # fmt: skip


def quantize_model(
    graph: Graph,
    calibration: Calibration,
    *,
    target: Target | None,
    guard: Guard | None = None,
    timer: Timer | None = None,
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
        timer: times models; None to take multiply-adds for what layers gain.
        keep: layers to leave in float.
        seconds: what deciding may take.
        progress: told of every step.

    Raises:
        GateFailed: no selection of layers keeps to the bound.
        BurnishError: the model or the data cannot be used.
    """
    watch = Stopwatch()
    work = _Work(graph, calibration, target, tuple(keep), watch, _REFINING * seconds)
    work.prepare()
    whole, formats = work.quantized(keep)
    names = [one.layer for one in formats if not one.reason]
    if not names:
        return work.left_alone(formats)
    distance = guard if isinstance(guard, DistanceGuard) else DistanceGuard(graph, calibration)
    judge, work.distance = guard or distance, distance
    whole, formats = work.improve(distance, (whole, formats), _IMPROVING * seconds)
    times = (
        Times({}, {})
        if timer is None
        else timed(
            work.graph, whole, names, timer, lambda floats: work.quantized((*keep, *floats))[0]
        )
    )
    sizes = work.sizes(names)
    gains = {name: each.median for name, each in times.gains.items()} or sizes
    probe = distance.fewer(PROBED)
    decision = decide(
        [Candidate(name, gains.get(name, 0.0)) for name in names],
        work.final,
        judge,
        lambda floats: probe.loss(work.quantized(floats)[0]),
        keep={**dict.fromkeys(keep, "it is to be kept"), **times.slow},
        seconds=seconds,
        progress=progress,
    )
    result = work.final(decision.floats)
    work.reports += work.kept
    layers = _layers(formats, decision, times.gains)
    notices = [decision.notice] if decision.notice else []
    return Quantized(
        result, work.reports, layers, decision, judge.bound, watch.seconds,
        [*notices, *calibration.notices], times,
    )  # fmt: skip


@dataclass
class _Work:
    """The graph that is quantized again and again."""

    graph: Graph
    calibration: Calibration
    target: Target | None
    keep: tuple[str, ...]
    watch: Stopwatch
    until: float
    """Seconds on the watch from which on nothing is refined."""
    distance: DistanceGuard | None = None
    kept: list[PassReport] = field(default_factory=list)
    """Of the passes that made the latest final model."""
    _final: tuple[tuple[str, ...], Graph] | None = None
    reports: list[PassReport] = field(default_factory=list)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Of values that were quantized before, by name."""

    @property
    def context(self) -> PassContext:
        return PassContext(self.target, calibration=self.calibration)

    def prepare(self) -> None:
        """Have every size known, and a name for every value: ranges go by it."""
        self.graph = copy_of(self.graph)
        self.reports.append(run_pass(self.graph, get_pass("infer-shapes"), self.context))
        name_values(self.graph)

    def quantized(self, floats: Sequence[str]) -> tuple[Graph, list[LayerFormat]]:
        """Quantize a copy, without the layers ``floats``; ranges are found once for each value."""
        copy = copy_of(self.graph)
        step = get_pass(ROUNDING, keep=tuple(floats), ranges=dict(self.ranges))
        report = run_pass(copy, step, self.context)
        self._latest = report
        self.ranges = {**found_ranges(copy), **self.ranges}
        return copy, list(report.layers)

    def left_alone(self, formats: Sequence[LayerFormat]) -> Quantized:
        """The model as it is, where nothing can be quantized, and why."""
        self.reports.append(self._latest)
        reasons = list(dict.fromkeys(self._latest.notes))
        if not formats and not reasons:
            reasons = ["no product or convolution has constant weights"]
        notices = [f"nothing is quantized: {reason}" for reason in reasons]
        layers = [Layer(one) for one in formats]
        return Quantized(
            self.graph, self.reports, layers, Decision(), BOUND, self.watch.seconds,
            [*notices, *self.calibration.notices],
        )  # fmt: skip

    def improve(
        self, guard: DistanceGuard, found: tuple[Graph, list[LayerFormat]], until: float
    ) -> tuple[Graph, list[LayerFormat]]:
        """Run the passes of the recipe that prepare, as far as they lower the loss of this model.

        Nothing is tried where the loss is small, or after ``until``. What is ``found`` is the
        model with all layers quantized, and so is the result.
        """
        names = list(BEFORE)
        least = guard.loss(found[0]).share if names else 0.0
        while names and least > _SMALL_LOSS and self.watch.seconds < until:
            name = names.pop(0)
            before = self.graph, self.ranges, self._latest
            self.graph, self.ranges = copy_of(self.graph), {}
            report = run_pass(self.graph, get_pass(name), self.context)
            tried = self.quantized(self.keep) if report.changed else found
            share = guard.loss(tried[0]).share if report.changed else least
            if share <= (1 - LEAST_GAIN) * least:
                least, found = share, tried
                self.reports.append(report)
            else:
                self.graph, self.ranges, self._latest = before
        return found

    def final(self, floats: Sequence[str]) -> Graph:
        """Quantize a copy without the layers ``floats``, and refine it."""
        if self._final is None or self._final[0] != tuple(floats):
            self._final = tuple(floats), self._refined(self.quantized(floats)[0])
        return self._final[1]

    def _refined(self, graph: Graph) -> Graph:
        """The best of what the passes come to that follow rounding, as far as there is time."""
        assert self.distance is not None
        rounding = self._latest
        self.kept = [rounding]
        if not rounding.changed or not AFTER:
            return graph
        best, least = graph, self.distance.loss(graph).share
        for names in AFTER:
            if least <= _SMALL_LOSS or self.watch.seconds > self.until:
                break
            tried = copy_of(graph)
            reports = [run_pass(tried, get_pass(name), self.context) for name in names]
            share = self.distance.loss(tried).share
            if share <= (1 - LEAST_GAIN) * least:
                best, least, self.kept = tried, share, [rounding, *reports]
        return best

    def sizes(self, names: Sequence[str]) -> Mapping[str, float]:
        """Multiply-adds of layers."""
        return estimated_gains(self.graph, names)


def timed(
    before: Graph, whole: Graph, names: Sequence[str], timer: Timer, attempt: Attempt
) -> Times:
    """Find layers that lose time beyond noise, and whether the model is faster without them.

    Single layers say too little: one in float between two in int8 adds conversions. So the model is
    timed with all of them, without those that lose, and in float.
    """
    gains = timer.gains(before, whole, names)
    losing = {name: each for name, each in gains.items() if each.high < 0}
    graphs = [whole]
    if losing and len(losing) < len(names):
        graphs.append(attempt(tuple(losing)))
    speedups = timer.speedups(before, graphs)
    best = speedups[0]
    slow: dict[str, str] = {}
    if len(speedups) > 1 and speedups[1].median > (1 + CLEAR) * best.median:
        best = speedups[1]
        slow = {name: _no_gain(each) for name, each in losing.items()}
    if best.median < HOPELESS:
        reason = f"int8 gains no time: the model takes {1 / best.median:.2f} times as long as float"
        slow = {name: slow.get(name, reason) for name in names}
    return Times(gains, slow, timer.seconds(before), best)


def name_values(graph: Graph) -> None:
    """Name values that passes made, or that share a name with others."""
    known = {value.name for value in graph.inputs}
    numbers = count()
    for node in graph.walk():
        for value in node.outputs:
            if value in graph.outputs:
                continue
            while not value.name or value.name in known:
                value.name = f"value_{next(numbers)}"
            known.add(value.name)


def found_ranges(graph: Graph) -> dict[str, tuple[float, float]]:
    """Least and greatest number that each quantized value of ``graph`` can have, by its name."""
    found = {}
    for node in graph.walk():
        scale, zero = node.constant_input(1), node.constant_input(2)
        value = node.input(0)
        if not node.is_op("QuantizeLinear") or value is None or scale is None or zero is None:
            continue
        if scale.size != 1 or not value.name:
            continue
        limits = np.iinfo(zero.numpy().dtype)
        step, at = float(scale.numpy().reshape(())), int(zero.numpy().reshape(()))
        found[value.name] = ((limits.min - at) * step, (limits.max - at) * step)
    return found


def _no_gain(gain: Estimate) -> str:
    return f"int8 gains no time: {-1e6 * gain.median:.1f} us more than float"


def _layers(
    formats: Sequence[LayerFormat], decision: Decision, gains: Mapping[str, Estimate]
) -> list[Layer]:
    """What became of each layer, in the order of the graph."""
    found = []
    for one in formats:
        reason = decision.reasons.get(one.layer, one.reason)
        found.append(Layer(
            replace(one, reason=reason), decision.sensitivities.get(one.layer),
            gains.get(one.layer),
        ))  # fmt: skip
    return found
