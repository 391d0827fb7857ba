"""Memory of arrays: where it starts, and which outputs share it."""

import numpy as np
import pytest

from burnish.backends.arrays import ALIGNMENT, SHARED, OutputArrays, address_of, aligned_empty
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


def test_outputs_do_not_overlap_and_are_aligned() -> None:
    shapes = ((5, 6), (), (3, SHARED), (0, 2), (17,))
    arrays = OutputArrays(_ports(*shapes)).make()
    for value, array in enumerate(arrays):
        assert array is not None
        array[...] = value
    for value, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        assert array is not None
        assert array.shape == shape and array.ctypes.data % ALIGNMENT == 0
        assert bool((array == value).all())


def test_a_large_output_has_its_memory_to_itself() -> None:
    small, large, other = OutputArrays(_ports((4,), (SHARED,), (8,))).make()
    assert small is not None and large is not None and other is not None
    assert small.base is other.base
    assert large.base is not small.base


def test_runs_share_no_memory() -> None:
    outputs = OutputArrays(_ports((4,)))
    first, second = outputs.make()[0], outputs.make()[0]
    assert first is not None and second is not None
    assert not np.shares_memory(first, second)


def test_an_output_of_open_size_is_left_out() -> None:
    first, second = OutputArrays(_ports((-1, 3), (2, 3))).make()
    assert first is None
    assert second is not None and second.shape == (2, 3)
