"""Channels in the order that interleaving leaves them in, so that nothing has to be permuted.

Interleaving bytes of rows within lanes of 16 leaves four vectors of quads: vector `p` has, of each
lane, the channels from `4 p` on. What belongs to channels, weights and what follows the sums, is
copied into that order when a kernel begins; narrowing four vectors to bytes restores the rows'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr, TensorLoad
from tvm.tirx import Buffer, BufferLoad, BufferStore, ForKind, Stmt
from tvm.tirx.stmt import AllocBuffer

from burnish.backends.cpu.schedule.build import (
    Index,
    Views,
    bind,
    index,
    lanes,
    loop,
    sequence,
    when,
)
from burnish.backends.cpu.schedule.epilogue import Epilogue, Slot, Store
from burnish.backends.cpu.schedule.fused import Fused, Stage, loads
from burnish.backends.kernels.saturation import PARTS, operands, reachable, vector_bytes, wide
from burnish.target import Target

_LANE, _QUAD = 16, 4
_WORD = 32
"""Bits of what a quad sums to, and of what belongs to its channel."""


def copied(source: Buffer, lines: int, channels: int, width: int) -> tuple[Buffer, list[Stmt]]:
    """``[lines, channels]`` of 32 bits each as ``[vectors, lines, width]`` in woven order.

    The last vector ends with the last channel.
    """
    vectors = -(-channels // width)
    result = tirx.decl_buffer(
        (vectors * lines * width,), source.dtype, name="woven", scope="global"
    )

    def copy(vector: Expr, line: Expr) -> Stmt:
        start = line * channels + tirx.min(vector * width, channels - width)
        at = (vector * lines + line) * width
        moves = []
        for part in range(PARTS):
            for lane in range(width // _LANE):
                value = BufferLoad(source, [lanes(start + _LANE * lane + _QUAD * part, _QUAD)])
                place = at + part * (width // PARTS) + _QUAD * lane
                moves.append(BufferStore(result, value, [lanes(place, _QUAD)]))
        return sequence(moves)

    body = loop(
        vectors, lambda v: loop(lines, lambda line: copy(v, line), name="line"), name="vector"
    )
    return result, [AllocBuffer(result), body]


@dataclass(frozen=True)
class WovenStore(Store):
    """Part of a vector whose channels lie in woven order."""

    woven: Index
    """Where what belongs to them begins."""
    start: Index
    """The first channel of the whole vector."""


class WovenEpilogue(Epilogue):
    """Stages that end in bytes, on sums in woven order.

    Stores are `WovenStore`, all parts of one vector after the other.
    """

    def __init__(self, fused: Fused, views: Views, target: Target, width: int) -> None:
        """Finish vectors of ``width`` channels; `fits` has to hold."""
        super().__init__(fused, views, target)
        self.prepare: list[Stmt] = []
        self._woven: dict[Buffer, Buffer] = {}
        channels = fused.anchor.extents[-1]
        for source in _per_channel(fused) or ():
            self._woven[source], copies = copied(views.of(source), 1, channels, width)
            self.prepare += copies

    @staticmethod
    def fits(fused: Fused, target: Target, width: int) -> bool:
        """Whether all that follows the sums belongs to channels, and ends in bytes."""
        narrows = Epilogue(fused, Views(), target).narrows
        return narrows and vector_bytes(target) == width and _per_channel(fused) is not None

    def _stored(self, slots: Sequence[Slot], width: int, buffer: Buffer) -> list[Stmt]:
        vectors = [slots[at : at + PARTS] for at in range(0, len(slots), PARTS)]
        return [self._vector(vector, width, buffer) for vector in vectors]

    def _vector(self, slots: Sequence[Slot], width: int, buffer: Buffer) -> Stmt:
        """Narrow and store a whole vector."""
        narrowed, last = self._narrowed, self._fused.epilogue[-1]
        assert narrowed is not None
        statements: list[Stmt] = []
        parts = [self._part(slot, width, buffer, statements) for slot in slots]
        dtype = f"{narrowed.dtype}x{PARTS * width}"
        quads = tirx.reinterpret(
            f"int32x{width}", bind(wide(parts, narrowed.middle, narrowed.dtype), statements)
        )
        # Narrowing orders what was in order before: that is undone.
        count = width // _QUAD
        order = [part * count + lane for lane in range(count) for part in range(PARTS)]
        value = tirx.reinterpret(dtype, tirx.Shuffle([quads], order))
        store = slots[0].store
        assert isinstance(store, WovenStore)
        place = self._place(last.out, slots[0].position, index(store.start))
        write = BufferStore(self._views.of(last.out), value, [lanes(place, PARTS * width)])
        statements.append(when(slots[0].position.exists, when(store.condition, write)))
        return sequence(statements)

    def _part(self, slot: Slot, width: int, buffer: Buffer, statements: list[Stmt]) -> Expr:
        """A part of a vector before it is narrowed."""
        held = tirx.decl_buffer((width,), "float32", name="part", scope="local")

        def body(lane: Expr) -> Stmt:
            *_, (_, value) = self._values(slot, lane, buffer)
            found = operands(value)
            assert found is not None
            return BufferStore(held, reachable(found), [lane])

        statements += [AllocBuffer(held), loop(width, body, ForKind.VECTORIZED, "lane")]
        return BufferLoad(held, [lanes(0, width)])

    def _values(self, slot: Slot, lane: Expr, buffer: Buffer) -> list[tuple[Stage, Expr]]:
        store = slot.store
        assert isinstance(store, WovenStore)
        value: Expr = BufferLoad(buffer, [slot.offset + lane])
        done: dict[Buffer, Expr] = {self._fused.anchor.out: value}
        found = [(self._fused.anchor, value)]

        def on_load(node: TensorLoad) -> Expr:
            if node.source in done:
                return done[node.source]
            if node.source in self._woven:
                return BufferLoad(self._woven[node.source], [store.woven + lane])
            return node

        for stage in self._fused.epilogue:
            value = tvm_ffi.structural_map(stage.value, (TensorLoad, on_load), order="pre")
            done[stage.out] = value
            found.append((stage, value))
        return found


def _per_channel(fused: Fused) -> list[Buffer] | None:
    """Operands of what follows the sums that have 32 bits for each channel.

    None if there are others than these and single numbers.
    """
    inner = {fused.anchor.out, *(stage.out for stage in fused.epilogue)}
    found: dict[Buffer, None] = {}
    for stage in fused.epilogue:
        for node in loads(stage.value):
            if node.source in inner:
                continue
            *lead, last = node.indices
            if not all(isinstance(i, tirx.IntImm) for i in lead):
                return None
            if isinstance(last, tirx.IntImm):
                continue
            size = max(int(extent) for extent in node.source.shape)
            fits = size == fused.anchor.extents[-1] and node.source.dtype.bits == _WORD
            if not last.same_as(stage.iters[-1]) or not fits:
                return None
            found[node.source] = None
    return list(found)
