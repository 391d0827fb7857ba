"""How a contraction multiplies and adds: in the operands' own type, or on pairs of bfloat16."""

from dataclasses import dataclass

from tvm.ir import Expr
from tvm.tirx import Buffer, BufferLoad, Stmt

from burnish.backends.cpu.schedule.build import Index, Views, index, lanes, splat
from burnish.backends.kernels.bfloat16 import STORED, widen
from burnish.backends.kernels.pairs import dot, with_instructions


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
        return dot(total, splat(element, width), vector, width)

    def around(self, body: Stmt) -> Stmt:
        """The kernel with the instruction's definition."""
        return with_instructions(body)


def _read(value: Expr, width: int) -> Expr:
    return widen(value, width) if str(value.ty).startswith(STORED) else value


SINGLE, BY_PAIRS = Arithmetic(), PairArithmetic()
