"""The weights file: aligned, deduplicated, the same bytes for the same constants."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest

from burnish.backends.program import Buffer, BufferKind, Call, Program
from burnish.backends.weights import HEADER_BYTES, MAGIC, lay_out_weights


def constant(name: str, data: np.ndarray) -> Buffer:
    return Buffer(name, data.shape, data.dtype.name, BufferKind.CONSTANT, data)


def program(*constants: Buffer) -> Program:
    return Program([], [], [Call("k", constants, outputs=0)])


def test_header_tells_size_and_hash() -> None:
    weights = lay_out_weights([program(constant("w", np.arange(5, dtype=np.float32)))])
    data = b"".join(bytes(chunk) for chunk in weights.chunks())
    magic, size, digest = struct.unpack_from("<8sQ32s", data)
    payload = data[HEADER_BYTES:]
    assert (magic, size) == (MAGIC, 64)
    assert digest == hashlib.sha256(payload).digest() == weights.digest
    assert payload[:20] == np.arange(5, dtype=np.float32).tobytes()


def test_every_constant_is_aligned_and_found() -> None:
    rng = np.random.default_rng(0)
    buffers = [constant(str(n), rng.integers(0, 255, n, np.uint8)) for n in (1, 63, 64, 65, 200)]
    weights = lay_out_weights([program(*buffers)])
    payload = b"".join(bytes(chunk) for chunk in weights.chunks())[HEADER_BYTES:]
    for buffer in buffers:
        at = weights.offsets[buffer]
        assert at % 64 == 0
        assert buffer.data is not None
        assert payload[at : at + buffer.nbytes] == buffer.data.tobytes()


def test_equal_bytes_are_stored_once_across_entries() -> None:
    ones = [constant(name, np.ones(100, np.float32)) for name in "ab"]
    weights = lay_out_weights([program(ones[0]), program(ones[1])])
    assert weights.offsets[ones[0]] == weights.offsets[ones[1]]
    assert weights.payload_bytes == 448


def test_near_equal_bytes_are_not_shared() -> None:
    a, b = np.ones(16, np.float32), np.ones(16, np.float32)
    b[15] = np.nextafter(np.float32(1), np.float32(2))
    weights = lay_out_weights([program(constant("a", a), constant("b", b))])
    assert weights.payload_bytes == 128


def test_transposed_data_is_stored_row_major() -> None:
    data = np.arange(6, dtype=np.float32).reshape(2, 3).T
    weights = lay_out_weights([program(constant("w", data))])
    payload = b"".join(bytes(chunk) for chunk in weights.chunks())[HEADER_BYTES:]
    assert payload[:24] == np.ascontiguousarray(data).tobytes()


def test_no_constants_no_payload() -> None:
    weights = lay_out_weights([program()])
    assert weights.payload_bytes == 0
    assert len(b"".join(bytes(chunk) for chunk in weights.chunks())) == HEADER_BYTES


def test_data_of_another_size_is_an_error() -> None:
    buffer = Buffer("w", (3,), "float32", BufferKind.CONSTANT, np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="constant w has 16 bytes"):
        lay_out_weights([program(buffer)])


def test_missing_data_is_an_error() -> None:
    with pytest.raises(ValueError, match="constant w has no data"):
        lay_out_weights([program(Buffer("w", (3,), "float32", BufferKind.CONSTANT))])
