"""Golden vectors: exact for integers, relative for floats, strict about what is not finite."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.backends.self_test import Vector, deviation, pack_vectors, unpack_vector
from burnish.errors import InvalidInput

INF, NAN = float("inf"), float("nan")


def test_vectors_round_trip_and_repeat() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    vector = Vector(
        {"a/b:0": np.arange(6, dtype=np.float32).reshape(2, 3)},
        {"b": np.array([True]), "h": np.ones(2, ml_dtypes.bfloat16), "s": np.array(3)},
    )
    data = pack_vectors([vector, vector])
    assert data == pack_vectors([vector, vector])
    dtypes = [{n: a.dtype for n, a in side.items()} for side in (vector.inputs, vector.outputs)]
    again = unpack_vector(data, 1, *dtypes)
    for before, after in ((vector.inputs, again.inputs), (vector.outputs, again.outputs)):
        assert list(before) == list(after)
        for name in before:
            assert before[name].dtype == after[name].dtype
            np.testing.assert_array_equal(before[name], after[name], strict=True)


@pytest.mark.parametrize("data", [b"", b"PK", pack_vectors([Vector({}, {})])])
def test_missing_vectors_are_one_clear_error(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="no vector for entry 0"):
        unpack_vector(data, 0, {"a": np.dtype("f4")}, {})


def error(given: object, expected: object, dtype: str = "float32") -> float:
    return deviation("y", np.array(given, dtype), np.array(expected, dtype)).error


def test_error_is_relative_to_the_largest_magnitude() -> None:
    assert error([10, 1.5], [10, 1]) == pytest.approx(0.05)


def test_error_against_zeros_is_absolute() -> None:
    assert error([0, 0.25], [0, 0]) == 0.25


@pytest.mark.parametrize(
    ("given", "expected"),
    [([NAN], [1]), ([1], [NAN]), ([INF], [-INF]), ([INF], [1]), ([NAN], [INF]), ([1], [INF])],
)
def test_what_is_not_finite_must_match(given: list[float], expected: list[float]) -> None:
    assert error(given, expected) == INF


def test_matching_infinities_are_fine() -> None:
    assert error([NAN, INF, 2], [NAN, INF, 2]) == 0
    assert error([NAN], [NAN]) == 0
    assert error([], []) == 0


def test_integers_are_exact() -> None:
    assert error([1, 2], [1, 2], "int64") == 0
    assert error([1, 2], [1, 3], "int64") == INF


def test_shape_and_dtype_must_match() -> None:
    assert deviation("y", np.zeros(2, "f4"), np.zeros((2, 1), "f4")).error == INF
    assert deviation("y", np.zeros(2, "f4"), np.zeros(2, "f8")).error == INF
