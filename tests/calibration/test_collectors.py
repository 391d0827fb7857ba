"""Ranges and histograms of tensors."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.calibration import Histogram, Range
from burnish.calibration.collectors import BINS
from burnish.ir import Array


def seen(*arrays: Array) -> Histogram:
    histogram = Histogram()
    for array in arrays:
        histogram.update(array)
    return histogram


def test_range_of_finite_values() -> None:
    found = Range()
    found.update(np.float32([[1, -2], [3, 0]]))
    found.update(np.float32([-5]))
    assert (found.low, found.high, found.count, found.is_finite) == (-5, 3, 5, True)


def test_range_leaves_out_what_is_not_finite() -> None:
    found = Range()
    found.update(np.float32([1, np.nan, -np.inf, 4]))
    assert (found.low, found.high, found.wrong, found.is_finite) == (1, 4, 2, False)


def test_range_of_nothing_but_nan() -> None:
    found = Range()
    found.update(np.full(3, np.nan, np.float32))
    assert found.is_empty
    assert found.wrong == 3


def test_range_of_an_empty_tensor() -> None:
    found = Range()
    found.update(np.zeros((0, 4), np.float32))
    assert found.is_empty
    assert found.is_finite


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.int8, np.int64, np.float64])
def test_range_of_other_types(dtype: type) -> None:
    found = Range()
    found.update(np.array([1, -3, 2]).astype(dtype))
    assert (found.low, found.high) == (-3, 2)


def test_histogram_counts_every_value() -> None:
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    found = seen(values)
    expected, _ = np.histogram(values, found.edges)
    assert found.counts.sum() == len(values)
    # Rounding may move a value that lies at an edge by one bin.
    assert np.abs(np.cumsum(found.counts - expected)).max() <= 2
    assert BINS <= len(found.counts) <= 2 * BINS


def test_zero_is_an_edge_of_a_histogram() -> None:
    found = seen(np.float32([3, 7, 5]))
    assert found.edges[0] == 0
    assert found.edges[-1] > 7


def test_negative_values_go_below_zero() -> None:
    found = seen(np.float32([-3, -7, -5]))
    assert found.edges[-1] >= 0
    assert found.edges[0] <= -7
    assert found.counts.sum() == 3


def test_growing_loses_no_counts_and_no_resolution() -> None:
    generator = np.random.default_rng(1)
    parts = [generator.standard_normal(1000).astype(np.float32) * 10**k for k in range(-3, 5)]
    found = seen(*parts)
    every = np.concatenate(parts)
    assert found.counts.sum() == every.size
    assert BINS <= len(found.counts) <= 2 * BINS + 1
    expected, _ = np.histogram(every, found.edges)
    assert np.abs(np.cumsum(found.counts - expected)).max() <= 4


def test_growing_downwards_keeps_what_lies_where() -> None:
    found = seen(np.float32([1, 1]), np.float32([-100]))
    ones = np.flatnonzero(found.counts == 2)
    assert len(ones) == 1
    assert found.edges[ones[0]] <= 1 < found.edges[ones[0] + 1]


def test_zeros_that_come_first_are_counted_later() -> None:
    found = seen(np.zeros(5, np.float32))
    assert (found.width, found.zeros, len(found.counts)) == (0, 5, 0)
    found.update(np.float32([2, -2]))
    assert found.counts.sum() == 7
    assert found.counts[-found.first] == 5


def test_histogram_of_nothing() -> None:
    found = seen(np.zeros((0, 3), np.float32))
    assert not len(found.counts)
    assert found.range.is_empty


def test_histogram_leaves_out_what_is_not_finite() -> None:
    found = seen(np.float32([1, np.inf, np.nan, 2]))
    assert found.counts.sum() == 2
    assert found.range.wrong == 2


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1.0, 1e30, 3e38])
def test_histogram_of_extreme_values(scale: float) -> None:
    values = (np.linspace(-1, 1, 1001) * scale).astype(np.float32)
    found = seen(values)
    assert found.counts.sum() == 1001
    assert math.isfinite(found.width)


def test_histogram_of_the_largest_doubles() -> None:
    found = seen(np.array([-1.7e308, 1.7e308, 0.0]))
    assert found.counts.sum() == 3


@given(st.lists(st.floats(-(2.0**40), 2.0**40, width=32), min_size=1, max_size=40))
def test_every_value_lies_in_a_bin_within_rounding(values: list[float]) -> None:
    found = seen(*(np.float32([value]) for value in values))
    if found.width:
        assert found.counts.sum() == len(values)
        assert found.edges[0] <= min(values)
        assert found.edges[-1] >= max(values)
