"""How many units each structure keeps: those widths that lose the least within a budget.

The estimated loss is a table for each structure and a term for each pair that is thinned out
together; costs are tables over the widths of neighbours (`burnish.pruning.costs`). Lagrange
multipliers, found by bisection, give widths to begin with; a search by evolution (`evolution`) goes
on from there, as GB/T 42382.2-2023 (eq. 34-40) has it after Zheng et al. (SAViT, NeurIPS 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from burnish.errors import GateFailed
from burnish.ir import Array
from burnish.pruning.costs import Cost
from burnish.pruning.evolution import evolve, improve

_HALVINGS = 40
"""Bisections for a multiplier."""
_SHARES = 513
"""Uniform shares that are tried, from nothing to all."""
_SWEEPS = 8
"""Rounds over all structures in which widths settle for one multiplier."""


@dataclass(frozen=True)
class Allocation:
    """Widths, and what they are estimated to take."""

    widths: Mapping[str, int]
    loss: float
    cost: float


@dataclass(frozen=True, eq=False)
class Problem:
    """What is chosen, at what cost, and what it loses."""

    cost: Cost
    losses: Mapping[str, Sequence[float]]
    """By structure, for each of its choices: no wider one loses more, and all units lose 0."""
    pairs: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """What two structures lose besides: this times the shares of units that are gone of each. A
    pair counts once, in whichever order it is named."""

    def loss(self, chosen: Array) -> Array:
        """[n]: the loss of each row of ``chosen`` [n, structures], places among the choices."""
        rows = np.arange(len(self.lengths))
        gone = self.gone[rows, chosen]
        alone = self._table[rows, chosen].sum(axis=-1)
        found: Array = alone + ((gone @ self._factors) * gone).sum(axis=-1) / 2
        return found

    def loss_along(self, place: int, chosen: Array) -> Array:
        """[choices]: the part of the loss that the structure at ``place`` has to do with.

        For each of its choices, where the others are at ``chosen`` [structures].
        """
        count = self.lengths[place]
        others = self.gone[np.arange(len(chosen)), chosen] @ self._factors[place]
        found: Array = self._table[place, :count] + others * self.gone[place, :count]
        return found

    def price(self, chosen: Array) -> Array:
        """[n]: the cost of each row of ``chosen`` [n, structures]."""
        return self.cost.totals(chosen)

    @cached_property
    def lengths(self) -> list[int]:
        """How many choices each structure has."""
        return [len(allowed) for allowed in self.cost.choices.values()]

    @cached_property
    def full(self) -> Array:
        """[structures]: the choice that keeps all."""
        return np.array(self.lengths, np.int64) - 1

    @cached_property
    def gone(self) -> Array:
        """[structures, most choices]: shares of units that go."""
        return self._padded([[1 - w / all_[-1] for w in all_] for all_ in self._choices])

    @cached_property
    def _choices(self) -> list[Sequence[int]]:
        return list(self.cost.choices.values())

    @cached_property
    def _table(self) -> Array:
        return self._padded([self.losses[name] for name in self.cost.choices])

    @cached_property
    def _factors(self) -> Array:
        """[structures, structures]: symmetric, without a diagonal."""
        names = list(self.cost.choices)
        found = np.zeros((len(names), len(names)))
        for (one, other), factor in self.pairs.items():
            at = names.index(one), names.index(other)
            found[at] += factor
            found[at[::-1]] += factor
        np.fill_diagonal(found, 0.0)
        return found

    def _padded(self, rows: Sequence[Sequence[float]]) -> Array:
        found = np.zeros((len(rows), max(self.lengths, default=0)))
        for place, (row, length) in enumerate(zip(rows, self.lengths, strict=True)):
            found[place, :length] = np.asarray(row, np.float64)
        return found


def allocate(problem: Problem, budget: float, *, seed: int = 0) -> Allocation:
    """Choose widths that lose little, less than a uniform share does, at no more than ``budget``.

    Args:
        problem: choices, costs and losses.
        budget: in the unit of the cost.
        seed: of the search; equal seeds give equal widths.

    Raises:
        GateFailed: even the least widths cost more.
    """
    if problem.cost.full <= budget:
        return _allocation(problem, problem.full)
    _require(problem, budget)
    start = np.array([_settled(problem, budget), _uniform(problem, budget)])
    found = evolve(problem, budget, start, np.random.default_rng(seed))
    return _allocation(problem, improve(problem, budget, found))


def uniform(problem: Problem, budget: float) -> Allocation:
    """The largest share of units that all structures can keep at no more than ``budget``.

    Raises:
        GateFailed: even the least widths cost more.
    """
    _require(problem, budget)
    return _allocation(problem, _uniform(problem, budget))


def _allocation(problem: Problem, chosen: Array) -> Allocation:
    loss, cost = problem.loss(chosen[None])[0], problem.price(chosen[None])[0]
    return Allocation(problem.cost.widths(chosen), float(loss), float(cost))


def _require(problem: Problem, budget: float) -> None:
    cost = problem.cost
    if cost.least > budget:
        raise GateFailed(
            f"no widths cost {budget:.4g} {cost.unit} or less: the least that they can cost is "
            f"{cost.least:.4g}, {cost.least / cost.full:.1%} of the model's {cost.full:.4g}; "
            "ask to remove less"
        )


def _uniform(problem: Problem, budget: float) -> Array:
    if not problem.lengths:
        return problem.full
    kept = [np.array(allowed) / allowed[-1] for allowed in problem.cost.choices.values()]
    shares = np.linspace(0.0, 1.0, _SHARES)
    # Of each structure the width that is nearest to the share.
    chosen = np.stack([np.abs(row - shares[:, None]).argmin(axis=1) for row in kept], axis=1)
    fits = np.flatnonzero(problem.price(chosen) <= budget)
    found: Array = chosen[fits[-1]] if len(fits) else np.zeros_like(problem.full)
    return found


def _settled(problem: Problem, budget: float) -> Array:
    """Widths at which no single other one has less of the loss and a multiple of the cost.

    The multiple is the least, as far as bisection finds it, with which they are within the budget.
    """
    best = np.zeros_like(problem.full)
    scale = _scale(problem)
    low, high = -30.0, 30.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        chosen = _stationary(problem, scale * 2.0**middle)
        if problem.price(chosen[None])[0] <= budget:
            best, high = chosen, middle
        else:
            low = middle
    return best


def _scale(problem: Problem) -> float:
    """A multiplier with which the cost counts about as much as the loss."""
    cost = problem.cost.full - problem.cost.least
    worst = float(problem.loss(np.zeros_like(problem.full)[None])[0])
    return max(abs(worst), 1e-12) / cost


def _stationary(problem: Problem, multiplier: float) -> Array:
    chosen = problem.full.copy()
    for _ in range(_SWEEPS):
        before = chosen.copy()
        for place, length in enumerate(problem.lengths):
            values = problem.loss_along(place, chosen)
            values = values + multiplier * problem.cost.along(place, chosen)
            # Of equal ones the widest.
            chosen[place] = length - 1 - int(np.argmin(values[::-1]))
        if np.array_equal(before, chosen):
            break
    return chosen
