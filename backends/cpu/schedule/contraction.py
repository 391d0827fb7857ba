"""Register tiles of a contraction: rows by vectors of output columns, summed in registers.

A contraction sums products of an input element, the same for all columns, and a vector of weights,
the same for all rows. Convolutions and matrix products differ only in which input positions a row
reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Buffer, Stmt

from burnish.backends.cpu.schedule.arithmetic import SINGLE, Arithmetic
from burnish.backends.cpu.schedule.build import (
    Index,
    Registers,
    bind,
    constant,
    index,
    loop,
    sequence,
)
from burnish.backends.cpu.schedule.epilogue import Epilogue
from burnish.backends.cpu.schedule.prefetch import CACHE_LINE, prefetch
from burnish.backends.cpu.schedule.tiling import Space, Tile

_NEAR = 16 * 1024
"""Bytes of a tile's input that are brought as near as can be: half of a first-level cache."""
_FETCHING_ROWS = 4
"""Rows below which a tile is bound by memory already, so that bringing more closer costs time."""
_STREAMED_ROWS, _STREAMED_BYTES = 2, 1024**2
"""Most rows of a kernel, and least bytes of weights, that wait for memory all of their time: more
than a core's own caches hold. From nearer ones, asking first would cost more than it gains."""
_STEPS_AHEAD = 32
"""Steps before they are multiplied at which such weights are asked for."""
_UNROLLED_STEPS = 96
"""Multiply-adds up to which kernel positions and channels are unrolled."""
_WRITTEN_STEPS = 768
"""The same of channels for all kernel positions that are written out: LLVM is slow beyond it."""


Start: TypeAlias = Callable[[Sequence[Index], Index, int], Expr]
"""What sums begin with at output positions, for so many columns from one on."""


@dataclass(frozen=True)
class Source:
    """Where the element of a row is found, in a flat buffer."""

    buffer: Buffer
    base: Callable[[Sequence[Index], Expr], Index]
    """The element of channel 0 at (positions along axes, group)."""
    position_pitch: int
    """Elements from one position of the last axis to the next."""
    channel_pitch: int = 1
    """Elements from one step to the next."""
    last: int | None = None
    """Elements from the first step to the last one, if it ends before its place among others."""

    def step(self, channel: Expr, depth: int) -> Index:
        """Elements from the first step to number `channel` of `depth`; the last one is known."""
        if self.last is not None and constant(channel) == depth - 1:
            return self.last
        return channel * self.channel_pitch


@dataclass(frozen=True)
class Weights:
    """Where vectors of weights are found, in a flat buffer."""

    buffer: Buffer
    base: Callable[[Sequence[Index], Expr, Index, Sequence[Index]], Index]
    """The first weight at (output positions, group, first column, kernel positions)."""
    column_pitch: int
    """Weights from one column to another one, for distances of whole vectors."""
    channel_pitch: int


@dataclass(frozen=True)
class Contraction:
    """What a kernel sums, without saying in which order."""

    space: Space
    depth: int
    """Steps per kernel position: input channels of a group, or pairs or quads of them."""
    source: Source
    weights: Weights
    arithmetic: Arithmetic = SINGLE
    finish: int = 0
    """Operations on each sum before it is stored."""
    beside: int = 0
    """Bytes read beside the sums before they are stored, one operand as large as all of them."""
    start: Start | None = None
    """What sums begin with; None for 0."""

    @property
    def is_streamed(self) -> bool:
        """Whether weights arrive from memory, for so few rows that all else waits for them."""
        rows = prod(axis.outputs for axis in self.space.axes)
        weights = self.weights.buffer
        size = int(weights.shape[0]) * weights.dtype.bits // 8
        return rows <= _STREAMED_ROWS and size >= _STREAMED_BYTES


@dataclass(frozen=True)
class _Stream:
    """Elements that are brought closer a few per step of a sum."""

    buffer: Buffer
    start: Index
    step: int
    near: bool

    def fetch(self, channel: Expr, steps: int) -> Stmt:
        """The elements of `steps` steps from `channel` on."""
        per_line = CACHE_LINE * 8 // self.buffer.dtype.bits
        places = range(0, steps * self.step, per_line)
        return sequence([
            prefetch(self.buffer, self.start + channel * self.step + place, self.near)
            for place in places
        ])  # fmt: skip


