"""Sine, cosine and inverse tangent of float32 numbers as polynomials.

Errors hold over the whole float32 range unless noted. NaN in gives NaN out.
"""

from collections.abc import Callable
from typing import TypeAlias

from tvm import ir, tirx

from burnish.backends.kernels.float_terms import (
    bits,
    clamp_keeping_nan,
    constant,
    from_bits,
    horner,
    integer,
    let,
)

Expr: TypeAlias = ir.Expr

_TWO_OVER_PI = 0.63661977236758134
_HALF_PI_HIGH = 1.57079632673412561417
"""pi / 2 to 33 bits, so that multiples up to 2**20 are exact in float64."""
_HALF_PI_LOW = 6.07710050650619224932e-11
_ROUND_SHIFT_64 = 6755399441055744.0
"""1.5 * 2**52: a sum with it ends in the nearest integer to the other term."""
_QUARTER_PI = 0.785398163397448
_SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
"""Cephes (S. L. Moshier), sinf.c: sin(r) = r + r**3 P(r**2), cos(r) = 1 - r**2/2 + r**4 Q(r**2)."""


def _double(value: float) -> Expr:
    return tirx.const(value, "float64")


def _reduced(x: Expr, finish: Callable[[Expr, Expr], Expr]) -> Expr:
    """`finish` of r in [-pi/4, pi/4] and the low bits of n, where x = n pi/2 + r.

    In float64, so that r is right to 2e-16 of `x`; what is too large even for that stays bounded.
    """

    def subtract(wide: Expr, shifted: Expr) -> Expr:
        n = shifted - _double(_ROUND_SHIFT_64)
        rest = wide - n * _double(_HALF_PI_HIGH) - n * _double(_HALF_PI_LOW)
        turns = tirx.reinterpret("int64", shifted).astype("int32")
        bounded = clamp_keeping_nan(rest.astype("float32"), -_QUARTER_PI, _QUARTER_PI)
        return let(turns, lambda t: let(bounded, lambda r: finish(r, t)), "int32")

    return let(
        x.astype("float64"),
        lambda wide: let(
            wide * _double(_TWO_OVER_PI) + _double(_ROUND_SHIFT_64),
            lambda shifted: subtract(wide, shifted),
            "float64",
        ),
        "float64",
    )


def _circle(r: Expr, combine: Callable[[Expr, Expr], Expr]) -> Expr:
    """`combine` of sin(r) and cos(r), |r| <= pi/4."""
    return let(
        r * r,
        lambda z: combine(
            r * z * horner(z, _SIN) + r,
            z * z * horner(z, _COS) - constant(0.5) * z + constant(1.0),
        ),
    )


def _quadrant(turns: Expr, sine: Expr, cosine: Expr) -> Expr:
    """The sine of `turns` quarter turns and the angle whose sine and cosine are given."""
    odd = tirx.bitwise_and(turns, integer(1)) == integer(1)
    sign = tirx.shift_left(tirx.bitwise_and(turns, integer(2)), integer(30))
    return from_bits(tirx.bitwise_xor(bits(tirx.Select(odd, cosine, sine)), sign))


def sin(x: Expr) -> Expr:
    """Sine, absolute error at most 2e-7 for |x| up to 1e8; within [-1, 1] beyond."""
    return _reduced(x, lambda r, n: _circle(r, lambda s, c: _quadrant(n, s, c)))


def cos(x: Expr) -> Expr:
    """Cosine, absolute error at most 2e-7 for |x| up to 1e8; within [-1, 1] beyond."""
    return _reduced(x, lambda r, n: _circle(r, lambda s, c: _quadrant(n + integer(1), s, c)))


_ATAN = (8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1)
"""Cephes, atanf.c: atan(r) = r + r**3 P(r**2) for |r| <= tan(pi/8)."""
_TAN_EIGHTH_PI, _TAN_THREE_EIGHTHS_PI = 0.4142135623730950, 2.414213562373095
_HALF_PI = 1.57079632679489662


def atan(x: Expr) -> Expr:
    """Inverse tangent, error at most 3e-7."""

    def series(start: Expr, r: Expr) -> Expr:
        return let(r, lambda r: let(r * r, lambda z: start + (r * z * horner(z, _ATAN) + r)))

    def positive(t: Expr) -> Expr:
        one = constant(1.0)
        large, middle = t > constant(_TAN_THREE_EIGHTHS_PI), t > constant(_TAN_EIGHTH_PI)
        above = tirx.Select(large, -one, tirx.Select(middle, t - one, t))
        below = tirx.Select(large, t, tirx.Select(middle, t + one, one))
        quarter, half = constant(_QUARTER_PI), constant(_HALF_PI)
        start = tirx.Select(large, half, tirx.Select(middle, quarter, constant(0.0)))
        return series(start, above / below)

    return let(x, lambda x: _signed(x, let(tirx.abs(x), positive)))


def _signed(x: Expr, magnitude: Expr) -> Expr:
    """`magnitude`, not negative, with the sign of `x`."""
    sign = tirx.bitwise_and(bits(x), tirx.const(-(1 << 31), "int32"))
    return from_bits(tirx.bitwise_or(bits(magnitude), sign))
