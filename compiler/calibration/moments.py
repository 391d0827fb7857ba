"""Statistics of every channel of a tensor, and of every token, gathered in one pass.

Means and variances are merged as Chan, Golub and LeVeque do ("Algorithms for computing the sample
variance", 1983), which Welford's update is the case of one value of: nothing is lost where a mean
is large beside the spread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from burnish.calibration.collectors import as_floats
from burnish.ir import Array

PIECE = 1 << 18
"""Elements that statistics are computed of at a time."""


def _nothing() -> Array:
    return np.zeros(0)


@dataclass(eq=False)
class Moments:
    """Count, mean and sum of squared deviations of several quantities, all float64 ``[n]``."""

    count: Array = field(default_factory=_nothing)
    mean: Array = field(default_factory=_nothing)
    squares: Array = field(default_factory=_nothing)
    """Sum of squared deviations from the mean."""

    @property
    def variance(self) -> Array:
        """Of the values seen, as of a whole population; 0 where there were none."""
        return self.squares / np.maximum(self.count, 1)

    def merge(self, count: Array, mean: Array, squares: Array) -> None:
        """Add what is known of further values."""
        if not self.count.size:
            self.count, self.mean, self.squares = (np.zeros(len(mean)) for _ in range(3))
        total = self.count + count
        share = count / np.maximum(total, 1)
        apart = np.where(count > 0, mean - self.mean, 0.0)
        self.squares = self.squares + squares + apart**2 * self.count * share
        self.mean = self.mean + apart * share
        self.count = total


@dataclass(eq=False)
class Channels:
    """Smallest, largest, mean and variance along every index of one axis, float64 ``[n]``.

    Values that are not finite are counted and left out.
    """

    axis: int = 1
    """That of the channels; negative ones count from the last."""
    low: Array = field(default_factory=_nothing)
    """Infinity where nothing was seen."""
    high: Array = field(default_factory=_nothing)
    moments: Moments = field(default_factory=Moments)
    wrong: int = 0
    """How many values were NaN or infinite."""

    @property
    def absmax(self) -> Array:
        """Largest magnitude of each channel; 0 where nothing was seen."""
        return np.maximum(np.maximum(-self.low, self.high), 0.0)

    @property
    def mean(self) -> Array:
        """Of each channel."""
        return self.moments.mean

    @property
    def variance(self) -> Array:
        """Of each channel."""
        return self.moments.variance

    def update(self, array: Array) -> None:
        """Take in more values.

        Raises:
            ValueError: ``array`` has no such axis, or another number of channels than before.
        """
        if not -array.ndim <= self.axis < array.ndim:
            raise ValueError(f"an array of shape {array.shape} has no axis {self.axis}")
        axis = self.axis % array.ndim
        channels = array.shape[axis]
        if not self.low.size:
            self.low, self.high = np.full(channels, math.inf), np.full(channels, -math.inf)
        if channels != self.low.size:
            raise ValueError(f"{channels} channels where there were {self.low.size} before")
        inner = math.prod(array.shape[axis + 1 :])
        outer = math.prod(array.shape[:axis])
        values = as_floats(array).reshape(outer, channels, inner)
        if not values.size:
            return
        step = max(1, PIECE // (channels * inner))
        for start in range(0, len(values), step):
            self._update(values[start : start + step])

    def _update(self, values: Array) -> None:
        """Take in values of shape ``[outer, channels, inner]``."""
        low, high = (found.astype(np.float64) for found in (values.min((0, 2)), values.max((0, 2))))
        if np.isfinite(low).all() and np.isfinite(high).all():
            count = np.full(len(low), float(values.shape[0] * values.shape[2]))
            rough = (_sums(values) / count).astype(values.dtype)
            apart = values - rough[:, None]
            # What the sums of many values have lost is found in those of small ones.
            left = _sums(apart) / count
            mean = rough + left
            squares = _sums(apart, apart) - count * left**2
        else:
            finite = np.isfinite(values)
            self.wrong += values.size - int(finite.sum())
            count = finite.sum((0, 2)).astype(np.float64)
            low = np.where(finite, values, math.inf).min((0, 2)).astype(np.float64)
            high = np.where(finite, values, -math.inf).max((0, 2)).astype(np.float64)
            kept = np.where(finite, values, 0).astype(np.float64)
            mean = kept.sum((0, 2)) / np.maximum(count, 1)
            squares = (np.where(finite, kept - mean[:, None], 0) ** 2).sum((0, 2))
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.moments.merge(count, mean, np.maximum(squares, 0))


@dataclass(eq=False)
class Tokens:
    """How much the scale of a norm's input differs from token to token.

    A token is what a LayerNormalization or RMSNormalization normalizes at a time: the axes from
    ``axis`` on. Where the coefficient of variation is small, the norm's division is nearly one by a
    constant.
    """

    axis: int = -1
    deviation: Moments = field(default_factory=Moments)
    """Of the standard deviations of tokens, one quantity."""
    rms: Moments = field(default_factory=Moments)
    """Of their root mean squares, one quantity."""
    peaks: tuple[float, float] = (0.0, 0.0)
    """The largest of either."""

    @staticmethod
    def variation(moments: Moments) -> float:
        """Standard deviation over mean; 0 where nothing but zeros was seen."""
        if not moments.count.size or not moments.mean[0]:
            return 0.0
        return float(math.sqrt(moments.variance[0]) / moments.mean[0])

    def update(self, array: Array) -> None:
        """Take in more tokens.

        Raises:
            ValueError: ``array`` has no such axis.
        """
        if not -array.ndim <= self.axis < array.ndim:
            raise ValueError(f"an array of shape {array.shape} has no axis {self.axis}")
        size = math.prod(array.shape[self.axis % array.ndim :])
        if not array.size:
            return
        rows = as_floats(array).reshape(-1, size)
        step = max(1, PIECE // size)
        for start in range(0, len(rows), step):
            piece = rows[start : start + step]
            mean = piece.mean(1, keepdims=True)
            variance = np.square(piece - mean).mean(1)
            both = (variance, variance + np.square(mean[:, 0]))
            scales = [np.sqrt(squares.astype(np.float64)) for squares in both]
            scales = [found[np.isfinite(found)] for found in scales]
            largest = [float(found.max(initial=0.0)) for found in scales]
            self.peaks = (max(self.peaks[0], largest[0]), max(self.peaks[1], largest[1]))
            for moments, found in zip((self.deviation, self.rms), scales, strict=True):
                if found.size:
                    moments.merge(
                        np.array([float(found.size)]), np.array([found.mean()]),
                        np.array([np.square(found - found.mean()).sum()]),
                    )  # fmt: skip


def _sums(values: Array, others: Array | None = None) -> Array:
    """Sums by channel, float64, of ``[outer, channels, inner]`` or of products with ``others``."""
    outer, channels, inner = values.shape
    if inner == 1:
        flat = values if others is None else values * others
        return np.asarray(np.ones(outer, values.dtype) @ flat.reshape(outer, channels), np.float64)
    if others is None:
        parts = np.einsum("ncs->nc", values)
    else:
        parts = np.einsum("ncs,ncs->nc", values, others)
    return np.asarray(parts.sum(0, dtype=np.float64))
