"""What counts as equal."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from burnish.numerics import Numerics
from burnish.oracle import compare

EXACT, REASSOCIATES, LOSSY = Numerics.EXACT, Numerics.REASSOCIATES, Numerics.LOSSY
F32 = np.array([1, -100, 0.5], np.float32)


def check(want: Any, have: Any, numerics: Numerics) -> bool:
    return compare({"y": np.asarray(want)}, {"y": np.asarray(have)}, numerics).equal


@pytest.mark.parametrize("numerics", list(Numerics))
def test_identical(numerics: Numerics) -> None:
    assert check(F32, F32.copy(), numerics)


@pytest.mark.parametrize("numerics", list(Numerics))
def test_dtype_and_shape_always_count(numerics: Numerics) -> None:
    assert not check(F32, F32.astype(np.float64), numerics)
    assert not check(F32, F32.reshape(3, 1), numerics)
    assert not check(np.array([1, 2]), np.array([1, 2], np.int32), numerics)


@pytest.mark.parametrize("numerics", list(Numerics))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_places_of_nan_and_infinity_always_count(numerics: Numerics, value: float) -> None:
    odd = np.array([1, value, 2], np.float32)
    assert check(odd, odd.copy(), numerics)
    assert not check(odd, np.array([value, 1, 2], np.float32), numerics)
    assert not check(odd, np.array([1, 5, 2], np.float32), numerics)
    assert not check(odd, -odd, numerics) or np.isnan(value)


def test_exact_is_to_the_last_bit() -> None:
    off = F32.copy()
    off[2] = np.nextafter(off[2], np.float32(1))
    assert not check(F32, off, EXACT)
    assert check(F32, off, REASSOCIATES)
    assert not check(np.float32([0.0]), np.float32([-0.0]), EXACT)
    assert check(np.float32([0.0]), np.float32([-0.0]), REASSOCIATES)


@pytest.mark.parametrize(
    ("dtype", "limit"),
    [(np.float32, 1e-4), (np.float16, 1e-2), (ml_dtypes.bfloat16, 1e-2), (np.float64, 1e-8)],
)
def test_tolerance_is_relative_to_the_largest_output(dtype: Any, limit: float) -> None:
    want = np.array([0, 128], dtype)
    for factor, equal in ((0.9, True), (1.1, False)):
        have = want.copy()
        have[0] = factor * limit * 128
        result = compare({"y": want}, {"y": have}, REASSOCIATES)
        assert result.equal is equal
        assert result.error == pytest.approx(factor * limit, rel=0.01)
        assert result.outputs[0].worst == (0,)


def test_small_floats_may_differ_in_the_last_place() -> None:
    dtype = ml_dtypes.float8_e4m3fn
    want = np.array([1.0, 1.125], dtype)
    assert check(want, np.array([1.125, 1.125], dtype), REASSOCIATES)
    assert not check(want, np.array([1.5, 1.125], dtype), REASSOCIATES)


def test_anything_instead_of_zeros_is_wrong() -> None:
    zeros = np.zeros(2, np.float32)
    assert not check(zeros, np.float32([0, 1e-30]), REASSOCIATES)


def test_integers_bools_and_strings_are_identical_or_not() -> None:
    for want, have in (([1, 2], [1, 3]), ([True], [False]), (["a"], ["b"])):
        assert not check(want, have, REASSOCIATES)
        assert check(want, want, EXACT)
    assert check([1, 2], [1, 3], LOSSY)
    small = np.array([1, 2], ml_dtypes.int4)
    assert not check(small, np.array([1, 3], ml_dtypes.int4), REASSOCIATES)


def test_complex() -> None:
    want = np.array([1 + 1j, 2j], np.complex64)
    assert check(want, want.copy(), EXACT)
    assert not check(want, want.conj(), REASSOCIATES)


def test_lossy_records_the_error() -> None:
    result = compare({"y": F32}, {"y": F32 + 10}, LOSSY)
    assert result.equal
    assert result.error == pytest.approx(0.1)


def test_sequences_maps_and_absence() -> None:
    nested = {"s": [F32, F32], "m": [{"a": 1.5}], "o": None}
    assert compare(nested, {"s": [F32, F32], "m": [{"a": 1.5}], "o": None}, EXACT)
    for other in ({"s": [F32]}, {"m": [{"a": 2.5}]}, {"m": [{"b": 1.5}]}, {"o": F32}):
        assert not compare(nested, {**nested, **other}, EXACT)


def test_missing_and_extra_outputs() -> None:
    assert "missing" in str(compare({"y": F32}, {}, LOSSY))
    assert "not expected" in str(compare({}, {"y": F32}, LOSSY))


def test_message_names_the_worst_place() -> None:
    text = str(compare({"y": F32}, {"y": F32 + np.float32([0, 1, 0])}, REASSOCIATES))
    assert "y: " in text
    assert "(1,)" in text
    assert "-99.0 instead of -100.0" in text


def test_empty_outputs() -> None:
    assert check(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), EXACT)
