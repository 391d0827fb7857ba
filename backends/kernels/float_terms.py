"""Pieces of float32 expressions: constants, bits, polynomials, values that are used twice."""

from collections.abc import Callable
from typing import TypeAlias

from tvm import ir, tirx

Expr: TypeAlias = ir.Expr


def constant(value: float) -> Expr:
    """A float32 number."""
    return tirx.const(value, "float32")


def integer(value: int) -> Expr:
    """An int32 number."""
    return tirx.const(value, "int32")


def let(value: Expr, body: Callable[[Expr], Expr], dtype: str = "float32") -> Expr:
    """Evaluate `value` once however often `body` uses it."""
    var = tirx.Var("t", dtype)
    return tirx.Let(var, value, body(var))


def horner(x: Expr, coefficients: tuple[float, ...]) -> Expr:
    """Polynomial in `x`, highest power first."""
    total = constant(coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + constant(coefficient)
    return total


def bits(x: Expr) -> Expr:
    """The bits of a float32 number, int32."""
    return tirx.reinterpret("int32", x)


def from_bits(x: Expr) -> Expr:
    """The float32 number of some bits, int32."""
    return tirx.reinterpret("float32", x)


def clamp_keeping_nan(x: Expr, low: float, high: float) -> Expr:
    """Clamp by comparisons that are false for NaN, which `min` and `max` would drop."""
    capped = tirx.Select(x > constant(high), constant(high), x)
    return let(capped, lambda t: tirx.Select(t < constant(low), constant(low), t))
