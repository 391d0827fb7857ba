"""The weights file: every constant of every entry once, each at a multiple of a cache line.

The layout is that of `runtime/weights.c`: a header of 64 bytes (magic, payload size, SHA-256 of
the payload, zeros), then the payload.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from burnish.backends.memory_plan import ALIGNMENT
from burnish.backends.program import Buffer, BufferKind, Program

MAGIC = b"BURNWT01"
HEADER_BYTES = 64


@dataclass(frozen=True)
class Weights:
    """The constants of a model, laid out."""

    offsets: dict[Buffer, int]
    """Start in the payload, in bytes, of each CONSTANT that is not an alias."""
    arrays: tuple[np.ndarray, ...]
    """The distinct values in the order of the file."""
    payload_bytes: int
    digest: bytes
    """SHA-256 of the payload."""

    def chunks(self) -> Iterator[bytes | memoryview]:
        """Yield the file piece by piece, so that no second copy of the weights is ever held."""
        header = struct.pack("<8sQ32s", MAGIC, self.payload_bytes, self.digest)
        yield header.ljust(HEADER_BYTES, b"\0")
        yield from _payload(self.arrays)


def lay_out_weights(programs: Sequence[Program]) -> Weights:
    """Place the constants of `programs` in order of first use; equal bytes are stored once.

    Raises:
        ValueError: a constant has no data, or not as many bytes as its shape says.
    """
    offsets: dict[Buffer, int] = {}
    known: dict[bytes, int] = {}
    arrays: list[np.ndarray] = []
    end = 0
    for buffer in _constants(programs):
        array = _bytes_of(buffer)
        key = hashlib.sha256(array.data).digest()
        if key not in known:
            known[key] = end
            arrays.append(array)
            end += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        offsets[buffer] = known[key]
    digest = hashlib.sha256()
    for chunk in _payload(arrays):
        digest.update(chunk)
    return Weights(offsets, tuple(arrays), end, digest.digest())


def _constants(programs: Iterable[Program]) -> Iterable[Buffer]:
    owners = (
        buffer.root()[0] for program in programs for call in program.calls for buffer in call.args
    )
    return dict.fromkeys(owner for owner in owners if owner.kind is BufferKind.CONSTANT)


def _bytes_of(buffer: Buffer) -> np.ndarray:
    if buffer.data is None:
        raise ValueError(f"constant {buffer.name} has no data")
    array = np.ascontiguousarray(buffer.data).reshape(-1).view(np.uint8)
    if array.nbytes != buffer.nbytes:
        raise ValueError(
            f"constant {buffer.name} has {array.nbytes} bytes; {buffer.dtype} of shape "
            f"{buffer.shape} takes {buffer.nbytes}"
        )
    return array


def _payload(arrays: Iterable[np.ndarray]) -> Iterator[bytes | memoryview]:
    for array in arrays:
        yield array.data
        yield bytes(-array.nbytes % ALIGNMENT)
