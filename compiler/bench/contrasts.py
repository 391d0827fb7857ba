"""Ratios of times from sittings in which some of many processes took turns.

Two processes of the same program differ in speed by a percent or so for as long as they live:
where memory happens to lie decides. So what counts as one observation is a process, not a run, and
the same program is started again for each sitting. The logarithm of its time is

    worth of the variant + circumstances of the sitting + luck of the process

which is an incomplete block design: least squares give the differences between variants and their
standard errors, whichever variants sat together (F. Yates, "Incomplete randomized blocks", Annals
of Eugenics 7, 1936; intra-block analysis). Luck is taken to be equally strong for all variants, so
that a few sittings of each tell how strong it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from burnish.bench.document import Interval
from burnish.bench.stats import CONFIDENCE

SYSTEMATIC = 0.005
"""What every interval is wider by at either end: what no number of sittings averages out, such as
the order of pages in a file, which all processes of a run share and those of the next do not."""

Sitting = Mapping[str, float]
"""Logarithm of the median seconds of a run, by variant."""


@dataclass(frozen=True)
class Contrasts:
    """What all sittings together say about differences between variants."""

    names: tuple[str, ...]
    logs: np.ndarray
    """Float64 [names]: logarithms of times, up to a common constant."""
    covariance: np.ndarray
    """Float64 [names, names], for luck of variance one."""
    variance: float
    """Of the luck of a process; infinite where nothing tells."""
    freedom: int
    """Degrees of freedom of that estimate."""
    sittings: Mapping[str, int]
    """How often each variant sat."""

    @classmethod
    def of(cls, sittings: Sequence[Sitting]) -> Contrasts:
        """Solve for all variants that sat."""
        names = tuple(dict.fromkeys(name for sitting in sittings for name in sitting))
        column = {name: index for index, name in enumerate(names)}
        information = np.zeros((len(names), len(names)))
        right = np.zeros(len(names))
        total, count = 0.0, 0
        for sitting in sittings:
            rows = np.zeros((len(sitting), len(names)))
            rows[np.arange(len(sitting)), [column[name] for name in sitting]] = 1.0
            logs = np.array(list(sitting.values()))
            # Only differences within a sitting tell anything.
            rows -= rows.mean(axis=0)
            logs = logs - logs.mean()
            information += rows.T @ rows
            right += rows.T @ logs
            total += float(logs @ logs)
            count += len(sitting) - 1
        inverse = np.linalg.pinv(information, hermitian=True)
        solution = inverse @ right
        freedom = count - int(np.linalg.matrix_rank(information, hermitian=True))
        left = max(0.0, total - float(solution @ right))
        variance = left / freedom if freedom > 0 else math.inf
        often = {name: sum(name in sitting for sitting in sittings) for name in names}
        return cls(names, solution, inverse, variance, freedom, often)

    def ratio(self, slower: str, faster: str, comparisons: int = 1) -> Interval | None:
        """The time of one variant over that of another; None before sittings can tell.

        Args:
            slower: the variant in the numerator.
            faster: the one in the denominator.
            comparisons: how many ratios are looked at; all intervals together then enclose what
                they estimate with 95% confidence (Bonferroni).
        """
        one, other = self.names.index(slower), self.names.index(faster)
        if not math.isfinite(self.variance):
            return None
        value = float(self.logs[one] - self.logs[other])
        spread = self.covariance[one, one] + self.covariance[other, other]
        spread -= 2 * self.covariance[one, other]
        quantile = student_quantile(1 - (1 - CONFIDENCE) / 2 / comparisons, self.freedom)
        margin = SYSTEMATIC + quantile * math.sqrt(max(0.0, spread) * self.variance)
        low, high = math.exp(value - margin), math.exp(min(value + margin, 700.0))
        # Beyond 700 lie numbers that are none.
        return Interval(value=math.exp(value), low=low, high=high)


def student_quantile(chance: float, freedom: int) -> float:
    """The value below which Student's t with ``freedom`` degrees lies with ``chance``.

    For one and two degrees in closed form, else by Hill's expansion (G. W. Hill, "Algorithm 396:
    Student's t-quantiles", CACM 13, 1970), to 4 digits or better.
    """
    if freedom == 1:
        return math.tan(math.pi * (chance - 0.5))
    if freedom == 2:
        return (2 * chance - 1) / math.sqrt(2 * chance * (1 - chance))
    tails = 2 * (1 - chance)
    a = 1 / (freedom - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * freedom
    y = (d * tails) ** (2 / freedom)
    if y > 0.05 + a:
        x = -NormalDist().inv_cdf(tails / 2)
        y = x**2
        if freedom < 5:
            c += 0.3 * (freedom - 4.5) * (x + 0.6)
        c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = math.expm1(a * y**2)
    else:
        inner = ((freedom + 6) / (freedom * y) - 0.089 * d - 0.822) * (freedom + 2) * 3
        y = ((1 / inner + 0.5 / (freedom + 4)) * y - 1) * (freedom + 1) / (freedom + 2) + 1 / y
    return math.sqrt(freedom * y)
