"""Matrix products of two operands that are computed at run time."""

from collections.abc import Callable, Sequence
from math import prod

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Buffer, BufferLoad, BufferStore, ForKind, PrimFunc, Stmt
from tvm.tirx.stmt import AllocBuffer

from burnish.backends.cpu.schedule.build import (
    Index,
    Views,
    index,
    loop,
    ravel,
    sequence,
    unravel,
)
from burnish.backends.cpu.schedule.contraction import Contraction, Source, TileBuilder, Weights
from burnish.backends.cpu.schedule.epilogue import Epilogue, finish_size
from burnish.backends.cpu.schedule.fused import Fused
from burnish.backends.cpu.schedule.nests import nests
from burnish.backends.cpu.schedule.tiling import Space, Tile, TileConfig
from burnish.backends.kernels.geometry import Axis
from burnish.target import Target


def build(fused: Fused, target: Target, config: TileConfig) -> PrimFunc:
    """The loops of a product, of its epilogue, and of packing the right operand if it needs it.

    Raises:
        ScheduleMiss: what follows the anchor is not elementwise.
    """
    views = Views()
    epilogue = Epilogue(fused, views)
    work, packing = describe(fused, target, views)

    def write(tile: Tile) -> Stmt:
        return TileBuilder(work, tile, epilogue, config.unroll).build()

    body = [*packing, nests(work.space, config, target.threads, write)]
    return fused.with_body(views.declare(body))


def describe(fused: Fused, target: Target, views: Views) -> tuple[Contraction, list[Stmt]]:
    """The work of an anchor with the role ``batch-product``, and what must be done before."""
    a, b = (load.source for load in fused.operands())
    transpose_a, transpose_b = (bool(flag) for flag in fused.attrs["burnish.transposed"])
    *lead, rows, columns = fused.anchor.extents
    *_, depth = (
        int(extent) for extent in (a.shape[-2:] if not transpose_a else a.shape[-2:][::-1])
    )
    batch, width = prod(lead), target.lanes(str(a.dtype))
    a_matrix, b_matrix = matrix_number(a, lead), matrix_number(b, lead)

    def element(positions: Sequence[Index], _: Expr) -> Index:
        number, row = positions
        return a_matrix(number) * (rows * depth) + row * (1 if transpose_a else depth)

    def results(row: Index, outputs: Sequence[Index]) -> tuple[Expr, ...]:
        return (*unravel(outputs[0], lead), index(outputs[1]))

    source = Source(views.of(a), element, 1 if transpose_a else depth, rows if transpose_a else 1)
    axes, finish = (Axis(batch, batch), Axis(rows, rows)), finish_size(fused)
    if transpose_b:
        packed, packing = _pack(views.of(b), columns, depth, width, target.threads)
        padded = -(-columns // width) * width

        def weight(outputs: Sequence[Index], _: Expr, column: Index, __: Sequence[Index]) -> Index:
            return (b_matrix(outputs[0]) * padded + column) * depth

        weights = Weights(packed, weight, depth, width)
        space = Space(axes, 1, columns, width, False, results)
        return Contraction(space, depth, source, weights, finish=finish), packing

    def stored(outputs: Sequence[Index], _: Expr, column: Index, __: Sequence[Index]) -> Index:
        return b_matrix(outputs[0]) * (depth * columns) + column

    weights = Weights(views.of(b), stored, 1, columns)
    space = Space(axes, 1, columns, min(width, columns), True, results)
    return Contraction(space, depth, source, weights, finish=finish), []


def matrix_number(operand: Buffer, lead: Sequence[int]) -> Callable[[Index], Index]:
    """Which matrix of an operand belongs to a matrix of the result, by numpy's broadcasting."""
    extents = [int(extent) for extent in operand.shape[:-2]]
    if prod(extents) == prod(lead):
        return lambda number: number
    if prod(extents) == 1:
        return lambda number: 0

    def broadcast(number: Index) -> Index:
        position = unravel(number, lead)[len(lead) - len(extents) :]
        return ravel(position, extents)

    return broadcast


def _pack(
    operand: Buffer, columns: int, depth: int, width: int, threads: int
) -> tuple[Buffer, list[Stmt]]:
    """Store ``[matrices, columns, depth]`` as blocks of `width` columns, depth outside."""
    blocks = -(-columns // width)
    matrices = int(operand.shape[0]) // (columns * depth)
    packed = tirx.decl_buffer(
        (matrices * blocks * depth * width,), operand.dtype, name="packed", scope="global"
    )

    def task(number: Expr) -> Stmt:
        matrix, block = unravel(number, (matrices, blocks))

        def copy(channel: Expr) -> Stmt:
            place = (number * depth + channel) * width

            def lane(j: int) -> Stmt:
                column = block * width + j
                start = (matrix * columns + column) * depth + channel
                value: Expr = BufferLoad(operand, [start])
                if columns % width:
                    value = tirx.if_then_else(column < columns, value, tirx.const(0, operand.dtype))
                return BufferStore(packed, value, [place + j])

            return sequence([lane(j) for j in range(width)])

        return loop(depth, copy, name="channel")

    kind = ForKind.PARALLEL if threads > 1 else ForKind.SERIAL
    return packed, [AllocBuffer(packed), loop(matrices * blocks, task, kind, "task")]
