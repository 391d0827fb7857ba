"""Which interval of a tensor's values an integer format should cover.

Beyond it values are clipped, within it they are rounded: the smaller it is, the finer the steps.
All methods read one histogram. None is best everywhere (Wu et al., "Integer Quantization for Deep
Learning Inference", arXiv 2004.09602: entropy ruins BERT, the maximum MobileNets), so `best_range`
tries them all and measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from burnish.calibration.collectors import Histogram
from burnish.calibration.formats import Format, Interval
from burnish.ir import Array

RATIOS = (*(percent / 100 for percent in range(100, 28, -2)), 0.25, 0.2, 0.15, 0.1, 0.07, 0.05)
"""Parts of the whole range that `least_squares` tries, largest first."""
SHARES = (0.999, 0.9999, 0.99999)
"""Shares of values that `percentile` is tried with."""
CANDIDATES = 128
"""Thresholds that `entropy` tries."""
TIE = 1.01
"""Errors that differ by less than this factor are taken for equal."""
SMOOTHING = 1e-4
"""Probability that a distribution has where it has none, so that divergences stay finite."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An interval, how it was found, and how well it does."""

    method: str
    interval: Interval
    error: float
    """Squared error over squared values, of the tensor or of what is computed from it."""


def min_max(histogram: Histogram, format: Format) -> Interval:
    """Everything that was seen: nothing is clipped."""
    return Interval.over(histogram.range.low, histogram.range.high)


def percentile(share: float) -> Callable[[Histogram, Format], Interval]:
    """The method that leaves out the rarest extremes (McKinstry et al., arXiv 1809.04191).

    Args:
        share: of the values, that are within; at each end as many are beyond as are not within.
    """

    def method(histogram: Histogram, format: Format) -> Interval:
        whole = min_max(histogram, format)
        if not histogram.counts.sum():
            return whole
        below = np.concatenate([[0.0], np.cumsum(histogram.counts)]) / histogram.counts.sum()
        edges = histogram.edges
        if format.symmetric:
            magnitudes, counts = _magnitudes(histogram)
            within = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
            reach = min(float(np.interp(share, within, magnitudes)), whole.reach)
            return Interval(max(-reach, whole.low), min(reach, whole.high))
        low, high = np.interp([1 - share, share], below, edges)
        return Interval.over(max(float(low), whole.low), min(float(high), whole.high))

    return method


def entropy(histogram: Histogram, format: Format) -> Interval:
    """The threshold at which the rounded distribution tells least from the original.

    Kullback-Leibler divergence between the histogram, what is beyond counted into the last bins,
    and the same with as many levels as the format has (Migacz, "8-bit Inference with TensorRT",
    GTC 2017). The bins at zero count as their neighbours do: rectified tensors hold nothing else.
    """
    whole = min_max(histogram, format)
    bins = len(histogram.counts)
    if not bins:
        return whole
    counts = _without_zeros(histogram)
    zero = -histogram.first
    farthest = max(zero, bins - zero)
    best, least = whole, np.inf
    for reach in np.unique(np.linspace(farthest, format.high, CANDIDATES).astype(int))[::-1]:
        first, last = max(0, zero - reach), min(bins, zero + reach)
        span = last - first
        # Of a symmetric format, one side may have less to hold than it could.
        levels = span * format.high // int(reach) if format.symmetric else format.levels
        if span < levels:
            break
        divergence = _divergence(counts, first, last, levels)
        if divergence < least:
            least = divergence
            ends = np.array([first, last]) - zero
            best = Interval.over(*(float(end) * histogram.width for end in ends))
    return Interval(max(best.low, whole.low), min(best.high, whole.high))


def least_squares(histogram: Histogram, format: Format) -> Interval:
    """The interval of least squared error, by search over `RATIOS`.

    First with both ends clipped alike, then each end by itself (Banner et al., arXiv 1810.05723,
    who solve for it where the distribution is known).
    """
    whole = min_max(histogram, format)
    if not whole.reach or not len(histogram.counts):
        return whole
    best = _least(histogram, format, [whole.clipped(ratio) for ratio in RATIOS])
    if format.symmetric or not whole.low < 0 < whole.high:
        return best
    best = _least(histogram, format, [Interval(best.low, whole.high * r) for r in RATIOS] + [best])
    return _least(histogram, format, [Interval(whole.low * r, best.high) for r in RATIOS] + [best])


METHODS: Mapping[str, Callable[[Histogram, Format], Interval]] = {
    "min-max": min_max,
    **{f"percentile-{100 * share:g}": percentile(share) for share in SHARES},
    "entropy": entropy,
    "mse": least_squares,
}
"""Every method by its name."""


