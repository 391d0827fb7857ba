"""New weights for a layer that is given something else, so that it gives what it gave before.

Ridge regression in closed form, from moments of what it is given now and of what it is to give
(GRAIL, 2026, arXiv 2602.23795; CORP, 2026, arXiv 2602.05243); what the data say nothing of stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from burnish.calibration import Geometry
from burnish.ir import Array
from burnish.passes.pruning.readings import rows_per_item

FEWEST_ROWS, FEWEST_OF_GROUPS = 16384, 4096
"""Rows that moments are taken of, at least: of a layer, and of one in groups, which are fitted to
few numbers each."""
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Parts of the mean of the diagonal of the moments that are tried as ridge."""
HELD_OUT = 4
"""Each so many-th sample is left out of fitting, and tells which ridge to take; of fewer samples
all do both."""
_LEAST = 1e-6
"""Part of the mean square of the data that their variance counts as at least."""
_FEW = 64
"""Rows that tell about what the mean is."""


@dataclass(frozen=True)
class Pair:
    """One sample of what a layer is given."""

    found: Array
    """Now; inputs that go are still there."""
    wanted: Array
    """Before, of the same shape."""
    missing: Array | None = None
    """What its results are to make up for besides, with channels last: what is added to them now
    is less than it was by so much. Shaped as its results."""


@dataclass(frozen=True)
class Refit:
    """A layer's new weights."""

    weights: Array
    """float64 [groups, outputs, inputs], zeros for inputs that go."""
    shift: Array
    """float64 [groups, outputs]: to be added to its bias; zeros where it has none."""
    error: float
    """Mean square error of what it gives, in parts of its power, on samples held out."""
    without: float
    """The same if it had kept its weights."""


def refit(
    weights: Array, kept: Array, pairs: Sequence[Pair], geometry: Geometry, *, has_bias: bool,
) -> Refit:  # fmt: skip
    """Fit a layer's weights for the inputs ``kept``.

    Args:
        weights: float64 [groups, outputs, inputs], as they are.
        kept: bool [inputs].
        pairs: what it is given, sample by sample.
        geometry: how it takes rows of them.
        has_bias: whether means can be taken by its bias.
    """
    items = sum(pair.found.shape[0] if pair.found.ndim > 1 else 1 for pair in pairs)
    fewest = FEWEST_ROWS if len(weights) == 1 else FEWEST_OF_GROUPS
    per_item = rows_per_item(items, weights.shape[2], fewest)
    offset = _offset(pairs[0], kept, geometry, weights, has_bias=has_bias)
    fitted, judged = (_Moments.none(weights, offset) for _ in range(2))
    random = np.random.default_rng(0)
    for index, pair in enumerate(pairs):
        moments = _of(pair, weights, kept, offset, geometry, per_item, random)
        if len(pairs) < HELD_OUT or index % HELD_OUT == HELD_OUT - 1:
            judged = judged + moments
        if len(pairs) < HELD_OUT or index % HELD_OUT != HELD_OUT - 1:
            fitted = fitted + moments
    present = weights[:, :, kept]
    error, ridge = min(
        (judged.error(fitted.solved(present, ridge, has_bias), has_bias), ridge) for ridge in RIDGES
    )
    without = judged.error(present, has_bias)
    whole = fitted if len(pairs) < HELD_OUT else fitted + judged
    new = whole.solved(present, ridge, has_bias) if error < without else present
    result = np.zeros_like(weights)
    result[:, :, kept] = new
    shift = whole.shift(new, has_bias)
    if not np.isfinite(shift).all():
        shift = np.zeros_like(shift)
    return Refit(result, shift, min(error, without), without)


