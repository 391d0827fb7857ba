"""The lowered program: buffers, and a list of kernel calls over them.

A `Program` is what remains of a model once every operator has become a kernel: no graph, only
calls in order, each writing its last arguments (destination passing). The memory plan, the
generated driver and the artifact are all made from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

_ITEM_BYTES = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "bfloat16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
}


class BufferKind(Enum):
    """Who owns the memory of a buffer."""

    INPUT = "input"
    """The caller's memory, read only."""
    OUTPUT = "output"
    """The caller's memory, written."""
    CONSTANT = "constant"
    """The mapped weights file, read only."""
    TEMPORARY = "temporary"
    """The arena."""


def item_bytes(dtype: str) -> int:
    """Return the bytes one element of `dtype` takes.

    Raises:
        ValueError: `dtype` is not one that a buffer can have.
    """
    try:
        return _ITEM_BYTES[dtype]
    except KeyError:
        known = ", ".join(_ITEM_BYTES)
        raise ValueError(f"buffers cannot hold {dtype!r}; known dtypes are {known}") from None


@dataclass(eq=False)
class Buffer:
    """A row-major tensor with a fixed shape. Identity is the object, never the name."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """A numpy dtype name, or "bfloat16"."""
    kind: BufferKind
    data: np.ndarray | None = None
    """The value of a CONSTANT that owns its bytes, None for all others."""
    alias_of: Buffer | None = None
    """The buffer whose bytes this one sees with another shape, dtype or start."""
    offset: int = 0
    """Where in `alias_of` this buffer starts, in bytes."""
    count: Count | None = None
    """How much of an OUTPUT a run fills; None if all of it."""
    within: tuple[int, ...] | None = None
    """Sizes of what it is a part of, axis by axis: the product of those that follow an axis is the
    distance of its elements. None where these are its own sizes, and it is contiguous."""

    @property
    def nbytes(self) -> int:
        """Size in bytes.

        Raises:
            ValueError: a dimension is -1, known only once ONNX Runtime has run the region.
        """
        if not self.is_static:
            raise ValueError(f"buffer {self.name} has no size before its region has run")
        return math.prod(self.shape) * item_bytes(self.dtype)

    @property
    def span(self) -> int:
        """Bytes from its first element to the end of its last one, those between its rows too."""
        last = 0
        for size, extent in zip(self.shape, self.within or self.shape, strict=True):
            last = last * extent + size - 1
        return (last + 1) * item_bytes(self.dtype) if self.nbytes else 0

    @property
    def is_static(self) -> bool:
        """Whether every dimension is known. Only what passes between regions need not be."""
        return all(size >= 0 for size in self.shape)

    def elements(self) -> tuple[Buffer, int, tuple[int, ...] | None, tuple[int, ...]]:
        """Which elements it holds: equal for buffers that hold the same ones."""
        return (*self.root(), self.within, self.shape)

    def root(self) -> tuple[Buffer, int]:
        """Return the buffer that owns the bytes, and where in it this one starts."""
        buffer, offset = self, 0
        while buffer.alias_of is not None:
            offset += buffer.offset
            buffer = buffer.alias_of
        return buffer, offset


@dataclass(frozen=True)
class Count:
    """How far a run fills an axis that has room for more."""

    axis: int
    buffer: Buffer
    """Where a kernel writes it, int64[1]."""


@dataclass(frozen=True)
class Work:
    """What a call does, for those who ask how well it does it."""

    flops: int = 0
    """Operations, a multiplication with an addition as two."""
    arithmetic: str = "float32"
    """The dtype that is multiplied."""
    operators: tuple[str, ...] = ()
    """Types of the operators that it computes."""
    sources: tuple[str, ...] = ()
    """Names of the nodes of the model that these came from."""
    selects: bool = False
    """Whether it reads only as much of an argument as it writes, as a lookup does."""


@dataclass(frozen=True, eq=False)
class Call:
    """One kernel call, or one region that ONNX Runtime runs on the host."""

    kernel: str
    """The kernel's name: the object exports it as `__tvm_ffi_<kernel>`."""
    args: tuple[Buffer, ...]
    """Inputs, then outputs."""
    outputs: int = 1
    """How many trailing arguments are written."""
    jump: int | None = None
    """Instead of calling a kernel, go on at this call, unless the one argument, if any, is true."""
    region: bytes | None = None
    """A serialized ONNX model to run instead of a kernel; its inputs and outputs are `args`."""
    alone: bool = False
    """Whether one thread runs it, though its kernel could share its work among all."""

    @property
    def reads(self) -> tuple[Buffer, ...]:
        """The arguments that are read."""
        return self.args[: len(self.args) - self.outputs]

    @property
    def writes(self) -> tuple[Buffer, ...]:
        """The arguments that are written."""
        return self.args[len(self.args) - self.outputs :]


@dataclass
class Program:
    """A model as kernel calls. INPUT and OUTPUT buffers have the model's own layout."""

    inputs: list[Buffer]
    outputs: list[Buffer]
    calls: list[Call]
    objects: list[bytes] = field(default_factory=list)
    """Object files that export the kernels."""
    metadata: dict[str, str] = field(default_factory=dict)
    parallel: frozenset[str] = frozenset()
    """Names of the kernels that can share their work among threads."""
    work: list[Work] = field(default_factory=list)
    """What each of `calls` does; empty where nobody knows."""
