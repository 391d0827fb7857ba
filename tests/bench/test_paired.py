"""Intervals of metrics and of paired differences."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.bench.paired import Unpaired, metric_interval, paired_difference
from burnish.bench.task import Scores


def binary(hits: int, count: int) -> Scores:
    return Scores.of([1.0] * hits + [0.0] * (count - hits))


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [  # as tables of the exact binomial interval have them
        (0, 10, 0.0, 0.3085),
        (5, 10, 0.1871, 0.8129),
        (10, 10, 0.6915, 1.0),
        (1, 1, 0.025, 1.0),
        (95, 100, 0.8872, 0.9836),
    ],
)
def test_exact_intervals_of_shares(hits: int, count: int, low: float, high: float) -> None:
    value, found_low, found_high = metric_interval(binary(hits, count))
    assert value == hits / count
    assert (found_low, found_high) == pytest.approx((low, high), abs=1e-4)


def test_intervals_of_many_items() -> None:
    value, low, high = metric_interval(binary(9300, 10_000))
    assert value == 0.93
    assert (low, high) == pytest.approx((0.9248, 0.9349), abs=1e-4)


def test_weighted_items_are_resampled() -> None:
    generator = np.random.default_rng(3)
    weights = generator.integers(5, 20, 400).astype(float)
    errors = generator.binomial(weights.astype(int), 0.1).astype(float)
    scores = Scores(errors, weights, higher_is_better=False)
    value, low, high = metric_interval(scores)
    assert low < 0.1 < high
    assert low < value < high
    assert high - low == pytest.approx(2 * 1.96 * (0.09 / weights.sum()) ** 0.5, rel=0.2)
    assert metric_interval(scores) == (value, low, high)


@pytest.mark.parametrize("values", [[1, 0, 1], [0.5, 2, 7]])
def test_equal_scores_do_not_differ(values: list[float]) -> None:
    assert paired_difference(Scores.of(values), Scores.of(values)) == (0.0, 0.0, 0.0)


def test_one_changed_item_proves_nothing() -> None:
    value, low, high = paired_difference(binary(930, 1000), binary(929, 1000))
    assert value == pytest.approx(-0.001)
    # Of other items, a few more or none may be lost, or some gained.
    assert -0.006 < low < -0.003
    assert 0.002 < high < 0.004


def test_many_items_lost_and_none_gained_prove_a_loss() -> None:
    value, low, high = paired_difference(binary(930, 1000), binary(900, 1000))
    assert value == pytest.approx(-0.03)
    assert -0.045 < low < -0.04
    assert -0.023 < high < -0.019


def test_items_changed_both_ways() -> None:
    before, after = np.zeros(1000), np.zeros(1000)
    before[:20], after[20:40] = 1, 1
    value, low, high = paired_difference(Scores.of(before), Scores.of(after))
    assert value == 0
    assert low == pytest.approx(-high)
    assert 1.96 * 40**0.5 / 1000 < high < 0.01296


@pytest.mark.parametrize(("gained", "lost", "count"), [(0, 7, 40), (3, 9, 50), (12, 1, 200)])
def test_ends_are_where_what_was_seen_is_a_score_of_196_away(
    gained: int, lost: int, count: int
) -> None:
    before, after = np.zeros(count), np.zeros(count)
    before[:lost], after[lost : lost + gained] = 1, 1
    _, *ends = paired_difference(Scores.of(before), Scores.of(after))
    for end in ends:
        # The most likely shares that differ by so much, found by trying all.
        shares = np.linspace(max(0, -end), min(1, (1 - end) / 2), 2_000_002)[1:-1]
        kept = 1 - 2 * shares - end
        logs = gained * np.log(shares + end) + lost * np.log(shares)
        best = shares[np.argmax(logs + (count - gained - lost) * np.log(kept))]
        deviation = (count * (2 * best + end - end**2)) ** 0.5
        assert abs(gained - lost - count * end) / deviation == pytest.approx(1.96, rel=1e-3)


def test_intervals_hold_what_is_true_of_all_items() -> None:
    generator = np.random.default_rng(0)
    gained, lost, held = 0.01, 0.03, 0
    for _ in range(400):
        drawn = generator.choice([1, -1, 0], 500, p=[gained, lost, 1 - gained - lost])
        pair = Scores.of((drawn < 0).astype(float)), Scores.of((drawn > 0).astype(float))
        _, low, high = paired_difference(*pair)
        held += low <= gained - lost <= high
    assert 0.92 < held / 400 < 0.98


@pytest.mark.parametrize("count", [1, 2, 50])
def test_all_items_lost(count: int) -> None:
    value, low, high = paired_difference(binary(count, count), binary(0, count))
    assert (value, low) == (-1, -1)
    assert -1 < high < 1


def test_models_that_change_places_have_the_interval_turned_round() -> None:
    before, after = binary(3, 40), binary(9, 40)
    value, low, high = paired_difference(before, after)
    assert paired_difference(after, before) == pytest.approx((-value, -high, -low))


def test_paired_is_narrower_than_not() -> None:
    generator = np.random.default_rng(1)
    before = generator.uniform(size=300)
    value, low, high = paired_difference(Scores.of(before), Scores.of(before + 0.01))
    assert value == pytest.approx(0.01)
    assert (low, high) == pytest.approx((0.01, 0.01))


@pytest.mark.parametrize(
    "other", [Scores.of([1, 0]), Scores(np.ones(3), np.array([1.0, 2.0, 1.0]))]
)
def test_scores_of_other_items_are_no_pairs(other: Scores) -> None:
    with pytest.raises(Unpaired, match="other items or weights"):
        paired_difference(Scores.of([1, 1, 0]), other)