@dataclass(frozen=True)
class TileBuilder:
    """Writes the statements of one tile."""

    work: Contraction
    tile: Tile
    epilogue: Epilogue
    unroll: int
    """Channels per iteration of the innermost loop."""

    def build(self) -> Stmt:
        """Sum up one tile, apply the epilogue, store the results."""
        tile, dtype = self.tile, self.work.arithmetic.sums(self.work.source.buffer)
        rows, vectors = len(tile.rows.steps), tile.columns.span.size
        totals = Registers(rows, vectors, tile.space.width, dtype, tile.columns.last)
        window = tile.window(lambda taps, rows: self._channels(totals, taps, rows), self._unrolls)
        return tile.finish(totals, [*self._fill(totals), *window], self.epilogue)

    def _fill(self, totals: Registers) -> list[Stmt]:
        """What sums begin with."""
        tile, start = self.tile, self.work.start
        if start is None:
            return totals.fill(tirx.const(0, self.work.arithmetic.sums(self.work.source.buffer)))
        return [
            totals.write(row, j, start(tile.outputs(step), column, totals.lanes(j)))
            for row, step in enumerate(tile.rows.steps)
            for j, column in enumerate(tile.columns.starts())
        ]

    @property
    def _unrolls(self) -> bool:
        tile = self.tile
        count = tile.phases[-1].taps.count * len(tile.rows.steps) * tile.columns.span.size
        return self.work.depth * count <= _UNROLLED_STEPS

    @property
    def _written(self) -> int:
        """Kernel positions of the last axis that are written out."""
        loops = self.tile.rows.is_inside and not self._unrolls
        return 1 if loops else self.tile.phases[-1].taps.count

    def _channels(
        self, totals: Registers, taps: tuple[Index, ...], rows: Sequence[int]
    ) -> list[Stmt]:
        """The sum over channels at one kernel position, for the rows that it reaches."""
        statements: list[Stmt] = []
        bases = self._bases(taps, statements)
        depth = self.work.depth
        steps = depth * len(rows) * self.tile.columns.span.size
        if steps <= _UNROLLED_STEPS and steps * self._written <= _WRITTEN_STEPS:
            for channel in range(depth):
                statements += self._multiply(totals, bases, index(channel), rows)
            return statements
        whole = (depth - (self.work.source.last is not None)) // self.unroll
        streams = self._streams(taps, statements)

        def body(k: Expr) -> Stmt:
            inner = [stream.fetch(k * self.unroll, self.unroll) for stream in streams]
            for u in range(self.unroll):
                inner += self._multiply(totals, bases, k * self.unroll + u, rows)
            return sequence(inner)

        statements.append(loop(whole, body, name="channel"))
        for channel in range(whole * self.unroll, depth):
            statements += self._multiply(totals, bases, index(channel), rows)
        return statements

    def _streams(self, taps: tuple[Index, ...], statements: list[Stmt]) -> list["_Stream"]:
        """What to bring closer during the sum over channels."""
        tile, work, ahead = self.tile, self.work, self.tile.ahead
        rows = len(tile.rows.steps)
        found = []
        pitch = work.source.channel_pitch
        gapless = work.source.position_pitch == work.depth * pitch
        if ahead.rows is not None and gapless and rows > 1:
            # As many elements per step as there are rows: at the end of the sum, all of them.
            start = work.source.base(tile.source_of(ahead.rows, taps), tile.columns.group)
            near = work.depth * rows * 4 <= _NEAR
            found.append(_Stream(work.source.buffer, bind(start, statements), rows * pitch, near))
        weights, pitch = work.weights, work.weights.channel_pitch
        for column, distance in self._columns_ahead(rows):
            place = (tile.outputs(0), tile.columns.group, column, tile.kernel(taps))
            start = weights.base(*place) + distance * pitch
            found.append(_Stream(weights.buffer, bind(start, statements), pitch, False))
        return found

    def _columns_ahead(self, rows: int) -> list[tuple[Index, int]]:
        """Columns whose weights to bring closer, and how many steps before they are multiplied."""
        tile, columns = self.tile, self.tile.ahead.columns
        if tile.space.shifts:
            return []
        if self.work.is_streamed:
            return [(column, _STEPS_AHEAD) for column in tile.columns.starts()]
        if columns is None or rows < _FETCHING_ROWS:
            return []
        first = columns.span.first
        return [((first + vector) * tile.space.width, 0) for vector in tile.ahead.vectors]

    def _bases(self, taps: tuple[Index, ...], statements: list[Stmt]) -> tuple[Index, list[Index]]:
        """Where the first row's elements and each vector's weights begin."""
        tile, weights = self.tile, self.work.weights
        outputs, kernel, group = tile.outputs(0), tile.kernel(taps), tile.columns.group
        element = self.work.source.base(tile.source(taps), group)
        starts = tile.columns.starts()
        first = bind(weights.base(outputs, group, starts[0], kernel), statements, "weight")
        vectors = [first + j * tile.space.width * weights.column_pitch for j in range(len(starts))]
        if tile.space.shifts and tile.space.tail:
            last = weights.base(outputs, group, starts[-1], kernel)
            vectors[-1] = bind(last, statements, "weight")
        return bind(element, statements, "element"), vectors

    def _multiply(
        self,
        totals: Registers,
        bases: tuple[Index, list[Index]],
        channel: Expr,
        rows: Sequence[int],
    ) -> list[Stmt]:
        """Multiply-adds of one channel at one kernel position."""
        source, pitch = self.work.source, self.work.weights.channel_pitch
        arithmetic, buffer = self.work.arithmetic, self.work.weights.buffer
        element, starts = bases
        statements: list[Stmt] = []
        vectors = []
        for j, start in enumerate(starts):
            load = arithmetic.vector(buffer, start + channel * pitch, totals.lanes(j))
            vectors.append(bind(load, statements, "w"))
        for row in rows:
            step = self.tile.input_step(row) * source.position_pitch
            place = element + step + source.step(channel, self.work.depth)
            value = bind(arithmetic.element(source.buffer, place), statements, "x")
            for j, weight in enumerate(vectors):
                total = arithmetic.add(totals.read(row, j), value, weight, totals.lanes(j))
                statements.append(totals.write(row, j, total))
        return statements