def best_range(
    histogram: Histogram,
    format: Format,
    *,
    rows: Array | None = None,
    reader: Array | None = None,
    methods: Mapping[str, Callable[[Histogram, Format], Interval]] = METHODS,
) -> Choice:
    """The method, among all, whose interval does least harm.

    Harm is the squared error of the values in the histogram, or, where ``rows`` are given, of what
    a product makes of these: ``|(x - rounded(x)) W|^2``. Clipping moves many values the same way,
    which a product adds up and a histogram cannot see.

    Args:
        histogram: of the tensor.
        format: that it is to have.
        rows: float ``[n, channels]``, values of the tensor along the axis that products contract,
            as `Rows` keeps them.
        reader: float ``[channels]`` or ``[channels, channels]``: the diagonal of ``W W^T``, or all
            of it, for the weights ``W [channels, m]`` of the product, or their sum if several read
            the tensor; by default the identity.
        methods: those to choose from.

    Returns:
        The best one; the widest of those that do as well, as other data may go further.
    """
    choices = []
    for name, method in methods.items():
        interval = method(histogram, format)
        if rows is None or not rows.size:
            error = error_of(histogram, format, interval)
        else:
            error = _error_of_rows(rows, reader, format, interval)
        choices.append(Choice(name, interval, error))
    least = min(choice.error for choice in choices)
    alike = [choice for choice in choices if choice.error <= TIE * least]
    return max(alike, key=lambda choice: choice.interval.high - choice.interval.low)


def error_of(histogram: Histogram, format: Format, interval: Interval) -> float:
    """Squared error of the values in a histogram over their squares; 0 of nothing but zeros."""
    centers = histogram.centers
    power = float(histogram.counts @ np.square(centers))
    if not power:
        return 0.0
    return float(histogram.counts @ np.square(centers - format.rounded(centers, interval))) / power


def _error_of_rows(rows: Array, reader: Array | None, format: Format, interval: Interval) -> float:
    values = rows.astype(np.float64, copy=False)
    power = _through(values, reader)
    return _through(values - format.rounded(values, interval), reader) / power if power else 0.0


def _through(rows: Array, reader: Array | None) -> float:
    """Sum of squares of what a product makes of rows."""
    if reader is None:
        return float(np.square(rows).sum())
    if reader.ndim == 1:
        return float(np.square(rows).sum(0) @ reader)
    return float(np.vdot(rows @ reader, rows))


def _least(histogram: Histogram, format: Format, intervals: list[Interval]) -> Interval:
    return min(intervals, key=lambda interval: error_of(histogram, format, interval))


def _magnitudes(histogram: Histogram) -> tuple[Array, Array]:
    """Edges and counts of the histogram of magnitudes."""
    zero = -histogram.first
    above, below = histogram.counts[zero:], histogram.counts[:zero][::-1]
    counts = np.zeros(max(len(above), len(below)), np.int64)
    counts[: len(above)] += above
    counts[: len(below)] += below
    return np.arange(len(counts) + 1) * histogram.width, counts


def _without_zeros(histogram: Histogram) -> Array:
    """Counts in which the bins on both sides of zero have as many as those next to them."""
    counts = histogram.counts.astype(np.float64)
    zero = -histogram.first
    if zero + 1 < len(counts):
        counts[zero] = counts[zero + 1]
    if zero >= 2:
        counts[zero - 1] = counts[zero - 2]
    return counts


def _divergence(counts: Array, first: int, last: int, levels: int) -> float:
    """KL divergence of the bins from ``first`` to ``last`` and these rounded to ``levels``."""
    inside = counts[first:last]
    clipped = inside.copy()
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[last:].sum()
    level = np.arange(len(inside)) * levels // len(inside)
    filled = clipped > 0
    per_level = np.bincount(level, inside, levels)
    shared = np.bincount(level, filled, levels)
    rounded = np.where(filled, per_level[level] / np.maximum(shared[level], 1), 0)
    if not clipped.sum() or not rounded.sum():
        return float(np.inf)
    p, q = _smooth(clipped / clipped.sum()), _smooth(rounded / rounded.sum())
    return float((p * np.log(p / q)).sum())


def _smooth(distribution: Array) -> Array:
    """A distribution that is nowhere zero: what is given to empty bins is taken from the others."""
    empty = distribution == 0
    given = SMOOTHING / len(distribution)
    taken = given * empty.sum() / max(1, int((~empty).sum()))
    return np.where(empty, given, np.maximum(distribution - taken, given))
