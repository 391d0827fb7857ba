"""Polynomial float32 transcendentals that LLVM can vectorize.

A call into the C library costs one call per element and stops vectorization. `rewrite` replaces
such calls, and the sums that make a logistic or a normal distribution of them, by straight-line
arithmetic on the same values. Stated errors are relative to float64
and hold over the whole float32 range unless noted; results below 1e-37 in magnitude may flush to
zero. NaN in gives NaN out; infinities give the mathematical limit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import tvm_ffi
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
from burnish.backends.kernels.trigonometry import atan, cos, sin

Expr: TypeAlias = ir.Expr

_LOG2_E = 1.44269504088896341
_LN2 = 0.693147180559945309
_LN2_HIGH = 0.693359375
"""High part of ln 2 with few mantissa bits, so that multiples up to 2**9 are exact."""
_LN2_LOW = -2.12194440e-4
_ROUND_SHIFT = 12582912.0
"""1.5 * 2**23: a sum with it ends in the nearest integer to the other term."""
_EXPONENT_BIAS = 127
_MANTISSA_BITS = 23


def rewrite(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Replace float32 library calls in `func` by polynomial expressions.

    `exp`, `erf`, `tanh`, `sinh`, `cosh`, `sigmoid`, `sin`, `cos`, `atan`, `log`, `log2`,
    `log10` are replaced, and `pow` where its exponent is a small constant; other calls and other
    dtypes stay as they are. `1 + exp(x)` and `0.5 + 0.5 * erf(x * sqrt(0.5))`, written so, become
    `one_plus_exp` and `normal_distribution`.
    """
    # Sums first: they must see the calls.
    func = tvm_ffi.structural_map(func, (tirx.Add, _replace_sum), order="post")
    mapped: tirx.PrimFunc = tvm_ffi.structural_map(func, (ir.Call, _replace), order="post")
    return mapped


def _replace_sum(node: tirx.Add) -> Expr:
    if str(node.ty) != "float32":
        return node
    if _is_number(node.a, 1.0) and _is_call(node.b, "exp"):
        return one_plus_exp(node.b.args[0])
    if (
        _is_number(node.a, 0.5)
        and isinstance(node.b, tirx.Mul)
        and _is_number(node.b.a, 0.5)
        and _is_call(node.b.b, "erf")
    ):
        (scaled,) = node.b.b.args
        if isinstance(scaled, tirx.Mul) and _is_number(scaled.b, math.sqrt(0.5)):
            return normal_distribution(scaled.a)
    return node


def _is_number(x: Expr, value: float) -> bool:
    return isinstance(x, tirx.FloatImm) and math.isclose(x.value, value, rel_tol=1e-7)


def _is_call(x: Expr, name: str) -> bool:
    return isinstance(x, ir.Call) and isinstance(x.op, ir.Op) and _name(x.op) == name


def _name(op: ir.Op) -> str:
    """Some operators live under "tirx", some under "prim"."""
    return str(op.name.rpartition(".")[2])


def _replace(call: ir.Call) -> Expr:
    if not isinstance(call.op, ir.Op) or str(call.ty) != "float32":
        return call
    name = _name(call.op)
    if name == "pow":
        return _power(call)
    if name == "fmod":
        # TVM has no lowering for it.
        return tirx.call_pure_extern("float32", "fmodf", *call.args)
    expand = _EXPANSIONS.get(name)
    return call if expand is None else expand(call.args[0])


_EXP = (1.381454058e-3, 8.3687454462e-3, 4.1668388993e-2, 0.16666521132, 0.4999999404)
"""exp(f) - 1 - f over f**2, highest power first, for |f| <= ln 2 / 2: minimax, error 3e-9."""
_EXP_SHORT = (8.3125010133e-3, 4.1890330613e-2, 0.16667115688, 0.499992311)
"""The same with one power less, error 1.1e-7."""


def exp(x: Expr) -> Expr:
    """Exponential, error at most 2e-7.

    The power of two is applied as 2 * 2**(n - 1), so that it overflows only when the result does.
    """
    # From the lowest input on, n - 1 is the exponent of zero.
    return let(clamp_keeping_nan(x, -87.5, 89.0), lambda t: _scaled_exp(t, _EXP, 2))


def exp_nonpositive(x: Expr, reach: float = math.inf) -> Expr:
    """Exponential of `x` <= 0, in fewer steps than `exp`, and one less still above -`reach`.

    Error at most 3e-7 down to -40 and 6e-7 below; without fused multiply-adds it grows to 5e-6.
    For softmax, where the largest element was subtracted.
    """
    low = constant(-88.1)
    if reach <= -float(low.value):
        return let(x, lambda t: _scaled_exp(t, _EXP_SHORT, 1, _ROUGH))
    return let(tirx.Select(x < low, low, x), lambda t: _scaled_exp(t, _EXP_SHORT, 1, _ROUGH))


