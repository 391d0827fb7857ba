"""How a contraction multiplies and adds: in the operands' own type, or on pairs of bfloat16."""

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr, StringImm
from tvm.tirx import Buffer, BufferLoad, Stmt
from tvm.tirx.stmt import AttrStmt

from burnish.backends.cpu.schedule.build import Index, Views, index, lanes, splat
from burnish.backends.kernels.bfloat16 import STORED, widen

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
"""As text: TVM has no operation for it, and rewrites what it knows to be bfloat16 to float32."""


@dataclass(frozen=True)
class Arithmetic:
    """Multiply-adds of single elements; bfloat16 operands are widened as they are read."""

    depth: int = 1
    """Elements of the reduction that one step takes."""

    def view(self, views: Views, operand: Buffer) -> Buffer:
        """An operand as a row of what one step reads of it."""
        return views.of(operand)

    def sums(self, source: Buffer) -> str:
        """The type of sums."""
        return "float32" if str(source.dtype) == STORED else str(source.dtype)

    def element(self, source: Buffer, place: Index) -> Expr:
        """What all columns share."""
        return _read(BufferLoad(source, [index(place)]), 1)

    def vector(self, weights: Buffer, place: Index, width: int) -> Expr:
        """What all rows share."""
        return _read(BufferLoad(weights, [lanes(place, width)]), width)

    def add(self, total: Expr, element: Expr, vector: Expr, width: int) -> Expr:
        """``total`` and the products of one step."""
        return total + splat(element, width) * vector

    def around(self, body: Stmt) -> Stmt:
        """The whole kernel with what it calls."""
        return body


@dataclass(frozen=True)
class PairArithmetic(Arithmetic):
    """Sums of two products of bfloat16 numbers at once, in float32 (vdpbf16ps)."""

    depth: int = 2

    def view(self, views: Views, operand: Buffer) -> Buffer:
        """Pairs as integers of twice the size."""
        return views.of(operand, "int32", 2)

    def sums(self, source: Buffer) -> str:
        """Always float32."""
        return "float32"

    def element(self, source: Buffer, place: Index) -> Expr:
        """A pair."""
        return BufferLoad(source, [index(place)])

    def vector(self, weights: Buffer, place: Index, width: int) -> Expr:
        """A pair for each column."""
        return BufferLoad(weights, [lanes(place, width)])

    def add(self, total: Expr, element: Expr, vector: Expr, width: int) -> Expr:
        """Both products of each column, the second one first."""
        name = f"{_DOT}{width}"
        return tirx.call_extern(f"float32x{width}", name, total, splat(element, width), vector)

    def around(self, body: Stmt) -> Stmt:
        """The kernel with the instruction's definition."""
        text = "".join(_DOT_IR.format(w=w, n=2 * w, bits=32 * w) for w in (4, 8, 16))
        return AttrStmt(index(0), "pragma_import_llvm", StringImm(text), body)


def _read(value: Expr, width: int) -> Expr:
    return widen(value, width) if str(value.ty).startswith(STORED) else value


SINGLE, BY_PAIRS = Arithmetic(), PairArithmetic()
