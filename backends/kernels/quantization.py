"""Affine quantization of single numbers: integers that stand for ``(q - zero) * scale``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.ir import Expr

from burnish.backends.kernels.exact import quotient, separate, unwrapped
from burnish.backends.kernels.float_terms import constant, integer
from burnish.backends.kernels.saturation import BOUND, RANGES, saturated


def dequantized(stored: Expr, scale: Expr, zero: Expr | None) -> Expr:
    """``(stored - zero) * scale`` in float32, the difference of integers exact."""
    value = stored.astype("int32")
    if zero is not None and not _is_zero(zero):
        value = value - zero.astype("int32")
    single = value.astype("float32")
    is_one = isinstance(scale, tirx.FloatImm) and scale.value == 1
    return single if is_one else separate(single * scale)


def quantized(
    value: Expr, scale: Expr, zero: Expr | None, dtype: str, uniform: bool = True
) -> Expr:
    """A float32 ``value`` as ``saturate(round(value / scale) + zero)``, half rounded to even.

    Args:
        value: any number; NaN gives the least number of ``dtype``.
        scale: a positive number.
        zero: None for 0.
        dtype: int8, uint8, int16 or uint16.
        uniform: whether ``scale`` is the same for many values. A sum of stored numbers then has
            one factor for each, which can move what lies within an ulp of halfway by one step;
            other quotients are as of a division.
    """
    middle = integer(0) if zero is None else zero.astype("int32")
    folded = _folded(value, scale) if uniform else None
    if folded is not None and folded.reach < BOUND:
        return saturated(folded.written(), middle, dtype, bounded=True)
    scaled = _quotient(value, scale, uniform) if folded is None else folded.written()
    return saturated(scaled, middle, dtype)


def _quotient(value: Expr, scale: Expr, uniform: bool) -> Expr:
    if not uniform:
        return value / scale
    if not isinstance(scale, tirx.FloatImm):
        return quotient(value, scale)
    if scale.value == 1:
        return value
    with np.errstate(over="ignore", divide="ignore"):
        reciprocal = float(np.float32(1) / np.float32(scale.value))
    # One that is no normal number has lost bits.
    is_normal = math.isfinite(reciprocal) and reciprocal >= float(np.finfo(np.float32).tiny)
    return quotient(value, scale) if is_normal else value / scale


def _is_zero(value: Expr) -> bool:
    return isinstance(value, tirx.IntImm) and int(value.value) == 0


@dataclass(frozen=True)
class _Sum:
    """Numbers times factors, and a number."""

    terms: tuple[tuple[Expr, float], ...] = ()
    offset: float = 0.0

    def times(self, factor: float) -> _Sum:
        """All of it times a number."""
        return _Sum(tuple((term, f * factor) for term, f in self.terms), self.offset * factor)

    def plus(self, other: _Sum) -> _Sum:
        """The sum of both."""
        return _Sum((*self.terms, *other.terms), self.offset + other.offset)

    @property
    def has_stored(self) -> bool:
        """Whether it has a number that is stored as an integer."""
        return any(isinstance(term, tirx.Cast) for term, _ in self.terms)

    @property
    def reach(self) -> float:
        """The largest magnitude that it can have."""
        return abs(self.offset) + sum(abs(f) * _magnitude(term) for term, f in self.terms)

    def written(self) -> Expr:
        """As an expression, one multiplication and addition for each number."""
        total = constant(self.offset)
        for term, factor in self.terms:
            total = term * constant(factor) + total
        return total


def _folded(value: Expr, scale: Expr) -> _Sum | None:
    """``value / scale`` with one factor for each stored number that it is a sum of.

    None where that is not known, or spares nothing. The factors are those of exact arithmetic.
    """
    found = _sum(value)
    if not isinstance(scale, tirx.FloatImm) or scale.value <= 0 or not found.has_stored:
        return None
    found = found.times(1.0 / scale.value)
    numbers = [found.offset, *(factor for _, factor in found.terms)]
    return found if max(map(abs, numbers)) < BOUND else None


def _sum(x: Expr) -> _Sum:
    """``x`` as a sum; itself, if it is none of stored numbers."""
    x = unwrapped(x)
    if isinstance(x, tirx.FloatImm):
        return _Sum((), float(x.value))
    if isinstance(x, tirx.Cast) and str(x.ty) == "float32":
        return _difference(x.value)
    if isinstance(x, tirx.Add | tirx.Sub):
        a, b = _sum(x.a), _sum(x.b)
        found = a.plus(b.times(-1.0 if isinstance(x, tirx.Sub) else 1.0))
        return found if found.has_stored else _Sum(((x, 1.0),))
    if isinstance(x, tirx.Mul):
        for a, b in ((x.a, x.b), (x.b, x.a)):
            if isinstance(b, tirx.FloatImm) and (found := _sum(a)).has_stored:
                return found.times(float(b.value))
    return _Sum(((x, 1.0),))


def _difference(x: Expr) -> _Sum:
    """The float32 value of an integer, a zero point apart where no bit is lost by that."""
    if isinstance(x, tirx.Add | tirx.Sub) and isinstance(x.b, tirx.IntImm):
        if _magnitude(x.a) < math.inf:
            sign = -1.0 if isinstance(x, tirx.Sub) else 1.0
            return _Sum(((x.a.astype("float32"), 1.0),), sign * float(x.b.value))
    return _Sum(((x.astype("float32"), 1.0),))


def _magnitude(term: Expr) -> float:
    """The largest magnitude of a number; infinite if its type does not tell."""
    while isinstance(term, tirx.Cast):
        term = term.value
    low, high = RANGES.get(str(term.ty), (0, math.inf))
    return max(-low, high)
