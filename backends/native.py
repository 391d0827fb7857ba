"""The C interface of a compiled model (`runtime/burnish.h`), called by ctypes."""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from burnish.backends.arrays import numpy_dtype
from burnish.backends.library import SharedLibrary
from burnish.backends.manifest import Port
from burnish.errors import BurnishError, InvalidInput, UnsupportedModel

ABI = 1


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("name", c_char_p),
        ("dtype", c_char_p),
        ("rank", ctypes.c_int32),
        ("shape", POINTER(ctypes.c_int64)),
        ("bytes", c_uint64),
    )


_TENSOR = POINTER(_Tensor)
_ARRAYS = c_char_p
"""An array of pointers, as the bytes that it consists of."""
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "abi": (c_int, ()),
    "last_error": (c_char_p, ()),
    "missing_feature": (c_char_p, ()),
    "open_at": (c_void_p, (c_char_p, c_uint64, c_int)),
    "close": (None, (c_void_p,)),
    "threads": (c_int, (c_void_p,)),
    "entry_count": (c_int, (c_void_p,)),
    "input_count": (c_int, (c_void_p, c_int)),
    "output_count": (c_int, (c_void_p, c_int)),
    "input": (c_int, (c_void_p, c_int, c_int, _TENSOR)),
    "output": (c_int, (c_void_p, c_int, c_int, _TENSOR)),
    "arena_bytes": (c_uint64, (c_void_p, c_int)),
    "run_entry": (c_int, (c_void_p, c_int, _ARRAYS, _ARRAYS)),
    "begin": (c_void_p, (c_void_p, c_int, _ARRAYS, _ARRAYS)),
    "range": (c_int, (c_void_p, c_int, c_int)),
    "buffer": (c_void_p, (c_void_p, c_int, POINTER(c_uint64))),
    "end": (c_int, (c_void_p,)),
    "call_count": (c_int, (c_void_p, c_int)),
    "call_name": (c_char_p, (c_void_p, c_int, c_int)),
    "profile": (None, (c_void_p, c_int)),
    "profile_read": (c_int, (c_void_p, c_int, POINTER(c_uint64))),
    "profile_rounds": (c_int, (c_void_p, c_int, POINTER(c_uint64))),
    "counted_axis": (c_int, (c_void_p, c_int, c_int)),
    "run_counted": (c_int, (c_void_p, c_int, _ARRAYS, _ARRAYS, c_void_p)),
    "counts": (c_int, (c_void_p, c_void_p)),
    "share": (c_int, (c_void_p, c_int, c_char_p)),
}
_YOUNGER = ("profile_rounds", "counted_axis", "run_counted", "counts", "share")
"""What artifacts of earlier versions lack, and nobody needs who only runs them: they count no
outputs."""


@dataclass(frozen=True)
class CallTime:
    """How long one call took, over all runs since profiling was switched on."""

    name: str
    seconds: float
    rounds: int | None
    """How often it was made; None if the library does not count."""


