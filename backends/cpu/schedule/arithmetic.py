"""How a contraction multiplies and adds: single elements, pairs of bfloat16, quads of bytes."""

from dataclasses import dataclass
from functools import reduce

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Buffer, BufferLoad, Stmt

from burnish.backends.cpu.schedule.build import Index, Views, index, lanes, splat
from burnish.backends.kernels import quads
from burnish.backends.kernels.bfloat16 import STORED, widen
from burnish.backends.kernels.integers import SUMS
from burnish.backends.kernels.pairs import dot, with_instructions
from burnish.target import Target


@dataclass(frozen=True)
class Arithmetic:
    """Multiply-adds of single elements; bfloat16 operands are widened as they are read."""

    depth: int = 1
    """Elements of the reduction that one step takes."""

    def cycles(self, rows: int, vectors: float) -> float:
        """Of a step of so many sums, if a multiply-add takes one."""
        return rows * vectors

    def registers(self, vectors: int) -> int:
        """Vector registers beside sums, with so many vectors of weights at a time."""
        return 1 + vectors

    def source(self, views: Views, operand: Buffer) -> Buffer:
        """What all columns share, as a row of elements that are counted."""
        return views.of(operand)

    def weights(self, views: Views, operand: Buffer) -> Buffer:
        """Weights as a row of what one step takes of them."""
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

    def source(self, views: Views, operand: Buffer) -> Buffer:
        """Pairs as integers of twice the size."""
        return views.of(operand, "int32", 2)

    def weights(self, views: Views, operand: Buffer) -> Buffer:
        """The same of weights."""
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


@dataclass(frozen=True)
class WideArithmetic(Arithmetic):
    """Multiply-adds of single bytes, widened to 32 bits as they are read."""

    def sums(self, source: Buffer) -> str:
        """Always int32."""
        return SUMS

    def element(self, source: Buffer, place: Index) -> Expr:
        """What all columns share."""
        return BufferLoad(source, [index(place)]).astype(SUMS)

    def vector(self, weights: Buffer, place: Index, width: int) -> Expr:
        """What all rows share."""
        suffix = f"x{width}" if width > 1 else ""
        return BufferLoad(weights, [lanes(place, width)]).astype(f"{SUMS}{suffix}")


@dataclass(frozen=True, kw_only=True)
class QuadArithmetic(Arithmetic):
    """Sums of four products of bytes at once, in int32.

    Quads of activations may begin anywhere, so that they are read as four bytes.
    """

    target: Target
    flipped: bool
    """Whether activations have signs, which are turned round: the instructions want none."""
    bytes: int = quads.SIZE
    """Of a quad that exist."""
    depth: int = quads.SIZE

    def cycles(self, rows: int, vectors: float) -> float:
        """Two multiplications and two additions where half a quad is taken at a time.

        Operands are taken apart before; two of these instructions run in the time of one.
        """
        if quads.is_whole(self.target):
            return rows * vectors
        return (4 * rows * vectors + 2 * rows + 3 * vectors) / 2

    def registers(self, vectors: int) -> int:
        """Halves of operands take one each; what takes them apart and a product two more."""
        return 1 + vectors if quads.is_whole(self.target) else 4 + 2 * vectors

    def weights(self, views: Views, operand: Buffer) -> Buffer:
        """Quads as integers of four times the size."""
        return views.of(operand, "int32", quads.SIZE)

    def sums(self, source: Buffer) -> str:
        """Always int32."""
        return SUMS

    def element(self, source: Buffer, place: Index) -> Expr:
        """A quad."""
        if self.bytes == quads.SIZE:
            value = tirx.reinterpret("int32", BufferLoad(source, [lanes(place, quads.SIZE)]))
        else:
            each = [BufferLoad(source, [index(place + i)]) for i in range(self.bytes)]
            parts = [
                tirx.shift_left(byte.astype("uint8").astype(SUMS), tirx.const(8 * i, SUMS))
                for i, byte in enumerate(each)
            ]
            value = reduce(tirx.bitwise_or, parts)
        return tirx.bitwise_xor(value, tirx.const(quads.FLIP, SUMS)) if self.flipped else value

    def vector(self, weights: Buffer, place: Index, width: int) -> Expr:
        """A quad for each column."""
        return BufferLoad(weights, [lanes(place, width)])

    def add(self, total: Expr, element: Expr, vector: Expr, width: int) -> Expr:
        """All four products of each column."""
        return quads.dot(total, splat(element, width), vector, width)

    def around(self, body: Stmt) -> Stmt:
        """The kernel with the instruction's definition."""
        return quads.with_instructions(body, self.target)


def _read(value: Expr, width: int) -> Expr:
    return widen(value, width) if str(value.ty).startswith(STORED) else value


SINGLE, BY_PAIRS, WIDE = Arithmetic(), PairArithmetic(), WideArithmetic()