def one_plus_exp(x: Expr) -> Expr:
    """1 + exp(x), the divisor of logistic functions, with the error of `exp_nonpositive`."""
    if isinstance(x, tirx.Mul) and _is_number(x.b, -1.0):
        # The polynomial takes the sign.
        clamped, reduction = clamp_keeping_nan(x.a, -89.0, 87.5), _NEGATED
    else:
        clamped, reduction = clamp_keeping_nan(x, -87.5, 89.0), _ROUGH
    return let(clamped, lambda t: _scaled_exp(t, _EXP_SHORT, 2, reduction)) + constant(1.0)


@dataclass(frozen=True)
class _Reduction:
    """How the exponent, ``sign`` times x, is made of multiples of ln 2 and a rest."""

    rest: Callable[[Expr, Expr], Expr]
    """The rest times `sign`, from x and the multiple."""
    sign: int = 1


_EXACT = _Reduction(lambda x, n: x - n * constant(_LN2_HIGH) - n * constant(_LN2_LOW))
_ROUGH = _Reduction(lambda x, n: x - n * constant(_LN2))
"""For results whose size does not matter where the multiple is large."""
_NEGATED = _Reduction(lambda x, n: x + n * constant(_LN2), -1)


def _scaled_exp(
    x: Expr, series: tuple[float, ...], factor: int, reduction: _Reduction = _EXACT
) -> Expr:
    """exp(sign x) as (factor * exp(f)) * (2**n / factor) where sign x = n ln 2 + f."""
    # The exponent field of 2**n / factor, so that a shift of its bits makes the number.
    shift = constant(_ROUND_SHIFT + _EXPONENT_BIAS - (factor - 1))
    powers = [factor * c for c in (*series, 1.0, 1.0)]
    # Odd powers of the rest take the sign.
    powers[-2::-2] = [reduction.sign * c for c in powers[-2::-2]]

    def combine(shifted: Expr) -> Expr:
        scale = from_bits(tirx.shift_left(bits(shifted), integer(_MANTISSA_BITS)))
        fraction = let(shifted - shift, lambda n: reduction.rest(x, n))
        return let(fraction, lambda f: horner(f, tuple(powers)) * scale)

    return let(x * constant(reduction.sign * _LOG2_E) + shift, combine)


_LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_SQRT_HALF_BITS = 0x3F3504F3
_SMALLEST_NORMAL = 1.17549435e-38


def log(x: Expr) -> Expr:
    """Natural logarithm, error at most 2e-7; -inf at zero, NaN below it.

    Split x = 2**e m with m in [sqrt(1/2), sqrt(2)); subnormal inputs are scaled up first.
    """

    def split(x: Expr, field: Expr, bias: Expr) -> Expr:
        offset = field - integer(_SQRT_HALF_BITS)
        exponent = tirx.shift_right(offset, integer(_MANTISSA_BITS))
        mantissa = from_bits(
            tirx.bitwise_and(offset, integer((1 << _MANTISSA_BITS) - 1)) + integer(_SQRT_HALF_BITS)
        )
        return let(
            exponent.astype("float32") + bias,
            lambda e: let(mantissa - constant(1.0), lambda f: finish(x, e, f)),
        )

    def finish(x: Expr, e: Expr, f: Expr) -> Expr:
        square = f * f
        tail = f * square * horner(f, _LOG) + e * constant(_LN2_LOW) - constant(0.5) * square
        value = f + tail + e * constant(_LN2_HIGH)
        infinity, nan = constant(float("inf")), constant(float("nan"))
        value = tirx.Select(x < infinity, value, x)
        value = tirx.Select(x == constant(0.0), -infinity, value)
        return tirx.Select(x < constant(0.0), nan, value)

    def normalized(x: Expr) -> Expr:
        tiny = x < constant(_SMALLEST_NORMAL)
        scaled = tirx.Select(tiny, x * constant(2.0**_MANTISSA_BITS), x)
        bias = tirx.Select(tiny, constant(-float(_MANTISSA_BITS)), constant(0.0))
        return let(bits(scaled), lambda field: split(x, field, bias), "int32")

    return let(x, normalized)


_TANH_ODD = (1.2401063e-05, 3.18362354e-03, 0.139093727, 1.07537675)
_TANH_EVEN = (2.68042555e-07, 2.58103275e-04, 2.56521255e-02, 0.497551531, 1.07537687)
_TANH_SATURATES = 7.9


