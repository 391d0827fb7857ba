"""How far runs of a model with moved ties are from the one without, and what that allows for.

Over a whole output: what is compared may be off by twice the moved runs, at most and in the root
mean square. That alone would let one channel be wrong, or small numbers beside large ones, so every
slice along every axis is held to its own moved runs as well, where enough of its elements moved to
say by how much they do: at most, in the root mean square, and in the mean signed error, as ties
push elements of a slice either way and do not shift all of them alike.

Slices that hardly move are held to the limits of those that move most, where half of them do.

What remains unseen: mistakes in slices of fewer than `LEAST` elements and along axes where a few
elements make up the moves, as in logits and probabilities of one image, which only the limits of
the whole output hold; and mistakes as small and as scattered as the steps of ties are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from burnish.ir import Array, DType
from burnish.oracle.comparison import TOLERANCES

SLACK = 2.0
"""How many times farther off than the moved runs a result may be."""
SLICE_SLACK, SLICE_LARGEST = 3.0, 4.0
"""The same of a slice, in the root mean square and of its largest error. A moved run of a network
for text is 2.5 and 3.9 times farther off than all others in one token that few steps decide on."""
LEAST = 32
"""Elements, over all runs, whose moves tell how far a slice moves; fewer say too little."""
SHIFT = 8.0
"""How many times farther than the moved runs the mean signed error of a slice may be off. In a
network for text and chains of convolutions no run is from the others; a bias off by three steps is,
by 20 and more."""
SLICES = 8
"""Slices along an axis that tell how far means and slices that hardly move may be off."""
BEYOND, STRAYS = 1.25, 4
"""Of a slice that moves in few places, as many elements may be off by ``BEYOND`` times the largest
move."""
SPARSE = 1 / 16
"""Of a slice, as many elements move in few places: one by one, not by a cause they share."""

_Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Slices:
    """How far each slice along one axis moves; arrays of one float64 per slice."""

    axis: int
    largest: _Floats
    """Of any element in any run."""
    mean: _Floats
    """Root of the mean square over all elements of all runs."""
    judged: NDArray[np.bool_]
    """Whether enough elements moved to say so much of it."""
    scarcity: _Floats
    """By what the limits are wider as few elements move: from 1 where many do up to 1.5 or so."""
    sparse: NDArray[np.bool_]
    """Whether few elements move in each run."""
    shift: float
    """Root mean square, over runs and telling slices, of a slice's mean signed move relative to
    ``mean``, and no less than by chance; infinite where there are too few of them to tell."""

    def cover(self, errors: _Floats, rounding: float) -> bool:
        """Whether signed ``errors`` of all elements are as ties explain, in every slice."""
        signed, squares, largest = _along(errors, self.axis)
        allowed = self.scarcity * self.mean
        limit = BEYOND * self.scarcity * self.largest + rounding
        others = _others(errors, self.axis)
        stray = np.abs(errors) > limit.reshape([-1 if a == self.axis else 1 for a in _axes(errors)])
        shift = np.inf if np.isinf(self.shift) else SHIFT * self.shift * allowed
        fine = (
            (largest <= SLICE_LARGEST * self.scarcity * self.largest + rounding)
            & (np.sqrt(squares) <= SLICE_SLACK * allowed + rounding)
            & (np.abs(signed) <= shift + rounding)
            & ((stray.sum(axis=others) <= STRAYS) | ~self.sparse)
        )
        return bool(np.all(fine | ~self.judged))


@dataclass(frozen=True)
class Spread:
    """How far runs with moved ties are from the one without, for one output."""

    largest: float
    """Of any element."""
    mean: float
    """Root of the mean square over all elements."""
    share: float = 0.0
    """``mean`` relative to that of the output itself."""
    slices: Sequence[Slices] = ()
    """Along each axis that has slices worth telling apart."""

    def covers(self, expected: Array, actual: Array) -> bool:
        """Whether ``actual`` may be what the model answers, given what it is said to answer."""
        want, have = expected.astype(np.float64), actual.astype(np.float64)
        finite = np.isfinite(want)
        if not np.array_equal(finite, np.isfinite(have)) or not finite.any():
            return False
        if not np.array_equal(want[~finite], have[~finite], equal_nan=True):
            return False
        errors = _difference(have, want)
        mean = float(np.sqrt(np.sum(errors**2) / finite.sum()))
        return bool(
            np.abs(errors).max() <= SLACK * self.largest + rounding_of(expected)
            and mean <= SLACK * self.mean + rounding_of(expected)
            and all(each.cover(errors, rounding_of(expected)) for each in self.slices)
        )  # fmt: skip


def spread_of(expected: Any, runs: Iterable[Any]) -> Spread | None:
    """How far ``runs`` are from ``expected``; None for what are no numbers of one shape."""
    if not isinstance(expected, np.ndarray) or expected.dtype.kind not in "iuf":
        return None
    if not expected.size:
        return None
    want = expected.astype(np.float64)
    axes = [a for a in _axes(want) if 1 < want.shape[a] <= want.size // LEAST]
    moves = {axis: _Moves(axis) for axis in axes}
    largest, squares, count = 0.0, 0.0, 0
    for run in runs:
        if run.shape != expected.shape:
            return None
        have = run.astype(np.float64)
        errors = _difference(have, want)
        largest = max(largest, float(np.abs(errors).max()))
        squares += float(np.sum(errors**2))
        count += int(np.sum(np.isfinite(have) & np.isfinite(want)))
        for each in moves.values():
            each.add(errors)
    if not count:
        return None
    mean, size = np.sqrt(squares / count), np.sqrt(np.mean(want[np.isfinite(want)] ** 2))
    share = float(mean / size) if size else 0.0
    return Spread(largest, float(mean), share, [each.slices() for each in moves.values()])


class _Moves:
    """Sums over runs, by slice along an axis."""

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._means: list[_Floats] = []
        self._squares: list[_Floats] = []
        self._largest: list[_Floats] = []
        self._fourths: list[_Floats] = []
        self._elements = 0

    def add(self, errors: _Floats) -> None:
        signed, squares, largest = _along(errors, self._axis)
        self._means.append(signed)
        self._squares.append(squares)
        self._largest.append(largest)
        self._fourths.append(np.mean(errors**4, axis=_others(errors, self._axis)))
        self._elements = errors.size // errors.shape[self._axis]

    def slices(self) -> Slices:
        squares = np.mean(self._squares, axis=0)
        fourths = np.mean(self._fourths, axis=0)
        runs = len(self._squares)
        # As many elements moving alike, and none beside them, have these moments.
        moving = runs * self._elements * squares**2 / np.where(fourths > 0, fourths, np.inf)
        telling = moving >= LEAST
        root, largest = np.sqrt(squares), np.max(self._largest, axis=0)
        scarcity = 1 + 1 / np.sqrt(np.maximum(moving / runs, 1))
        sparse = moving / runs <= SPARSE * self._elements
        number = telling.sum()
        if number < SLICES:
            return Slices(self._axis, largest, root, telling, scarcity, sparse, np.inf)
        means = np.stack(self._means)[:, telling] / root[telling]
        shift = float(np.sqrt(max(np.mean(means**2), 1 / self._elements)))
        if 2 * number >= telling.size:
            largest = np.where(telling, largest, largest.max())
            root = np.where(telling, root, root[telling].max())
            scarcity = np.where(telling, scarcity, 1.0)
            telling = np.ones_like(telling)
        return Slices(self._axis, largest, root, telling, scarcity, sparse, shift)


def rounding_of(expected: Array) -> float:
    """What any result of its type may be off by."""
    if expected.dtype.kind != "f":
        return 0.0
    finite = np.abs(expected[np.isfinite(expected)])
    tolerance = TOLERANCES.get(DType.from_numpy(expected.dtype), 0.0)
    return tolerance * float(finite.max()) if finite.size else 0.0


def _difference(have: _Floats, want: _Floats) -> _Floats:
    """Element by element; none where either is not finite."""
    with np.errstate(invalid="ignore"):
        # Infinity less itself is none.
        errors: _Floats = have - want
    return np.where(np.isfinite(errors), errors, 0.0)


def _axes(array: _Floats) -> range:
    return range(array.ndim)


def _others(array: _Floats, axis: int) -> tuple[int, ...]:
    return tuple(other for other in _axes(array) if other != axis)


def _along(errors: _Floats, axis: int) -> tuple[_Floats, _Floats, _Floats]:
    """By slice: the mean, the mean of the squares, and the largest size."""
    others = _others(errors, axis)
    largest: _Floats = np.abs(errors).max(axis=others)
    return np.mean(errors, axis=others), np.mean(errors**2, axis=others), largest
