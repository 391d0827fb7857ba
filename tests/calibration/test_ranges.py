"""Intervals that integer formats cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.calibration import (
    METHODS,
    S8,
    S8_SYMMETRIC,
    U7,
    U8,
    Contraction,
    Format,
    Histogram,
    Interval,
    Rows,
    best_range,
)
from burnish.calibration.ranges import error_of, least_squares
from burnish.ir import Array

FORMATS = [U8, U7, S8, S8_SYMMETRIC]
GENERATOR = np.random.default_rng(0)
NORMAL = GENERATOR.standard_normal(100_000).astype(np.float32)
DATA = {
    "normal": NORMAL,
    "rectified": np.maximum(NORMAL, 0),
    "negative": np.minimum(NORMAL, 0),
    "laplace": GENERATOR.laplace(size=100_000).astype(np.float32),
    "heavy": GENERATOR.standard_t(2, 100_000).astype(np.float32),
    "outlier": np.append(NORMAL, np.float32(50)),
    "shifted": NORMAL + 10,
    "small": NORMAL * np.float32(1e-30),
    "large": NORMAL * np.float32(1e30),
    "few": np.float32([0.5, -0.25, 3]),
}


def of(values: Array) -> Histogram:
    histogram = Histogram()
    histogram.update(values)
    return histogram


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("method", METHODS)
def test_every_interval_is_within_what_was_seen(method: str, name: str, format: Format) -> None:
    histogram = of(DATA[name])
    found = METHODS[method](histogram, format)
    whole = Interval.over(histogram.range.low, histogram.range.high)
    assert whole.low <= found.low <= 0 <= found.high <= whole.high
    assert found.high > found.low
    scale, zero = format.parameters(found)
    assert scale > 0
    assert np.isfinite(scale)
    assert format.low <= zero <= format.high
    assert format.rounded(np.zeros(1), found)[0] == 0


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", DATA)
def test_least_squares_is_not_worse_than_any(name: str, format: Format) -> None:
    histogram = of(DATA[name])
    errors = {
        method: error_of(histogram, format, find(histogram, format))
        for method, find in METHODS.items() if method in ("min-max", "mse")
    }  # fmt: skip
    assert errors["mse"] <= errors["min-max"]
    chosen = best_range(histogram, format)
    assert chosen.error <= 1.01 * min(
        error_of(histogram, format, find(histogram, format)) for find in METHODS.values()
    )
    values = DATA[name].astype(np.float64)
    exact = np.square(values - format.rounded(values, chosen.interval)).sum()
    assert chosen.error == pytest.approx(exact / np.square(values).sum(), rel=0.1, abs=3e-6)


@pytest.mark.parametrize("share", [0.999, 0.9999])
def test_percentiles_are_those_of_numpy(share: float) -> None:
    found = METHODS[f"percentile-{100 * share:g}"](of(NORMAL), U8)
    low, high = np.quantile(NORMAL, [1 - share, share])
    assert found.low == pytest.approx(low, abs=0.05)
    assert found.high == pytest.approx(high, abs=0.05)
    found = METHODS[f"percentile-{100 * share:g}"](of(NORMAL), S8_SYMMETRIC)
    assert found.high == pytest.approx(np.quantile(np.abs(NORMAL), share), abs=0.05)


def test_percentile_of_a_rectified_tensor_cuts_one_end() -> None:
    found = METHODS["percentile-99.9"](of(np.maximum(NORMAL, 0)), U8)
    assert found.low == 0
    assert found.high == pytest.approx(np.quantile(np.maximum(NORMAL, 0), 0.999), abs=0.01)


@pytest.mark.parametrize("format", [U8, S8_SYMMETRIC])
def test_entropy_leaves_an_outlier_out(format: Format) -> None:
    found = METHODS["entropy"](of(DATA["outlier"]), format)
    assert 2.5 < found.high < 12


def test_entropy_keeps_a_uniform_tensor_whole() -> None:
    values = np.linspace(-1, 3, 100_000).astype(np.float32)
    found = METHODS["entropy"](of(values), U8)
    assert (found.low, found.high) == pytest.approx((-1, 3), abs=0.1)


def test_each_end_is_clipped_by_itself() -> None:
    # One value reaches far down; everything else is spread evenly above zero.
    values = np.append(np.linspace(0, 10, 100_000), -8).astype(np.float32)
    found = least_squares(of(values), U8)
    assert found.high > 9.5
    assert -7 < found.low < -3


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-40, 3e38])
def test_a_constant_tensor_is_represented(value: float, method: str, format: Format) -> None:
    values = np.full(100, value, np.float32)
    found = METHODS[method](of(values), format)
    scale, zero = format.parameters(found)
    assert scale > 0
    assert np.isfinite(np.float32(1) / scale)
    assert format.low <= zero <= format.high
    if format is not U8 or value >= 0:
        expected = 0.0 if abs(value) < 1e-38 else value
        assert format.rounded(values, found)[0] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("values", [np.zeros((0, 3)), np.full(4, np.nan), np.array([np.inf])])
@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_see_gives_a_scale_of_one(method: str, values: Array) -> None:
    found = METHODS[method](of(values.astype(np.float32)), U8)
    assert (found.low, found.high) == (0, 0)
    assert U8.parameters(found) == (1, 0)
    assert best_range(of(values), U8).error == 0


def test_symmetric_formats_have_no_zero_point() -> None:
    assert S8_SYMMETRIC.parameters(Interval(-1, 127)) == (1, 0)
    assert S8.parameters(Interval(-128, 127)) == (1, 0)
    assert S8.parameters(Interval(0, 255)) == (1, -128)
    assert U8.parameters(Interval(-255, 0)) == (1, 255)
    assert U7.levels == 128


@given(st.floats(-(2.0**99), 0, width=32), st.floats(0, 2.0**99, width=32))
def test_zero_is_exact_and_ends_are_near(low: float, high: float) -> None:
    interval = Interval.over(low, high)
    for format in FORMATS:
        scale, _ = format.parameters(interval)
        ends = np.array([interval.low, 0.0, interval.high])
        found = format.rounded(ends, interval)
        assert found[1] == 0
        assert np.abs(found - ends).max() <= 0.5001 * scale * (1 + 1e-5)


def test_runtime_values_beyond_the_interval_are_clipped() -> None:
    found = U8.rounded(np.float32([-100, 100, 1]), Interval(-1, 1))
    assert found[0] == pytest.approx(-1, abs=0.01)
    assert found[1] == pytest.approx(1, abs=0.01)


def test_rows_choose_for_what_a_product_makes_of_them() -> None:
    # Rare large values of the first channel: clipping them costs much only if they are read.
    generator = np.random.default_rng(1)
    values = generator.standard_normal((4000, 4)).astype(np.float32)
    values[::500, 0] = 30
    histogram, rows = of(values), Rows(Contraction(-1), per_item=1)
    rows.update(values)
    read = best_range(histogram, U8, rows=rows.values[0], reader=np.array([1.0, 0, 0, 0]))
    unread = best_range(histogram, U8, rows=rows.values[0], reader=np.array([0, 1.0, 1, 1]))
    assert read.interval.high > 25
    assert unread.interval.high < 10
    whole = best_range(histogram, U8, rows=rows.values[0], reader=np.diag([0, 1.0, 1, 1]))
    assert whole.interval == unread.interval
    assert whole.error == pytest.approx(unread.error)


def test_only_methods_that_are_given_are_tried() -> None:
    chosen = best_range(of(NORMAL), U8, methods={"min-max": METHODS["min-max"]})
    assert chosen.method == "min-max"
