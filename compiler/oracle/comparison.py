"""What it means for two results to be equal, by the promise that a pass makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from burnish.ir import Array, DType
from burnish.numerics import Numerics

Values = Mapping[str, Any]
"""Results by name: arrays, or lists, dicts and None for sequences, maps and optionals."""


TOLERANCES = {
    DType.DOUBLE: 1e-8,
    DType.FLOAT: 1e-4,
    DType.FLOAT16: 1e-2,
    DType.BFLOAT16: 1e-2,
    DType.COMPLEX64: 1e-4,
    DType.COMPLEX128: 1e-8,
}
"""Largest error that REASSOCIATES allows, relative to the largest output."""


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """How one output compares."""

    name: str
    equal: bool
    error: float
    """Largest absolute error divided by the largest finite magnitude expected; 0 where bits agree,
    infinite where the results do not even have the same form."""
    worst: tuple[int, ...] | None
    """Index of the largest error, None if there is none."""
    reason: str
    """Why the output is not equal, empty if it is."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How all outputs compare."""

    outputs: tuple[OutputComparison, ...]

    @property
    def equal(self) -> bool:
        """Whether every output is equal."""
        return all(output.equal for output in self.outputs)

    @property
    def error(self) -> float:
        """The largest error of any output."""
        return max((output.error for output in self.outputs), default=0.0)

    def __bool__(self) -> bool:
        return self.equal

    def __str__(self) -> str:
        """One line: what differs, or how close the outputs are."""
        different = [f"{o.name}: {o.reason}" for o in self.outputs if not o.equal]
        return "; ".join(different) or f"equal, largest relative error {self.error:.3g}"


def compare(expected: Values, actual: Values, numerics: Numerics) -> Comparison:
    """Compare results by name under the promise ``numerics``.

    Shape, dtype, and the places of NaN and infinities must always agree. Beyond that: integers,
    bools and strings must be identical (unless LOSSY); floats bit-identical for EXACT, within
    ``TOLERANCES`` for REASSOCIATES; LOSSY only records the error.
    """
    want, have = dict(_flatten(expected)), dict(_flatten(actual))
    outputs = [
        _compare_one(name, want[name], have[name], numerics)
        if name in want and name in have
        else _different(name, "is missing" if name in want else "was not expected")
        for name in dict.fromkeys([*want, *have])
    ]
    return Comparison(tuple(outputs))


def _flatten(values: Values) -> Iterator[tuple[str, Array | None]]:
    """Arrays by name, with an index for those inside sequences and maps."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten({f"{name}[{key!r}]": item for key, item in value.items()})
        elif isinstance(value, list | tuple):
            yield f"len({name})", np.array(len(value))
            yield from _flatten({f"{name}[{i}]": item for i, item in enumerate(value)})
        else:
            yield name, None if value is None else np.asarray(value)


def _different(
    name: str, reason: str, error: float = float("inf"), worst: tuple[int, ...] | None = None
) -> OutputComparison:
    return OutputComparison(name, False, error, worst, reason)


def _compare_one(
    name: str, want: Array | None, have: Array | None, numerics: Numerics
) -> OutputComparison:
    if want is None or have is None:
        same = want is have
        return OutputComparison(name, same, 0.0 if same else float("inf"), None,
                                "" if same else "one of them is absent")  # fmt: skip
    if want.dtype != have.dtype and not want.dtype.kind == have.dtype.kind == "U":
        return _different(name, f"dtype {have.dtype} instead of {want.dtype}")
    if want.shape != have.shape:
        return _different(name, f"shape {have.shape} instead of {want.shape}")
    if want.dtype.kind in "OUSbiu" or _is_small_integer(want.dtype):
        return _compare_discrete(name, want, have, numerics)
    return _compare_floats(name, want, have, numerics)


def _is_small_integer(dtype: np.dtype[Any]) -> bool:
    return dtype in tuple(np.dtype(t) for t in (ml_dtypes.int4, ml_dtypes.uint4, ml_dtypes.int2,
                                                ml_dtypes.uint2))  # fmt: skip


def _compare_discrete(name: str, want: Array, have: Array, numerics: Numerics) -> OutputComparison:
    unequal = np.asarray(want != have)
    if not unequal.any():
        return OutputComparison(name, True, 0.0, None, "")
    share = float(unequal.mean())
    worst = _index(int(np.argmax(unequal)), want.shape)
    reason = (
        f"{int(unequal.sum())} of {want.size} elements differ, the first at {worst}: "
        f"{have[worst]} instead of {want[worst]}"
    )
    return OutputComparison(name, numerics is Numerics.LOSSY, share, worst, reason)


def _compare_floats(name: str, want: Array, have: Array, numerics: Numerics) -> OutputComparison:
    dtype = DType.from_numpy(want.dtype)
    if want.dtype.kind == "c":
        parts = [np.stack([a.real, a.imag], axis=-1) for a in (want, have)]
        want, have = parts
    wide = np.float64 if want.dtype != np.longdouble else np.longdouble
    expected, actual = want.astype(wide), have.astype(wide)
    finite = np.isfinite(expected)
    pattern = (
        (finite != np.isfinite(actual))
        | (np.isnan(expected) != np.isnan(actual))
        | (np.isinf(expected) & (expected != actual))
    )
    if pattern.any():
        worst = _index(int(np.argmax(pattern)), want.shape)
        return _different(name, f"{have[worst]} instead of {want[worst]} at {worst}", worst=worst)
    errors = np.abs(np.where(finite, actual, 0) - np.where(finite, expected, 0))
    if not errors.size or not (largest := float(errors.max())):
        return _compare_signs(name, want, have, numerics)
    worst = _index(int(np.argmax(errors)), want.shape)
    scale = float(np.abs(np.where(finite, expected, 0)).max())
    error = largest / scale if scale else float("inf")
    limit = _limit(dtype, numerics)
    reason = (
        f"largest error {error:.3g} of the largest output, {have[worst]} instead of "
        f"{want[worst]} at {worst}; {limit:.3g} is allowed"
    )
    equal = error <= limit
    return OutputComparison(name, equal, error, worst, "" if equal else reason)


def _compare_signs(name: str, want: Array, have: Array, numerics: Numerics) -> OutputComparison:
    """Numerically equal arrays may still differ in the signs of zeros, which EXACT forbids.

    The bits inside a NaN carry nothing and are not compared.
    """
    signs = (np.signbit(want) != np.signbit(have)) & (want == 0)
    if numerics is Numerics.EXACT and signs.any():
        worst = _index(int(np.argmax(signs)), want.shape)
        return _different(name, f"zero of the other sign at {worst}", 0.0, worst)
    return OutputComparison(name, True, 0.0, None, "")


def _limit(dtype: DType, numerics: Numerics) -> float:
    if numerics is Numerics.EXACT:
        return 0.0
    if numerics is Numerics.LOSSY:
        return float("inf")
    # Eight-bit and smaller floats: one unit in the last place.
    return TOLERANCES.get(dtype) or float(ml_dtypes.finfo(dtype.numpy).eps)  # type: ignore[no-untyped-call]


def _index(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(flat, shape))
