"""The roofline of a machine, and how far each call of a model could come on it.

A call takes at least as long as its arithmetic at the machine's peak, and as long as its
compulsory traffic at the bandwidth of the level that holds the data. Compulsory is each byte of
each operand once: what a kernel reads again, or packs on its way, is the kernel's own affair.

Which level holds an operand follows from how much else was touched since it was last: `distance`
bytes, itself included, in a run that follows another. At most a capacity's worth of distance can
come from that level (as if the cache were fully associative and kept what was used last). So
weights come from memory where they exceed the caches between two runs, and an activation from the
nearest level that still holds it. Bytes that come from one level pass all nearer ones too.

Writes count as reads do, the first-level cache as the second, and arithmetic as its nominal
amount: a convolution by Winograd's method counts as a direct one, and may exceed its bound. A
function that only a polynomial can compute counts as many operations as the polynomial; what is
compared, selected, packed or computed again counts nothing.

Method: S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model
for multicore architectures", CACM 52(4), 2009; the levels as in the cache-aware roofline of
A. Ilic, F. Pratas, L. Sousa, IEEE Computer Architecture Letters 13(1), 2014.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from burnish.backends.calls import CallSpec, Operand

ARITHMETIC = "arithmetic"
"""What a call is bound by if not by a level of memory."""


@dataclass(frozen=True)
class Level:
    """A level of the memory, as all threads together see it."""

    name: str
    """``L2``, ``L3`` or ``memory``."""
    capacity: int | None
    """Bytes that it holds; None for memory."""
    bandwidth: float
    """Bytes per second that can be read from it."""


@dataclass(frozen=True)
class Roofline:
    """What a machine does at most with a number of threads."""

    cpu: str
    """The processor's name."""
    threads: int
    peaks: Mapping[str, float]
    """Operations per second by the dtype that is multiplied; an addition counts as one too."""
    levels: tuple[Level, ...]
    """The nearest first, memory last."""


@dataclass(frozen=True)
class Bound:
    """The least time that a call can take."""

    seconds: float
    by: str
    """``arithmetic``, or the level whose bandwidth it is."""


def bounds(
    calls: Sequence[CallSpec],
    roofline: Roofline,
    rounds: Sequence[int | None] | None = None,
) -> list[Bound | None]:
    """Return the bound of each call of an entry, whose runs follow each other.

    What is in a loop may find all that it reads where its last round left it: nearest.

    Args:
        calls: the calls of a run.
        roofline: the machine's.
        rounds: how often each is made, which only a run tells where there are loops. None is
            unknown, and so is then the bound of a call in a loop.
    """
    found: list[Bound | None] = []
    counts = [None] * len(calls) if rounds is None else rounds
    for call, count, distances in zip(calls, counts, reuse_distances(calls), strict=True):
        if not call.repeats:
            found.append(_bound(call, distances, roofline))
        elif count is None:
            found.append(None)
        else:
            once = _bound(call, [0] * len(call.operands), roofline)
            found.append(Bound(count * once.seconds, once.by))
    return found


def _bound(call: CallSpec, distances: Sequence[int], roofline: Roofline) -> Bound:
    found = []
    # An arithmetic whose peak was not measured bounds nothing.
    peak = roofline.peaks.get(call.arithmetic)
    if peak:
        found.append(Bound(call.flops / peak, ARITHMETIC))
    inner = 0
    for level in roofline.levels:
        # What is too far for the levels before this one comes through it.
        through = sum(
            operand.touched
            for operand, distance in zip(call.operands, distances, strict=True)
            if distance > inner or not inner
        )
        found.append(Bound(through / level.bandwidth, level.name))
        inner = level.capacity or 0
    return max(found, key=lambda bound: bound.seconds)


def reuse_distances(calls: Sequence[CallSpec]) -> list[list[int]]:
    """Return, for each operand of each call, how many bytes were touched since it was last.

    The operand itself counts, and the calls come round in a circle: one run follows another.
    """
    uses = Counter(place for call in calls for place in {o.place for o in call.operands})
    everything = _footprint(calls)
    found = []
    for number, call in enumerate(calls):
        history = [*reversed(calls[:number]), *reversed(calls[number + 1 :])]
        found.append([
            # What the arena holds shares bytes with other tensors, all else only with itself.
            everything if operand.space != "arena" and uses[operand.place] == 1
            else _distance(operand, history)
            for operand in call.operands
        ])  # fmt: skip
    return found


def _distance(operand: Operand, history: Sequence[CallSpec]) -> int:
    """Bytes touched by the calls of `history`, the latest first, up to the last use."""
    between = itertools.takewhile(
        lambda call: not any(operand.overlaps(other) for other in call.operands), history
    )
    return operand.touched + _footprint(between)


def _footprint(calls: Iterable[CallSpec]) -> int:
    """Bytes that the calls touch, each place once."""
    seen: dict[tuple[str, int], int] = {}
    for call in calls:
        for operand in call.operands:
            seen[operand.place] = max(seen.get(operand.place, 0), operand.touched)
    return sum(seen.values())
