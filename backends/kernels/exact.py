"""Float32 arithmetic that rounds once an operator, as the operators of a model do.

LLVM may compute a product and a sum that it is a term of by one instruction, which rounds once for
both, and a quotient by one divisor for many is faster by its reciprocal. In float kernels that is
welcome. Where what comes of it is quantized, an engine that rounds each result by itself gets the
next integer at ties, and one such step travels on to the outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import tvm_ffi
from tvm import ir, tirx
from tvm.ir import Expr

from burnish.backends.kernels.float_terms import constant, let
from burnish.target import Target

_SEPARATE, _QUOTIENT = "burnish_separate", "burnish_quotient"
_LARGE = 2.0**24
"""Above any integer that a quotient is rounded to."""


def separate(value: Expr) -> Expr:
    """A float32 product or sum, ``value``, rounded to float32 whatever is done with it."""
    return tirx.call_pure_extern("float32", _SEPARATE, value)


def product(a: Expr, b: Expr) -> Expr:
    """``a * b`` of any type; `separate` if it is an integer and its scale."""
    is_scaled = str(a.ty) == "float32" and any(map(_is_whole, (a, b)))
    return separate(a * b) if is_scaled else a * b


def _is_whole(x: Expr) -> bool:
    """Whether a float is made of an integer."""
    return isinstance(x, tirx.Cast) and "int" in str(x.value.ty)


def quotient(value: Expr, divisor: Expr) -> Expr:
    """``value / divisor``, both float32, to be rounded to integers of at most 16 bits.

    Rounded to the nearest where all of it is a normal number. The divisor is the same for many
    values, and positive. Negative infinity may give NaN, which is made the least integer as well.
    """
    return tirx.call_pure_extern("float32", _QUOTIENT, value, divisor)


def unwrapped(value: Expr) -> Expr:
    """What ``value`` would be without this module: a product or division; else as it is."""
    factors = _arguments(value, _SEPARATE)
    if factors is not None:
        return factors[0]
    operands = _arguments(value, _QUOTIENT)
    return value if operands is None else operands[0] / operands[1]


def expand(func: tirx.PrimFunc, target: Target) -> tirx.PrimFunc:
    """``func`` with instructions of the target in the place of `separate` and `quotient`."""
    fuses = target.arch == "arm64" or "fma" in target.features

    def replace(call: ir.Call) -> Expr:
        factors = _arguments(call, _SEPARATE)
        if factors is not None:
            # No instruction; LLVM does not look through it.
            return tirx.call_llvm_pure_intrin("float32", "llvm.arithmetic.fence", factors[0])
        operands = _arguments(call, _QUOTIENT)
        if operands is None:
            return call
        return _corrected(*operands) if fuses else operands[0] / operands[1]

    mapped: tirx.PrimFunc = tvm_ffi.structural_map(func, (ir.Call, replace), order="post")
    return mapped


def _corrected(value: Expr, divisor: Expr) -> Expr:
    """By the reciprocal, with what is left of ``value`` divided in the same way (P. Markstein).

    Both steps fuse, so that the rest is exact. Of infinity there is none.
    """
    reciprocal = constant(1.0) / divisor

    def of(value: Expr, reciprocal: Expr) -> Expr:
        return let(value * reciprocal, lambda near: tirx.Select(
            near > constant(_LARGE), near,
            _fused(_fused(-near, divisor, value), reciprocal, near)))  # fmt: skip

    return let(value, lambda value: let(reciprocal, lambda reciprocal: of(value, reciprocal)))


def _fused(a: Expr, b: Expr, c: Expr) -> Expr:
    return tirx.call_llvm_pure_intrin("float32", "llvm.fma", a, b, c)


def _arguments(value: Expr, name: str) -> Sequence[Expr] | None:
    if not isinstance(value, ir.Call) or not isinstance(value.op, ir.Op):
        return None
    if not value.op.name.endswith("call_pure_extern") or str(value.args[0].value) != name:
        return None
    return list(value.args[1:])
