"""Attention on bfloat16 numbers, multiplied in pairs: of channels, then of keys.

Queries and keys are pairs of channels as they are stored, so that they are copied as integers of
twice the size; values become pairs of neighbouring keys. Scores and all sums are float32. What the
values are multiplied with is rounded, and so is the sum that the results are divided by, so that
weights add up to one.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

from tvm import ir, tirx
from tvm.script.ir_builder import tirx as build
from tvm.tirx.stmt import DeclBuffer

from burnish.backends.kernels import fast_math
from burnish.backends.kernels.attention_kernel import Kernel
from burnish.backends.kernels.attention_memory import Memory, Operands, Place, cover, hidden
from burnish.backends.kernels.attention_operands import Sizes, Tile, View
from burnish.backends.kernels.pairs import ONES, dot, rounded, with_instructions
from burnish.backends.kernels.vectors import each_lane, store, vector_load, vector_store

Expr: TypeAlias = ir.Expr | int

SCORE_BYTES = 4 + 2
"""A score, and its exponential."""


@dataclass(frozen=True)
class PairOperands(Operands):
    """Queries and keys by pairs of channels, values as they are stored."""

    element: ClassVar[str] = "int32"

    def value_copies(self, uses: int) -> tirx.Buffer:
        """Emit the buffer for values in pairs."""
        keys = math.ceil(self.sizes.keys / 2)
        return build.alloc_buffer((self.value_panels, keys, self.width), self.element)

    def weights(self) -> tirx.Buffer:
        """Emit the buffer for exponentials in pairs, in whole vectors and one more."""
        tile = self.tile
        return build.alloc_buffer((tile.rows, tile.keys // 2 + tile.lanes), self.element)

    def pack_values(self, values: tirx.Buffer, batch: Expr, head: Expr) -> None:
        """Emit a copy of the values of a head in pairs of keys, zero beyond the last."""
        sizes = self.sizes
        whole, rest = divmod(sizes.keys, 2)
        for start, count, size in cover(sizes.value_channels, self.width):
            with build.serial(0, count) as step:
                panel, channel = start // self.width + step, start + step * size

                def bits(key: Expr, lane: Expr, channel: Expr = channel) -> Expr:
                    return self.v.load(batch, head, key, channel + lane).astype("int32")

                if whole:
                    with build.serial(0, whole) as j, each_lane(size) as lane:
                        high = bits(j * 2 + 1, lane) << tirx.const(16, "int32")
                        store(values, bits(j * 2, lane) | high, panel, j, lane)
                if rest:
                    with each_lane(size) as lane:
                        store(values, bits(sizes.keys - 1, lane), panel, whole, lane)
                if size < self.width:
                    with (
                        build.serial(0, whole + rest) as j,
                        each_lane(self.width - size) as lane,
                    ):
                        store(values, tirx.const(0, "int32"), panel, j, lane + size)


@dataclass(frozen=True)
class PairKernel(Kernel):
    """Emits the loops of one attention on bfloat16 numbers."""

    views: tuple[tuple[tirx.Buffer, tirx.Buffer], ...] = ()
    """Operands seen as pairs, and what they are views of."""

    def emit(self) -> tirx.Stmt:
        """The whole kernel."""
        declared = [DeclBuffer(view, data=tirx.buffer_data(of)) for view, of in self.views]
        return with_instructions(tirx.SeqStmt([*declared, super().emit()]), rounds=True)

    def copy_queries(self, memory: Memory, place: Place) -> None:
        """Emit a copy of a block of queries; scores are scaled instead."""
        self.operands.copy_queries(memory.queries, place)

    def scaled(self, product: Expr) -> Expr:
        """A product of queries and keys, scaled."""
        return product * tirx.const(self.factor, "float32")

    def hide(self, scores: tirx.Buffer, r: Expr, column: Expr, computed: int) -> None:
        """Emit what makes a pair of vectors of scores complete, `computed` of which are there."""
        rest = self.width - computed
        if rest:
            with each_lane(rest) as lane:
                store(scores, hidden(), r, column + computed + lane)

    def multiply_keys(self, memory: Memory, sums: list[tirx.Buffer], panel: Expr) -> None:
        """Emit the products of a block of queries and a panel of keys."""
        with build.serial(0, self.sizes.channels) as d:
            for r, row in enumerate(sums):
                self._add_pairs(row, memory.queries[r, d], memory.keys[panel, d, 0])

    def multiply_values(
        self,
        memory: Memory,
        place: Place,
        sums: list[tirx.Buffer],
        at: tuple[Expr, Expr, Expr],
        seen: Expr,
    ) -> None:
        """Emit the products of `seen` exponentials and values; those beyond are zero."""
        panel, start, _ = at
        assert memory.values is not None
        assert memory.weights is not None
        with build.serial(0, (seen + 1) // 2) as j:
            for r, row in enumerate(sums):
                values = memory.values[panel, start // 2 + j, 0]
                self._add_pairs(row, memory.weights[r, j], values)

    def _add_pairs(self, sums: tirx.Buffer, shared: Expr, first: ir.TensorLoad) -> None:
        """Add the products of one pair with pairs from `first` on."""
        lanes = self.tile.lanes
        *outer, place = first.indices
        for at in range(0, int(sums.shape[0]), lanes):
            pairs = vector_load(tirx.BufferLoad(first.source, [*outer, place + at]), lanes)
            total = vector_load(sums[at], lanes)
            added = dot(total, tirx.Broadcast(shared, lanes), pairs, lanes)
            vector_store(sums, added, [at], lanes)

    def covered(self, size: int) -> int:
        """Whole vectors."""
        return math.ceil(size / self.tile.lanes) * self.tile.lanes

    def exponentials(
        self, memory: Memory, partial: tirx.Buffer, r: Expr, offset: tirx.Buffer, seen: Expr
    ) -> None:
        """Emit exp(score - offset), rounded, for a row of scores, added up in `partial`."""
        lanes = self.tile.lanes
        assert memory.weights is not None
        with build.serial(0, (seen + 2 * lanes - 1) // (2 * lanes)) as step:
            halves = [build.alloc_buffer((lanes,), "float32", scope="local") for _ in range(2)]
            for number, half in enumerate(halves):
                first = step * (2 * lanes) + number * lanes
                with build.vectorized(0, lanes) as lane:
                    shifted = memory.scores[r, first + lane] - offset[0]
                    store(half, fast_math.exp_nonpositive(shifted), lane)
            low, high = (vector_load(half[0], lanes) for half in halves)
            pairs = build.bind(rounded(low, high, lanes))
            vector_store(memory.weights, pairs, [r, step * lanes], lanes)
            ones = tirx.Broadcast(tirx.const(ONES, "int32"), lanes)
            added = dot(vector_load(partial[0], lanes), ones, pairs, lanes)
            vector_store(partial, added, [0], lanes)


def pair_operands(
    sizes: Sizes, tile: Tile, q: View, k: View, v: View
) -> tuple[PairOperands, tuple[tuple[tirx.Buffer, tirx.Buffer], ...]]:
    """Operands of a `PairKernel` and the views that it declares.

    Channels are the last axis of `q` and `k`, their number and offsets even.
    """
    (q, *first), (k, *second) = _paired(q), _paired(k)
    halved = replace(sizes, channels=sizes.channels // 2)
    return PairOperands(halved, tile, q, k, v), ((first[0], first[1]), (second[0], second[1]))


def _paired(view: View) -> tuple[View, tirx.Buffer, tirx.Buffer]:
    """A view by pairs of channels, its buffer, and what that is declared over."""
    *outer, channels = (int(extent) for extent in view.buffer.shape)
    buffer = tirx.decl_buffer((*outer, channels // 2), "int32", name=view.buffer.name)
    layout, stride = view.layout, view.layout.head_stride
    halved = replace(
        layout, offset=layout.offset // 2, head_stride=None if stride is None else stride // 2
    )
    return View(buffer, halved, view.width // 2, view.batch), buffer, view.buffer
