"""The golden vectors of an artifact: inputs, and what the original model answers to them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from burnish.errors import InvalidInput

NAME = "selftest.npz"

Tensors: TypeAlias = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Vector:
    """One run of one entry."""

    inputs: Tensors
    outputs: Tensors


@dataclass(frozen=True)
class Deviation:
    """How far one output is from what is expected."""

    output: str
    error: float
    """Largest difference relative to the largest expected magnitude; infinite where the two
    differ in shape, dtype, the place of NaN or infinity, or as integers."""


def pack_vectors(vectors: Sequence[Vector]) -> bytes:
    """Serialize one vector for each entry; equal vectors give equal bytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for number, vector in enumerate(vectors):
            for side, tensors in (("input", vector.inputs), ("output", vector.outputs)):
                for index, array in enumerate(tensors.values()):
                    data = io.BytesIO()
                    plain = np.asarray(array, order="C")
                    # numpy's format does not know bfloat16: its bits are kept.
                    bits = plain.view(np.uint16) if plain.dtype.name == "bfloat16" else plain
                    np.lib.format.write_array(data, bits, allow_pickle=False)
                    info = zipfile.ZipInfo(f"{number}.{side}.{index}.npy")
                    archive.writestr(info, data.getvalue())
    return target.getvalue()


def unpack_vector(
    data: bytes, entry: int, inputs: Mapping[str, np.dtype], outputs: Mapping[str, np.dtype]
) -> Vector:
    """Read the vector of one entry.

    Args:
        data: What `pack_vectors` made.
        entry: The entry's number.
        inputs: Names of the entry's inputs, in order, and their dtypes.
        outputs: The same of its outputs.

    Raises:
        InvalidInput: it is not there, or cannot be read.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return Vector(
                *(
                    {
                        name: _restore(arrays[f"{entry}.{side}.{index}"], dtype)
                        for index, (name, dtype) in enumerate(ports.items())
                    }
                    for side, ports in (("input", inputs), ("output", outputs))
                )
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{NAME} has no vector for entry {entry}: {error}") from error


def _restore(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return array.view(dtype) if dtype.name == "bfloat16" else array


def deviation(name: str, given: np.ndarray, expected: np.ndarray) -> Deviation:
    """Measure how far `given` is from `expected`."""
    worst = Deviation(name, float("inf"))
    if given.shape != expected.shape or given.dtype != expected.dtype:
        return worst
    if expected.dtype.kind in "biu":
        return Deviation(name, 0.0) if np.array_equal(given, expected) else worst
    a, b = given.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(b)
    same_others = np.array_equal(a[~finite], b[~finite], equal_nan=True)
    if not same_others or not np.isfinite(a[finite]).all():
        return worst
    if not finite.any():
        return Deviation(name, 0.0)
    scale = np.abs(b[finite]).max()
    error = np.abs(a[finite] - b[finite]).max()
    return Deviation(name, float(error / scale) if scale else float(error))
