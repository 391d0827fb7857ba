"""Scaled dot-product attention in one kernel that never stores the score matrix.

For each batch, key head and share of the query rows, in parallel:

    keys, values <- copies in panels of two vectors          # once per key head
    for each query head of the group, each block of rows:
        queries <- copy * scale
        for each block of keys whose scores fit the first-level cache:
            scores[rows, block] <- queries @ keys + mask;  largest <- max
            scores <- exp(scores - largest);  total <- total * exp(change of largest) + sum
            out[rows, D] <- out * exp(change of largest) + scores @ values
        out <- out / total

Both products keep their accumulators in registers, `rows` by two vectors. With a single block of
keys nothing is rescaled. Copies are needed because rows of merged heads lie a power of two apart as
often as not, and then share a few sets of the caches.

Source of the rescaling: Milakov and Gimelshein, Online normalizer calculation for softmax (2018);
Dao et al., FlashAttention (2022).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tvm import ir, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as build
from tvm.tirx.script.builder.frame import ForFrame

from burnish.backends.kernels import fast_math
from burnish.backends.kernels.attention_operands import Layout, Sizes, Tile, View
from burnish.backends.kernels.vectors import fold, transposed, vector_load, vector_store
from burnish.target import Target

Expr: TypeAlias = ir.Expr | int

__all__ = ["Layout", "Sizes", "Tile", "attention"]


def attention(
    q: te.Tensor,
    k: te.Tensor,
    v: te.Tensor,
    mask: te.Tensor | None = None,
    *,
    sizes: Sizes,
    scale: float,
    target: Target,
    softcap: float = 0.0,
    causal: bool = False,
    causal_offset: int = 0,
    layouts: Sequence[Layout] = (Layout(), Layout(), Layout()),
    out_order: str = "bshd",
) -> te.Tensor:
    """Attention softmax(q k^T scale + mask) v, float32.

    Args:
        q: Queries, stored as `layouts[0]` says; `k` and `v` likewise. The same tensor may be
            given for several.
        k: Keys.
        v: Values.
        mask: Added to the scores; 4-D, each axis of [B, H, Sq, Sk] full or one.
        sizes: Logical sizes.
        scale: Factor of the scores.
        target: Decides the register tile.
        softcap: What the magnitude of scaled scores tends to, before the mask; 0 for no bound.
        causal: Whether position i attends to keys up to i + `causal_offset` only.
        causal_offset: See `causal`.
        layouts: Storage of q, k and v.
        out_order: Storage of the result, "bshd" or "bhsd".

    Returns:
        The result, [B, Sq, H, Dv] or [B, H, Sq, Dv].
    """
    operands = list(dict.fromkeys([q, k, v] + ([] if mask is None else [mask])))
    extents = {"b": sizes.batch, "h": sizes.heads, "s": sizes.queries, "d": sizes.value_channels}

    def body(ins: Sequence[tirx.Buffer], outs: Sequence[tirx.Buffer]) -> tirx.Stmt:
        stored = dict(zip(operands, ins, strict=True))
        widths = (sizes.channels, sizes.channels, sizes.value_channels)
        q_view, k_view, v_view = (
            View(stored[tensor], layout, width, sizes.batch)
            for tensor, layout, width in zip((q, k, v), layouts, widths, strict=True)
        )
        kernel = _Kernel(
            sizes, Tile.choose(sizes, target), scale, softcap, causal_offset if causal else None,
            q_view, k_view, v_view, None if mask is None else stored[mask], outs[0], out_order,
        )  # fmt: skip
        return kernel.emit()

    shape = tuple(extents[axis] for axis in out_order)
    return te.extern([shape], operands, body, name="attention", dtype="float32")


def _hidden() -> Expr:
    """The score of a key that a mask hides."""
    return tirx.const(float("-inf"), "float32")


def _zero() -> Expr:
    return tirx.const(0.0, "float32")


def _each(size: int) -> ForFrame:
    """A loop over the elements of a vector, of which there may be only one."""
    return build.vectorized(0, size) if size > 1 else build.serial(0, size)


def _store(buffer: tirx.Buffer, value: Expr, *indices: Expr) -> None:
    build.buffer_store(buffer, value, list(indices))


@dataclass(frozen=True)
class _Memory:
    """Buffers of one task."""

    keys: tirx.Buffer
    """[panels, D, panel width], the keys of the head with positions contiguous."""
    values: tirx.Buffer | None
    """[panels, keys, panel width]; None if they are read where they are."""
    queries: tirx.Buffer
    """[rows, D], scaled."""
    scores: tirx.Buffer
    """[rows, keys of a block and some, so that rows do not share sets of the cache]."""
    total: tirx.Buffer
    """[rows], the sum of the exponentials so far."""
    running: "_Running | None"
    """None with a single block of keys."""


@dataclass(frozen=True)
class _Running:
    """What passes from one block of keys to the next."""

    largest: tirx.Buffer
    """[rows], what was subtracted from the scores."""
    change: tirx.Buffer
    """[rows], what results so far are to be multiplied with."""
    sums: tirx.Buffer
    """[rows, padded Dv], results so far."""


@dataclass(frozen=True)
class _Place:
    """What a block of rows computes."""

    batch: Expr
    head: Expr
    key_head: Expr
    row: Expr
    """First query position."""


@dataclass(frozen=True)
class _Keys:
    """A block of keys: `count` from `start` on."""

    start: Expr
    count: int
    is_last: bool


@dataclass(frozen=True)
class _Kernel:
    """Emits the loops of one attention."""

    sizes: Sizes
    tile: Tile
    scale: float
    softcap: float
    causal_offset: int | None
    q: View
    k: View
    v: View
    mask: tirx.Buffer | None
    out: tirx.Buffer
    out_order: str

    @property
    def width(self) -> int:
        """Columns of a panel."""
        return self.tile.vectors * self.tile.lanes

    def emit(self) -> tirx.Stmt:
        """The whole kernel."""
        sizes, tile = self.sizes, self.tile
        blocks = math.ceil(sizes.queries / tile.rows)
        share = math.ceil(blocks / tile.shares)
        with IRBuilder() as builder:
            with build.parallel(0, sizes.batch * sizes.key_heads * tile.shares) as task:
                batch = task // (sizes.key_heads * tile.shares)
                key_head = task // tile.shares % sizes.key_heads
                first = task % tile.shares * share
                memory = self._memory(share * sizes.group)
                self._pack_keys(memory.keys, batch, key_head)
                if memory.values is not None:
                    self._pack_values(memory.values, batch, key_head)
                with build.serial(0, sizes.group) as member, build.serial(0, share) as block:
                    # The last block moves up instead of shrinking: some rows are computed twice.
                    row = tirx.min((first + block) * tile.rows, sizes.queries - tile.rows)
                    head = key_head * sizes.group + member
                    self._row_block(memory, _Place(batch, head, key_head, row))
            return builder.get()

    def _memory(self, uses: int) -> _Memory:
        """Buffers of a task that goes over all keys `uses` times."""
        sizes, tile = self.sizes, self.tile
        channels = math.ceil(sizes.value_channels / self.width) * self.width

        def alloc(*shape: int) -> tirx.Buffer:
            return build.alloc_buffer(shape, "float32")

        panels = math.ceil(sizes.keys / self.width)
        copies = uses > 1 and self.v.pitch > sizes.value_channels
        return _Memory(
            keys=alloc(panels, sizes.channels, self.width),
            values=alloc(channels // self.width, sizes.keys, self.width) if copies else None,
            queries=alloc(tile.rows, sizes.channels),
            scores=alloc(tile.rows, tile.keys + tile.lanes),
            total=alloc(tile.rows),
            running=_Running(alloc(tile.rows), alloc(tile.rows), alloc(tile.rows, channels))
            if tile.keys < sizes.keys
            else None,
        )

    def _pack_keys(self, keys: tirx.Buffer, batch: Expr, head: Expr) -> None:
        """Copy the keys of a head with positions contiguous, zero beyond the last."""
        sizes, lanes, width = self.sizes, self.tile.lanes, self.width
        for start, count, size in _cover(sizes.keys, width):
            with build.serial(0, count) as step:
                panel = start // width + step
                first = panel * width
                if self.k.channels_last and min(size, sizes.channels) >= lanes:
                    self._turn_squares(keys, panel, size, batch, head)
                else:
                    with build.serial(0, sizes.channels) as d, build.serial(0, size) as j:
                        _store(keys, self.k.load(batch, head, first + j, d), panel, d, j)
                if size < width:
                    with build.serial(0, sizes.channels) as d, _each(width - size) as j:
                        _store(keys, _zero(), panel, d, j + size)

    def _turn_squares(
        self, keys: tirx.Buffer, panel: Expr, size: int, batch: Expr, head: Expr
    ) -> None:
        """Transpose in registers; the last square of a row or column overlaps the one before."""
        sizes, lanes = self.sizes, self.tile.lanes
        with build.serial(0, math.ceil(sizes.channels / lanes)) as down:
            d = tirx.min(down * lanes, sizes.channels - lanes)
            for j in (min(at, size - lanes) for at in range(0, size, lanes)):
                position = panel * self.width + j
                square = [
                    vector_load(self.k.load(batch, head, position + r, d), lanes)
                    for r in range(lanes)
                ]
                for r, column in enumerate(transposed(square)):
                    vector_store(keys, column, [panel, d + r, j], lanes)

    def _pack_values(self, values: tirx.Buffer, batch: Expr, head: Expr) -> None:
        """Copy the values of a head, a panel of channels at a time."""
        for start, count, size in _cover(self.sizes.value_channels, self.width):
            with build.serial(0, count) as step, build.serial(0, self.sizes.keys) as j:
                channel = start + step * size
                with _each(size) as lane:
                    element = self.v.load(batch, head, j, channel + lane)
                    _store(values, element, start // self.width + step, j, lane)

    def _row_block(self, memory: _Memory, place: _Place) -> None:
        tile, sizes = self.tile, self.sizes
        self._copy_queries(memory.queries, place)
        running = memory.running
        if running is None:
            self._key_block(memory, place, _Keys(0, sizes.keys, is_last=True))
            return
        with build.serial(0, tile.rows) as r:
            _store(running.largest, _hidden(), r)
            _store(memory.total, _zero(), r)
            panels = int(running.sums.shape[1]) // self.width
            with build.serial(0, panels) as panel, _each(self.width) as lane:
                _store(running.sums, _zero(), r, panel * self.width + lane)
        last = (math.ceil(sizes.keys / tile.keys) - 1) * tile.keys
        with build.serial(0, last // tile.keys) as number:
            start = number * tile.keys
            block = _Keys(start, tile.keys, is_last=False)
            with build.If(start < self._visible(place)), build.Then():
                self._key_block(memory, place, block)
        self._key_block(memory, place, _Keys(last, sizes.keys - last, is_last=True))

    def _visible(self, place: _Place) -> Expr:
        """Keys up to which any row of a block looks."""
        if self.causal_offset is None:
            return self.sizes.keys
        end = place.row + (self.tile.rows + self.causal_offset)
        return tirx.max(tirx.min(end, self.sizes.keys), 0)

    def _copy_queries(self, queries: tirx.Buffer, place: _Place) -> None:
        """Copy a block of queries, scaled."""
        factor = tirx.const(self.scale / (self.softcap or 1.0), "float32")
        # Vectors said outright: LLVM would exchange the loops and gather.
        with build.serial(0, self.tile.rows) as r:
            for start, count, size in _cover(self.sizes.channels, self.tile.lanes):
                with build.serial(0, count) as step, _each(size) as lane:
                    d = start + step * size + lane
                    query = self.q.load(place.batch, place.head, place.row + r, d)
                    _store(queries, query * factor, r, d)

    def _key_block(self, memory: _Memory, place: _Place, block: _Keys) -> None:
        width = self.width
        seen = tirx.max(tirx.min(self._visible(place) - block.start, block.count), 0)
        whole, rest = divmod(block.count, width)
        if whole:
            with build.serial(0, tirx.min(whole, (seen + width - 1) // width)) as step:
                self._score_tile(memory, place, block, step * width, width)
        if rest:
            with build.If(seen > whole * width), build.Then():
                self._score_tile(memory, place, block, whole * width, rest)
        with build.serial(0, self.tile.rows) as r:
            self._softmax_row(memory, r, seen)
        for start, count, size in _cover(self.sizes.value_channels, width):
            with build.serial(0, count) as step:
                self._value_tile(memory, place, block, seen, (start, step, size))

    def _score_tile(
        self, memory: _Memory, place: _Place, block: _Keys, column: Expr, size: int
    ) -> None:
        """Scores of `size` keys from `column` of the block on; hidden up to a whole vector."""
        keys, queries, scores = memory.keys, memory.queries, memory.scores
        lanes, panel = self.tile.lanes, (block.start + column) // self.width
        padded = math.ceil(size / lanes) * lanes
        sums = self._accumulators(padded)
        with build.serial(0, self.sizes.channels) as d:
            for r, row in enumerate(sums):
                with _each(padded) as lane:
                    _store(row, row[lane] + queries[r, d] * keys[panel, d, lane], lane)
        masked = self.mask is not None and size < padded
        for r, row in enumerate(sums):
            with _each(padded) as lane:
                score = self._bounded(row[lane])
                if not masked:
                    at = (r, column + lane, block.start + column + lane)
                    score = self._masked(score, place, *at[::2])
                    if size < padded:
                        score = tirx.Select(lane < size, score, _hidden())
                _store(scores, score, r, column + lane)
            if masked:
                # No vector of the mask may reach beyond its end.
                with build.serial(0, size) as lane:
                    at = block.start + column + lane
                    score = self._masked(scores[r, column + lane], place, r, at)
                    _store(scores, score, r, column + lane)
                with build.serial(0, padded - size) as lane:
                    _store(scores, _hidden(), r, column + lane + size)

    def _bounded(self, product: Expr) -> Expr:
        if not self.softcap:
            return product
        return fast_math.tanh(product) * tirx.const(self.softcap, "float32")

    def _masked(self, score: Expr, place: _Place, r: Expr, key: Expr) -> Expr:
        """A score with the mask added; -inf where causality hides the key."""
        position = place.row + r
        if self.mask is not None:
            score = score + self._mask_at(place.batch, place.head, position, key)
        if self.causal_offset is not None:
            score = tirx.Select(key <= position + self.causal_offset, score, _hidden())
        return score

    def _mask_at(self, batch: Expr, head: Expr, position: Expr, key: Expr) -> Expr:
        assert self.mask is not None
        full = (batch, head, position, key)
        indices = [
            0 if int(extent) == 1 else index
            for index, extent in zip(full, self.mask.shape, strict=True)
        ]
        return tirx.BufferLoad(self.mask, indices)

    def _softmax_row(self, memory: _Memory, r: Expr, seen: Expr) -> None:
        """Replace a row of scores by exp(score - largest); bring largest and total up to date."""
        scores, lanes = memory.scores, self.tile.lanes
        partial = build.alloc_buffer((lanes,), "float32", scope="local")
        rounds = (seen + lanes - 1) // lanes
        with build.vectorized(0, lanes) as lane:
            _store(partial, _hidden(), lane)
        with build.serial(0, rounds) as step, build.vectorized(0, lanes) as lane:
            _store(partial, tirx.max(partial[lane], scores[r, step * lanes + lane]), lane)
        peak = fold(vector_load(partial[0], lanes), lanes, tirx.max)
        running = memory.running
        offset = build.alloc_buffer((1,), "float32")
        _store(offset, peak if running is None else tirx.max(running.largest[r], peak), 0)
        if running is not None:
            previous = build.bind(running.largest[r])
            _store(running.largest, offset[0], r)
        # A row that has seen no key at all: its scores become 0, not NaN.
        _store(offset, tirx.Select(offset[0] <= _hidden(), _zero(), offset[0]), 0)
        with build.vectorized(0, lanes) as lane:
            _store(partial, _zero(), lane)
        with build.serial(0, rounds) as step:
            with build.vectorized(0, lanes) as lane:
                shifted = scores[r, step * lanes + lane] - offset[0]
                _store(scores, fast_math.exp_nonpositive(shifted), r, step * lanes + lane)
            with build.vectorized(0, lanes) as lane:
                _store(partial, partial[lane] + scores[r, step * lanes + lane], lane)
        total = fold(vector_load(partial[0], lanes), lanes, lambda a, b: a + b)
        if running is None:
            _store(memory.total, total, r)
            return
        change = build.bind(fast_math.exp_nonpositive(previous - offset[0]))
        _store(memory.total, memory.total[r] * change + total, r)
        _store(running.change, change, r)

    def _value_tile(
        self,
        memory: _Memory,
        place: _Place,
        block: _Keys,
        seen: Expr,
        at: tuple[int, Expr, int],
    ) -> None:
        """Scores times values for a tile of channels, over their sum behind the last block."""
        scores, (start, step, size) = memory.scores, at
        channel, panel = start + step * size, start // self.width + step
        sums = self._accumulators(size)
        running = memory.running
        if running is not None:
            for r, row in enumerate(sums):
                with _each(size) as lane:
                    _store(row, running.sums[r, channel + lane] * running.change[r], lane)
        with build.serial(0, seen) as j:
            for r, row in enumerate(sums):
                with _each(size) as lane:
                    value = self._value(memory, place, (panel, block.start + j, channel), lane)
                    _store(row, row[lane] + scores[r, j] * value, lane)
        for r, row in enumerate(sums):
            if running is not None and not block.is_last:
                with _each(size) as lane:
                    _store(running.sums, row[lane], r, channel + lane)
                continue
            total = memory.total[r]
            inverse = build.bind(
                tirx.Select(total > _zero(), tirx.const(1.0, "float32") / total, _zero())
            )
            with _each(size) as lane:
                spot = {"b": place.batch, "h": place.head, "s": place.row + r, "d": channel + lane}
                _store(self.out, row[lane] * inverse, *(spot[axis] for axis in self.out_order))

    def _value(
        self, memory: _Memory, place: _Place, at: tuple[Expr, Expr, Expr], lane: Expr
    ) -> Expr:
        """Value number `lane` of a panel, for the key of `at`."""
        panel, key, channel = at
        if memory.values is None:
            return self.v.load(place.batch, place.key_head, key, channel + lane)
        return memory.values[panel, key, lane]

    def _accumulators(self, size: int) -> list[tirx.Buffer]:
        """One buffer per row: a larger one would go to memory instead of registers."""
        sums = [build.alloc_buffer((size,), "float32") for _ in range(self.tile.rows)]
        for row in sums:
            with _each(size) as lane:
                _store(row, _zero(), lane)
        return sums


def _cover(extent: int, width: int) -> list[tuple[int, int, int]]:
    """Tiles over `extent`: (start, count, size), the last one narrower."""
    whole, rest = divmod(extent, width)
    tiles = [(0, whole, width)] if whole else []
    return [*tiles, (whole * width, 1, rest)] if rest else tiles
