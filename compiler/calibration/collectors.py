"""What is kept of the values that one tensor takes: ranges, histograms, statistics of channels.

Collectors take float tensors of any width, and integers; they compute in float32 or wider. What is
not finite is counted and otherwise left out.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field

import numpy as np

from burnish.ir import Array

BINS = 2048
"""A histogram has between this many bins and twice as many."""
CHUNK = 1 << 16
"""Elements that are put into bins at a time: what fits in a cache."""


TINY = 2.0**-100
"""Widths from here down are counted in float64."""


def as_floats(array: Array) -> Array:
    """``array`` in float32, or in float64 if it is that or holds wide integers."""
    if array.dtype in (np.float32, np.float64):
        return array
    wide = array.dtype.kind in "iu" and array.dtype.itemsize > 2
    return array.astype(np.float64 if wide else np.float32)


@dataclass(eq=False)
class Range:
    """Smallest and largest value, and whether all are finite."""

    low: float = math.inf
    """Infinity before anything finite was seen."""
    high: float = -math.inf
    count: int = 0
    """Elements seen."""
    wrong: int = 0
    """Of these, how many are NaN or infinite."""
    course: list[tuple[float, float]] = field(default_factory=list)
    """``low`` and ``high`` after each sample."""

    @property
    def is_finite(self) -> bool:
        """Whether nothing but finite values was seen."""
        return self.wrong == 0

    @property
    def is_empty(self) -> bool:
        """Whether no finite value was seen."""
        return self.low > self.high

    def update(self, array: Array) -> None:
        """Take in more values."""
        if array.size:
            self._include(as_floats(array))
        self.course.append((self.low, self.high))

    def _include(self, values: Array) -> None:
        low, high = float(values.min()), float(values.max())
        self.count += values.size
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = values[np.isfinite(values)]
            self.wrong += values.size - finite.size
            if not finite.size:
                return
            values = finite
            low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)


@dataclass(eq=False)
class Histogram:
    """Counts in bins whose width is a power of two, so that they can grow without losing any.

    Bin ``i`` holds values in ``[(first + i) * width, (first + i + 1) * width)``: zero is always an
    edge. The bins reach over zero and all values, and there are `BINS` to 2 `BINS` of them. When
    values come that are further away, the width is doubled and neighbours are added up.
    """

    range: Range = field(default_factory=Range)
    width: float = 0.0
    """0 as long as all values are zero."""
    first: int = 0
    counts: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    """Int64, one per bin."""

    @property
    def centers(self) -> Array:
        """The middle of each bin, float64."""
        return (np.arange(len(self.counts)) + (self.first + 0.5)) * self.width

    @property
    def edges(self) -> Array:
        """Where bins begin and end, float64, one more than there are bins."""
        return (np.arange(len(self.counts) + 1) + self.first) * self.width

    zeros: int = 0
    """Values counted before there were bins: all of them zero."""

    def update(self, array: Array) -> None:
        """Take in more values."""
        values = as_floats(array).reshape(-1)
        wrong = self.range.wrong
        self.range.update(values)
        if self.range.is_empty:
            return
        if self.range.wrong > wrong:
            values = values[np.isfinite(values)]
        self._reach(min(self.range.low, 0.0), max(self.range.high, 0.0))
        if self.width:
            self._count(values)
        else:
            self.zeros += values.size

    def _reach(self, low: float, high: float) -> None:
        """Make the bins cover ``low`` to ``high``."""
        if low == high:
            return
        width = self.width or _width(high - low)
        while math.floor(high / width) - math.floor(low / width) >= 2 * BINS:
            width *= 2
        first, last = math.floor(low / width), math.floor(high / width)
        if (width, first, last - first + 1) == (self.width, self.first, len(self.counts)):
            return
        counts = np.zeros(last - first + 1, np.int64)
        if self.width:
            # Beyond that all bins become one, or two at zero.
            factor = min(round(width / self.width), 1 << 40)
            places = (np.arange(len(self.counts)) + self.first) // factor - first
            np.add.at(counts, places, self.counts)
        else:
            counts[-first] = self.zeros
        self.width, self.first, self.counts = width, first, counts

    def _count(self, values: Array) -> None:
        bins = len(self.counts)
        # The reciprocal of a very small width has no float32.
        kind = np.float64 if self.width < TINY else values.dtype.type
        scale = kind(1.0 / self.width)
        for start in range(0, values.size, CHUNK):
            places = values[start : start + CHUNK] * scale
            places -= kind(self.first)
            found = np.bincount(places.astype(np.intp), minlength=bins + 1)
            # Rounding may put the largest values into a bin too far.
            found[bins - 1] += found[bins]
            self.counts += found[:bins]


def _width(span: float) -> float:
    """The power of two of which ``span`` has `BINS` to 2 `BINS`."""
    return math.ldexp(1.0, math.floor(math.log2(min(span, sys.float_info.max) / BINS)))
