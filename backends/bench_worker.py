"""The process in which `bench_kernels` calls kernels: requests on stdin, answers on stdout."""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from burnish.backends.arrays import aligned_empty
from burnish.backends.bench_patterns import Expected, Patterns, agree
from burnish.backends.child import serve
from burnish.backends.library import SharedLibrary
from burnish.errors import BurnishError

_TENSOR_ARGUMENT = 7
_CPU = 1
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
"""DLPack's, by numpy's kind."""
_BFLOAT = 4


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    )


class _Any(ctypes.Structure):
    _fields_ = (
        ("type_index", ctypes.c_int32),
        ("unused", ctypes.c_uint32),
        ("pointer", ctypes.c_uint64),
    )


class _Call(ctypes.Structure):
    _fields_ = (
        ("kernel", ctypes.c_void_p),
        ("args", ctypes.POINTER(_Any)),
        ("count", ctypes.c_int32),
    )


class Kernels:
    """A loaded library of kernels, and the arrays that they are called on."""

    def __init__(self, library: bytes, threads: int) -> None:
        self._c: Any = None
        self._pool = ctypes.c_void_p()
        self._arrays: list[np.ndarray] = []
        self._tensors: Any = None
        self._right: tuple[bytes, list[np.ndarray]] | None = None
        """What was expected last for these arrays, and the outputs that first met it."""
        self._open(library, threads)

    def load(self, _: str, library: bytes, threads: int) -> str | None:
        """Use another library from now on; return what went wrong."""
        try:
            self._c.burnish_bench_close(self._pool)
            self._open(library, threads)
        except BurnishError as error:
            return str(error)
        return None

    def _open(self, library: bytes, threads: int) -> None:
        self._library = SharedLibrary(library, "the library of candidate kernels")
        c = self._library.handle
        c.burnish_bench_open.restype = ctypes.c_void_p
        c.burnish_last_error.restype = ctypes.c_char_p
        self._pool = ctypes.c_void_p(c.burnish_bench_open(threads))
        self._c = c

    def take(self, given: Sequence[np.ndarray] | Patterns) -> None:
        """Copy arrays to aligned memory and describe them to kernels."""
        if isinstance(given, Patterns):
            count = len(given.arguments)
            arrays = (given.array(number) for number in range(count))
        else:
            count, arrays = len(given), (array for array in given)
        self._arrays, self._right = [], None
        self._tensors = (_Tensor * max(1, count))()
        for tensor, given_array in zip(self._tensors, arrays, strict=False):
            array = aligned_empty(given_array.shape, given_array.dtype.name)
            array[...] = given_array
            self._arrays.append(array)
            code = _BFLOAT if array.dtype.name == "bfloat16" else _CODES[array.dtype.kind]
            shape = (ctypes.c_int64 * max(1, array.ndim))(*array.shape)
            bits = 8 * array.dtype.itemsize
            fields = (array.ctypes.data, _CPU, 0, array.ndim, code, bits, 1, shape, None, 0)
            for (name, _), value in zip(_Tensor._fields_, fields, strict=True):
                setattr(tensor, name, value)

    def time(
        self, symbol: str, repeat: int, flushed: Sequence[int], budget: float
    ) -> list[float] | str:
        """Return the seconds of each call, or what went wrong."""
        try:
            kernel = getattr(self._c, f"__tvm_ffi_{symbol}")
        except AttributeError:
            return "there is no such kernel"
        count = len(self._arrays)
        args = (_Any * max(1, count))()
        for arg, tensor in zip(args, self._tensors, strict=False):
            arg.type_index, arg.pointer = _TENSOR_ARGUMENT, ctypes.addressof(tensor)
        call = _Call(ctypes.cast(kernel, ctypes.c_void_p), args, count)
        cold = (_Tensor * max(1, len(flushed)))(*(self._tensors[index] for index in flushed))
        nanoseconds = (ctypes.c_uint64 * max(1, repeat))()
        limit = ctypes.c_uint64(int(budget * 1e9))
        done = self._c.burnish_bench_time(
            self._pool, ctypes.byref(call), cold, len(flushed), repeat, limit, nanoseconds
        )
        if done < 0:
            return str(self._c.burnish_last_error().decode(errors="replace"))
        return [ns * 1e-9 for ns in nanoseconds[:done]]

    def call(self, symbol: str) -> list[np.ndarray] | str:
        """Call a kernel once; return the arrays, or what went wrong."""
        failed = self.time(symbol, 0, (), 0.0)
        return failed if isinstance(failed, str) else self._arrays

    def check(self, symbol: str, expected: Sequence[Expected]) -> str | None:
        """Call a kernel once; return what is wrong with what it writes."""
        outputs = [self._arrays[one.argument] for one in expected]
        for output in outputs:
            # What is not written shows.
            output.view(np.uint8).fill(0xFF)
        failed = self.time(symbol, 0, (), 0.0)
        if isinstance(failed, str):
            return failed
        for one, output in zip(expected, outputs, strict=True):
            if not agree(one.values, output.reshape(-1)[one.places]):
                return "its results are wrong"
        wanted = pickle.dumps(expected)
        if self._right is None or self._right[0] != wanted:
            self._right = wanted, [output.copy() for output in outputs]
        elif not all(map(agree, self._right[1], outputs)):
            return "its results are not those of the others"
        return None


def _begin(opening: tuple[bytes, int]) -> Callable[[Any], object]:
    kernels = Kernels(*opening)

    def answer(request: tuple[Any, ...]) -> object:
        verb, symbol, arrays, *rest = request
        if arrays is not None:
            kernels.take(arrays)
        return getattr(kernels, verb)(symbol, *rest)

    return answer


if __name__ == "__main__":
    serve(_begin)
