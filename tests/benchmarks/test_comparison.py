"""Outputs agree, or the reason is named."""

import numpy as np
import pytest

from benchmarks.comparison import Disagreement, comparison, power_error, worst_error
from benchmarks.inputs import Array


def floats(*values: float, dtype: str = "float32") -> dict[str, Array]:
    return {"y": np.array(values, dtype=dtype)}


def test_equal_outputs_have_no_error() -> None:
    assert worst_error(floats(1.0, 2.0), floats(1.0, 2.0)) == 0.0


def test_error_is_relative_to_the_largest_value() -> None:
    assert worst_error(floats(1.0, 100.001), floats(1.0, 100.0)) == pytest.approx(1e-5, rel=0.1)


def test_worst_output_counts() -> None:
    found = {"a": np.ones(2, "f4"), "b": np.array([1.0, 1.00005], "f4")}
    expected = {"a": np.ones(2, "f4"), "b": np.ones(2, "f4")}
    assert worst_error(found, expected) == pytest.approx(5e-5, rel=0.1)


def test_float16_may_be_further_off() -> None:
    assert worst_error(floats(1.005, dtype="float16"), floats(1.0, dtype="float16")) > 1e-3
    with pytest.raises(Disagreement, match="off by 5"):
        worst_error(floats(1.005), floats(1.0))


@pytest.mark.parametrize(
    ("found", "expected", "reason"),
    [
        ({}, floats(1.0), "outputs are"),
        (floats(1.0, 1.0), floats(1.0), "expected float32"),
        (floats(1.0, dtype="float64"), floats(1.0), "y is float64"),
        (floats(1.0), floats(float("nan")), "infinities or NaNs"),
        (floats(float("nan")), floats(1.0), "where there should be none"),
        (floats(float("inf")), floats(float("-inf")), "infinities or NaNs"),
        ({"y": np.array([1, 2])}, {"y": np.array([1, 3])}, "1 values differ"),
        ({"y": np.array([True])}, {"y": np.array([False])}, "1 values differ"),
    ],
)
def test_disagreements(found: dict[str, Array], expected: dict[str, Array], reason: str) -> None:
    with pytest.raises(Disagreement, match=reason):
        worst_error(found, expected)


def test_specials_in_the_same_places_agree() -> None:
    values = (float("nan"), float("inf"), 2.0)
    assert worst_error(floats(*values), floats(*values)) == 0.0


def test_empty_and_zero_outputs_agree() -> None:
    assert worst_error(floats(), floats()) == 0.0
    assert worst_error(floats(0.0), floats(0.0)) == 0.0
    with pytest.raises(Disagreement, match="off by"):
        worst_error(floats(0.1), floats(0.0))


def test_int8_is_compared_by_power_so_that_single_numbers_may_be_off() -> None:
    right = np.ones(100, np.float32)
    single = right.copy()
    single[3] = -1
    assert power_error({"y": single}, {"y": right}) == pytest.approx(0.2)
    assert power_error({"y": single, "n": np.arange(2)}, {"y": right, "n": np.arange(1, 3)}) > 0.1
    assert comparison("int8") is power_error


@pytest.mark.parametrize("wrong", [
    np.zeros(100, np.float32), np.full(100, 1.6, np.float32), np.ones(99, np.float32),
    np.ones(100, np.float64), np.where(np.arange(100) == 5, np.nan, 1).astype(np.float32),
])  # fmt: skip
def test_int8_that_says_nothing_is_refused(wrong: Array) -> None:
    with pytest.raises(Disagreement):
        power_error({"y": wrong}, {"y": np.ones(100, np.float32)})


def test_int8_without_an_output_is_refused() -> None:
    with pytest.raises(Disagreement, match="outputs are"):
        power_error({}, {"y": np.ones(1, np.float32)})
