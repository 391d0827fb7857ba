"""Rounding float32 numbers to bytes: one operation for schedules, instructions for the target.

Kernels are described with `saturated`. `expand` turns it into arithmetic that LLVM makes vectors
of, on any target. Where whole vectors of bytes are at hand, on x86, `wide` narrows several vectors
of float32 by saturating instructions at once, given to LLVM as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tvm_ffi
from tvm import ir, tirx
from tvm.ir import Expr, StringImm
from tvm.tirx import Stmt
from tvm.tirx.stmt import AttrStmt

from burnish.backends.kernels.exact import separate, unwrapped
from burnish.backends.kernels.float_terms import bits, constant, integer
from burnish.target import Target

NAME = "burnish_saturated"
_ROUND_SHIFT = 1.5 * 2**23
"""The sum of it and a number below 2**22 ends in the integer nearest to that, as two's complement,
to even between two. Unlike a conversion that is defined for every bit pattern."""
RANGES = {
    "int8": (-(2**7), 2**7 - 1),
    "uint8": (0, 2**8 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
}
"""What `saturated` makes, with least and greatest numbers."""
BOUND = 2.0**30
"""Magnitude below which a number counts as bounded."""


def saturated(value: Expr, middle: Expr, dtype: str, bounded: bool = False) -> Expr:
    """The number of ``dtype`` next to ``round(value) + middle``, half rounded to even.

    Args:
        value: float32; NaN gives the least number, or, if it is `bounded`, any.
        middle: int32, within the range of ``dtype``.
        dtype: one of `RANGES`.
        bounded: whether ``value`` is known to be finite and below `BOUND` in magnitude.
    """
    return tirx.call_pure_extern(dtype, NAME, value, middle, integer(int(bounded)))


@dataclass(frozen=True)
class Saturated:
    """The operands of `saturated`."""

    value: Expr
    middle: Expr
    dtype: str
    bounded: bool


def operands(call: Expr) -> Saturated | None:
    """The operands of a call of `saturated`; None of anything else."""
    if not isinstance(call, ir.Call) or not isinstance(call.op, ir.Op):
        return None
    if not call.op.name.endswith("call_pure_extern") or str(call.args[0].value) != NAME:
        return None
    _, value, middle, bounded = call.args
    return Saturated(_regrouped(value), middle, str(call.ty), bool(bounded.value))


def _regrouped(value: Expr) -> Expr:
    """``value`` with what is known multiplied first, if it is a product of two stored numbers.

    The right one may be that of a whole row: the total that probabilities are divided by.
    """
    given = unwrapped(value)
    if isinstance(given, tirx.Div) and isinstance(given.b, tirx.FloatImm):
        product = given.a
        if isinstance(product, tirx.Mul) and isinstance(product.a, ir.TensorLoad):
            if isinstance(product.b, ir.TensorLoad):
                return product.a * (product.b * constant(1 / given.b.value))
    return value


def expand(func: tirx.PrimFunc, target: Target) -> tirx.PrimFunc:
    """``func`` with arithmetic in the place of `saturated`."""
    converts = target.arch == "x86_64"

    def in_float(cast: tirx.Cast) -> Expr:
        inner = cast.value
        while isinstance(inner, tirx.Cast) and str(inner.ty) == "int32":
            inner = inner.value
        found = operands(inner) if str(cast.ty) == "float32" else None
        known = found is not None and isinstance(found.middle, tirx.IntImm)
        return _rounded(found) if found is not None and known else cast

    def replace(call: ir.Call) -> Expr:
        found = operands(call)
        if found is None:
            return call
        return _converted(found) if converts and found.bounded else _shifted(found)

    func = tvm_ffi.structural_map(func, (tirx.Cast, in_float), order="post")
    mapped: tirx.PrimFunc = tvm_ffi.structural_map(func, (ir.Call, replace), order="post")
    return mapped


def _rounded(of: Saturated) -> Expr:
    """As float32, which rounds where it has no bits for a fraction."""
    low, high = RANGES[of.dtype]
    middle = int(of.middle.value)
    clamped = _clamped(of.value, constant(low - middle), constant(high - middle))
    # Separate, or both constants would be taken for one.
    return separate(clamped + constant(_ROUND_SHIFT)) - constant(_ROUND_SHIFT - middle)


def _converted(of: Saturated) -> Expr:
    """By a conversion that rounds, which vectors have on x86."""
    rounded = tirx.call_llvm_pure_intrin("int32", "llvm.lrint", of.value) + of.middle
    low, high = map(integer, RANGES[of.dtype])
    return tirx.min(tirx.max(rounded, low), high).astype(of.dtype)


def _shifted(of: Saturated) -> Expr:
    """By adding `_ROUND_SHIFT` to what lies within the range."""
    low, high = RANGES[of.dtype]
    if isinstance(of.middle, tirx.IntImm):
        middle = int(of.middle.value)
        clamped = _clamped(of.value, constant(low - middle), constant(high - middle))
        # An even number moves no tie: it is added at no cost.
        odd = middle % 2
        result = bits(clamped + constant(_ROUND_SHIFT + middle - odd))
        return (result + integer(odd) if odd else result).astype(of.dtype)
    offset = of.middle.astype("float32")
    clamped = _clamped(of.value, constant(low) - offset, constant(high) - offset)
    return (bits(clamped + constant(_ROUND_SHIFT)) + of.middle).astype(of.dtype)


def _clamped(value: Expr, low: Expr, high: Expr) -> Expr:
    # In this order a NaN loses the first comparison.
    return tirx.min(tirx.max(value, low), high)


PARTS = 4
"""Vectors of float32 that make one of bytes."""
_WIDE = "burnish_narrowed"
_WIDE_IR = """
define <{bytes} x i8> @{name}(<{w} x float> %a, <{w} x float> %b, <{w} x float> %c,
                              <{w} x float> %d, i32 %middle) {{
  %i = call <{w} x i32> @burnish_rounded(<{w} x float> %a)
  %j = call <{w} x i32> @burnish_rounded(<{w} x float> %b)
  %k = call <{w} x i32> @burnish_rounded(<{w} x float> %c)
  %l = call <{w} x i32> @burnish_rounded(<{w} x float> %d)
  %p = call <{n} x i16> @llvm.x86.{words}(<{w} x i32> %i, <{w} x i32> %j)
  %q = call <{n} x i16> @llvm.x86.{words}(<{w} x i32> %k, <{w} x i32> %l)
  %m = trunc i32 %middle to i16
  %e = insertelement <{n} x i16> poison, i16 %m, i64 0
  %f = shufflevector <{n} x i16> %e, <{n} x i16> poison, <{n} x i32> zeroinitializer
  %s = call <{n} x i16> @llvm.sadd.sat.v{n}i16(<{n} x i16> %p, <{n} x i16> %f)
  %t = call <{n} x i16> @llvm.sadd.sat.v{n}i16(<{n} x i16> %q, <{n} x i16> %f)
  %r = call <{bytes} x i8> @llvm.x86.{narrow}(<{n} x i16> %s, <{n} x i16> %t)
  %x = bitcast <{bytes} x i8> %r to <{w} x i32>
  %y = shufflevector <{w} x i32> %x, <{w} x i32> poison, <{w} x i32> <{order}>
  %z = bitcast <{w} x i32> %y to <{bytes} x i8>
  ret <{bytes} x i8> %z
}}
declare <{bytes} x i8> @llvm.x86.{narrow}(<{n} x i16>, <{n} x i16>)
"""
_WORDS_IR = """
declare <{n} x i16> @llvm.x86.{words}(<{w} x i32>, <{w} x i32>)
declare <{n} x i16> @llvm.sadd.sat.v{n}i16(<{n} x i16>, <{n} x i16>)
"""
_ROUNDED_512 = """
define <16 x i32> @burnish_rounded(<16 x float> %x) {
  %r = call <16 x i32> @llvm.x86.avx512.mask.cvtps2dq.512(
    <16 x float> %x, <16 x i32> zeroinitializer, i16 -1, i32 4)
  ret <16 x i32> %r
}
declare <16 x i32> @llvm.x86.avx512.mask.cvtps2dq.512(<16 x float>, <16 x i32>, i16, i32)
"""
_ROUNDED_256 = """
define <8 x i32> @burnish_rounded(<8 x float> %x) {
  %r = call <8 x i32> @llvm.x86.avx.cvt.ps2dq.256(<8 x float> %x)
  ret <8 x i32> %r
}
declare <8 x i32> @llvm.x86.avx.cvt.ps2dq.256(<8 x float>)
"""
_LARGEST = 2.0**15
"""Beyond it all numbers are as good as this one, which conversions to 32 bits still take."""


def vector_bytes(target: Target) -> int:
    """Bytes that `wide` makes at once; 0 if the target lacks its instructions."""
    if target.vector_bits == 512 and "avx512bw" in target.features:
        return 64
    return 32 if target.vector_bits == 256 and "avx2" in target.features else 0


def reachable(of: Saturated) -> Expr:
    """What `wide` takes of an element: conversions fail above 2**31 alone."""
    if of.bounded:
        return of.value
    # In this order a NaN stays, and becomes the least number.
    return tirx.Select(of.value > constant(_LARGEST), constant(_LARGEST), of.value)


def wide(parts: Sequence[Expr], middle: Expr, dtype: str) -> Expr:
    """`saturated` of what is `reachable`, in `PARTS` whole vectors one after the other; to bytes.

    The kernel has to be wrapped in `with_instructions`.
    """
    count = PARTS * int(str(parts[0].ty).split("x")[1])
    return tirx.call_extern(f"{dtype}x{count}", f"{_WIDE}_{dtype}", *parts, middle)


def with_instructions(body: Stmt, target: Target) -> Stmt:
    """A whole kernel with the definitions of what it calls: `wide`."""
    count = vector_bytes(target)
    width, is_512 = count // PARTS, count == 64
    lanes_128 = width // 4
    order = [lane * 4 + part for part in range(4) for lane in range(lanes_128)]
    words = "avx512.packssdw.512" if is_512 else "avx2.packssdw"
    text = _ROUNDED_512 if is_512 else _ROUNDED_256
    text += _WORDS_IR.format(n=2 * width, w=width, words=words)
    for dtype, pack in (("uint8", "packuswb"), ("int8", "packsswb")):
        text += _WIDE_IR.format(
            name=f"{_WIDE}_{dtype}", w=width, n=2 * width, bytes=count, words=words,
            narrow=f"avx512.{pack}.512" if is_512 else f"avx2.{pack}",
            order=", ".join(f"i32 {i}" for i in order),
        )  # fmt: skip
    return AttrStmt(tirx.const(0, "int32"), "pragma_import_llvm", StringImm(text), body)
