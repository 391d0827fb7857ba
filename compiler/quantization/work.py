"""Making quantized models from one graph: the recipe of passes, run for each choice of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TypeAlias

import numpy as np

from burnish.calibration.store import Calibration
from burnish.ir import Graph
from burnish.layer_formats import LayerFormat
from burnish.passes import get_pass
from burnish.passes.quantization.quantize_int8 import quantized_already
from burnish.pipeline import PassContext, PassReport, copy_of, run_pass
from burnish.quantization.deadline import Deadline
from burnish.quantization.decision import Decision
from burnish.quantization.distance import BOUND
from burnish.quantization.gains import estimated_gains
from burnish.quantization.guard import PROBED, DistanceGuard, Guard, Loss
from burnish.quantization.kept_layers import require_layers
from burnish.quantization.result import Layer, Quantized
from burnish.target import Target

BEFORE: tuple[str, ...] = ("scale-channels",)
"""Passes of the recipe that prepare a float model for quantization, in order."""
ROUNDING = "quantize-int8"
AFTER: tuple[tuple[str, ...], ...] = (("correct-bias",), ("round-weights", "correct-bias"))
"""Passes of the recipe that refine a quantized model: ways to do so, those first that take less
time. The next is tried where the loss is not small yet, and the best is kept."""


def recipe() -> list[str]:
    """Names of all passes that may quantize a model, in order, each once."""
    return list(dict.fromkeys((*BEFORE, ROUNDING, *(name for names in AFTER for name in names))))


LEAST_GAIN = 0.02
"""Share of the loss that a pass of the recipe has to take away to be kept."""
_IMPROVING = 0.3
"""Share of the time until which passes of the recipe begin that prepare the model."""
_IMPROVED = 0.4
"""The same until which such a pass may change layers."""
_REFINING = 0.5
"""The same of those that refine it; what runs by then ends soon."""
_REFINED = 0.6
"""The same until which such a pass may change layers: the rest stay as they are."""
_SMALL_LOSS = 0.1
"""Share of the bound below which neither is worth its time."""
_HOPELESS = 6.0
"""Share of the bound above which refining does not bring a model below it."""


Made: TypeAlias = tuple[Graph, list[PassReport]]
"""A quantized model, and the reports of the passes that made it."""


@dataclass
class Work:
    """A graph that is quantized again and again, with other layers in float each time."""

    graph: Graph
    """What is quantized: once layers are prepared, no longer as it came."""
    calibration: Calibration
    target: Target | None
    keep: tuple[str, ...]
    time: Deadline
    """Of deciding, making models included."""
    distance: DistanceGuard | None = None
    _given: Graph | None = None
    """The graph as it came."""
    _plain: Graph | None = None
    """The same with a name for every value."""
    _held: Made | None = None
    """The latest final model that was judged to hold."""
    _made: Made | None = None
    """The latest one."""
    _measured: Loss | None = None
    """How far that is from the original."""
    reports: list[PassReport] = field(default_factory=list)
    """Of the passes that made the graph."""
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Of values that were quantized before, by name."""
    all_results: bool | None = None
    """Whether what convolutions give and sums add is rounded; None for as what runs it needs."""

    @property
    def notices(self) -> list[str]:
        """What a user should know of the recipe."""
        if self.all_results is None:
            return []
        return [
            "what convolutions give is not rounded, as that costs accuracy: ONNX Runtime computes "
            "those in floats, `burnish compile` in integers"
        ]

    @property
    def context(self) -> PassContext:
        """What passes are told."""
        return PassContext(self.target, calibration=self.calibration, is_late=self._is_late)

    @property
    def _preparing(self) -> PassContext:
        """The same for passes that prepare."""
        return replace(self.context, is_late=lambda: self.time.is_late(_IMPROVED))

    def _is_late(self) -> bool:
        """Whether refining has had its time."""
        return self.time.is_late(_REFINED)

    def prepared(self) -> tuple[Graph, list[LayerFormat]]:
        """Quantize all layers for the first time; every value has a name then: ranges go by it.

        Raises:
            UsageError: a layer to leave in float does not exist.
        """
        self._given, self.graph = self.graph, copy_of(self.graph)
        self.reports.append(run_pass(self.graph, get_pass("infer-shapes"), self.context))
        name_values(self.graph)
        self._plain = self.graph
        whole, formats = self.quantized(self.keep)
        require_layers(self.graph, self.keep, formats)
        return whole, formats

    @property
    def plain(self) -> Graph:
        """What int8 is to be faster than: the model in float before layers are prepared."""
        assert self._plain is not None
        return self._plain

    def quantized(self, floats: Sequence[str]) -> tuple[Graph, list[LayerFormat]]:
        """Quantize a copy, without the layers ``floats``; ranges are found once for each value."""
        copy = copy_of(self.graph)
        step = get_pass(
            ROUNDING, keep=tuple(floats), ranges=dict(self.ranges), all_results=self.all_results
        )
        report = run_pass(copy, step, self.context)
        self._latest = report
        self.ranges = {**found_ranges(copy), **self.ranges}
        return copy, list(report.layers)

    def left_alone(self, formats: Sequence[LayerFormat]) -> Quantized:
        """The model as it is, where no layer can be quantized; why, unless ``formats`` say that."""
        reasons = [] if formats else list(dict.fromkeys(self._latest.notes))
        if already := quantized_already(self.graph):
            reasons = [
                f"the model is quantized already ({already}) and computed with the integers that "
                "it has: leave --quantize out, or give the model that it was made from"
            ]
        if not formats and not reasons:
            reasons = ["no product or convolution has constant weights"]
        notices = [f"nothing is quantized: {reason}" for reason in reasons]
        layers = [Layer(one) for one in formats]
        return Quantized(
            self.graph, self.reports, layers, Decision(), BOUND, self.time.spent,
            [*notices, *self.calibration.notices],
        )  # fmt: skip

    def improve(
        self, guard: DistanceGuard, found: tuple[Graph, list[LayerFormat]]
    ) -> tuple[Graph, list[LayerFormat]]:
        """Run the passes of the recipe that prepare, as far as they lower the loss of this model.

        Nothing is tried where the loss is small, or when it is late. What is ``found`` is the
        model with all layers quantized, and so is the result.
        """
        first = guard.loss(found[0]).share
        if first <= _SMALL_LOSS:
            return found
        start, names, reports = (self._state, found), list(BEFORE), len(self.reports)
        if self.target is None and first > 1 and not self.time.is_late(_IMPROVING):
            # Scales of channels end where results are rounded, which only ONNX Runtime needs.
            self.all_results = False
            found = self.quantized(self.keep)
        least: float | None = None
        while names and not self.time.is_late(_IMPROVING):
            name, before = names.pop(0), self._state
            self.graph, self.ranges = copy_of(self.graph), {}
            self.time.tell("preparing layers")
            report = run_pass(self.graph, get_pass(name), self._preparing)
            if not report.changed:
                self._state = before
                continue
            name_values(self.graph)
            tried = self.quantized(self.keep)
            least = self._expected(guard, found[0]) if least is None else least
            share = self._expected(guard, tried[0])
            if share <= (1 - LEAST_GAIN) * least:
                least, found = share, tried
                self.reports.append(report)
            else:
                self._state = before
        if self.all_results is not None:
            least = self._expected(guard, found[0]) if least is None else least
            if least > (1 - LEAST_GAIN) * self._expected(guard, start[1][0]):
                self._state, found = start
                del self.reports[reports:]
        return found

    def _expected(self, guard: DistanceGuard, graph: Graph) -> float:
        """The share of what is allowed that a model is to lose once it is refined.

        Most of what is lost may be means of errors, which refining takes away: what prepares
        layers is judged by the rest. The fastest way to refine, on few samples, tells enough.
        """
        self.time.tell("judging what prepares layers")
        refined = copy_of(graph)
        few = replace(self.context, calibration=self.calibration.fewer(PROBED))
        for name in AFTER[0] if AFTER else ():
            run_pass(refined, get_pass(name), few)
        return guard.loss(refined).share

    @property
    def _state(self) -> tuple[Graph, dict[str, tuple[float, float]], PassReport, bool | None]:
        """What quantizing again depends on, and its latest report."""
        return self.graph, self.ranges, self._latest, self.all_results

    @_state.setter
    def _state(
        self, state: tuple[Graph, dict[str, tuple[float, float]], PassReport, bool | None]
    ) -> None:
        self.graph, self.ranges, self._latest, self.all_results = state

    def final(self, floats: Sequence[str]) -> Graph:
        """Quantize a copy without the layers ``floats``, and refine it as far as there is time.

        Two calls need not make the same: what was judged is what `holding` has kept of it.
        """
        graph = self.quantized(floats)[0]
        self._made = self._refined(graph)
        return self._made[0]

    def holding(self, guard: Guard) -> Guard:
        """The same guard, which keeps the latest final model that holds."""
        return _Holding(guard, self)

    def judged(self, graph: Graph, loss: Loss) -> None:
        """Keep a final model if it holds."""
        if loss.holds and self._made is not None and graph is self._made[0]:
            self._held = self._made

    def chosen(self, decision: Decision) -> Made:
        """The very model that was judged, or the one that came if none holds, as it is."""
        if decision.chosen is not None and self._held is not None:
            return self._held
        assert self._given is not None
        self.reports, self.all_results = [], None
        return copy_of(self._given), []

    def _refined(self, graph: Graph) -> Made:
        """The best of what the passes come to that follow rounding, as far as there is time."""
        assert self.distance is not None
        rounding, self._measured = self._latest, None
        best: Made = graph, [rounding]
        if not rounding.changed or not AFTER:
            return best
        least = self.distance.loss(graph)
        for names in AFTER:
            if not _SMALL_LOSS < least.share < _HOPELESS:
                break
            if self.time.is_late(_REFINING):
                break
            self.time.tell("refining layers")
            tried = copy_of(graph)
            reports = [run_pass(tried, get_pass(name), self.context) for name in names]
            loss = self.distance.loss(tried)
            if loss.share <= (1 - LEAST_GAIN) * least.share:
                best, least = (tried, [rounding, *reports]), loss
        self._measured = least
        return best

    def measured(self, guard: Guard, graph: Graph) -> Loss | None:
        """What ``guard`` says of a graph, if that is known from refining it."""
        is_latest = self._made is not None and graph is self._made[0]
        return self._measured if guard is self.distance and is_latest else None

    def sizes(self, names: Sequence[str]) -> Mapping[str, float]:
        """Multiply-adds of layers."""
        return estimated_gains(self.graph, names)


@dataclass(frozen=True)
class _Holding:
    """A guard whose judgements the work hears of."""

    guard: Guard
    work: Work

    @property
    def bound(self) -> str:
        return self.guard.bound

    @property
    def is_asked(self) -> bool:
        return self.guard.is_asked

    def loss(self, graph: Graph) -> Loss:
        found = self.work.measured(self.guard, graph) or self.guard.loss(graph)
        self.work.judged(graph, found)
        return found


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