def tanh(x: Expr) -> Expr:
    """Hyperbolic tangent as a rational function, error at most 4e-7."""

    def ratio(t: Expr) -> Expr:
        return let(t * t, lambda s: t * horner(s, _TANH_ODD) / horner(s, _TANH_EVEN))

    return let(clamp_keeping_nan(x, -_TANH_SATURATES, _TANH_SATURATES), ratio)


_ERF_ODD = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_ERF_EVEN = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)


def erf(x: Expr) -> Expr:
    """Error function as a rational function, error at most 4e-7."""

    def ratio(t: Expr) -> Expr:
        return let(t * t, lambda s: t * horner(s, _ERF_ODD) / horner(s, _ERF_EVEN))

    return let(clamp_keeping_nan(x, -4.0, 4.0), ratio)


_NORMAL_ODD = (9.90199806e-06, 5.45378658e-04, 8.69036186e-03, 8.05974007e-02, 0.589739919)
_NORMAL_EVEN = (
    8.26627286e-07,
    1.95708722e-04,
    4.46773134e-03,
    5.95826171e-02,
    0.448391467,
    1.47826087,
)
_NORMAL_SATURATES = 5.31282043
"""Here the quotient is 0.5 to the last bit, so that nothing is left of any input far below."""


def normal_distribution(x: Expr) -> Expr:
    """Share of a normal distribution below `x`, absolute error at most 3e-7: for GELU."""

    def ratio(t: Expr) -> Expr:
        quotient = let(t * t, lambda s: t * horner(s, _NORMAL_ODD) / horner(s, _NORMAL_EVEN))
        return quotient + constant(0.5)

    return let(clamp_keeping_nan(x, -_NORMAL_SATURATES, _NORMAL_SATURATES), ratio)


def sigmoid(x: Expr) -> Expr:
    """Logistic function, with the error of `exp_nonpositive`."""
    return constant(1.0) / one_plus_exp(x * constant(-1.0))


def _half_powers(x: Expr, combine: Callable[[Expr, Expr], Expr]) -> Expr:
    """`combine` of exp(|x|) / 2 and exp(-|x|) / 2; neither overflows before the sum does."""
    half = constant(0.5)
    return let(
        exp(tirx.abs(x) * half),
        lambda root: let(root * half * root, lambda p: combine(p, constant(0.25) / p)),
    )


def cosh(x: Expr) -> Expr:
    """Hyperbolic cosine, error at most 6e-7."""
    return _half_powers(x, lambda growing, falling: growing + falling)


_SINH_ODD = (2.7557319e-6, 1.9841270e-4, 8.3333333e-3, 0.16666667)


def sinh(x: Expr) -> Expr:
    """Hyperbolic sine, error at most 6e-7: a series below one, powers above."""

    def choose(x: Expr) -> Expr:
        square = x * x
        series = x * square * horner(square, _SINH_ODD) + x
        powers = _half_powers(x, lambda growing, falling: growing - falling)
        signed = let(powers, lambda p: tirx.Select(x < constant(0.0), -p, p))
        return tirx.Select(tirx.abs(x) < constant(1.0), series, signed)

    return let(x, choose)


def _scaled_log(scale: float) -> Callable[[Expr], Expr]:
    return lambda x: log(x) * constant(scale)


_LARGEST_UNROLLED_POWER = 8


def _power(call: ir.Call) -> Expr:
    """A power with a small constant exponent as products and roots; any other as it is."""
    base, exponent = call.args
    if not isinstance(exponent, tirx.FloatImm):
        return call
    value = float(exponent.value)
    if value == 0.5:
        # pow(-inf, 0.5) is +inf and pow(-0.0, 0.5) is +0.0 where sqrt gives NaN and -0.0.
        return call
    if value != int(value) or abs(value) > _LARGEST_UNROLLED_POWER:
        return call
    return let(base, lambda x: _integer_power(x, int(value)))


def _integer_power(x: Expr, exponent: int) -> Expr:
    if exponent == 0:
        return constant(1.0)
    if exponent < 0:
        return constant(1.0) / _integer_power(x, -exponent)
    if exponent == 1:
        return x
    half = let(_integer_power(x, exponent // 2), lambda h: h * h)
    return half * x if exponent % 2 else half


_EXPANSIONS: dict[str, Callable[[Expr], Expr]] = {
    "exp": exp,
    "erf": erf,
    "sin": sin,
    "cos": cos,
    "atan": atan,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "log": log,
    "log2": _scaled_log(_LOG2_E),
    "cosh": cosh,
    "sinh": sinh,
    "log10": _scaled_log(0.434294481903251828),
}
