"""Matrix products of bytes that are both computed at run time.

The right operand is packed first: quads of bytes along the reduction, a vector of columns side by
side, all of them with sign. With a and b the bytes that are multiplied (a without sign) and u and v
their zero points,

    sum (a - u) (b - v) = sum a b  +  (K u v - u sum b)  -  v sum a

where the second term belongs to a column and the last one to a row: both are worked out beside the
packing, and sums start from them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Buffer, BufferLoad, BufferStore, ForKind, PrimFunc, Stmt
from tvm.tirx.stmt import AllocBuffer

from burnish.backends.cpu.schedule.arithmetic import QuadArithmetic
from burnish.backends.cpu.schedule.build import (
    Index,
    Views,
    constant,
    index,
    lanes,
    loop,
    sequence,
    splat,
    unravel,
)
from burnish.backends.cpu.schedule.contraction import Contraction, Source, TileBuilder, Weights
from burnish.backends.cpu.schedule.epilogue import Epilogue, finish_size
from burnish.backends.cpu.schedule.fused import Fused
from burnish.backends.cpu.schedule.nests import nests
from burnish.backends.cpu.schedule.product import matrix_number
from burnish.backends.cpu.schedule.tiling import Space, Tile, TileConfig
from burnish.backends.kernels.geometry import Axis
from burnish.backends.kernels.integer_product import LEFT, RIGHT
from burnish.backends.kernels.integers import SUMS
from burnish.backends.kernels.quads import FLIP, SIZE, dot
from burnish.target import Target

_ONES = 0x01010101
_SIGN = 128


def build(fused: Fused, target: Target, config: TileConfig) -> PrimFunc:
    """The loops of a product of bytes, of its epilogue, and of packing the right operand.

    Raises:
        ScheduleMiss: what follows the anchor is not elementwise.
    """
    views = Views()
    epilogue = Epilogue(fused, views, target)
    operands = Operands.of(fused, target, views)
    work = operands.work(fused, target)

    def write(tile: Tile) -> Stmt:
        return TileBuilder(work, tile, epilogue, config.unroll).build()

    body = [*operands.prepare(target), nests(work.space, config, target.threads, write)]
    return fused.with_body(epilogue.around(work.arithmetic.around(views.declare(body))))


@dataclass(frozen=True)
class Operands:
    """What is multiplied, and where it lies."""

    left: Buffer
    right: Buffer
    lead: Sequence[int]
    """Extents of the batch of products."""
    rows: int
    columns: int
    depth: int
    turned: bool
    """Whether the right operand lies column by column."""
    left_matrix: Callable[[Index], Index]
    right_matrix: Callable[[Index], Index]
    left_zero: Index
    """Of bytes as they are multiplied."""
    right_zero: Index
    width: int
    packed: Buffer
    """Quads ``[matrices, blocks, quads, width]``, int32."""
    starts: Buffer
    """Of columns ``[matrices, blocks, width]``, int32."""
    row_terms: Buffer
    """``[matrices, rows]``, int32."""

    @classmethod
    def of(cls, fused: Fused, target: Target, views: Views) -> "Operands":
        """The operands of an anchor."""
        loads = [load.source for load in fused.operands()]
        attrs = fused.attrs
        left, *rest = loads
        left_zero = None if LEFT in attrs else rest.pop(0)
        right = rest.pop(0)
        right_zero = None if RIGHT in attrs else rest.pop(0)
        turned = bool(attrs["burnish.transposed"][1])
        *lead, rows, columns = fused.anchor.extents
        depth, width = int(left.shape[-1]), target.lanes(SUMS)
        padded = -(-columns // width) * width
        matrices = prod(int(extent) for extent in right.shape[:-2])
        lines = prod(int(extent) for extent in left.shape[:-1])

        def zero(name: str, held: Buffer | None, shift: int) -> Index:
            if held is None:
                return int(attrs[name]) + shift
            value: Expr = BufferLoad(views.of(held), [index(0)])
            return value.astype(SUMS) + shift

        def room(size: int, name: str) -> Buffer:
            return tirx.decl_buffer((size,), SUMS, name=name, scope="global")

        return cls(
            views.of(left), views.of(right), lead, rows, columns, depth, turned,
            matrix_number(left, lead), matrix_number(right, lead),
            zero(LEFT, left_zero, _SIGN if str(left.dtype) == "int8" else 0),
            zero(RIGHT, right_zero, -_SIGN if str(right.dtype) == "uint8" else 0),
            width, room(matrices * padded * -(-depth // SIZE), "packed"),
            room(matrices * padded, "starts"), room(lines, "row_terms"),
        )  # fmt: skip

    @property
    def quads(self) -> int:
        """Steps of a sum."""
        return -(-self.depth // SIZE)

    @property
    def blocks(self) -> int:
        """Vectors of columns."""
        return -(-self.columns // self.width)

    @property
    def padded(self) -> int:
        """Columns of whole vectors."""
        return self.blocks * self.width

    def work(self, fused: Fused, target: Target) -> Contraction:
        """What is summed."""
        rows, depth, quads = self.rows, self.depth, self.quads

        def element(positions: Sequence[Index], _: Expr) -> Index:
            number, row = positions
            return self.left_matrix(number) * (rows * depth) + row * depth

        def weight(outputs: Sequence[Index], _: Expr, column: Index, __: Sequence[Index]) -> Index:
            return (self.right_matrix(outputs[0]) * self.padded + column) * quads

        def results(row: Index, outputs: Sequence[Index]) -> tuple[Expr, ...]:
            return (*unravel(outputs[0], self.lead), index(outputs[1]))

        batch = prod(self.lead)
        last = depth - SIZE if depth % SIZE and depth > SIZE else None
        flipped = str(self.left.dtype) == "int8"
        axes = (Axis(batch, batch), Axis(rows, rows))
        return Contraction(
            Space(axes, 1, self.columns, self.width, False, results),
            quads,
            Source(self.left, element, depth, SIZE, last),
            Weights(self.packed, weight, quads, self.width),
            QuadArithmetic(target=target, flipped=flipped, bytes=min(depth, SIZE)),
            finish_size(fused),
            start=self._start,
        )  # fmt: skip

    def _start(self, outputs: Sequence[Index], column: Index, width: int) -> Expr:
        """What the sums of a row begin with, at ``width`` columns from ``column`` on."""
        value = splat(tirx.const(0, SUMS), width)
        if constant(self.left_zero) != 0:
            place = self.right_matrix(outputs[0]) * self.padded + column
            value = BufferLoad(self.starts, [lanes(place, width)])
        if constant(self.right_zero) != 0:
            line = self.left_matrix(outputs[0]) * self.rows + outputs[1]
            value = value - splat(BufferLoad(self.row_terms, [index(line)]), width)
        return value

    def prepare(self, target: Target) -> list[Stmt]:
        """Pack the right operand, and work out what sums start from."""
        blocks = int(self.packed.shape[0]) // (self.quads * self.width)
        lines = 0 if constant(self.right_zero) == 0 else int(self.row_terms.shape[0])
        shares = -(-lines // self.rows)

        def task(number: Expr) -> Stmt:
            if not shares:
                return self._pack(number)
            first = (number - blocks) * self.rows
            terms = loop(self.rows, lambda i: self._row_term(first + i), name="row")
            return tirx.IfThenElse(number < blocks, self._pack(number), terms)

        kind = ForKind.PARALLEL if target.threads > 1 else ForKind.SERIAL
        used = [self.packed, *([] if constant(self.left_zero) == 0 else [self.starts])]
        used += [self.row_terms] if lines else []
        return [*map(AllocBuffer, used), loop(blocks + shares, task, kind, "task")]

    def _pack(self, number: Expr) -> Stmt:
        """One vector of columns of one matrix, in order of all of them."""
        matrix, block = unravel(
            number, (int(self.packed.shape[0]) // (self.quads * self.padded), self.blocks)
        )
        first, width = block * self.width, self.width
        quads = self._turned_quads if self.turned else self._quads
        whole = self.depth // SIZE

        def copy(quad: Index, place: Index, seen: int = 0) -> Stmt:
            at = (number * self.quads + quad) * width
            return quads(matrix, first, place, at, seen)

        statements = [loop(whole, lambda quad: copy(quad, quad * SIZE), name="quad")]
        if self.depth % SIZE:
            # The last quad ends with the last byte: those that it shares with another count there.
            begin = max(0, self.depth - SIZE)
            statements.append(copy(index(whole), index(begin), whole * SIZE - begin))
        if constant(self.left_zero) != 0:
            statements += self._column_terms(number)
        return sequence(statements)

    def _turned_quads(
        self, matrix: Index, first: Index, place: Index, at: Index, seen: int
    ) -> Stmt:
        """Quads from ``place`` on, less ``seen`` bytes, of columns that lie one after the other."""
        count = min(SIZE, self.depth)
        kept = sum(0xFF << 8 * i for i in range(seen, count))

        def column(j: Expr) -> Stmt:
            number = tirx.min(first + j, self.columns - 1) if self._ragged else first + j
            start = (matrix * self.columns + number) * self.depth + place
            if count == SIZE:
                value = tirx.reinterpret(SUMS, BufferLoad(self.right, [lanes(start, SIZE)]))
            else:
                value = _joined([BufferLoad(self.right, [start + i]) for i in range(count)])
            return BufferStore(self.packed, self._signed(value, kept), [at + j])

        return loop(self.width, column, name="column")

    def _quads(self, matrix: Index, first: Index, place: Index, at: Index, seen: int) -> Stmt:
        """The same of columns side by side."""
        count = min(SIZE, self.depth)
        kept = sum(0xFF << 8 * i for i in range(seen, count))

        def row(i: int) -> Index:
            return (matrix * self.depth + place + i) * self.columns

        def columns(j: Expr, most: int | None = None) -> Stmt:
            number = first + j if most is None else tirx.min(first + j, most)
            value = _joined([BufferLoad(self.right, [row(i) + number]) for i in range(count)])
            return BufferStore(self.packed, self._signed(value, kept), [at + j])

        if not self._ragged:
            return loop(self.width, columns, ForKind.VECTORIZED, "column")
        whole = loop(self.width, columns, ForKind.VECTORIZED, "column")
        edge = loop(self.width, lambda j: columns(j, self.columns - 1), name="column")
        return tirx.IfThenElse(first + self.width <= self.columns, whole, edge)

    @property
    def _ragged(self) -> bool:
        return self.columns % self.width != 0

    def _signed(self, value: Expr, kept: int) -> Expr:
        """Quads with sign, only some of their bits kept."""
        if str(self.right.dtype) == "uint8":
            value = value ^ tirx.const(FLIP, SUMS)
        word = kept - (1 << 32) if kept >= 1 << 31 else kept
        return value if word == -1 else value & tirx.const(word, SUMS)

    def _column_terms(self, number: Expr) -> list[Stmt]:
        """What the sums of a vector of columns start from."""
        width = self.width
        total: Buffer = tirx.decl_buffer((width,), SUMS, name="total", scope="local")
        whole = lanes(0, width)
        ones = splat(index(_ONES), width)

        def add(quad: Expr) -> Stmt:
            at = (number * self.quads + quad) * width
            value = BufferLoad(self.packed, [lanes(at, width)])
            return BufferStore(total, dot(BufferLoad(total, [whole]), ones, value, width), [whole])

        # K u v - u sum b
        less = splat(index(self.right_zero * self.depth), width) - BufferLoad(total, [whole])
        start = splat(index(self.left_zero), width) * less
        return [
            AllocBuffer(total),
            BufferStore(total, splat(index(0), width), [whole]),
            loop(self.quads, add, name="quad"),
            BufferStore(self.starts, start, [lanes(number * width, width)]),
        ]

    def _row_term(self, line: Expr) -> Stmt:
        """What is taken from the sums of a row of the left operand."""
        total: Buffer = tirx.decl_buffer((1,), SUMS, name="total", scope="local")
        shift = _SIGN if str(self.left.dtype) == "int8" else 0

        def add(channel: Expr) -> Stmt:
            value = BufferLoad(self.left, [line * self.depth + channel]).astype(SUMS)
            return BufferStore(total, BufferLoad(total, [index(0)]) + value, [index(0)])

        sums = BufferLoad(total, [index(0)]) + shift * self.depth
        return sequence([
            AllocBuffer(total),
            BufferStore(total, index(0), [index(0)]),
            loop(self.depth, add, name="channel"),
            BufferStore(self.row_terms, sums * self.right_zero, [line]),
        ])  # fmt: skip


def _joined(bytes_: Sequence[Expr]) -> Expr:
    """Bytes one after the other as one integer."""
    parts = [
        tirx.shift_left(byte.astype("uint8").astype(SUMS), tirx.const(8 * i, SUMS))
        for i, byte in enumerate(bytes_)
    ]
    return reduce(tirx.bitwise_or, parts)
