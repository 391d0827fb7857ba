"""What follows an anchor, applied to vectors of its results while they are in registers."""

from __future__ import annotations

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
    bind,
    constant,
    index,
    lanes,
    loop,
    sequence,
    when,
)
from burnish.backends.cpu.schedule.fused import Fused, ScheduleMiss, Stage, loads
from burnish.backends.cpu.schedule.prefetch import prefetch
from burnish.backends.kernels.saturation import (
    PARTS,
    Saturated,
    operands,
    reachable,
    vector_bytes,
    wide,
    with_instructions,
)
from burnish.target import Target

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


@dataclass(frozen=True, eq=False)
class Slot:
    """A vector of accumulated values, and what becomes of it."""

    position: Position
    store: Store
    offset: Index
    """Of its first lane that is stored, among the accumulators."""
    is_only: bool
    """Whether it is always stored in this way, if it is stored."""

    def column(self, lane: Index) -> Expr:
        """The column of a lane."""
        return index(self.store.column + lane)

    def is_whole(self, width: int) -> bool:
        """Whether all its lanes are columns."""
        return self.is_only and self.store.lane == 0 and self.store.width == width

    def precedes(self, other: Slot) -> bool:
        """Whether ``other`` is stored next to it, and whenever it is."""
        follows = constant(index(other.store.column - self.store.column)) == self.store.width
        always = self.store.condition is True and other.store.condition is True
        return follows and always and other.position is self.position


def runs(slots: Sequence[Slot]) -> list[tuple[int, int]]:
    """First ones and numbers of slots that are stored together, in powers of two."""
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(slots):
        count = 1
        while at % (2 * count) == 0 and at + 2 * count <= len(slots):
            pairs = zip(slots[at : at + 2 * count], slots[at + 1 : at + 2 * count], strict=False)
            if not all(one.precedes(other) for one, other in pairs):
                break
            count *= 2
        found.append((at, count))
        at += count
    return found


