"""Which layers are quantized: as many as gain time, without those that cost too much accuracy.

All that gain are quantized first. Where that loses more than is allowed, neighbouring layers are
quantized a group at a time to see what that costs, and those of the groups that cost the most one
at a time. What costs the most for what it gains is left in float, as few layers as bring the loss
below the bound. Their number is found by bisection on probes, which are fast and do not refine:
what a probe says is scaled by what the latest judgement said of the selection that it was about.
Only what is found so is judged, again until a selection holds: costs do not add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from burnish.errors import GateFailed
from burnish.ir import Graph
from burnish.quantization.deadline import Deadline
from burnish.quantization.guard import Guard, Loss
from burnish.wording import counted, percent

Attempt = Callable[[Sequence[str]], Graph]
"""Quantizes all layers but those that are named."""

_GROUPING, _PROBING = 0.8, 0.6
"""Shares of the time until which layers are quantized a group and one at a time."""
_LEAST_GAIN = 1e-9
"""Seconds that a layer counts as gaining at least, so that costs can be divided by it."""
_GROUPS = 8
"""Groups of neighbours that layers are tried in first."""
_SMALL = 0.03
"""Share of the bound below which nobody asks which layer of a group it is."""
_LEAST_SHARE = 1e-6
"""Of the bound, that a probe counts as at least."""
_ALIKE = 0.02
"""Share of what all layers gain below which it is not worth judging another selection."""
_HURRIED = 0.9
"""Where in what is left to try the last try is that there is time for."""


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
    unmeasured: int = 0
    """Layers that there was no time to measure."""
    cut: str = ""
    """How far the search came, in words, if time cut it short."""

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
    time: Deadline,
) -> Decision:
    """Choose layers.

    Args:
        candidates: layers that may be quantized, in the order of the graph.
        attempt: makes the model.
        guard: judges a selection.
        probe: says what is lost where all but the named layers are quantized, fast.
        keep: layers that stay in float whatever they cost, and why.
        time: after which nothing more is tried: the selection that is known to hold is taken.

    Raises:
        GateFailed: the user's bound holds for no selection that quantizes anything. Where the
            bound is not the user's, all layers stay in float.
    """
    return _Search(candidates, attempt, guard, probe, time).run(dict(keep))


@dataclass
class _Search:
    candidates: Sequence[Candidate]
    attempt: Attempt
    guard: Guard
    probe: Callable[[Sequence[str]], Loss]
    time: Deadline

    def run(self, keep: dict[str, str]) -> Decision:
        self.found = Decision(reasons=keep)
        self.open = [one for one in self.candidates if one.name not in keep]
        self.took, self.is_cut = 0.0, False
        if not self.open:
            return self.found
        self.time.tell("judging int8 in all layers")
        if self._try(()):
            return self.found
        order = self._ranked()
        fewest = self._fewest(order)
        if self.is_cut:
            self.found.cut = self._how_far()
        if fewest is None:
            self._give_up()
        return self.found

    def _try(self, more: Sequence[str]) -> bool:
        """Whether the bound holds with ``more`` layers in float; keeps the selection if it does."""
        begun = self.time.spent
        floats = (*self.found.reasons, *more)
        loss = self.guard.loss(self.attempt(floats))
        point = Point(floats, loss)
        self.found.points.append(point)
        if loss.holds:
            self.found.chosen = point
        self.took = self.time.spent - begun
        return loss.holds

    def _ranked(self) -> list[str]:
        """Layers, those first that cost the most for what they gain."""
        costs = self._costs()
        self.found.sensitivities = costs
        self.found.unmeasured = len(self.open) - len(costs)
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
            if self._is_late(_GROUPING):
                break
            self.time.tell("quantizing some layers", number, len(groups))
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
            self.time.tell("quantizing one layer", number, len(inside))
            costs[name] = self._alone([name])
            sizes.pop(name, None)
        self.found.groups = sizes
        return costs

    def _is_late(self, share: float = 1.0, needed: float = 0.0) -> bool:
        """Whether to end a part of the search before it is done, which is remembered."""
        late = self.time.is_late(share, needed)
        self.is_cut |= late
        return late

    def _alone(self, group: Sequence[str]) -> float:
        """The share of the bound that is taken when only ``group`` is quantized."""
        names = [one.name for one in self.candidates]
        return self.probe([name for name in names if name not in group]).share

    def _fewest(self, order: Sequence[str]) -> int | None:
        """How few of ``order`` have to stay in float, as time allows; None if none helps."""
        kept = tuple(self.found.reasons)
        guess = _Guess(
            lambda count: self.probe((*kept, *order[:count])).share, len(order),
            {one.name: one.gain for one in self.open}, order,
        )  # fmt: skip
        low, high, best = 0, len(order), None
        guess.learn(0, self.found.points[-1].loss.share)
        while high - low > 1 and not self._is_over(best):
            self.time.tell("choosing layers", len(self.found.points), 2 + len(order).bit_length())
            hurried = self.time.is_late(needed=2 * self.took)
            count = guess.between(low, high, hurried=hurried and best is None)
            if best is None and self.time.is_late(needed=self.took):
                # Probing took what was left.
                count = guess.between(low, high, hurried=True)
            if best is not None and guess.is_alike(count, best):
                break
            if self._try(order[:count]):
                high = best = count
            else:
                low = count
            guess.learn(count, self.found.points[-1].loss.share)
        for name in order[: best or 0]:
            self.found.reasons[name] = self._reason(name)
        return best

    def _reason(self, name: str) -> str:
        """Why a layer stays in float: what it was found to cost, if there was time to ask."""
        share, count = self.found.sensitivities.get(name), self.found.groups.get(name, 1)
        if share is None:
            return "not measured in the time that deciding may take: raise --time"
        whole = count * share
        who = "alone it" if count == 1 else f"with its neighbours, {count} layers, it"
        why = "costs too much accuracy" if whole > 1 else "too much is lost with the others"
        return f"{why}: {who} takes {percent(whole)} of the allowed loss"

    def _is_over(self, best: int | None) -> bool:
        """Whether there is no time for one more; one that does not hold yet may be the last."""
        return self._is_late(needed=0.0 if best is None else self.took)

    def _how_far(self) -> str:
        layers = len(self.open)
        return (
            f"the {self.time.seconds:g} s that deciding may take cut the search short: "
            f"{layers - self.found.unmeasured} of {counted(layers, 'layer')} measured, "
            f"{counted(len(self.found.points), 'selection')} judged; a larger --time may leave "
            "fewer layers in float"
        )

    def _give_up(self) -> None:
        best = min(self.found.points, key=lambda point: point.loss.share)
        layers = len(self.candidates)
        story = (
            f"int8 cannot keep to {self.guard.bound}: the best of "
            f"{counted(len(self.found.points), 'selection')} loses {best.loss.text} with "
            f"{layers - len(best.floats)} of {counted(layers, 'layer')} quantized"
        )
        if self.time.is_late():
            story += f", and the {self.time.seconds:g} s that deciding may take are over"
        if self.guard.is_asked:
            raise GateFailed(
                f"{story}; allow more, give more calibration data, or leave --quantize out"
            )
        self.found.notice = f"left in float: {story}; --max-drop with --eval says what is allowed"
        for one in self.open:
            self.found.reasons[one.name] = "no selection that was tried keeps to the bound"


@dataclass
class _Guess:
    """Guesses from probes how many layers have to stay in float."""

    probe: Callable[[int], float]
    """The share that is taken with so many layers in float, by a probe."""
    total: int
    gains: Mapping[str, float]
    order: Sequence[str]
    """Layers, those first that stay in float first."""
    factor: float = 1.0
    """What a judgement says, for each part that a probe does."""
    failed: int = 0
    _known: dict[int, float] = field(default_factory=dict)

    def learn(self, count: int, share: float) -> None:
        """Take in what was judged with ``count`` layers in float."""
        self.factor = share / max(self._probed(count), _LEAST_SHARE)
        self.failed = 0 if share <= 1 else self.failed + 1

    def between(self, low: int, high: int, *, hurried: bool) -> int:
        """The next number to judge: above ``low``, which fails, and below ``high``.

        Args:
            low: how many are too few.
            high: how many are enough.
            hurried: whether this may be the last one, which has to hold.
        """
        if hurried:
            return max(low + 1, low + math.ceil(_HURRIED * (high - low)) - 1)
        few, many = low, high
        while many - few > 1:
            middle = (few + many) // 2
            if self.factor * self._probed(middle) <= 1:
                many = middle
            else:
                few = middle
        # What was guessed too low so often is stepped away from faster and faster.
        step = 1 << max(0, self.failed - 1)
        return min(max(many, low + step), high - 1)

    def is_alike(self, count: int, other: int) -> bool:
        """Whether the two selections gain about the same."""
        low, high = sorted((count, other))
        between = sum(max(0.0, self.gains[name]) for name in self.order[low:high])
        return between <= _ALIKE * sum(max(0.0, gain) for gain in self.gains.values())

    def _probed(self, count: int) -> float:
        if count not in self._known:
            self._known[count] = self.probe(count)
        return self._known[count]
