"""Golden vectors: exact for integers, relative for floats, strict about what is not finite."""

from __future__ import annotations

import io

import numpy as np
import pytest

from burnish.backends.manifest import Port
from burnish.backends.self_test import (
    PERIOD,
    Example,
    Tensors,
    Vector,
    deviation,
    pack_vectors,
    repeating,
    unpack_vector,
)
from burnish.errors import InvalidInput

INF, NAN = float("inf"), float("nan")


def ports(tensors: Tensors) -> list[Port]:
    return [Port(name, array.dtype.name, array.shape) for name, array in tensors.items()]


def read_again(vector: Vector) -> Example:
    data = pack_vectors([vector, vector])
    assert data == pack_vectors([vector, vector])
    return unpack_vector(data, 1, ports(vector.inputs), ports(vector.outputs))


def test_vectors_round_trip_and_repeat() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    vector = Vector(
        {"a/b:0": np.arange(6, dtype=np.float32).reshape(2, 3)},
        {"b": np.array([True]), "h": np.ones(2, ml_dtypes.bfloat16), "s": np.array(3)},
    )
    again = read_again(vector)
    values = {name: each.values for name, each in again.outputs.items()}
    for before, after in ((vector.inputs, again.inputs), (vector.outputs, values)):
        assert list(before) == list(after)
        for name in before:
            assert before[name].dtype == after[name].dtype
            np.testing.assert_array_equal(before[name], after[name], strict=True)


def test_an_output_that_is_listed_twice_has_one_array() -> None:
    vector = Vector({}, {"y": np.arange(3), "z": np.ones(2)})
    listed = [*ports(vector.outputs), *ports(vector.outputs)]
    again = unpack_vector(pack_vectors([vector]), 0, [], listed)
    assert {name: list(each.values) for name, each in again.outputs.items()} == {
        "y": [0, 1, 2], "z": [1, 1],
    }  # fmt: skip


def test_outputs_may_be_anything_within_their_leeway() -> None:
    low, high = np.arange(3), np.array([0, 2, 2])
    vector = Vector({}, {"y": np.arange(3), "z": np.arange(3)}, {"y": (low, high)})
    again = read_again(vector).outputs
    assert again["y"].deviation("y", np.array([0, 2, 2])).error == 0
    assert again["y"].deviation("y", np.array([0, 3, 2])).error == float("inf")
    assert again["y"].deviation("y", np.array([1, 1, 2])).error == float("inf")
    assert again["z"].deviation("z", np.array([0, 2, 2])).error == float("inf")


def test_a_scalar_may_have_leeway() -> None:
    ends = np.array(2.0, np.float32), np.array(3.0, np.float32)
    kept = read_again(Vector({}, {"y": np.array(2.5, np.float32)}, {"y": ends})).outputs["y"]
    assert kept.deviation("y", np.array(3.0, np.float32)).error == 0
    assert kept.deviation("y", np.array(4.0, np.float32)).error > 0


def test_leeway_of_large_outputs_goes_with_the_elements_that_are_kept() -> None:
    whole = np.arange(90_000).reshape(300, 300)
    kept = read_again(Vector({}, {"y": whole}, {"y": (whole, whole + 1)})).outputs["y"]
    assert kept.deviation("y", whole + 1).error == 0
    assert kept.deviation("y", whole + 2).error == float("inf")


def test_leeway_that_leaves_none_is_not_stored() -> None:
    plain, same = Vector({}, {"y": np.arange(3)}), (np.arange(3), np.arange(3))
    assert pack_vectors([plain]) == pack_vectors([Vector({}, plain.outputs, {"y": same})])


def large(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def test_large_inputs_that_repeat_themselves_are_stored_small() -> None:
    whole = large(3, 200, 300)
    short = repeating(whole)
    assert short.shape == whole.shape
    np.testing.assert_array_equal(short.reshape(-1)[:PERIOD], whole.reshape(-1)[:PERIOD])
    assert len(pack_vectors([Vector({"x": short}, {})])) < 40_000
    np.testing.assert_array_equal(read_again(Vector({"x": short}, {})).inputs["x"], short)
    np.testing.assert_array_equal(read_again(Vector({"x": whole}, {})).inputs["x"], whole)
    assert repeating(whole[:1, :10]).tolist() == whole[:1, :10].tolist()


def test_a_part_of_a_large_output_stands_for_all_of_it() -> None:
    whole = large(40, 6625)
    whole[7, 11] = 100
    kept = read_again(Vector({}, {"y": whole})).outputs["y"]
    assert kept.values.size < 20_000
    assert kept.values.max() == 100
    assert kept.deviation("y", whole).error == 0
    assert kept.deviation("y", whole.reshape(-1)).error == INF
    for rows, columns in ((slice(None), 5), (9, slice(None))):
        wrong = whole.copy()
        wrong[rows, columns] += 50
        assert kept.deviation("y", wrong).error == pytest.approx(0.5)


def test_a_large_output_of_open_size_has_the_size_that_it_had() -> None:
    whole = large(300, 300)
    data = pack_vectors([Vector({}, {"y": whole})])
    kept = unpack_vector(data, 0, [], [Port("y", "float32", (-1, 300), most=900)]).outputs["y"]
    assert kept.deviation("y", whole).error == 0
    assert kept.deviation("y", whole[:-1]).error == INF


def test_a_large_output_that_is_nowhere_finite() -> None:
    kept = read_again(Vector({}, {"y": np.full((300, 300), NAN, np.float32)})).outputs["y"]
    assert kept.deviation("y", np.full((300, 300), NAN, np.float32)).error == 0


@pytest.mark.parametrize("data", [b"", b"PK", pack_vectors([Vector({}, {})])])
def test_missing_vectors_are_one_clear_error(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="no vector for entry 0"):
        unpack_vector(data, 0, [Port("a", "float32", (1,))], [])


def test_strange_archives_are_one_clear_error() -> None:
    kept = pack_vectors([Vector({}, {"y": large(300, 300)})])
    with np.load(io.BytesIO(kept)) as arrays:
        strange = {**arrays, "0.output.0.step": np.array([0, INF])}
    file = io.BytesIO()
    np.savez(file, **strange)
    encrypted, other_method = bytearray(kept), bytearray(kept)
    directory = kept.find(b"PK\x01\x02")
    encrypted[directory + 8] |= 1
    other_method[directory + 10] = 99
    for data in (file.getvalue(), bytes(encrypted), bytes(other_method)):
        with pytest.raises(InvalidInput, match="no vector for entry 0"):
            unpack_vector(data, 0, [], [Port("y", "float32", (300, 300))])


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