class Epilogue:
    """Stages that turn accumulated values into the outputs of a kernel.

    Raises:
        ScheduleMiss: a stage reads an earlier one elsewhere than at its own position.
    """

    def __init__(self, fused: Fused, views: Views, target: Target | None = None) -> None:
        self._fused = fused
        self._target = target
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

        def rows(numbers: Sequence[Index], buffer: Buffer) -> list[Stmt]:
            slots = [
                Slot(place, store, tile.offset(i, j) + store.lane, len(choices) == 1)
                for i, place in ((i, position(i)) for i in numbers)
                for j, choices in enumerate(columns)
                for store in choices
            ]
            return self._stored(slots, tile.width, buffer)

        size = self._cost * tile.rows * len(columns)
        if size <= INLINE_LIMIT or tile.rows == 1 or not in_loop:
            return rows(range(tile.rows), tile.buffer)
        # Accumulators indexed by a loop variable would not stay in registers: copy them first.
        copy = tirx.decl_buffer(tile.buffer.shape, tile.buffer.dtype, name="done", scope="local")
        return [
            AllocBuffer(copy),
            *tile.copy_to(copy),
            loop(tile.rows, lambda i: sequence(rows([i], copy)), name="row"),
        ]

    def around(self, body: Stmt) -> Stmt:
        """A whole kernel with the definitions of what its stores call."""
        if self._target is None or self._narrowed is None:
            return body
        return with_instructions(body, self._target)

    @property
    def narrows(self) -> bool:
        """Whether results become bytes by instructions that take several vectors."""
        return self._narrowed is not None

    @cached_property
    def _narrowed(self) -> Saturated | None:
        """What is rounded to bytes at the end, by instructions that take several vectors."""
        *_, last = (self._fused.anchor, *self._fused.epilogue)
        found = operands(last.value)
        if found is None or found.dtype not in ("int8", "uint8") or self._target is None:
            return None
        is_known = isinstance(found.middle, tirx.IntImm) and vector_bytes(self._target) > 0
        return found if is_known and self._outputs == {last.out} else None

    def _stored(self, slots: Sequence[Slot], width: int, buffer: Buffer) -> list[Stmt]:
        """The stages of some slots, several at once where they become bytes."""
        together: list[Slot] = []
        if self._narrowed is not None and self._target is not None:
            if width * PARTS == vector_bytes(self._target):
                together = [slot for slot in slots if slot.is_whole(width)]
        if len(together) % PARTS == 1:
            together.pop()
        alone = [slot for slot in slots if slot not in together]
        statements = [
            self._narrow(together[at : at + PARTS], width, buffer)
            for at in range(0, len(together), PARTS)
        ]
        for slot in alone:
            store = when(slot.store.condition, self._store(slot, buffer))
            statements.append(when(slot.position.exists, store))
        return statements

    def _narrow(self, slots: Sequence[Slot], width: int, buffer: Buffer) -> Stmt:
        """The stages of a few whole slots, rounded to bytes at once."""
        narrowed = self._narrowed
        assert narrowed is not None
        *_, last = self._fused.epilogue
        statements: list[Stmt] = []
        parts = []
        for slot in slots:
            held = tirx.decl_buffer((width,), "float32", name="part", scope="local")

            def body(lane: Expr, slot: Slot = slot, held: Buffer = held) -> Stmt:
                *_, (_, value) = self._values(slot, lane, buffer)
                found = operands(value)
                assert found is not None
                return BufferStore(held, reachable(found), [lane])

            statements += [AllocBuffer(held), loop(width, body, ForKind.VECTORIZED, "lane")]
            parts.append(BufferLoad(held, [lanes(0, width)]))
        parts += parts[:1] * (PARTS - len(parts))
        every = bind(wide(parts, narrowed.middle, narrowed.dtype), statements, "bytes")
        assert isinstance(every, Expr)
        for first, count in runs(slots):
            piece = range(first * width, (first + count) * width)
            value = every if count == PARTS else tirx.Shuffle([every], list(piece))
            slot = slots[first]
            place = self._place(last.out, slot.position, slot.column(0))
            store = BufferStore(self._views.of(last.out), value, [lanes(place, count * width)])
            statements.append(when(slot.position.exists, when(slot.store.condition, store)))
        return sequence(statements)

    def _store(self, slot: Slot, buffer: Buffer) -> Stmt:
        """The stages at some columns of one row."""

        def body(lane: Expr) -> Stmt:
            statements: list[Stmt] = []
            for stage, value in self._values(slot, lane, buffer):
                if stage.out in self._outputs:
                    place = self._place(stage.out, slot.position, slot.column(lane))
                    statements.append(BufferStore(self._views.of(stage.out), value, [place]))
            return sequence(statements)

        return loop(slot.store.width, body, ForKind.VECTORIZED, "lane")

    def _values(self, slot: Slot, lane: Expr, buffer: Buffer) -> list[tuple[Stage, Expr]]:
        """What each stage makes of a lane."""
        done: dict[Buffer, Expr] = {}
        found: list[tuple[Stage, Expr]] = []
        for stage in (self._fused.anchor, *self._fused.epilogue):
            if stage is self._fused.anchor:
                value: Expr = BufferLoad(buffer, [slot.offset + lane])
            else:
                value = self._evaluate(stage, slot.position, slot.column(lane), done)
            done[stage.out] = value
            found.append((stage, value))
        return found

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

    def visit(call: Expr) -> None:
        nonlocal calls
        calls += operands(call) is None

    tvm_ffi.structural_walk(value, (Call, visit), order="pre")
    return _nodes(value) - places + _CALL * calls


def _nodes(value: Expr) -> int:
    count = 0

    def visit(_: Expr) -> None:
        nonlocal count
        count += 1

    tvm_ffi.structural_walk(value, (Expr, visit), order="pre")
    return count
