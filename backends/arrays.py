"""Arrays as kernels want them: aligned, contiguous, told by address."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_size_t
from functools import cache
from struct import Struct
from typing import Any

import numpy as np

from burnish.backends.manifest import Port

ALIGNMENT = 64
"""Of memory that kernels use where it lies, in bytes."""
SMALL = 4096
"""Outputs of at most so many bytes lie where numpy puts them, which takes less time than aligning
them; if that is no place for kernels, the library copies."""

_HEAD = object.__basicsize__
"""Where in an array object the pointer to its elements is, in CPython."""


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the numpy dtype called `name`; "bfloat16" is that of ml_dtypes."""
    if name == "bfloat16":
        import ml_dtypes

        kind: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return kind
    return np.dtype(name)


def _read_address(array: np.ndarray) -> int:
    # The first field of numpy's public struct PyArrayObject_fields; the interface that numpy has
    # for Python takes microseconds, as long as a small model.
    return c_size_t.from_address(id(array) + _HEAD).value


def _ask_address(array: np.ndarray) -> int:
    found: int = array.ctypes.data
    return found


def _reads_true() -> bool:
    if sys.implementation.name != "cpython":
        return False
    probes = [np.empty(shape) for shape in ((), (3,), (2, 5))]
    probes += [probes[1][1:], probes[2].T]
    return all(_read_address(probe) == _ask_address(probe) for probe in probes)


address_of = _read_address if _reads_true() else _ask_address
"""Returns the address of an array's first element."""


def aligned_empty(shape: Sequence[int], dtype: str | np.dtype[Any]) -> np.ndarray:
    """Return an uninitialized array that kernels can use where it lies."""
    kind = numpy_dtype(dtype) if isinstance(dtype, str) else dtype
    memory = np.empty(math.prod(shape) * kind.itemsize + ALIGNMENT, np.uint8)
    return np.ndarray(shape, kind, memory, -address_of(memory) % ALIGNMENT)


class InputArrays:
    """Takes the arrays for the inputs of an entry."""

    def __init__(self, ports: Sequence[Port]) -> None:
        """Prepare for arrays of the dtypes and shapes of `ports`."""
        self._forms = [(port.name, numpy_dtype(port.dtype), port.shape) for port in ports]
        self._pack = Struct(f"{len(ports)}P").pack

    def fit(self, given: Mapping[str, np.ndarray]) -> tuple[list[np.ndarray], bytes] | None:
        """Return `given` as C wants it; None if it does not fit.

        Returns:
            The arrays in the order of the ports, contiguous, and pointers to them, which are good
            for as long as the arrays are kept.
        """
        if len(given) != len(self._forms):
            return None
        arrays, pointers = [], []
        for name, dtype, shape in self._forms:
            # What is missing becomes an array of one object, which fits nowhere.
            array = np.asarray(given.get(name), order="C")
            if array.dtype != dtype or array.shape != shape:
                return None
            arrays.append(array)
            pointers.append(address_of(array))
        return arrays, self._pack(*pointers)


class OutputArrays:
    """Makes the arrays for the outputs of an entry."""

    def __init__(self, ports: Sequence[Port]) -> None:
        """Prepare for arrays of the dtypes of `ports` and the shapes that they have at most."""
        self._forms = [(numpy_dtype(port.dtype), port.room, _allocator(port)) for port in ports]
        self._pack = Struct(f"{len(ports)}P").pack

    def make(self) -> tuple[list[Any], bytes]:
        """Make arrays for one run.

        Returns:
            An uninitialized array for each output, None if its size is open without a bound, and
            pointers to them, NULL for None, which are good for as long as the arrays are kept.
        """
        arrays, pointers = [], []
        for kind, shape, allocate in self._forms:
            array = allocate(shape, kind)
            arrays.append(array)
            pointers.append(0 if array is None else address_of(array))
        return arrays, self._pack(*pointers)


def _allocator(port: Port) -> Callable[[tuple[int, ...], np.dtype[Any]], np.ndarray | None]:
    if -1 in port.room:
        return lambda _shape, _kind: None
    size = math.prod(port.room) * numpy_dtype(port.dtype).itemsize
    return np.empty if size <= SMALL else aligned_empty


class CountedAxes:
    """Cuts arrays that have room for all that outputs may hold down to what a run has filled."""

    def __init__(self, ports: Sequence[Port]) -> None:
        """Remember which axis of which output is counted."""
        self._axes = [
            (index, port.shape.index(-1)) for index, port in enumerate(ports)
            if port.most is not None
        ]  # fmt: skip

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._axes)

    def cut(self, arrays: list[Any], counts: Sequence[int]) -> None:
        """Replace each such array by the part of it that is filled.

        Args:
            arrays: One for each output, in the shape that it has at most.
            counts: For each output the size of its counted axis.
        """
        for index, axis in self._axes:
            array, count = arrays[index], counts[index]
            if count == array.shape[axis]:
                continue
            part = array[(slice(None),) * axis + (slice(count),)]
            # A small part must not keep much memory, and all results are row-major.
            is_kept = part.flags.c_contiguous and 2 * part.nbytes >= array.nbytes
            arrays[index] = part if is_kept else part.copy()
