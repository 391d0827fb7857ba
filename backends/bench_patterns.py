"""Arguments of kernels that are timed: both sides know every element without sending any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from math import prod

import numpy as np

from burnish.backends.kernels import packing

PERIOD = 65521
"""Elements after which a pattern repeats: a prime, so that no stride of a kernel meets it."""
TOLERANCE = 1e-3
"""Largest difference from what is expected, relative to the largest value expected: what is wrong
differs by far more, and how coarsely a kernel may round is for the whole model to say."""
_ULPS = 4
_STORED, _ROUNDED = np.uint16, 1e-2
"""How kernels see bfloat16 numbers: as their bits; and how far two such results may differ."""
_QUANTIZED = (np.dtype(np.int8), np.dtype(np.uint8))


@dataclass(frozen=True)
class Patterns:
    """Arguments of a kernel: floats between -1 and 1, bfloat16 too, integers 0 or 1.

    Zero and one are in range as indices into almost anything.
    """

    arguments: tuple[tuple[tuple[int, ...], str], ...]
    """Shape and dtype of each."""
    quads: Mapping[int, int] = field(default_factory=dict)
    """How many bytes long weights are that lie in quads (see `packing.quads`), by number: kernels
    rely on the zeros that fill these up, which no definition reads."""

    def array(self, number: int) -> np.ndarray:
        """Argument number ``number``, as a whole."""
        shape, dtype = self.arguments[number]
        start = _start(number)
        array = np.resize(np.roll(_table(dtype), -start), prod(shape)).reshape(shape)
        if number not in self.quads:
            return array
        return array * packing.quads(np.ones((self.quads[number], shape[-2]), array.dtype))

    def at(self, number: int, places: np.ndarray) -> np.ndarray:
        """Its elements at flat ``places``."""
        table = _table(self.arguments[number][1])
        return np.asarray(table[(places + _start(number)) % PERIOD])


@dataclass(frozen=True)
class Expected:
    """What a kernel is to write at some places of one of its arguments."""

    argument: int
    places: np.ndarray
    values: np.ndarray
    """Floats, bytes that may be a step apart, or other integers that have to be met exactly."""


def agree(expected: np.ndarray, actual: np.ndarray) -> bool:
    """Whether two results differ by rounding alone, in the precision of ``actual``."""
    tolerance = TOLERANCE
    if actual.dtype == _STORED:
        expected, actual, tolerance = _widened(expected), _widened(actual), _ROUNDED
    if actual.dtype in _QUANTIZED:
        # What lies halfway may be rounded either way.
        return bool((np.abs(expected.astype(np.int16) - actual.astype(np.int16)) <= 1).all())
    if actual.dtype.kind != "f":
        return bool(np.array_equal(expected, actual))
    scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0)) or 1.0
    allowed = max(tolerance, _ULPS * float(np.finfo(actual.dtype).eps)) * scale
    return bool(np.allclose(actual, expected, rtol=0.0, atol=allowed, equal_nan=True))


def _widened(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _start(number: int) -> int:
    """Where in the pattern an argument begins: each elsewhere."""
    return 4099 * (number + 1) % PERIOD


@cache
def _table(dtype: str) -> np.ndarray:
    random = np.random.default_rng(0)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return random.uniform(-1, 1, PERIOD).astype(kind)
    if kind == _STORED:
        numbers = random.uniform(-1, 1, PERIOD).astype(np.float32)
        return (numbers.view(np.uint32) >> 16).astype(kind)
    return random.integers(0, 2, PERIOD).astype(kind)
