"""Second moments of what operators multiply their weights with, and samples of it.

For weights ``W`` and rows ``x``, the Gram matrix ``G = E[x x^T]`` tells what a change of weights
does to the output, ``E|x dW|^2 = tr(dW^T G dW)``, and the cross-Gram ``C = E[x x'^T]`` of rows in
two graphs what a change of the rows does: all that closed-form solvers need.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from burnish.calibration.geometry import Contraction, Geometry
from burnish.ir import Array

POSITIONS = 128
"""Rows taken from each item of a sample, if it has more."""
KEPT_ROWS = 4096
"""Rows that `Rows` keeps."""
WHOLE = 4608
"""Rows up to this long are multiplied at once; longer ones in blocks, to take less memory."""
BLOCK = 1024
AT_ONCE = 512
"""Rows that are multiplied together."""


@dataclass(eq=False)
class _Sampler:
    """Chooses positions, the same ones for the same shapes in the same order."""

    geometry: Geometry
    per_item: int
    seed: int

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)

    def choose(self, shape: tuple[int, ...]) -> Array:
        total = self.geometry.positions(shape)
        wanted = self.per_item * (shape[0] if len(shape) > 1 else 1)
        if total <= wanted:
            return np.arange(total)
        return np.sort(self._random.choice(total, wanted, replace=False, shuffle=False))


@dataclass(eq=False)
class _Products:
    """Sums of outer products of rows."""

    geometry: Geometry = field(default_factory=Contraction)
    per_item: int = POSITIONS
    """Rows taken from each index of the first axis, if there are more."""
    seed: int = 0
    """Collectors of one geometry and seed take rows from the same positions."""
    count: int = 0
    """Rows taken."""

    def __post_init__(self) -> None:
        self._sampler = _Sampler(self.geometry, self.per_item, self.seed)
        self._total = np.zeros((0, 0, 0), np.float32)
        self._waiting: list[tuple[Array, Array]] = []
        self._number = 0
        """Rows that wait: products of many at a time take half as long."""

    @property
    def total(self) -> Array:
        """The sum, float32 ``[groups, size, size]``."""
        if self._waiting:
            left, right = zip(*self._waiting, strict=True)
            lefts = np.concatenate(left, 1)
            are_same = all(one is other for one, other in self._waiting)
            _accumulate(self._total, lefts, lefts if are_same else np.concatenate(right, 1))
            self._waiting, self._number = [], 0
        return self._total

    @property
    def matrix(self) -> Array:
        """The mean, float32 ``[groups, size, size]``, a copy."""
        return np.asarray(self.total / np.float32(max(1, self.count)))

    def _rows(self, array: Array, at: Array) -> Array:
        rows = self.geometry.rows(array, at).astype(np.float32, copy=False)
        if not self._total.size:
            groups, _, size = rows.shape
            self._total = np.zeros((groups, size, size), np.float32)
        _require(rows, self._total.shape[:2])
        return rows

    def _add(self, left: Array, right: Array) -> None:
        self._waiting.append((left, right))
        self._number += left.shape[1]
        self.count += left.shape[1]
        if self._number >= AT_ONCE:
            _ = self.total


@dataclass(eq=False)
class Gram(_Products):
    """``x x^T`` over rows ``x`` of one tensor, and their mean."""

    sum: Array = field(default_factory=lambda: np.zeros((0, 0)))
    """Sum of rows, float64 ``[groups, size]``."""

    @property
    def mean(self) -> Array:
        """``E[x]``, float64 ``[groups, size]``."""
        return np.asarray(self.sum / max(1, self.count))

    def update(self, array: Array) -> None:
        """Take in rows of one more sample.

        Raises:
            ValueError: they have another length than those before.
        """
        rows = self._rows(array, self._sampler.choose(array.shape))
        if not self.sum.size:
            self.sum = np.zeros(self._total.shape[:2])
        self.sum += rows.sum(1, dtype=np.float64)
        self._add(rows, rows)


@dataclass(eq=False)
class CrossGram(_Products):
    """``x x'^T`` over rows of one tensor as they are in two graphs."""

    def update(self, first: Array, second: Array) -> None:
        """Take in rows of one more sample, as they are in both graphs.

        Raises:
            ValueError: the shapes differ, or the rows have another length than those before.
        """
        if first.shape != second.shape:
            raise ValueError(f"shapes {first.shape} and {second.shape} are not of the same value")
        at = self._sampler.choose(first.shape)
        self._add(self._rows(first, at), self._rows(second, at))


@dataclass(eq=False)
class Rows:
    """A fixed number of rows drawn from all samples, each as likely (Vitter's reservoir, 1985)."""

    geometry: Geometry = field(default_factory=Contraction)
    per_item: int = 32
    limit: int = KEPT_ROWS
    seed: int = 0
    seen: int = 0

    def __post_init__(self) -> None:
        """Begin without rows."""
        self._sampler = _Sampler(self.geometry, self.per_item, self.seed)
        self._random = np.random.default_rng(self.seed + 1)
        self._kept: list[Array] = []

    @property
    def values(self) -> Array:
        """The rows, float ``[groups, at most limit, size]``; ``[1, 0, 0]`` of none."""
        return np.stack(self._kept, 1) if self._kept else np.zeros((1, 0, 0), np.float32)

    def update(self, array: Array) -> None:
        """Take in rows of one more sample.

        Raises:
            ValueError: they have another length than those before.
        """
        rows = self.geometry.rows(array, self._sampler.choose(array.shape))
        if self._kept:
            _require(rows, self._kept[0].shape)
        for index in range(rows.shape[1]):
            self.seen += 1
            if len(self._kept) < self.limit:
                self._kept.append(rows[:, index].copy())
            elif (place := int(self._random.integers(self.seen))) < self.limit:
                self._kept[place] = rows[:, index].copy()


def _require(rows: Array, wanted: tuple[int, ...]) -> None:
    """Make sure that rows have the groups and the length that is ``wanted``."""
    groups, _, size = rows.shape
    if (groups, size) != wanted:
        raise ValueError(f"{groups} groups of rows of {size} where they were {wanted}")


def _accumulate(total: Array, left: Array, right: Array) -> None:
    """Add the sum of outer products of rows, ``[groups, number, size]`` both."""
    groups, size, _ = total.shape
    if groups > size:
        total += left.transpose(0, 2, 1) @ right
        return
    step = size if size <= WHOLE else BLOCK
    for group in range(groups):
        for start in range(0, size, step):
            part = slice(start, start + step)
            # Of rows with themselves, and all at once, BLAS computes half.
            total[group, part] += left[group, :, part].T @ right[group]
