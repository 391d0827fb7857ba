"""Scaled dot-product attention in one kernel that never stores the score matrix.

For each batch, key head and share of the query rows, in parallel:

    keys <- transposed copy [D, keys]                 # once per key head
    for each query head of the group, each block of rows:
        scores[rows, keys] <- (q @ keys) * scale + mask
        scores <- exp(scores - max);  total <- sum    # in the first-level cache
        out[rows, D] <- (scores @ v) / total

Both products keep their accumulators in registers, `rows` by two vectors.
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
    """[D, padded keys], the keys of the head with positions contiguous."""
    scores: tirx.Buffer
    """[rows, padded keys]."""
    inverse: tirx.Buffer
    """[rows], one over the sum of each row's exponentials."""


@dataclass(frozen=True)
class _Place:
    """What a block of rows computes."""

    batch: Expr
    head: Expr
    key_head: Expr
    row: Expr
    """First query position."""


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
    def padded_keys(self) -> int:
        """Keys rounded up to whole vectors."""
        return math.ceil(self.sizes.keys / self.tile.lanes) * self.tile.lanes

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
                keys = build.alloc_buffer((sizes.channels, self.padded_keys), "float32")
                self._transpose_keys(keys, batch, key_head)
                scores = build.alloc_buffer((tile.rows, self.padded_keys), "float32")
                inverse = build.alloc_buffer((tile.rows,), "float32")
                memory = _Memory(keys, scores, inverse)
                with build.serial(0, sizes.group) as member, build.serial(0, share) as block:
                    # The last block moves up instead of shrinking: some rows are computed twice.
                    row = tirx.min((first + block) * tile.rows, sizes.queries - tile.rows)
                    head = key_head * sizes.group + member
                    self._row_block(memory, _Place(batch, head, key_head, row))
            return builder.get()

    def _transpose_keys(self, keys: tirx.Buffer, batch: Expr, head: Expr) -> None:
        """Copy the keys of a head with positions contiguous, zero beyond the last."""
        sizes, lanes = self.sizes, self.tile.lanes
        if self.k.channels_last and min(sizes.keys, sizes.channels) >= lanes:
            self._transpose_squares(keys, batch, head)
        else:
            with build.serial(0, sizes.channels) as d, build.serial(0, sizes.keys) as j:
                _store(keys, self.k.load(batch, head, j, d), d, j)
        if self.padded_keys > sizes.keys:
            pad = self.padded_keys - sizes.keys
            with build.serial(0, sizes.channels) as d, build.serial(0, pad) as j:
                _store(keys, _zero(), d, j + sizes.keys)

    def _transpose_squares(self, keys: tirx.Buffer, batch: Expr, head: Expr) -> None:
        """Transpose in registers; the last square of a row or column overlaps the one before."""
        sizes, lanes = self.sizes, self.tile.lanes
        counts = [math.ceil(extent / lanes) for extent in (sizes.keys, sizes.channels)]
        with build.serial(0, counts[0]) as across, build.serial(0, counts[1]) as down:
            j = tirx.min(across * lanes, sizes.keys - lanes)
            d = tirx.min(down * lanes, sizes.channels - lanes)
            square = [vector_load(self.k.load(batch, head, j + r, d), lanes) for r in range(lanes)]
            for r, column in enumerate(transposed(square)):
                vector_store(keys, column, [d + r, j], lanes)

    def _row_block(self, memory: _Memory, place: _Place) -> None:
        tile, sizes = self.tile, self.sizes
        width = tile.vectors * tile.lanes
        for start, count, size in _cover(self.padded_keys, width):
            with build.serial(0, count) as step:
                self._score_tile(memory, place, start + step * size, size)
        with build.serial(0, tile.rows) as r:
            self._mask_row(memory.scores, place, r)
            self._softmax_row(memory, r)
        for start, count, size in _cover(sizes.value_channels, width):
            with build.serial(0, count) as step:
                self._value_tile(memory, place, start + step * size, size)

    def _score_tile(self, memory: _Memory, place: _Place, column: Expr, size: int) -> None:
        keys, scores = memory.keys, memory.scores
        rows = self.tile.rows
        sums = self._accumulators(size)
        with build.serial(0, self.sizes.channels) as d:
            for r in range(rows):
                query = self.q.load(place.batch, place.head, place.row + r, d)
                with _each(size) as lane:
                    _store(sums[r], sums[r][lane] + query * keys[d, column + lane], lane)
        for r in range(rows):
            with _each(size) as lane:
                _store(scores, self._scaled(sums[r][lane]), r, column + lane)

    def _scaled(self, product: Expr) -> Expr:
        if not self.softcap:
            return product * tirx.const(self.scale, "float32")
        bound = tirx.const(self.softcap, "float32")
        return fast_math.tanh(product * tirx.const(self.scale / self.softcap, "float32")) * bound

    def _mask_row(self, scores: tirx.Buffer, place: _Place, r: Expr) -> None:
        """Add the mask to a row; -inf where causality or padding hides the key."""
        hidden = tirx.const(float("-inf"), "float32")
        keys, position = self.sizes.keys, place.row + r
        if self.mask is not None or self.causal_offset is not None:
            with build.serial(0, keys) as key:
                score = scores[r, key]
                if self.mask is not None:
                    score = score + self._mask_at(place.batch, place.head, position, key)
                if self.causal_offset is not None:
                    visible = key <= position + self.causal_offset
                    score = tirx.Select(visible, score, hidden)
                _store(scores, score, r, key)
        if self.padded_keys > keys:
            with build.serial(0, self.padded_keys - keys) as key:
                _store(scores, hidden, r, key + keys)

    def _mask_at(self, batch: Expr, head: Expr, position: Expr, key: Expr) -> Expr:
        assert self.mask is not None
        full = (batch, head, position, key)
        indices = [
            0 if int(extent) == 1 else index
            for index, extent in zip(full, self.mask.shape, strict=True)
        ]
        return tirx.BufferLoad(self.mask, indices)

    def _softmax_row(self, memory: _Memory, r: Expr) -> None:
        """Replace a row of scores by exp(score - max); keep one over their sum."""
        scores, inverse = memory.scores, memory.inverse
        lanes = self.tile.lanes
        rounds = self.padded_keys // lanes
        partial = build.alloc_buffer((lanes,), "float32")
        largest = build.alloc_buffer((1,), "float32")
        first = partial[0]
        with build.vectorized(0, lanes) as lane:
            _store(partial, _hidden(), lane)
        with build.serial(0, rounds) as step, build.vectorized(0, lanes) as lane:
            score = scores[r, step * lanes + lane]
            _store(partial, tirx.max(partial[lane], score), lane)
        _store(largest, fold(vector_load(first, lanes), lanes, tirx.max), 0)
        # A row that sees no key at all: its scores become 0, not NaN.
        is_blind = largest[0] <= _hidden()
        offset = tirx.Select(is_blind, _zero(), largest[0])
        with build.vectorized(0, lanes) as lane:
            _store(partial, _zero(), lane)
        with build.serial(0, rounds) as step:
            with build.vectorized(0, lanes) as lane:
                shifted = scores[r, step * lanes + lane] - offset
                _store(scores, fast_math.exp_nonpositive(shifted), r, step * lanes + lane)
            with build.vectorized(0, lanes) as lane:
                _store(partial, partial[lane] + scores[r, step * lanes + lane], lane)
        total = fold(vector_load(first, lanes), lanes, lambda a, b: a + b)
        _store(inverse, tirx.Select(is_blind, _zero(), tirx.const(1.0, "float32") / total), r)

    def _value_tile(self, memory: _Memory, place: _Place, channel: Expr, size: int) -> None:
        """Scores times values, over their sum, for a tile of channels."""
        scores = memory.scores
        sums = self._accumulators(size)
        with build.serial(0, self.sizes.keys) as j:
            for r in range(self.tile.rows):
                with _each(size) as lane:
                    value = self.v.load(place.batch, place.key_head, j, channel + lane)
                    _store(sums[r], sums[r][lane] + scores[r, j] * value, lane)
        for r in range(self.tile.rows):
            with _each(size) as lane:
                at = {"b": place.batch, "h": place.head, "s": place.row + r, "d": channel + lane}
                result = sums[r][lane] * memory.inverse[r]
                _store(self.out, result, *(at[axis] for axis in self.out_order))

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
