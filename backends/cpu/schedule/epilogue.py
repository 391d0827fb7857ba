"""What follows an anchor, applied to one vector of its results while it is in a register."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr, TensorLoad
from tvm.tirx import Buffer, BufferLoad, BufferStore, ForKind, Stmt

from burnish.backends.cpu.schedule.fused import Fused, ScheduleMiss, Stage, loads
from burnish.backends.cpu.schedule.build import Index, Registers, index, loop, sequence, unravel

_INLINE_LIMIT = 400
"""Expression nodes above which the rows of a tile are finished in a loop, not one by one."""


@dataclass(frozen=True)
class Position:
    """A row of results: all of its leading indices, and its number where rows are contiguous."""

    lead: tuple[Expr, ...]
    flat: Expr | None = None


class Epilogue:
    """Stages that turn accumulated values into the outputs of a kernel.

    Raises:
        ScheduleMiss: a stage reads an earlier one elsewhere than at its own position.
    """

    def __init__(self, fused: Fused) -> None:
        self._fused = fused
        self._extents = fused.anchor.extents
        inner = {fused.anchor.out, *(stage.out for stage in fused.epilogue)}
        for stage in fused.epilogue:
            for node in loads(stage.value):
                if node.source in inner and not _is_identity(node, stage):
                    raise ScheduleMiss(f"{stage.out.name} reads {node.source.name} out of place")
        self._cost = sum(_size(stage.value) for stage in fused.epilogue) + 1

    def rows_at(self, flat: Index) -> Position:
        """The position of row number ``flat`` of all leading axes together."""
        return Position(unravel(flat, self._extents[:-1]), index(flat))

    def finish(
        self,
        tile: Registers,
        columns: Sequence[tuple[Expr, int]],
        position: Callable[[Index], Position],
    ) -> list[Stmt]:
        """Store a tile: vector ``j`` of row ``i`` belongs to ``columns[j]``, a start and a width."""

        def row(i: Index, buffer: Buffer) -> list[Stmt]:
            return [
                self._store(position(i), start, width, buffer, tile.offset(i, j))
                for j, (start, width) in enumerate(columns)
            ]

        if self._cost * tile.rows * len(columns) <= _INLINE_LIMIT or tile.rows == 1:
            return [s for i in range(tile.rows) for s in row(i, tile.buffer)]
        # Accumulators indexed by a loop variable would not stay in registers: copy them first.
        copy = tirx.decl_buffer(tile.buffer.shape, tile.buffer.dtype, name="done", scope="local")
        copied = tile.copy_to(copy)
        return [
            tirx.stmt.AllocBuffer(copy),
            *copied,
            loop(tile.rows, lambda i: sequence(row(i, copy)), name="row"),
        ]

    def _store(
        self, position: Position, column: Expr, width: int, buffer: Buffer, offset: Index
    ) -> Stmt:
        """The stages at ``width`` columns of one row."""

        def body(lane: Expr) -> Stmt:
            done: dict[Buffer, Expr] = {}
            statements: list[Stmt] = []
            stages = (self._fused.anchor, *self._fused.epilogue)
            for stage in stages:
                if stage is self._fused.anchor:
                    value: Expr = BufferLoad(buffer, [offset + lane])
                else:
                    value = self._evaluate(stage, position, column + lane, done)
                done[stage.out] = value
                if stage.out in self._fused.outputs:
                    place = self._aligned(position)
                    statements.append(BufferStore(stage.out, value, [*place, column + lane]))
            return sequence(statements)

        return loop(width, body, ForKind.VECTORIZED, "lane")

    def _evaluate(
        self, stage: Stage, position: Position, column: Expr, done: dict[Buffer, Expr]
    ) -> Expr:
        *lead_iters, column_iter = stage.iters
        values = dict(zip(lead_iters, position.lead, strict=True)) | {column_iter: column}

        def on_load(node: TensorLoad) -> Expr:
            if node.source in done:
                return done[node.source]
            if position.flat is not None and self._rows_match(node, stage):
                last = values.get(node.indices[-1], node.indices[-1])
                return BufferLoad(node.source, [*self._aligned(position), last])
            return node

        def on_var(node: tirx.Var) -> Expr:
            return values.get(node, node)

        mapped: Expr = tvm_ffi.structural_map(
            stage.value, ((TensorLoad, on_load), (tirx.Var, on_var)), order="pre"
        )
        return mapped

    def _aligned(self, position: Position) -> tuple[Expr, ...]:
        """Leading indices; a flat row number counts along the last one, the others being 0."""
        if position.flat is None:
            return position.lead
        return (*(index(0) for _ in self._extents[:-2]), position.flat)

    def _rows_match(self, node: TensorLoad, stage: Stage) -> bool:
        """Whether a load takes the row that is being computed from an equally shaped buffer."""
        shape = tuple(int(extent) for extent in node.source.shape)
        lead = len(self._extents) - 1
        return (
            len(shape) == lead + 1
            and shape[:-1] == self._extents[:-1]
            and all(i.same_as(v) for i, v in zip(node.indices[:-1], stage.iters, strict=False))
        )


def _is_identity(node: TensorLoad, stage: Stage) -> bool:
    return all(i.same_as(v) for i, v in zip(node.indices, stage.iters, strict=True))


def _size(value: Expr) -> int:
    count = 0

    def visit(_: Expr) -> None:
        nonlocal count
        count += 1

    tvm_ffi.structural_walk(value, (Expr, visit), order="pre")
    return count

