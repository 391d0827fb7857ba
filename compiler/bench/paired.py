"""Metrics with intervals: of one model, and of the difference between two on the same items.

Items that are right or wrong have exact intervals by the binomial distribution for one model
(Clopper and Pearson, 1934); for two, the score interval of the difference of paired shares (Tango,
Statistics in Medicine 17, 1998), which allows for how many of other items would change. All others
are resampled (Efron's bootstrap, by percentiles), always with the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import NormalDist

import numpy as np

from burnish.bench.document import Interval, Metric
from burnish.bench.stats import CONFIDENCE
from burnish.bench.task import Scores, TaskFailed

RESAMPLES = 4000
SEED = 0


class Unpaired(TaskFailed):
    """A task gave two models scores that are not about the same items."""


def describe_metrics(
    scores: Mapping[str, Scores], original: Mapping[str, Scores] | None = None
) -> list[Metric]:
    """Say what each metric is, and how it differs from the original model's.

    Args:
        scores: of a model, by metric name.
        original: of the original model on the same items; None for the original itself.

    Raises:
        Unpaired: as of `paired_difference`.
    """
    return [
        Metric(
            name=name,
            higher_is_better=one.higher_is_better,
            value=_interval(metric_interval(one)),
            difference=None if original is None else _difference(original[name], one),
            items=one.values.size,
        )
        for name, one in scores.items()
    ]


def _difference(original: Scores, other: Scores) -> Interval:
    return _interval(paired_difference(original, other))


def _interval(found: tuple[float, float, float]) -> Interval:
    value, low, high = found
    return Interval(value=value, low=low, high=high)


def metric_interval(scores: Scores) -> tuple[float, float, float]:
    """Return the metric, and the ends of its 95% interval."""
    if _is_binary(scores):
        low, high = _binomial_interval(round(scores.values.sum()), scores.values.size)
        return scores.metric, low, high
    low, high = _bootstrap(np.stack([scores.values, scores.weights], axis=1))
    return scores.metric, low, high


def paired_difference(original: Scores, other: Scores) -> tuple[float, float, float]:
    """Return by how much ``other`` exceeds ``original``, and the ends of the 95% interval.

    Where both say the same of every item, they are taken for the same: (0, 0, 0).

    Raises:
        Unpaired: they are not about equally many items of equal weights.
    """
    if original.values.shape != other.values.shape or not np.array_equal(
        original.weights, other.weights
    ):
        raise Unpaired(
            "models are compared item by item, but the task's second evaluation has other items or "
            "weights than its first; let it evaluate the same items each time"
        )
    if np.array_equal(original.values, other.values):
        return 0.0, 0.0, 0.0
    value = other.metric - original.metric
    if _is_binary(original) and _is_binary(other):
        gained = int((other.values > original.values).sum())
        lost = int((other.values < original.values).sum())
        return value, *_score_interval(gained, lost, original.values.size)
    low, high = _bootstrap(np.stack([other.values - original.values, original.weights], axis=1))
    return value, low, high


def _is_binary(scores: Scores) -> bool:
    return bool(np.isin(scores.values, (0.0, 1.0)).all() and (scores.weights == 1.0).all())


def _bootstrap(items: np.ndarray) -> tuple[float, float]:
    """Ends of the interval of the ratio of two sums over resampled items.

    Args:
        items: float64 [item, 2], what is summed above and below the line.
    """
    # Equal items are drawn together: most items of most tasks are right, or wrong, by as much.
    distinct, counts = np.unique(items, axis=0, return_counts=True)
    generator = np.random.default_rng(SEED)
    drawn = generator.multinomial(len(items), counts / counts.sum(), size=RESAMPLES)
    above, below = (drawn @ distinct).T
    # A resample may hold nothing but items without weight, which says nothing.
    found = above[below > 0] / below[below > 0]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(found, [tail, 100 - tail])
    return float(low), float(high)


def _binomial_interval(hits: int, count: int) -> tuple[float, float]:
    """Ends of the exact interval of a share, of which ``hits`` out of ``count`` were seen."""
    tail = (1 - CONFIDENCE) / 2
    more, fewer = _Tail(hits, count), _Tail(count - hits, count)
    low = 0.0 if hits == 0 else _bisect(lambda share: more(share) < tail)
    high = 1.0 if hits == count else _bisect(lambda share: fewer(1 - share) > tail)
    return low, high


def _score_interval(gained: int, lost: int, count: int) -> tuple[float, float]:
    """Ends of the interval of the share of items gained less that of those lost, of ``count``."""
    limit = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    found = (gained - lost) / count

    def end(sign: int, least: float, most: float) -> float:
        if least == most:
            return found
        return _bisect(lambda one: _score(gained, lost, count, one) > sign * limit, least, most)

    return end(1, -1.0, found), end(-1, found, 1.0)


def _score(gained: int, lost: int, count: int, difference: float) -> float:
    """How many standard deviations what was seen is above a ``difference`` of the shares.

    The deviation is that of the most likely shares among those that differ by so much.
    """
    a = 2 * count
    b = (a - gained + lost) * difference - gained - lost
    c = -lost * difference * (1 - difference)
    share = (math.sqrt(b * b - 4 * a * c) - b) / (2 * a)  # of those lost
    variance = count * (2 * share + difference * (1 - difference))
    return (gained - lost - count * difference) / math.sqrt(variance)


def _bisect(is_below: Callable[[float], bool], low: float = 0.0, high: float = 1.0) -> float:
    """The share at which ``is_below`` turns from true to false."""
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2


class _Tail:
    """The probability of at least ``hits`` out of ``count``, as a function of that of each."""

    def __init__(self, hits: int, count: int) -> None:
        factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
        self._hits = np.arange(hits, count + 1)
        self._misses = count - self._hits
        self._choices = factorials[count] - factorials[self._hits] - factorials[self._misses]

    def __call__(self, share: float) -> float:
        logs = self._choices + self._hits * math.log(share) + self._misses * math.log1p(-share)
        return float(np.exp(logs).sum())
