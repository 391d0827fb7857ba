"""Which layers are quantized: as many as gain time, without those that cost too much accuracy.

All that gain are quantized first. Where that loses more than is allowed, neighbouring layers are
quantized a group at a time to see what that costs, and those of the groups that cost the most one
at a time. What costs the most for what it gains is left in float, as few layers as bring the loss
below the bound: their number is found by bisection, and every number that is tried is measured,
since costs do not add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from burnish.bench.environment import Stopwatch
from burnish.errors import GateFailed
from burnish.ir import Graph
from burnish.quantization.guard import Guard, Loss
from burnish.wording import counted

Attempt = Callable[[Sequence[str]], Graph]
"""Quantizes all layers but those that are named."""
Progress = Callable[[str, int, int], None]
"""Called with what is done, how many times so far, and how many times at most."""

_PROBING = 0.6
"""Share of the time that may go into quantizing layers one at a time."""
_LEAST_GAIN = 1e-9
"""Seconds that a layer counts as gaining at least, so that costs can be divided by it."""
_GROUPS = 8
"""Groups of neighbours that layers are tried in first."""
_SMALL = 0.03
"""Share of the bound below which nobody asks which layer of a group it is."""


@dataclass(frozen=True)
class Candidate:
    """A layer that may be quantized."""

    name: str
    gain: float
    """Seconds that it saves in int8, or a stand-in: only the proportions count."""


@dataclass(frozen=True)
class Point:
    """A selection of layers that was tried."""

    floats: tuple[str, ...]
    """Layers that stay in float."""
    loss: Loss


@dataclass
class Decision:
    """Which layers stay in float, and why."""

    reasons: dict[str, str] = field(default_factory=dict)
    """By layer, for those that stay."""
    sensitivities: dict[str, float] = field(default_factory=dict)
    """By layer: the share of the bound that it takes when it alone is quantized, or its part of
    what its neighbours and it take together."""
    groups: dict[str, int] = field(default_factory=dict)
    """By layer whose share is a part of that of several: how many were quantized together."""
    points: list[Point] = field(default_factory=list)
    """What was tried, in order; the last one that holds is what was chosen."""
    chosen: Point | None = None
    notice: str = ""
    """Why nothing is quantized, if that is so for the bound's sake."""

    @property
    def floats(self) -> tuple[str, ...]:
        """Layers that stay in float."""
        return tuple(self.reasons)


def decide(
    candidates: Sequence[Candidate],
    attempt: Attempt,
    guard: Guard,
    probe: Callable[[Sequence[str]], Loss],
    *,
    keep: Mapping[str, str],
    seconds: float,
    progress: Progress,
) -> Decision:
    """Choose layers.

    Args:
        candidates: layers that may be quantized, in the order of the graph.
        attempt: makes the model.
        guard: judges a selection.
        probe: says what is lost where all but the named layers are quantized, fast.
        keep: layers that stay in float whatever they cost, and why.
        seconds: after which no more layers are tried alone, and the selection that is known to
            hold is taken.
        progress: what is told.

    Raises:
        GateFailed: the user's bound holds for no selection that quantizes anything. Where the
            bound is not the user's, all layers stay in float.
    """
    return _Search(candidates, attempt, guard, probe, seconds, progress).run(dict(keep))