class NativeModel:
    """An open model. It may be run from several threads at once."""

    def __init__(self, library: bytes, weights: Path, offset: int = 0, threads: int = 0) -> None:
        """Load the library and open its model.

        Args:
            library: The bytes of the shared library.
            weights: The file that holds the weights.
            offset: Where in it they begin, in bytes; a multiple of 4096.
            threads: How many to use, the caller's included; 0 for the model's default.

        Raises:
            UnsupportedModel: it is for another machine or processor.
            InvalidInput: the files are not those of a model.
        """
        self._library = SharedLibrary(library, "the library of this artifact")
        self._c = _Functions(self._library.handle)
        if self._c.abi() != ABI:
            raise InvalidInput(
                f"the library has interface {self._c.abi()}, this burnish calls {ABI}; "
                "compile the model again"
            )
        missing = self._c.missing_feature()
        if missing:
            raise UnsupportedModel(
                f"this artifact needs a processor with {missing.decode()}, which this one lacks; "
                "compile the model here, or with --target set to what this machine has"
            )
        self._alone: dict[int, bytes] = {}
        """Kept: the library reads it in each run."""
        self._model = self._c.open_at(str(weights).encode(), offset, threads)
        if not self._model:
            raise InvalidInput(self._error())
        self.close = weakref.finalize(self, _close, self._c, self._model, self._library)
        self.close.atexit = False
        self.threads: int = self._c.threads(self._model)
        # Without types: checking them takes as long as a small kernel.
        self._run = self._library.handle["burnish_run_entry"]
        self._pointer = c_void_p(self._model)

    def ports(self, entry: int) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Return the inputs and the outputs of an entry as the library knows them."""
        return self._ports(entry, "input"), self._ports(entry, "output")

    @property
    def entry_count(self) -> int:
        """How many sets of input shapes the model was compiled for."""
        return int(self._c.entry_count(self._model))

    def run(self, entry: int, inputs: bytes, outputs: bytes) -> None:
        """Run an entry; the outputs are overwritten.

        Args:
            entry: its number.
            inputs: pointers to contiguous arrays that have the dtypes and shapes of the entry's
                ports; the caller has checked that, and keeps them.
            outputs: the same of arrays to fill.

        Raises:
            BurnishError: a kernel failed.
        """
        if self._run(self._pointer, entry, inputs, outputs):
            raise BurnishError(self._error())

    def run_counted(self, entry: int, inputs: bytes, outputs: bytes, count: int) -> list[int]:
        """The same; return the size of the counted axis of each output, -1 where it has none.

        Args:
            entry: its number.
            inputs: as for `run`.
            outputs: likewise.
            count: how many outputs there are.

        Raises:
            BurnishError: a kernel failed.
        """
        counts = (ctypes.c_int64 * count)()
        if self._c.run_counted(self._model, entry, inputs, outputs, counts):
            raise BurnishError(self._error())
        return list(counts)

    def begin(self, entry: int, inputs: bytes, outputs: bytes) -> Run:
        """Start a run in parts, to be used in a `with` statement.

        The arguments are those of `run`, but for outputs whose size is not known yet: their
        pointers are NULL, and the caller fills them itself.
        """
        context = self._c.begin(self._model, entry, inputs, outputs)
        if not context:
            raise BurnishError(self._error())
        return Run(self, context, (inputs, outputs))

    def profile(self, on: bool) -> None:
        """Start timing every call, from nothing, or stop. No run may be in progress."""
        self._c.profile(self._model, int(on))

    def share(self, entry: int, alone: Sequence[bool]) -> None:
        """From now on, run those calls of an entry on one thread that ``alone`` names, no others.

        For measuring; no run may be in progress.

        Raises:
            InvalidInput: the library is too old for it, or has another number of calls.
        """
        if len(alone) != self._c.call_count(self._model, entry):
            raise InvalidInput(f"{len(alone)} calls are given, and the library has others")
        if self._c.share is None:
            raise InvalidInput("the library lacks burnish_share; compile the model again")
        flags = bytes(alone)
        self._c.share(self._model, entry, flags)
        self._alone[entry] = flags

    def nanoseconds(self, entry: int) -> np.ndarray:
        """Return the time of each call of an entry while profiling was on, as uint64."""
        times = np.empty(self._c.call_count(self._model, entry), np.uint64)
        address = ctypes.cast(times.ctypes.data, POINTER(c_uint64))
        self._c.profile_read(self._model, entry, address)
        return times

    def call_times(self, entry: int) -> list[CallTime]:
        """Return the time that each call of an entry has taken while profiling was on."""
        nanoseconds = self.nanoseconds(entry).tolist()
        count = len(nanoseconds)
        names = [self._c.call_name(self._model, entry, i).decode() for i in range(count)]
        rounds: Sequence[int | None] = [None] * count
        if self._c.profile_rounds is not None:
            counted = (c_uint64 * count)()
            self._c.profile_rounds(self._model, entry, counted)
            rounds = list(counted)
        every = zip(names, nanoseconds, rounds, strict=True)
        return [CallTime(name, ns * 1e-9, made) for name, ns, made in every]

    def arena_bytes(self, entry: int) -> int:
        """Return the scratch memory of one run, in bytes."""
        return int(self._c.arena_bytes(self._model, entry))

    def _ports(self, entry: int, side: str) -> tuple[Port, ...]:
        count = getattr(self._c, f"{side}_count")(self._model, entry)
        found, tensor = [], _Tensor()
        for index in range(count):
            getattr(self._c, side)(self._model, entry, index, byref(tensor))
            shape = tuple(tensor.shape[axis] for axis in range(tensor.rank))
            axis = self._counted_axis(entry, index) if side == "output" else -1
            most = None if axis < 0 else shape[axis]
            shape = tuple(-1 if i == axis else size for i, size in enumerate(shape))
            found.append(Port(tensor.name.decode(), tensor.dtype.decode(), shape, most=most))
        return tuple(found)

    def _counted_axis(self, entry: int, output: int) -> int:
        if self._c.counted_axis is None:
            return -1
        return int(self._c.counted_axis(self._model, entry, output))

    def _error(self) -> str:
        return str(self._c.last_error().decode(errors="replace"))


class Run:
    """A run in parts: ranges of calls, with other engines between them."""

    def __init__(self, model: NativeModel, context: int, addresses: object) -> None:
        self._model = model
        """Kept: it would be closed once it is forgotten, and the context with it."""
        self._c = model._c
        self._context = context
        self._addresses = addresses
        """Kept: the library writes the outputs back at the end."""
        self._size = c_uint64()
        self._size_at = byref(self._size)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._c.end(self._context)

    def calls(self, first: int, last: int) -> None:
        """Run the calls first..last-1.

        Raises:
            BurnishError: a kernel failed.
        """
        if self._c.range(self._context, first, last):
            raise BurnishError(self._c.last_error().decode(errors="replace"))

    def counts(self, outputs: int) -> list[int]:
        """Return the size of the counted axis of each output, when all calls have run."""
        counts = (ctypes.c_int64 * outputs)()
        self._c.counts(self._context, counts)
        return list(counts)

    def array(self, port: Port) -> np.ndarray:
        """Return the buffer of `port`, where it lies; it is valid until the run ends.

        Raises:
            InvalidInput: the library has no such buffer, or one of another size.
        """
        kind, size = _form(port)
        address = self._c.buffer(self._context, port.buffer, self._size_at)
        if not address or self._size.value != size:
            raise InvalidInput(f"manifest and library disagree about the buffer of {port}")
        if not self._size.value:
            return np.empty(port.shape, kind)
        memory = (ctypes.c_uint8 * size).from_address(address)
        return np.ndarray(port.shape, kind, memoryview(memory))


@cache
def _form(port: Port) -> tuple[np.dtype[Any], int]:
    """Return the dtype of `port` and its size in bytes."""
    kind = numpy_dtype(port.dtype)
    return kind, math.prod(port.shape) * kind.itemsize


class _Functions:
    """The functions of a library, with their types; `c.run` is `burnish_run`."""

    def __init__(self, handle: ctypes.CDLL) -> None:
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(handle, f"burnish_{name}", None)
            if function is not None:
                function.restype, function.argtypes = result, arguments
            elif name not in _YOUNGER:
                raise InvalidInput(f"the library lacks burnish_{name}")
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def _close(functions: _Functions, model: int, library: SharedLibrary) -> None:
    functions.close(model)
    library.close()
