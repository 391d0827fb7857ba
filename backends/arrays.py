"""Arrays as kernels want them: aligned, contiguous, told by address."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from ctypes import c_size_t
from functools import cache
from typing import Any

import numpy as np

from burnish.backends.manifest import Port

ALIGNMENT = 64
"""Of memory that kernels use where it lies, in bytes."""
SHARED = 4096
"""Outputs of at most so many bytes may lie in one block of memory, which lives as long as any."""

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


def aligned_empty(shape: Sequence[int], dtype: str) -> np.ndarray:
    """Return an uninitialized array that kernels can use where it lies."""
    kind = numpy_dtype(dtype)
    memory = np.empty(math.prod(shape) * kind.itemsize + ALIGNMENT, np.uint8)
    return np.ndarray(shape, kind, memory, -address_of(memory) % ALIGNMENT)


class OutputArrays:
    """Makes the arrays for the outputs of an entry."""

    def __init__(self, ports: Sequence[Port]) -> None:
        """Plan the memory of all outputs but those whose size is open.

        Each large one gets a block of its own, all small ones get one between them.
        """
        self._count = len(ports)
        self._blocks: list[_Block] = []
        small = _Block()
        for index, port in enumerate(ports):
            if -1 in port.shape:
                continue
            kind = numpy_dtype(port.dtype)
            size = math.prod(port.shape) * kind.itemsize
            block = small if size <= SHARED else _Block()
            if not block.members:
                self._blocks.append(block)
            block.members.append((index, port.shape, kind, block.size - ALIGNMENT))
            block.size += -(-size // ALIGNMENT) * ALIGNMENT

    def make(self) -> list[np.ndarray | None]:
        """Return an uninitialized array for each output, None if its size is open."""
        arrays: list[np.ndarray | None] = [None] * self._count
        for block in self._blocks:
            memory = np.empty(block.size, np.uint8)
            start = -address_of(memory) % ALIGNMENT
            for index, shape, kind, offset in block.members:
                arrays[index] = np.ndarray(shape, kind, memory, start + offset)
        return arrays


class _Block:
    """Memory that some outputs share."""

    def __init__(self) -> None:
        self.size = ALIGNMENT
        """In bytes, with what aligning the first of them may take."""
        self.members: list[tuple[int, tuple[int, ...], np.dtype[Any], int]] = []
        """Number, shape, dtype and offset of each."""
