"""Widths for a budget: within it, the best where all can be tried, never worse than uniform."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.errors import GateFailed
from burnish.pruning.allocation import Problem, allocate, uniform
from burnish.pruning.costs import Cost
from burnish.pruning.evolution import improve
from burnish.pruning.shapes import Table


def chain(
    sizes: list[int], losses: list[list[float]], pairs: dict[tuple[str, str], float]
) -> Problem:
    """Layers one after another: each costs its inputs times its outputs."""
    names = [f"s{place}" for place in range(len(sizes))]
    widths = [np.arange(1.0, size + 1) for size in sizes]
    tables = [
        Table((place, place + 1), np.outer(widths[place], widths[place + 1]))
        for place in range(len(sizes) - 1)
    ]
    tables += [Table((place,), 3.0 * widths[place]) for place in (0, len(sizes) - 1)]
    choices = {name: tuple(range(1, size + 1)) for name, size in zip(names, sizes, strict=True)}
    cost = Cost("operations", choices, tuple(tables), 5.0)
    return Problem(cost, dict(zip(names, losses, strict=True)), pairs)


@st.composite
def problems(draw: st.DrawFn, most: int = 4, widest: int = 4) -> Problem:
    sizes = draw(st.lists(st.integers(1, widest), min_size=1, max_size=most))
    steps = st.sampled_from([0.0, 0.01, 0.5, 1.0, 3.0])
    losses = []
    for size in sizes:
        falls = draw(st.lists(steps, min_size=size - 1, max_size=size - 1))
        losses.append([*np.cumsum(falls)[::-1].tolist(), 0.0])
    names = [f"s{place}" for place in range(len(sizes))]
    couples = [(one, other) for one in names for other in names if one < other]
    factors = st.sampled_from([-0.5, 0.0, 1.0, 5.0])
    return chain(sizes, losses, {couple: draw(factors) for couple in couples})


def exhaustive(problem: Problem, budget: float) -> float:
    """The least loss there is."""
    rows = np.array(list(product(*map(range, problem.lengths))))
    return float(problem.loss(rows)[problem.price(rows) <= budget].min())


def budget_of(problem: Problem, share: float) -> float:
    return problem.cost.least + share * (problem.cost.full - problem.cost.least)


SHARES = st.floats(0, 1)


@given(problem=problems(), share=st.floats(0, 0.99))
def test_the_best_widths_are_found_where_there_are_few(problem: Problem, share: float) -> None:
    budget = budget_of(problem, share)
    found = allocate(problem, budget)
    assert found.cost <= budget
    assert found.cost == problem.cost(found.widths)
    assert found.loss == pytest.approx(exhaustive(problem, budget), abs=1e-9)


@given(problem=problems(most=9, widest=30), share=SHARES)
def test_no_worse_than_uniform_and_within_the_budget(problem: Problem, share: float) -> None:
    budget = budget_of(problem, share)
    found, same = allocate(problem, budget), uniform(problem, budget)
    assert found.cost <= budget
    assert same.cost <= budget
    assert found.loss <= same.loss


SMOOTH = chain(
    [24] * 8,
    [[weight * (24 - w) ** 2 / 24 for w in range(1, 25)] for weight in (1, 9, 1, 4, 1, 2, 16, 1)],
    {("s0", "s1"): 3.0, ("s3", "s4"): -1.0, ("s6", "s2"): 8.0},
)


def test_sensitive_structures_stay_wider() -> None:
    found = allocate(SMOOTH, SMOOTH.cost.full / 2)
    same = uniform(SMOOTH, SMOOTH.cost.full / 2)
    assert found.loss < 0.75 * same.loss
    assert found.widths["s6"] > found.widths["s7"]
    assert len(set(same.widths.values())) == 1


def test_equal_seeds_give_equal_widths() -> None:
    first, second = (allocate(SMOOTH, SMOOTH.cost.full / 3, seed=5) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("more", [0.0, 1.0])
def test_nothing_goes_that_need_not(more: float) -> None:
    found = allocate(SMOOTH, SMOOTH.cost.full + more)
    assert found.widths == dict.fromkeys(SMOOTH.losses, 24)
    assert found.loss == 0
    assert found.cost == SMOOTH.cost.full
    assert uniform(SMOOTH, SMOOTH.cost.full + more).widths == found.widths


def test_the_least_is_just_in_reach() -> None:
    found = allocate(SMOOTH, SMOOTH.cost.least)
    assert found.widths == dict.fromkeys(SMOOTH.losses, 1)


@pytest.mark.parametrize("search", [allocate, uniform])
def test_a_budget_out_of_reach_names_what_is_in_reach(search) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(GateFailed, match=r"the least that they can cost is 18, 0\.4% of"):
        search(SMOOTH, SMOOTH.cost.least - 0.5)


@pytest.mark.parametrize("search", [allocate, uniform])
def test_nothing_to_thin_out(search) -> None:  # type: ignore[no-untyped-def]
    empty = Problem(Cost("bytes", {}, (), 8.0), {})
    assert search(empty, 8.0).widths == {}
    with pytest.raises(GateFailed, match="the least that they can cost is 8"):
        search(empty, 7.0)


def test_a_pair_counts_once() -> None:
    alone = [[1.0, 0.0], [1.0, 0.0]]
    chosen = np.zeros((1, 2), np.int64)
    for pairs in ({("s0", "s1"): 8.0}, {("s1", "s0"): 8.0}, {("s0", "s1"): 5, ("s1", "s0"): 3.0}):
        problem = chain([2, 2], alone, pairs)
        assert problem.loss(chosen).tolist() == [1 + 1 + 8 / 4]
        assert problem.loss_along(0, chosen[0]).tolist() == [1 + 8 / 4, 0]


def test_of_many_structures_few_pairs_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    many = chain([3] * 24, [[1.2 + place % 7, 1.0, 0.0] for place in range(24)], {})
    seen = []

    def price(self: Problem, chosen: np.ndarray) -> np.ndarray:
        seen.append(len(chosen))
        return self.cost.totals(chosen)

    monkeypatch.setattr(Problem, "price", price)
    monkeypatch.setattr("burnish.pruning.evolution._PAIRED", 8)
    start = np.ones(24, np.int64)
    budget = float(many.cost.totals(start[None])[0])
    found = improve(many, budget, start)
    assert many.loss(found[None])[0] < many.loss(start[None])[0]
    assert max(seen) <= 24 * 3
