"""Instructions on quads of bytes, each quad an integer of four times their size.

Given to LLVM as text, as are those of `pairs`. What has no instruction for four products at once
takes two of each at a time as 16-bit numbers, whose products 32 bits hold: no form saturates.
"""

from tvm import tirx
from tvm.ir import Expr, StringImm
from tvm.tirx import Stmt
from tvm.tirx.stmt import AttrStmt

from burnish.target import AVX_VNNI, VNNI, Target

SIZE = 4
"""Bytes of a quad."""
FLIP = -0x7F7F7F80
"""What turns the signs of four signed bytes round: 128 is added to each, which then has none."""

_DOT = "burnish_dot_quads"
_WHOLE = """
define <{w} x i32> @burnish_dot_quads{w}(<{w} x i32> %c, <{w} x i32> %a, <{w} x i32> %b) {{
  %x = bitcast <{w} x i32> %a to <{n} x i8>
  %y = bitcast <{w} x i32> %b to <{n} x i8>
  %r = call <{w} x i32> @llvm.x86.avx512.vpdpbusd.{bits}(
    <{w} x i32> %c, <{n} x i8> %x, <{n} x i8> %y)
  ret <{w} x i32> %r
}}
declare <{w} x i32> @llvm.x86.avx512.vpdpbusd.{bits}(<{w} x i32>, <{n} x i8>, <{n} x i8>)
"""
_HALVES = """
define <{w} x i32> @burnish_dot_quads{w}(<{w} x i32> %c, <{w} x i32> %a, <{w} x i32> %b) {{
  %x = bitcast <{w} x i32> %a to <{h} x i16>
  %x0 = and <{h} x i16> %x, splat (i16 255)
  %x1 = lshr <{h} x i16> %x, splat (i16 8)
  %y = bitcast <{w} x i32> %b to <{h} x i16>
  %yl = shl <{h} x i16> %y, splat (i16 8)
  %y0 = ashr <{h} x i16> %yl, splat (i16 8)
  %y1 = ashr <{h} x i16> %y, splat (i16 8)
  %r0 = call <{w} x i32> @llvm.x86.{madd}(<{h} x i16> %x0, <{h} x i16> %y0)
  %r1 = call <{w} x i32> @llvm.x86.{madd}(<{h} x i16> %x1, <{h} x i16> %y1)
  %s = add <{w} x i32> %r0, %r1
  %r = add <{w} x i32> %c, %s
  ret <{w} x i32> %r
}}
declare <{w} x i32> @llvm.x86.{madd}(<{h} x i16>, <{h} x i16>)
"""
_MADD = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}
"""LLVM's sums of two products of 16-bit numbers, by how many there are in a vector."""


def is_whole(target: Target) -> bool:
    """Whether one instruction of ``target`` adds four products."""
    return VNNI in target.features or (AVX_VNNI in target.features and target.vector_bits <= 256)


def dot(total: Expr, left: Expr, right: Expr, width: int) -> Expr:
    """``total`` and the products of bytes without sign and with sign of each quad, in int32."""
    return tirx.call_extern(f"int32x{width}", f"{_DOT}{width}", total, left, right)


def with_instructions(body: Stmt, target: Target) -> Stmt:
    """A whole kernel for ``target`` with the definition of `dot`."""
    ir = _WHOLE if is_whole(target) else _HALVES
    widths = [width for width in _MADD if 32 * width <= target.vector_bits]
    text = "".join(
        ir.format(w=width, n=4 * width, h=2 * width, bits=32 * width, madd=_MADD[width])
        for width in widths
    )
    return AttrStmt(tirx.const(0, "int32"), "pragma_import_llvm", StringImm(text), body)
