"""Instructions on pairs of bfloat16 numbers, each pair an integer of twice their size.

Given to LLVM as text: TVM has no operations for them, and rewrites what it knows to be bfloat16 to
float32. A kernel that calls one of them is wrapped in `with_instructions`.
"""

from tvm import tirx
from tvm.ir import Expr, StringImm
from tvm.tirx import Stmt
from tvm.tirx.stmt import AttrStmt

ONES = 0x3F803F80
"""A pair of ones."""

_DOT = "burnish_dot_pairs"
_DOT_IR = """
define <{w} x float> @burnish_dot_pairs{w}(<{w} x float> %c, <{w} x i32> %a, <{w} x i32> %b) {{
  %x = bitcast <{w} x i32> %a to <{n} x bfloat>
  %y = bitcast <{w} x i32> %b to <{n} x bfloat>
  %r = call <{w} x float> @llvm.x86.avx512bf16.dpbf16ps.{bits}(
    <{w} x float> %c, <{n} x bfloat> %x, <{n} x bfloat> %y)
  ret <{w} x float> %r
}}
declare <{w} x float> @llvm.x86.avx512bf16.dpbf16ps.{bits}(
  <{w} x float>, <{n} x bfloat>, <{n} x bfloat>)
"""
_ROUND = "burnish_round_pairs"
_ROUND_IR = """
define <{w} x i32> @burnish_round_pairs{w}(<{w} x float> %first, <{w} x float> %second) {{
  %r = call <{n} x bfloat> @llvm.x86.avx512bf16.cvtne2ps2bf16.{bits}(
    <{w} x float> %second, <{w} x float> %first)
  %p = bitcast <{n} x bfloat> %r to <{w} x i32>
  ret <{w} x i32> %p
}}
declare <{n} x bfloat> @llvm.x86.avx512bf16.cvtne2ps2bf16.{bits}(<{w} x float>, <{w} x float>)
"""
_WIDTHS = (4, 8, 16)
"""Pairs in a vector."""


def dot(total: Expr, left: Expr, right: Expr, width: int) -> Expr:
    """``total`` and both products of each pair, the second one first, in float32 (vdpbf16ps)."""
    return tirx.call_extern(f"float32x{width}", f"{_DOT}{width}", total, left, right)


def rounded(first: Expr, second: Expr, width: int) -> Expr:
    """Two float32 vectors, one after the other, as ``width`` pairs (vcvtne2ps2bf16).

    To the nearest, to even between two; what is below the least normal number becomes zero.
    """
    return tirx.call_extern(f"int32x{width}", f"{_ROUND}{width}", first, second)


def with_instructions(body: Stmt, *, rounds: bool = False) -> Stmt:
    """A whole kernel with the definitions of what it calls: `dot`, and with `rounds` `rounded`."""
    needed = (_DOT_IR, _ROUND_IR) if rounds else (_DOT_IR,)
    text = "".join(
        ir.format(w=width, n=2 * width, bits=32 * width) for ir in needed for width in _WIDTHS
    )
    return AttrStmt(tirx.const(0, "int32"), "pragma_import_llvm", StringImm(text), body)
