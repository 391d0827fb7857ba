"""Quantizing a model: statistics, formats, which layers, and a record of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from burnish.bench.environment import Stopwatch
from burnish.bench.stats import Estimate
from burnish.calibration.store import Calibration
from burnish.ir import Graph
from burnish.layer_formats import LayerFormat
from burnish.pipeline import Progress
from burnish.quantization.deadline import Deadline
from burnish.quantization.decision import Attempt, Candidate, Decision, decide
from burnish.quantization.guard import PROBED, DistanceGuard, Guard
from burnish.quantization.result import Layer, Quantized, Times
from burnish.quantization.work import Work
from burnish.target import Target

CLEAR = 0.01
"""By how much of its time a selection has to be faster than another to be taken for it."""
HOPELESS = 0.85
"""Speedup without tuning below which no tuning makes integers faster than float."""


UNTIMED = (
    "deciding had no time left to time layers: multiply-adds stand for what they gain, and int8 "
    "may not be faster in all of them; raise --time"
)
_TIMED = 0.5
"""Share of the time after which nothing is timed any more: multiply-adds stand for gains then."""


class Timer(Protocol):
    """Times models; `gains.Clock` does."""

    def gains(self, before: Graph, after: Graph, layers: Sequence[str]) -> Mapping[str, Estimate]:
        """Seconds that layers gain, from the model in float and quantized, and their names."""

    def seconds(self, graph: Graph) -> float | None:
        """The fastest run of a graph that `speedups` timed."""

    def speedups(self, base: Graph, others: Sequence[Graph]) -> Sequence[Estimate]:
        """The time of ``base`` over that of each of ``others``."""


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
        UsageError: ``keep`` names what is no layer.
        BurnishError: the model or the data cannot be used.
    """
    time = Deadline(seconds, progress, Stopwatch())
    work = Work(graph, calibration, target, tuple(keep), time)
    whole, formats = work.prepared()
    names = [one.layer for one in formats if not one.reason]
    if not names:
        return work.left_alone(formats)
    distance = guard if isinstance(guard, DistanceGuard) else DistanceGuard(graph, calibration)
    judge, work.distance = work.holding(guard or distance), distance
    whole, formats = work.improve(distance, (whole, formats))
    times = Times({}, {})
    if timer is not None and not time.is_late(_TIMED):
        time.tell("timing layers in float and int8")
        times = timed(
            work.plain, whole, names, timer, lambda floats: work.quantized((*keep, *floats))[0]
        )
    decision = _decision(work, names, times, judge, distance.fewer(PROBED))
    result, reports = work.chosen(decision)
    untimed = "" if timer is None or times.gains else UNTIMED
    notices = [*work.notices, *filter(None, (decision.notice, decision.cut, untimed))]
    found = Quantized(
        result, [*work.reports, *reports], _layers(formats, decision, times.gains), decision,
        judge.bound, time.spent, [*notices, *calibration.notices], times,
    )  # fmt: skip
    if times.speedup is None or not found.count or time.is_late():
        return found
    time.tell("timing the model in float and int8")
    return replace(found, speedup=_speedup(found, work.plain, timer), seconds=time.spent)


def _decision(
    work: Work,
    names: Sequence[str],
    times: Times,
    judge: Guard,
    probe: DistanceGuard,
) -> Decision:
    """Which of the layers ``names`` stay in float."""
    gains = {name: each.median for name, each in times.gains.items()} or work.sizes(names)
    return decide(
        [Candidate(name, gains.get(name, 0.0)) for name in names],
        work.final,
        judge,
        lambda floats: probe.loss(work.quantized(floats)[0]),
        keep={**dict.fromkeys(work.keep, "it is to be kept"), **times.slow},
        time=work.time,
    )


def _speedup(found: Quantized, before: Graph, timer: Timer | None) -> Estimate | None:
    """The time of the model in float over that of the result, without tuning."""
    if timer is None or set(found.decision.floats) <= set(found.times.slow):
        return found.times.speedup
    return timer.speedups(before, [found.graph])[0]


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
            gains.get(one.layer), decision.groups.get(one.layer, 1),
        ))  # fmt: skip
    return found
