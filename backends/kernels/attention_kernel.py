"""Loops of scaled dot-product attention; see `attention` for what they do."""

import math
from dataclasses import dataclass
from typing import TypeAlias

from tvm import ir, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as build

from burnish.backends.kernels import fast_math
from burnish.backends.kernels.attention_memory import Memory, Operands, Place, cover, hidden, zero
from burnish.backends.kernels.attention_operands import Sizes, Tile
from burnish.backends.kernels.bfloat16 import STORED, narrow
from burnish.backends.kernels.vectors import each_lane, fold, store, vector_load

Expr: TypeAlias = ir.Expr | int


@dataclass(frozen=True)
class Keys:
    """A block of keys: `count` from `start` on."""

    start: Expr
    count: int
    is_last: bool


@dataclass(frozen=True)
class Kernel:
    """Emits the loops of one attention."""

    operands: Operands
    scale: float
    softcap: float
    causal_offset: int | None
    mask: tirx.Buffer | None
    out: tirx.Buffer
    out_order: str

    @property
    def sizes(self) -> Sizes:
        """Logical sizes."""
        return self.operands.sizes

    @property
    def tile(self) -> Tile:
        """How the work is cut."""
        return self.operands.tile

    @property
    def width(self) -> int:
        """Columns of a panel."""
        return self.operands.width

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
                memory = self.operands.memory(share * sizes.group)
                self.operands.pack_keys(memory.keys, batch, key_head)
                if memory.values is not None:
                    self.operands.pack_values(memory.values, batch, key_head)
                with build.serial(0, sizes.group) as member, build.serial(0, share) as block:
                    # The last block moves up instead of shrinking: some rows are computed twice.
                    row = tirx.min((first + block) * tile.rows, sizes.queries - tile.rows)
                    head = key_head * sizes.group + member
                    self._row_block(memory, Place(batch, head, key_head, row))
            return builder.get()

    def _row_block(self, memory: Memory, place: Place) -> None:
        tile, sizes = self.tile, self.sizes
        self.copy_queries(memory, place)
        running = memory.running
        if running is None:
            self._key_block(memory, place, Keys(0, sizes.keys, is_last=True))
            return
        with build.serial(0, tile.rows) as r:
            store(running.largest, hidden(), r)
            store(memory.total, zero(), r)
            panels = int(running.sums.shape[1]) // self.width
            with build.serial(0, panels) as panel, each_lane(self.width) as lane:
                store(running.sums, zero(), r, panel * self.width + lane)
        last = (math.ceil(sizes.keys / tile.keys) - 1) * tile.keys
        with build.serial(0, last // tile.keys) as number:
            start = number * tile.keys
            block = Keys(start, tile.keys, is_last=False)
            with build.If(start < self._visible(place)), build.Then():
                self._key_block(memory, place, block)
        self._key_block(memory, place, Keys(last, sizes.keys - last, is_last=True))

    @property
    def factor(self) -> float:
        """What products of queries and keys are multiplied with."""
        return self.scale / (self.softcap or 1.0)

    def copy_queries(self, memory: Memory, place: Place) -> None:
        """Emit a copy of a block of queries."""
        self.operands.copy_queries(memory.queries, place, self.factor)

    def _visible(self, place: Place) -> Expr:
        """Keys up to which any row of a block looks."""
        if self.causal_offset is None:
            return self.sizes.keys
        end = place.row + (self.tile.rows + self.causal_offset)
        return tirx.max(tirx.min(end, self.sizes.keys), 0)

    def _key_block(self, memory: Memory, place: Place, block: Keys) -> None:
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
        for start, count, size in cover(self.sizes.value_channels, width):
            with build.serial(0, count) as step:
                self._value_tile(memory, place, block, seen, (start, step, size))

    def _score_tile(
        self, memory: Memory, place: Place, block: Keys, column: Expr, size: int
    ) -> None:
        """Scores of `size` keys from `column` of the block on; hidden up to a whole vector."""
        scores, lanes = memory.scores, self.tile.lanes
        padded = math.ceil(size / lanes) * lanes
        sums = self.accumulators(padded)
        self.multiply_keys(memory, sums, (block.start + column) // self.width)
        masked = self.mask is not None and size < padded
        for r, row in enumerate(sums):
            with each_lane(padded) as lane:
                score = self._bounded(self.scaled(row[lane]))
                if not masked:
                    at = (r, column + lane, block.start + column + lane)
                    score = self._masked(score, place, *at[::2])
                    if size < padded:
                        score = tirx.Select(lane < size, score, hidden())
                store(scores, score, r, column + lane)
            if masked:
                # No vector of the mask may reach beyond its end.
                with build.serial(0, size) as lane:
                    at = block.start + column + lane
                    score = self._masked(scores[r, column + lane], place, r, at)
                    store(scores, score, r, column + lane)
                with build.serial(0, padded - size) as lane:
                    store(scores, hidden(), r, column + lane + size)
            self.hide(scores, r, column, padded)

    def hide(self, scores: tirx.Buffer, r: Expr, column: Expr, computed: int) -> None:
        """Emit what `exponentials` needs behind `computed` scores from `column` on."""

    def multiply_keys(self, memory: Memory, sums: list[tirx.Buffer], panel: Expr) -> None:
        """Emit the products of a block of queries and a panel of keys."""
        keys, queries = memory.keys, memory.queries
        with build.serial(0, self.sizes.channels) as d:
            for r, row in enumerate(sums):
                with each_lane(int(row.shape[0])) as lane:
                    store(row, row[lane] + queries[r, d] * keys[panel, d, lane], lane)

    def scaled(self, product: Expr) -> Expr:
        """A product of queries, which have been scaled, and keys."""
        return product

    def _bounded(self, product: Expr) -> Expr:
        if not self.softcap:
            return product
        return fast_math.tanh(product) * tirx.const(self.softcap, "float32")

    def _masked(self, score: Expr, place: Place, r: Expr, key: Expr) -> Expr:
        """A score with the mask added; -inf where causality hides the key."""
        position = place.row + r
        if self.mask is not None:
            score = score + self._mask_at(place.batch, place.head, position, key)
        if self.causal_offset is not None:
            score = tirx.Select(key <= position + self.causal_offset, score, hidden())
        return score

    def _mask_at(self, batch: Expr, head: Expr, position: Expr, key: Expr) -> Expr:
        assert self.mask is not None
        full = (batch, head, position, key)
        indices = [
            0 if int(extent) == 1 else index
            for index, extent in zip(full, self.mask.shape, strict=True)
        ]
        return tirx.BufferLoad(self.mask, indices)

    def _softmax_row(self, memory: Memory, r: Expr, seen: Expr) -> None:
        """Replace a row of scores by exp(score - largest); bring largest and total up to date."""
        scores, lanes = memory.scores, self.tile.lanes
        partial = build.alloc_buffer((lanes,), "float32", scope="local")
        rounds = (seen + lanes - 1) // lanes
        with build.vectorized(0, lanes) as lane:
            store(partial, hidden(), lane)
        with build.serial(0, rounds) as step, build.vectorized(0, lanes) as lane:
            store(partial, tirx.max(partial[lane], scores[r, step * lanes + lane]), lane)
        peak = fold(vector_load(partial[0], lanes), lanes, tirx.max)
        running = memory.running
        offset = build.alloc_buffer((1,), "float32")
        store(offset, peak if running is None else tirx.max(running.largest[r], peak), 0)
        if running is not None:
            previous = build.bind(running.largest[r])
            store(running.largest, offset[0], r)
        # A row that has seen no key at all: its scores become 0, not NaN.
        store(offset, tirx.Select(offset[0] <= hidden(), zero(), offset[0]), 0)
        with build.vectorized(0, lanes) as lane:
            store(partial, zero(), lane)
        self.exponentials(memory, partial, r, offset, seen)
        total = fold(vector_load(partial[0], lanes), lanes, lambda a, b: a + b)
        if running is None:
            store(memory.total, total, r)
            return
        change = build.bind(fast_math.exp_nonpositive(previous - offset[0]))
        store(memory.total, memory.total[r] * change + total, r)
        store(running.change, change, r)

    def exponentials(
        self, memory: Memory, partial: tirx.Buffer, r: Expr, offset: tirx.Buffer, seen: Expr
    ) -> None:
        """Emit exp(score - offset) for a row of scores, added up in `partial`."""
        scores, lanes = memory.scores, self.tile.lanes
        with build.serial(0, (seen + lanes - 1) // lanes) as step:
            with build.vectorized(0, lanes) as lane:
                shifted = scores[r, step * lanes + lane] - offset[0]
                store(scores, fast_math.exp_nonpositive(shifted), r, step * lanes + lane)
            with build.vectorized(0, lanes) as lane:
                store(partial, partial[lane] + scores[r, step * lanes + lane], lane)

    def _value_tile(
        self,
        memory: Memory,
        place: Place,
        block: Keys,
        seen: Expr,
        at: tuple[int, Expr, int],
    ) -> None:
        """Scores times values for a tile of channels, over their sum behind the last block."""
        start, step, size = at
        channel, panel = start + step * size, start // self.width + step
        sums = self.accumulators(self.covered(size))
        running = memory.running
        if running is not None:
            for r, row in enumerate(sums):
                with each_lane(size) as lane:
                    store(row, running.sums[r, channel + lane] * running.change[r], lane)
        self.multiply_values(memory, place, sums, (panel, block.start, channel), seen)
        for r, row in enumerate(sums):
            if running is not None and not block.is_last:
                with each_lane(size) as lane:
                    store(running.sums, row[lane], r, channel + lane)
                continue
            total = memory.total[r]
            inverse = build.bind(
                tirx.Select(total > zero(), tirx.const(1.0, "float32") / total, zero())
            )
            with each_lane(size) as lane:
                spot = {"b": place.batch, "h": place.head, "s": place.row + r, "d": channel + lane}
                result = row[lane] * inverse
                if str(self.out.dtype) == STORED:
                    result = narrow(result)
                store(self.out, result, *(spot[axis] for axis in self.out_order))

    def covered(self, size: int) -> int:
        """Channels that are computed for `size` of them."""
        return size

    def multiply_values(
        self,
        memory: Memory,
        place: Place,
        sums: list[tirx.Buffer],
        at: tuple[Expr, Expr, Expr],
        seen: Expr,
    ) -> None:
        """Emit the products of `seen` exponentials and values, from panel, key, channel `at` on."""
        panel, start, channel = at
        with build.serial(0, seen) as j:
            for r, row in enumerate(sums):
                with each_lane(int(row.shape[0])) as lane:
                    value = self._value(memory, place, (panel, start + j, channel), lane)
                    store(row, row[lane] + memory.scores[r, j] * value, lane)

    def _value(self, memory: Memory, place: Place, at: tuple[Expr, Expr, Expr], lane: Expr) -> Expr:
        """Value number `lane` of a panel, for the key of `at`."""
        panel, key, channel = at
        if memory.values is None:
            return self.operands.v.load(place.batch, place.key_head, key, channel + lane)
        return memory.values[panel, key, lane]

    def accumulators(self, size: int) -> list[tirx.Buffer]:
        """One buffer per row: a larger one would go to memory instead of registers."""
        sums = [build.alloc_buffer((size,), "float32") for _ in range(self.tile.rows)]
        for row in sums:
            with each_lane(size) as lane:
                store(row, zero(), lane)
        return sums
