"""Search by evolution for choices that lose the least within a budget, and by single steps.

Rows of choices are crossed and changed at random; the better ones stay. Of two that fit the budget
the one that loses less is better, of two that do not the cheaper one, and what fits is better than
what does not: the rules of Deb (2000) for constraints. Sizes after GB/T 42382.2-2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from burnish.ir import Array

POPULATION, CHILDREN, GENERATIONS = 100, 50, 100
_STEP = 3
"""Most choices that a change goes up or down."""
_PAIRED = 100
"""Places of which all pairs are tried: of n places these are n^2 rows of n choices."""


class Choosing(Protocol):
    """What is searched."""

    @property
    def lengths(self) -> list[int]:
        """How many choices there are at each place; later ones cost more and lose less."""
        ...

    def loss(self, chosen: Array) -> Array:
        """[n]: the loss of each row of ``chosen`` [n, places]."""
        ...

    def price(self, chosen: Array) -> Array:
        """[n]: the cost of each row of ``chosen`` [n, places]."""
        ...


def evolve(problem: Choosing, budget: float, start: Array, rng: np.random.Generator) -> Array:
    """The best row found, which is never worse than the best of ``start`` [n, places]."""
    near = _changed(problem, np.repeat(start, POPULATION // (2 * len(start)), axis=0), rng)
    far = rng.integers(0, problem.lengths, size=(POPULATION - len(near), len(problem.lengths)))
    population = _best(problem, budget, np.concatenate([start, near, far]))
    for _ in range(GENERATIONS):
        # Rows are ranked: the first of two at random is the better one.
        parents = rng.integers(0, len(population), size=(2, CHILDREN, 2)).min(axis=-1)
        from_first = rng.random((CHILDREN, population.shape[1])) < 0.5
        children = np.where(from_first, population[parents[0]], population[parents[1]])
        children = _changed(problem, children, rng)
        population = _best(problem, budget, np.concatenate([population, children]))
    found: Array = population[0]
    return found


def improve(problem: Choosing, budget: float, chosen: Array) -> Array:
    """``chosen`` [places] after steps that lose less and fit: of one place, or of two at once."""
    loss = float(problem.loss(chosen[None])[0])
    while True:
        for tried in _neighbours(problem, chosen):
            losses = np.where(problem.price(tried) <= budget, problem.loss(tried), np.inf)
            best = int(np.argmin(losses))
            if losses[best] < loss:
                chosen, loss = tried[best], float(losses[best])
                break
        else:
            return chosen


def _changed(problem: Choosing, rows: Array, rng: np.random.Generator) -> Array:
    """``rows`` with a place or two of each, on average, a few choices up or down."""
    steps = rng.integers(-_STEP, _STEP + 1, size=rows.shape)
    steps[rng.random(rows.shape) >= 2 / max(1, rows.shape[1])] = 0
    found: Array = np.clip(rows + steps, 0, np.array(problem.lengths) - 1)
    return found


def _best(problem: Choosing, budget: float, rows: Array) -> Array:
    """As many rows as there is room for, the best first, each once."""
    rows = np.unique(rows, axis=0)
    over = np.maximum(problem.price(rows) - budget, 0.0)
    loss = np.where(over > 0, 0.0, problem.loss(rows))
    found: Array = rows[np.lexsort((loss, over))][:POPULATION]
    return found


def _neighbours(problem: Choosing, chosen: Array) -> Iterator[Array]:
    """First all other choices of each place, then pairs of steps, one down and one up."""
    places = len(chosen)
    at = np.repeat(np.arange(places), problem.lengths)
    tried = np.repeat(chosen[None], len(at), axis=0)
    tried[np.arange(len(at)), at] = np.concatenate([np.arange(n) for n in problem.lengths])
    yield tried
    for fall in range(1, _STEP + 1):
        for rise in range(1, _STEP + 1):
            downs, ups = _steps(problem, chosen, -fall), _steps(problem, chosen, rise)
            down, up = (each.reshape(-1) for each in np.meshgrid(downs, ups, indexing="ij"))
            down, up = down[down != up], up[down != up]
            if len(down):
                tried = np.repeat(chosen[None], len(down), axis=0)
                rows = np.arange(len(down))
                tried[rows, down] -= fall
                tried[rows, up] += rise
                yield tried


def _steps(problem: Choosing, chosen: Array, step: int) -> Array:
    """Places that can go ``step`` choices up: of many, those that lose the least by it alone."""
    after = chosen + step
    places = np.flatnonzero((after >= 0) & (after < problem.lengths))
    if len(places) <= _PAIRED:
        return places
    tried = np.repeat(chosen[None], len(places), axis=0)
    tried[np.arange(len(places)), places] += step
    best = np.argsort(problem.loss(tried), kind="stable")[:_PAIRED]
    found: Array = places[np.sort(best)]
    return found
