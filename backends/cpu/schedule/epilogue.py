"""What follows an anchor, applied to one vector of its results while it is in a register."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr, TensorLoad
from tvm.tirx import Buffer, BufferLoad, BufferStore, ForKind, Stmt
from tvm.tirx.stmt import AllocBuffer

from burnish.backends.cpu.schedule.build import (
    Index,
    Registers,
    Views,
    constant,
    loop,
    sequence,
    when,
)
from burnish.backends.cpu.schedule.fused import Fused, ScheduleMiss, Stage, loads
from burnish.backends.cpu.schedule.prefetch import prefetch

_CALL = 12
"""Operations of a transcendental function."""
INLINE_LIMIT = 800
"""Operations above which the rows of a tile are finished in a loop, not one by one."""


@dataclass(frozen=True)
class Position:
    """A row of results."""

    row: Index
    """Its number, all leading axes taken together."""
    lead: tuple[Expr, ...]
    """Its index along each leading axis."""
    exists: Expr | bool = True
    """Whether it is to be stored."""


@dataclass(frozen=True)
class Store:
    """Adjacent lanes of a vector that become adjacent columns."""

    condition: Expr | bool
    column: Index
    lane: int
    width: int


class Epilogue:
    """Stages that turn accumulated values into the outputs of a kernel.

    Raises:
        ScheduleMiss: a stage reads an earlier one elsewhere than at its own position.
    """

    def __init__(self, fused: Fused, views: Views) -> None:
        self._fused = fused
        self._views = views
        self._extents = fused.anchor.extents
        self._outputs = fused.outputs
        inner = {fused.anchor.out, *(stage.out for stage in fused.epilogue)}
        for stage in fused.epilogue:
            for node in loads(stage.value):
                if node.source in inner and not _is_identity(node, stage):
                    raise ScheduleMiss(f"{stage.out.name} reads {node.source.name} out of place")
        self._cost = finish_size(fused) + 1

    def fetch(
        self, columns: Sequence[Sequence[Store]], positions: Sequence[Position]
    ) -> list[Stmt]:
        """Bring closer what is read beside the accumulated values, once for each output."""
        return [
            prefetch(self._views.of(beside), self._place(beside, position, choices[0].column))
            for beside in self._beside
            for position in positions
            for choices in columns
        ]

    @cached_property
    def _beside(self) -> list[Buffer]:
        return operands_beside(self._fused)

    def finish(
        self,
        tile: Registers,
        columns: Sequence[Sequence[Store]],
        position: Callable[[Index], Position],
        in_loop: bool = True,
    ) -> list[Stmt]:
        """Store a tile.

        Args:
            tile: accumulated values.
            columns: what to store of each vector of a row.
            position: where row ``i`` of the tile goes.
            in_loop: whether `position` takes an ``i`` that is not known.
        """

        def row(i: Index, buffer: Buffer) -> Stmt:
            place = position(i)
            stores = [
                when(s.condition, self._store(place, s, buffer, tile.offset(i, j) + s.lane))
                for j, choices in enumerate(columns)
                for s in choices
            ]
            return when(place.exists, sequence(stores))

        size = self._cost * tile.rows * len(columns)
        if size <= INLINE_LIMIT or tile.rows == 1 or not in_loop:
            return [row(i, tile.buffer) for i in range(tile.rows)]
        # Accumulators indexed by a loop variable would not stay in registers: copy them first.
        copy = tirx.decl_buffer(tile.buffer.shape, tile.buffer.dtype, name="done", scope="local")
        return [
            AllocBuffer(copy),
            *tile.copy_to(copy),
            loop(tile.rows, lambda i: row(i, copy), name="row"),
        ]

    def _store(self, position: Position, store: Store, buffer: Buffer, offset: Index) -> Stmt:
        """The stages at some columns of one row, from values at ``offset``."""

        def body(lane: Expr) -> Stmt:
            done: dict[Buffer, Expr] = {}
            statements: list[Stmt] = []
            for stage in (self._fused.anchor, *self._fused.epilogue):
                if stage is self._fused.anchor:
                    value: Expr = BufferLoad(buffer, [offset + lane])
                else:
                    value = self._evaluate(stage, position, store.column + lane, done)
                done[stage.out] = value
                if stage.out in self._outputs:
                    place = self._place(stage.out, position, store.column + lane)
                    statements.append(BufferStore(self._views.of(stage.out), value, [place]))
            return sequence(statements)

        return loop(store.width, body, ForKind.VECTORIZED, "lane")

    def _evaluate(
        self, stage: Stage, position: Position, column: Expr, done: dict[Buffer, Expr]
    ) -> Expr:
        *lead, last = stage.iters
        values = dict(zip(lead, position.lead, strict=True)) | {last: column}

        def on_load(node: TensorLoad) -> Expr:
            if node.source in done:
                return done[node.source]
            if _is_whole(node, stage, self._extents):
                place = self._place(node.source, position, column)
                return BufferLoad(self._views.of(node.source), [place])
            return node

        def on_var(node: tirx.Var) -> Expr:
            return values.get(node, node)

        mapped: Expr = tvm_ffi.structural_map(
            stage.value, ((TensorLoad, on_load), (tirx.Var, on_var)), order="pre"
        )
        return mapped

    def _place(self, buffer: Buffer, position: Position, column: Expr) -> Expr:
        return position.row * int(buffer.shape[-1]) + column


def finish_size(fused: Fused) -> int:
    """Operations on each result of the anchor, roughly."""
    return sum(_size(stage.value) for stage in fused.epilogue)


def operands_beside(fused: Fused) -> list[Buffer]:
    """What is read beside the anchor's results and has their extents, such as a residual."""
    inner = {fused.anchor.out, *(stage.out for stage in fused.epilogue)}
    found = [
        node.source
        for stage in fused.epilogue
        for node in loads(stage.value)
        if node.source not in inner and _is_whole(node, stage, fused.anchor.extents)
    ]
    return list(dict.fromkeys(found))


def _is_whole(node: TensorLoad, stage: Stage, extents: tuple[int, ...]) -> bool:
    """Whether `node` reads, at the stage's own position, what has the outputs' `extents`.

    Its rows may be part of longer ones.
    """
    if not _is_identity(node, stage):
        return False
    *lead, last = map(int, node.source.shape)
    return tuple(lead) == extents[:-1] and last >= extents[-1]


def _is_identity(node: TensorLoad, stage: Stage) -> bool:
    """Whether `node` reads at the stage's own position; axes of one element have but one."""
    if len(node.indices) != len(stage.iters):
        return False
    places = zip(node.indices, stage.iters, stage.extents, strict=True)
    return all(i.same_as(v) or (size == 1 and constant(i) == 0) for i, v, size in places)


def _size(value: Expr) -> int:
    """Operations and operands of an expression, without those of indices."""
    places = sum(_nodes(index) for load in loads(value) for index in load.indices)
    calls = 0

    def visit(_: Expr) -> None:
        nonlocal calls
        calls += 1

    tvm_ffi.structural_walk(value, (Call, visit), order="pre")
    return _nodes(value) - places + _CALL * calls


def _nodes(value: Expr) -> int:
    count = 0

    def visit(_: Expr) -> None:
        nonlocal count
        count += 1

    tvm_ffi.structural_walk(value, (Expr, visit), order="pre")
    return count
