"""Affine quantization of single numbers: integers that stand for ``(q - zero) * scale``.

Both directions are plain arithmetic that LLVM makes vectors of. Rounding is done by an addition:
the sum of a number below 2**22 and 1.5 * 2**23 ends in the nearest integer, to even between two,
as two's complement, so that its lowest byte is the result. Unlike a conversion, that is defined for
every bit pattern: NaN gives the least number.
"""

import math

import numpy as np
from tvm import tirx
from tvm.ir import Expr

from burnish.backends.kernels.float_terms import bits, constant

_ROUND_SHIFT = 1.5 * 2**23
_RANGES = {
    "int8": (-(2**7), 2**7 - 1),
    "uint8": (0, 2**8 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
}
"""What `quantized` makes, with least and greatest numbers."""


def dequantized(stored: Expr, scale: Expr, zero: Expr | None) -> Expr:
    """``(stored - zero) * scale`` in float32, the difference of integers exact."""
    value = stored.astype("int32")
    if zero is not None and not _is_zero(zero):
        value = value - zero.astype("int32")
    return value.astype("float32") * scale


def quantized(
    value: Expr, scale: Expr, zero: Expr | None, dtype: str, uniform: bool = True
) -> Expr:
    """A float32 ``value`` as ``saturate(round(value / scale) + zero)``, half rounded to even.

    Args:
        value: any number; NaN gives the least number of ``dtype``.
        scale: a positive number.
        zero: None for 0.
        dtype: int8, uint8, int16 or uint16.
        uniform: whether ``scale`` is the same for many values: they are then multiplied by its
            reciprocal, which can move what lies within an ulp of halfway by one step.
    """
    low, high = _RANGES[dtype]
    scaled = _quotient(value, scale, uniform)
    if zero is None or isinstance(zero, tirx.IntImm):
        middle = 0 if zero is None else int(zero.value)
        clamped = _clamped(scaled, constant(low - middle), constant(high - middle))
        # An even number moves no tie: it is added at no cost.
        odd = middle % 2
        result = bits(clamped + constant(_ROUND_SHIFT + middle - odd))
        return (result + tirx.const(odd, "int32") if odd else result).astype(dtype)
    offset = zero.astype("float32")
    clamped = _clamped(scaled, constant(low) - offset, constant(high) - offset)
    return (bits(clamped + constant(_ROUND_SHIFT)) + zero.astype("int32")).astype(dtype)


def _quotient(value: Expr, scale: Expr, uniform: bool) -> Expr:
    if not uniform:
        return value / scale
    if not isinstance(scale, tirx.FloatImm):
        return value * (constant(1.0) / scale)
    with np.errstate(over="ignore", divide="ignore"):
        reciprocal = float(np.float32(1) / np.float32(scale.value))
    # One that is no normal number has lost bits.
    is_normal = math.isfinite(reciprocal) and reciprocal >= float(np.finfo(np.float32).tiny)
    return value * constant(reciprocal) if is_normal else value / scale


def _clamped(value: Expr, low: Expr, high: Expr) -> Expr:
    # In this order a NaN loses the first comparison.
    return tirx.min(tirx.max(value, low), high)


def _is_zero(value: Expr) -> bool:
    return isinstance(value, tirx.IntImm) and int(value.value) == 0