@dataclass(frozen=True)
class _Moments:
    """Sums over rows: ``y`` is what is given now, with a one behind it, ``t`` what is wanted."""

    offset: Array
    """What is taken from ``y``, [groups, 1, kept]: float32 holds products of large means badly."""
    count: int
    gram: Array
    """y y^T, float64 [groups, kept + 1, kept + 1]."""
    target: Array
    """t y^T, float64 [groups, outputs, kept + 1]."""
    power: float
    """|t|^2 over all outputs."""

    @classmethod
    def none(cls, weights: Array, offset: Array) -> _Moments:
        groups, outputs, _ = weights.shape
        size = offset.shape[2] + 1
        shapes = (groups, size, size), (groups, outputs, size)
        return cls(offset, 0, np.zeros(shapes[0]), np.zeros(shapes[1]), 0.0)

    def __add__(self, other: _Moments) -> _Moments:
        return _Moments(
            self.offset, self.count + other.count, self.gram + other.gram,
            self.target + other.target, self.power + other.power,
        )  # fmt: skip

    def _centred(self, has_bias: bool) -> tuple[Array, Array, float]:
        """Moments of what is given, and with what is wanted; about means if a bias has these."""
        n = max(1, self.count)
        gram, target, power = self.gram / n, self.target / n, self.power / n
        if not has_bias:
            return gram[:, :-1, :-1], target[:, :, :-1], power
        mean, wanted = gram[:, -1, :-1], target[:, :, -1]
        return (
            gram[:, :-1, :-1] - mean[:, :, None] * mean[:, None, :],
            target[:, :, :-1] - wanted[:, :, None] * mean[:, None, :],
            power - float(np.square(wanted).sum()),
        )

    def solved(self, present: Array, ridge: float, has_bias: bool) -> Array:
        """Weights [groups, outputs, kept] nearest to what is wanted, and to what they were."""
        gram, target, _ = self._centred(has_bias)
        means = np.trace(gram, axis1=1, axis2=2) / gram.shape[1]
        # Of data that do not vary, nothing but rounding is left about the mean.
        powers = np.square(self.offset).mean((1, 2)) + means
        means = np.where(powers > 0, np.maximum(means, _LEAST * powers), 1.0)
        regular = gram + ridge * means[:, None, None] * np.eye(gram.shape[1])
        change = np.linalg.solve(regular, (target - present @ gram).mT).mT
        found: Array = present + change
        return found

    def shift(self, new: Array, has_bias: bool) -> Array:
        """What the bias has to take."""
        if not has_bias:
            return np.zeros(new.shape[:2])
        n = max(1, self.count)
        mean = self.gram[:, :-1, -1:] / n + self.offset.mT
        found: Array = self.target[:, :, -1] / n - (new @ mean)[:, :, 0]
        return found

    def error(self, new: Array, has_bias: bool) -> float:
        """``E|t - W' y|^2`` in parts of the power; the bias takes the means."""
        gram, target, power = self._centred(has_bias)
        lost = power + float(np.vdot(new @ gram, new) - 2 * np.vdot(target, new))
        if not np.isfinite(lost):
            return float("inf")
        return max(0.0, lost) / power if power > 0 else 0.0


def _offset(
    pair: Pair, kept: Array, geometry: Geometry, weights: Array, *, has_bias: bool
) -> Array:
    """The mean of a few rows, float32 [groups, 1, kept]; nothing where no bias takes means."""
    if not has_bias:
        return np.zeros((len(weights), 1, int(kept.sum())), np.float32)
    total = geometry.positions(pair.found.shape)
    at = np.unique(np.linspace(0, total - 1, _FEW).astype(np.int64))
    rows = geometry.rows(pair.found, at)[:, :, kept]
    return np.asarray(rows.mean(1, keepdims=True), np.float32)


def _of(
    pair: Pair, weights: Array, kept: Array, offset: Array, geometry: Geometry, per_item: int,
    random: np.random.Generator,
) -> _Moments:  # fmt: skip
    """Moments of rows of one sample."""
    total = geometry.positions(pair.found.shape)
    count = min(total, per_item * (pair.found.shape[0] if pair.found.ndim > 1 else 1))
    at = np.sort(random.choice(total, count, replace=False, shuffle=False))
    rows = geometry.rows(pair.found, at)[:, :, kept].astype(np.float32) - offset
    rows = np.concatenate([rows, np.ones_like(rows[:, :, :1])], 2)
    wanted = geometry.rows(pair.wanted, at).astype(np.float32) @ weights.astype(np.float32).mT
    if pair.missing is not None and pair.missing.size == total * weights[:, :, 0].size:
        missing = pair.missing.reshape(total, weights.shape[0], weights.shape[1])
        wanted += missing[at].transpose(1, 0, 2)
    gram, target = rows.mT @ rows, wanted.mT @ rows
    power = float(np.square(wanted, dtype=np.float64).sum())
    return _Moments(offset, count, gram.astype(np.float64), target.astype(np.float64), power)
