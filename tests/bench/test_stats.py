"""Medians and their intervals."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.bench.stats import Estimate, estimate_median


def test_no_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        estimate_median([])


def test_few_samples_give_the_whole_range() -> None:
    assert estimate_median([3.0, 1.0, 2.0]) == Estimate(2.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("count", "skipped"), [(5, 0), (6, 0), (9, 1), (10, 1), (20, 5), (100, 39)]
)
def test_intervals_are_those_of_the_tables(count: int, skipped: int) -> None:
    samples = [float(one) for one in range(count)]
    found = estimate_median(samples)
    assert (found.low, found.high) == (skipped, count - 1 - skipped)


def test_thousands_of_samples_do_not_overflow() -> None:
    found = estimate_median([float(one) for one in range(5000)])
    assert 2400 < found.low < 2450 < 2500 < found.high < 2600


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=60))
def test_the_median_lies_in_its_interval(samples: list[float]) -> None:
    found = estimate_median(samples)
    assert found.low <= found.median <= found.high
    assert min(samples) <= found.low
    assert found.high <= max(samples)


def test_intervals_cover_as_often_as_they_say() -> None:
    generator = random.Random(1)
    hits = 0
    for _ in range(400):
        found = estimate_median([generator.expovariate(1.0) for _ in range(15)])
        hits += found.low <= 0.6931 <= found.high
    assert hits >= 0.93 * 400


def test_spread_is_relative() -> None:
    assert estimate_median([1.0, 2.0, 3.0]).spread == 1.0
    assert estimate_median([0.0]).spread == 0.0
