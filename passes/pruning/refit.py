"""New weights for a reader that is given less, so that it gives what it gave before.

Ridge regression in closed form, from moments of what it is given now and was given before (GRAIL,
2026, arXiv 2602.23795; CORP, 2026, arXiv 2602.05243); what the data say nothing of stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from burnish.calibration import CrossGram, Geometry, Gram
from burnish.ir import Array
from burnish.passes.pruning.readings import WithOne, rows_per_item

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Parts of the mean of the diagonal of the moments that are tried as ridge."""
HELD_OUT = 4
"""Each so many-th sample is left out of fitting, and tells which ridge to take; of fewer samples
all do both."""


class Moments:
    """Second moments of rows that a reader is given now, and of those that it was given before."""

    def __init__(self, geometry: Geometry, per_item: int, *, judges: bool) -> None:
        """Take ``per_item`` rows of each item of a sample at most.

        Args:
            geometry: how rows are taken.
            per_item: how many.
            judges: whether moments of what was given before are needed as well.
        """
        rows = WithOne(geometry)
        self.found, self.crossed = Gram(rows, per_item), CrossGram(rows, per_item)
        self.wanted = Gram(rows, per_item) if judges else None

    def update(self, found: Array, wanted: Array) -> None:
        """Take in one more sample."""
        self.found.update(found)
        self.crossed.update(wanted, found)
        if self.wanted is not None:
            self.wanted.update(wanted)


@dataclass(frozen=True)
class Refit:
    """A reader's new weights."""

    weights: Array
    """float64 [outputs, kept inputs]."""
    shift: Array
    """float64 [outputs]: to be added to its bias; zeros where it has none."""
    error: float
    """Mean square error of what it gives, in parts of its power, on samples held out."""
    without: float
    """The same if it had kept its weights."""
    ridge: float


def refit(
    weights: Array, kept: Array, found: Sequence[Array], wanted: Sequence[Array],
    geometry: Geometry, *, has_bias: bool,
) -> Refit:  # fmt: skip
    """Fit a reader's weights for the inputs ``kept``.

    Args:
        weights: float64 [outputs, inputs], as they are.
        kept: bool [inputs].
        found: what it is given now, sample by sample; inputs that go are still there.
        wanted: what it was given before.
        geometry: how it takes rows of them.
        has_bias: whether means can be taken by its bias.
    """
    items = sum(array.shape[0] if array.ndim > 1 else 1 for array in found)
    per_item = rows_per_item(items, weights.shape[1])
    fitted = Moments(geometry, per_item, judges=False)
    judged = Moments(geometry, per_item, judges=True)
    few = len(found) < HELD_OUT
    for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
        held = index % HELD_OUT == HELD_OUT - 1
        if held or few:
            judged.update(one, other)
        if not held or few:
            fitted.update(one, other)
    problem = _Problem.of(weights, kept, fitted, has_bias=has_bias)
    judge = _Problem.of(weights, kept, judged, has_bias=has_bias)
    error, ridge = min((judge.error(problem.solved(ridge)), ridge) for ridge in RIDGES)
    whole = problem if few else problem.joined(judge, fitted.found.count, judged.found.count)
    new = whole.solved(ridge)
    return Refit(new, whole.shift(new), error, judge.error(weights[:, kept]), ridge)


@dataclass(frozen=True)
class _Problem:
    """Moments that tell what weights for the inputs that are kept give, and should give."""

    weights: Array
    """[outputs, inputs]."""
    kept: Array
    gram: Array
    """E[y y^T] of what is kept, y with a one behind it: [kept + 1, kept + 1]."""
    target: Array
    """E[(W x) y^T], [outputs, kept + 1]."""
    means: Array
    """E[W x], [outputs]."""
    power: float
    """E|W x|^2, about the mean if a bias has that; 0 where it was not asked for."""
    has_bias: bool

    @classmethod
    def of(cls, weights: Array, kept: Array, moments: Moments, *, has_bias: bool) -> _Problem:
        chosen = np.append(kept, True)
        gram = moments.found.matrix[0].astype(np.float64)[np.ix_(chosen, chosen)]
        crossed = moments.crossed.matrix[0].astype(np.float64)[:-1, chosen]
        target = weights @ crossed
        means = target[:, -1]
        power = 0.0
        if moments.wanted is not None:
            full = moments.wanted.matrix[0, :-1, :-1].astype(np.float64)
            power = float(np.vdot(weights @ full, weights))
            power -= float(means @ means) if has_bias else 0.0
        return cls(weights, kept, gram, target, means, power, has_bias)

    def joined(self, other: _Problem, mine: int, others: int) -> _Problem:
        """The same over the rows of both."""
        share = mine / max(1, mine + others)

        def mean(one: Array, two: Array) -> Array:
            return share * one + (1 - share) * two

        return _Problem(
            self.weights, self.kept, mean(self.gram, other.gram), mean(self.target, other.target),
            mean(self.means, other.means), other.power, self.has_bias,
        )  # fmt: skip

    @property
    def _centred(self) -> tuple[Array, Array]:
        """Moments of what is kept, and with what is wanted; about the means if a bias has these."""
        gram, target = self.gram[:-1, :-1], self.target[:, :-1]
        if not self.has_bias:
            return gram, target
        mean = self.gram[-1, :-1]
        return gram - np.outer(mean, mean), target - np.outer(self.means, mean)

    def solved(self, ridge: float) -> Array:
        """Weights [outputs, kept] nearest to what is wanted, and to what they were."""
        gram, target = self._centred
        present = self.weights[:, self.kept]
        mean = float(np.trace(gram)) / max(1, len(gram))
        if mean <= 0:
            return present
        regular = gram + ridge * mean * np.eye(len(gram))
        change = np.linalg.solve(regular, (target - present @ gram).T).T
        found: Array = present + change
        return found

    def shift(self, new: Array) -> Array:
        """What the bias has to take."""
        if not self.has_bias:
            return np.zeros(len(new))
        found: Array = self.means - new @ self.gram[-1, :-1]
        return found

    def error(self, new: Array) -> float:
        """``E|W x - W' y|^2`` in parts of the power; the bias takes the means."""
        gram, target = self._centred
        lost = self.power + float(np.vdot(new @ gram, new) - 2 * np.vdot(target, new))
        return max(0.0, lost) / self.power if self.power > 0 else 0.0