@dataclass
class _Search:
    candidates: Sequence[Candidate]
    attempt: Attempt
    guard: Guard
    probe: Callable[[Sequence[str]], Loss]
    seconds: float
    progress: Progress

    def run(self, keep: dict[str, str]) -> Decision:
        self.watch = Stopwatch()
        self.found = Decision(reasons=keep)
        self.open = [one for one in self.candidates if one.name not in keep]
        if not self.open:
            return self.found
        if self._try(()):
            return self.found
        order = self._ranked()
        fewest = self._bisect(order)
        if fewest is None:
            self._give_up()
        return self.found

    def _is_late(self, share: float = 1.0) -> bool:
        return self.watch.seconds > share * self.seconds

    def _try(self, more: Sequence[str]) -> bool:
        """Whether the bound holds with ``more`` layers in float; keeps the selection if it does."""
        floats = (*self.found.reasons, *more)
        loss = self.guard.loss(self.attempt(floats))
        point = Point(floats, loss)
        self.found.points.append(point)
        if loss.holds:
            self.found.chosen = point
        return loss.holds

    def _ranked(self) -> list[str]:
        """Layers, those first that cost the most for what they gain."""
        costs = self._costs()
        self.found.sensitivities = costs
        # What there was no time for costs what the others do, on average.
        usual = sum(costs.values()) / len(costs) if costs else 1.0

        def rank(one: Candidate) -> tuple[bool, float]:
            # What breaks the bound by itself has to stay, whatever it gains.
            cost = costs.get(one.name, usual)
            return cost <= 1, -cost / max(one.gain, _LEAST_GAIN)

        ranked = sorted(self.open, key=rank)
        return [one.name for one in ranked]

    def _costs(self) -> dict[str, float]:
        """Shares of the bound by layer, as far as there is time."""
        names = [one.name for one in self.open]
        size = math.ceil(len(names) / _GROUPS)
        groups = [names[start : start + size] for start in range(0, len(names), size)]
        together: list[tuple[float, list[str]]] = []
        for number, group in enumerate(groups):
            if self._is_late(_PROBING):
                break
            self.progress("quantizing some layers", number, len(groups))
            together.append((self._alone(group), group))
        costs = {name: share / len(group) for share, group in together for name in group}
        sizes = {name: len(group) for _, group in together for name in group if len(group) > 1}
        worse = [
            group for share, group in sorted(together, key=lambda one: -one[0])
            if share > _SMALL and len(group) > 1
        ]  # fmt: skip
        inside = [name for group in worse for name in group]
        for number, name in enumerate(inside):
            if self._is_late(_PROBING):
                break
            self.progress("quantizing one layer", number, len(inside))
            costs[name] = self._alone([name])
            sizes.pop(name, None)
        self.found.groups = sizes
        return costs

    def _alone(self, group: Sequence[str]) -> float:
        """The share of the bound that is taken when only ``group`` is quantized."""
        names = [one.name for one in self.candidates]
        return self.probe([name for name in names if name not in group]).share

    def _bisect(self, order: Sequence[str]) -> int | None:
        """How few of ``order`` have to stay in float, as time allows; None if none helps."""
        low, high, best = 0, len(order), None
        while high - low > 1 and not (best is not None and self._is_late()):
            middle = (low + high) // 2
            self.progress("choosing layers", len(self.found.points), 2 + len(order).bit_length())
            if self._try(order[:middle]):
                high = best = middle
            else:
                low = middle
        for name in order[: best or 0]:
            self.found.reasons[name] = f"costs accuracy{self._cost(name)}"
        return best

    def _cost(self, name: str) -> str:
        """What a layer was found to cost, in words; empty if there was no time to ask."""
        share, count = self.found.sensitivities.get(name), self.found.groups.get(name)
        if share is None:
            return ""
        if count is None:
            return f": alone it takes {100 * share:.0f} % of the bound"
        return f": with its neighbours, {count} layers, it takes {100 * count * share:.0f} %"

    def _give_up(self) -> None:
        best = min(self.found.points, key=lambda point: point.loss.share)
        layers = len(self.candidates)
        story = (
            f"int8 cannot keep to {self.guard.bound}: the best of "
            f"{counted(len(self.found.points), 'selection')} loses {best.loss.text} with "
            f"{layers - len(best.floats)} of {counted(layers, 'layer')} quantized"
        )
        if self.guard.is_asked:
            raise GateFailed(
                f"{story}; allow more, give more calibration data, or leave --quantize out"
            )
        self.found.notice = f"left in float: {story}; --max-drop with --eval says what is allowed"
        for one in self.open:
            self.found.reasons[one.name] = "costs accuracy, with whatever else is quantized"
