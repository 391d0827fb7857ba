"""The golden vectors of an artifact: inputs, and what the original model answers to them."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from burnish.backends.arrays import numpy_dtype
from burnish.backends.manifest import Port
from burnish.errors import InvalidInput

NAME = "selftest.npz"
LARGE = 1 << 16
"""Bytes beyond which inputs repeat themselves, and a part of an output stands for all of it."""
PERIOD = 8191
"""Elements after which a large input repeats itself: a prime, so that no two rows are alike."""
SAMPLES = 1 << 14
"""Elements of a large output that are kept, more or less."""

_SIDES = ("low", "high")
"""What the files of bounds end in."""

_UNREADABLE = (
    OSError, ValueError, LookupError, EOFError, MemoryError, ArithmeticError, RuntimeError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading a damaged archive raises."""

Tensors: TypeAlias = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Vector:
    """One run of one entry."""

    inputs: Tensors
    outputs: Tensors
    leeway: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    """The lowest and highest values, where an output may be others than are expected: one that
    rounds numbers which code computes in its own order."""


@dataclass(frozen=True)
class Expected:
    """What a vector keeps of an output: every `step`-th element from `start` on."""

    values: np.ndarray
    """The whole output if `step` is 1, else in one axis."""
    shape: tuple[int, ...]
    """Of the whole output."""
    start: int = 0
    step: int = 1
    leeway: tuple[np.ndarray, np.ndarray] | None = None
    """The lowest and highest that each of `values` may be; None if they may be nothing else."""

    @classmethod
    def of(cls, array: np.ndarray) -> Expected:
        """Keep elements from every part of `array`, the largest among them."""
        step = -(-array.size // SAMPLES) if array.nbytes > LARGE else 1
        # Without a common divisor no row, column or channel is left out for good.
        while math.gcd(step, array.size) > 1:
            step += 1
        if step == 1:
            return cls(array, array.shape)
        flat = array.reshape(-1)
        start = _largest(flat) % step
        return cls(np.ascontiguousarray(flat[start::step]), array.shape, start, step)

    def deviation(self, name: str, given: np.ndarray) -> Deviation:
        """Measure how far `given` is from what is expected."""
        if given.shape != self.shape:
            return Deviation(name, float("inf"))
        kept = self.part(given)
        if self.leeway is not None and kept.dtype == self.values.dtype:
            low, high = self.leeway
            kept = np.where((low <= kept) & (kept <= high), self.values, kept)
        return deviation(name, kept, self.values)

    def part(self, whole: np.ndarray) -> np.ndarray:
        """The elements of an output that are kept."""
        return whole if self.step == 1 else whole.reshape(-1)[self.start :: self.step]

    def within(self, leeway: tuple[np.ndarray, np.ndarray] | None) -> Expected:
        """The same with the `leeway` of the whole output, as far as it leaves any."""
        if leeway is None:
            return self
        low, high = (np.asarray(self.part(side), order="C") for side in leeway)
        is_free = not (np.array_equal(low, self.values) and np.array_equal(high, self.values))
        return replace(self, leeway=(low, high)) if is_free else self


@dataclass(frozen=True)
class Example:
    """A vector as an artifact holds it."""

    inputs: Tensors
    outputs: Mapping[str, Expected]


@dataclass(frozen=True)
class Deviation:
    """How far one output is from what is expected."""

    output: str
    error: float
    """Largest difference relative to the largest expected magnitude; infinite where the two
    differ in shape, dtype, the place of NaN or infinity, or as integers."""
    entry: int = 0
    """The number of the entry that was run."""


def repeating(array: np.ndarray) -> np.ndarray:
    """Return `array`, or if it is large one that repeats its first elements and so stores small."""
    if array.nbytes <= LARGE or array.size <= PERIOD:
        return array
    return np.resize(array.reshape(-1)[:PERIOD], array.shape)


def pack_vectors(vectors: Sequence[Vector]) -> bytes:
    """Serialize one vector for each entry; equal vectors give equal bytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for number, vector in enumerate(vectors):
            for index, array in enumerate(vector.inputs.values()):
                _write(archive, f"{number}.input.{index}", _period(np.asarray(array, order="C")))
            for index, (name, array) in enumerate(vector.outputs.items()):
                kept = Expected.of(np.asarray(array, order="C")).within(vector.leeway.get(name))
                _write(archive, f"{number}.output.{index}", kept.values)
                for side, values in zip(_SIDES, kept.leeway or (), strict=False):
                    _write(archive, f"{number}.output.{index}.{side}", values)
                if kept.step > 1:
                    steps = np.array([kept.start, kept.step, *kept.shape], np.int64)
                    _write(archive, f"{number}.output.{index}.step", steps)
    return target.getvalue()


def _write(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    data = io.BytesIO()
    # numpy's format does not know bfloat16: its bits are kept.
    bits = array.view(np.uint16) if array.dtype.name == "bfloat16" else array
    np.lib.format.write_array(data, bits, allow_pickle=False)
    archive.writestr(zipfile.ZipInfo(f"{name}.npy"), data.getvalue())


def _period(array: np.ndarray) -> np.ndarray:
    """The part of `array` that it repeats, else all of it."""
    if array.nbytes <= LARGE or array.size <= PERIOD:
        return array
    flat = array.reshape(-1)
    return flat[:PERIOD] if np.array_equal(flat[PERIOD:], flat[:-PERIOD]) else array


def _largest(flat: np.ndarray) -> int:
    """Where the largest finite magnitude is."""
    if flat.dtype.kind in "biu":
        return 0
    magnitudes = np.abs(flat.astype(np.float32))
    return int(np.argmax(np.where(np.isfinite(magnitudes), magnitudes, -1)))


def unpack_vector(
    data: bytes, entry: int, inputs: Sequence[Port], outputs: Sequence[Port]
) -> Example:
    """Read the vector of one entry.

    Args:
        data: What `pack_vectors` made.
        entry: The entry's number.
        inputs: The entry's inputs, in order.
        outputs: Its outputs.

    Raises:
        InvalidInput: it is not there, or cannot be read.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            given = {
                port.name: _whole(_restore(arrays[f"{entry}.input.{index}"], port), port.shape)
                for index, port in enumerate(inputs)
            }
            # A model may list an output twice; a vector has one array for each name.
            distinct = {port.name: port for port in outputs}
            kept = {
                name: _expected(arrays, f"{entry}.output.{index}", port)
                for index, (name, port) in enumerate(distinct.items())
            }
            return Example(given, kept)
    except _UNREADABLE as error:
        raise InvalidInput(f"{NAME} has no vector for entry {entry}: {error}") from error


def _whole(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An input again of which one period was kept."""
    if array.shape == shape or array.ndim != 1 or not 0 < array.size < math.prod(shape):
        return array
    return np.resize(array, shape)


def _expected(arrays: Mapping[str, np.ndarray], name: str, port: Port) -> Expected:
    values = _restore(arrays[name], port)
    leeway = None
    if all(f"{name}.{side}" in arrays for side in _SIDES):
        low, high = (_restore(arrays[f"{name}.{side}"], port) for side in _SIDES)
        if not low.shape == high.shape == values.shape:
            raise ValueError(f"{name} has bounds of another shape")
        leeway = low, high
    if f"{name}.step" not in arrays:
        return Expected(values, values.shape, leeway=leeway)
    start, step, *shape = (int(number) for number in arrays[f"{name}.step"])
    if start < 0 or step < 1:
        raise ValueError(f"{name} keeps every {step}-th element from {start} on")
    # Older vectors do not have it.
    return Expected(values, tuple(shape) if shape else port.shape, start, step, leeway)


def _restore(array: np.ndarray, port: Port) -> np.ndarray:
    return array.view(numpy_dtype(port.dtype)) if port.dtype == "bfloat16" else array


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
