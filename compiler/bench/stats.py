"""Medians with intervals that assume nothing about how times are distributed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median and the order statistics that enclose it."""

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Width of the interval as a share of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0


def estimate_median(samples: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Estimate the median of what `samples` were drawn from.

    The interval runs from the k-th smallest to the k-th largest sample, where k is the largest
    number for which the median lies between them with at least `confidence`. With fewer than six
    samples no such k exists at 95%; the interval is then the whole range.

    Raises:
        ValueError: if there are no samples.
    """
    if not samples:
        raise ValueError("a median needs at least one sample")
    ordered = sorted(samples)
    count = len(ordered)
    skipped = _skipped(count, confidence)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return Estimate(middle, ordered[skipped], ordered[count - 1 - skipped])


def _skipped(count: int, confidence: float) -> int:
    """Return how many samples may be left out at either end.

    The number of samples below the median is binomial with chance one half, so leaving out k at
    each end misses the median with twice the chance of at most k samples lying below it.
    """
    allowed = (1.0 - confidence) / 2
    below, skipped = _chance(count, 0), 0
    while skipped + 1 <= (count - 1) // 2:
        below += _chance(count, skipped + 1)
        if below > allowed:
            break
        skipped += 1
    return skipped


def _chance(count: int, below: int) -> float:
    """Return the chance that exactly `below` of `count` samples lie below the median.

    By logarithms: 2**count overflows a float from about a thousand samples on.
    """
    ways = math.lgamma(count + 1) - math.lgamma(below + 1) - math.lgamma(count - below + 1)
    return math.exp(ways - count * math.log(2))
