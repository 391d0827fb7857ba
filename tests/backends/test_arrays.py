"""Memory of arrays: where it starts, and which outputs share it."""

from struct import unpack

import numpy as np
import pytest

from burnish.backends.arrays import (
    ALIGNMENT,
    SMALL,
    InputArrays,
    OutputArrays,
    address_of,
    aligned_empty,
)
from burnish.backends.manifest import Port


@pytest.mark.parametrize(
    "array",
    [np.empty(()), np.empty((2, 3), np.int8), np.arange(9)[4:], np.empty((0, 4)), np.eye(3).T],
)
def test_address_is_that_of_the_first_element(array: np.ndarray) -> None:
    assert address_of(array) == array.ctypes.data


def test_address_of_memory_that_cannot_be_written() -> None:
    array = np.frombuffer(b"12345678", np.int32)
    assert address_of(array) == array.ctypes.data


@pytest.mark.parametrize("dtype", ["bool", "float32", "bfloat16", "int64"])
def test_empty_arrays_are_aligned(dtype: str) -> None:
    arrays = [aligned_empty((3, 5), dtype) for _ in range(20)]
    assert all(array.ctypes.data % ALIGNMENT == 0 for array in arrays)
    assert {array.shape for array in arrays} == {(3, 5)}


def _ports(*shapes: tuple[int, ...]) -> list[Port]:
    return [Port(str(i), "float32", shape) for i, shape in enumerate(shapes)]


def made(*shapes: tuple[int, ...]) -> tuple[list[np.ndarray | None], list[int]]:
    arrays, pointers = OutputArrays(_ports(*shapes)).make()
    return arrays, list(unpack(f"{len(shapes)}P", pointers))


def test_outputs_do_not_overlap_and_are_pointed_to() -> None:
    shapes = ((5, 6), (), (3, SMALL), (0, 2), (17,))
    arrays, pointers = made(*shapes)
    for value, array in enumerate(arrays):
        assert array is not None
        array[...] = value
    for value, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        assert array is not None
        assert array.shape == shape and array.ctypes.data == pointers[value]
        assert bool((array == value).all())


def test_a_large_output_is_aligned() -> None:
    (array,), (pointer,) = made((3, SMALL))
    assert array is not None and pointer % ALIGNMENT == 0


@pytest.mark.parametrize("size", [4, SMALL])
def test_runs_share_no_memory(size: int) -> None:
    outputs = OutputArrays(_ports((size,)))
    first, second = outputs.make()[0][0], outputs.make()[0][0]
    assert first is not None and second is not None
    assert not np.shares_memory(first, second)


def test_an_output_of_open_size_is_left_out() -> None:
    (first, second), (nowhere, there) = made((-1, 3), (2, 3))
    assert first is None and nowhere == 0
    assert second is not None and second.shape == (2, 3) and second.ctypes.data == there


def test_inputs_are_taken_in_order_and_pointed_to() -> None:
    first, second = np.ones((2, 3), np.float32), np.ones((4,), np.float32)
    fitting = InputArrays(_ports((2, 3), (4,))).fit({"1": second, "0": first})
    assert fitting is not None
    arrays, pointers = fitting
    assert arrays[0] is first and arrays[1] is second
    assert unpack("2P", pointers) == (first.ctypes.data, second.ctypes.data)


def test_an_input_in_another_layout_is_copied_and_kept() -> None:
    given = np.arange(6, dtype=np.float32).reshape(3, 2).T
    fitting = InputArrays(_ports((2, 3))).fit({"0": given})
    assert fitting is not None
    (array,), pointers = fitting
    assert array.flags.c_contiguous and np.array_equal(array, given)
    assert unpack("P", pointers) == (array.ctypes.data,)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"1": np.ones(2, np.float32)},
        {"0": None},
        {"0": np.ones(2, np.float64)},
        {"0": np.ones(2, ">f4")},
        {"0": np.ones((1, 2), np.float32)},
        {"0": np.ones(2, np.float32), "1": np.ones(2, np.float32)},
    ],
)
def test_inputs_that_do_not_fit(given: dict[str, np.ndarray]) -> None:
    assert InputArrays(_ports((2,))).fit(given) is None
