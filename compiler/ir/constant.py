"""Constant tensors, loaded when they are first looked at."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from burnish.ir.dtype import DType

Array = NDArray[Any]


class Constant:
    """An immutable tensor value, possibly still on disk.

    Rewrites never edit one in place: weights may be shared. They make a new one instead.
    """

    __slots__ = ("_array", "_fingerprint", "_load", "dtype", "origin", "shape")

    def __init__(
        self, shape: tuple[int, ...], dtype: DType, load: Callable[[], Array] | Array
    ) -> None:
        """Describe a tensor of ``shape`` and ``dtype``; ``load`` is its array or produces it."""
        self.shape = shape
        self.dtype = dtype
        self._array: Array | None = None
        self._load: Callable[[], Array] | None = None
        self._fingerprint: bytes | None = None
        self.origin: Constant | None = None
        """What this was rounded from, as long as that is known: it is not saved."""
        if isinstance(load, np.ndarray):
            self._array = load
        else:
            self._load = load

    @classmethod
    def of(cls, array: Array) -> Constant:
        """Wrap a numpy array (its dtype must be one that ONNX can store)."""
        return cls(array.shape, DType.from_numpy(array.dtype), array)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the elements take in a file."""
        return (self.size * self.dtype.bits + 7) // 8

    def numpy(self) -> Array:
        """The value, read-only; loaded on first use and kept."""
        if self._array is None:
            assert self._load is not None
            self._array = self._load()
            self._load = None
        view = self._array.view()
        view.flags.writeable = False
        return view

    def fingerprint(self) -> bytes:
        """A hash of shape, type and bytes, long enough to stand for them."""
        if self._fingerprint is None:
            array = np.ascontiguousarray(self.numpy())
            payload = repr(array.tolist()).encode() if array.dtype.kind == "O" else array.tobytes()
            header = f"{self.dtype.name}{self.shape}".encode()
            self._fingerprint = hashlib.sha256(header + payload).digest()
        return self._fingerprint

    def digest(self) -> str:
        """The start of the fingerprint, for printing."""
        return self.fingerprint().hex()[:12]

    def same_value(self, other: Constant) -> bool:
        """Whether both hold the same type, shape and bits (NaN equals NaN)."""
        if self is other:
            return True
        if self.dtype is not other.dtype or self.shape != other.shape:
            return False
        return self.fingerprint() == other.fingerprint()
