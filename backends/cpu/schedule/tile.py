"""Register tiles of a contraction: rows by vectors of output columns, summed in registers.

A contraction sums products of an input element, the same for all columns, and a vector of weights,
the same for all rows. Convolutions and matrix products differ only in which input positions a row
reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Buffer, BufferLoad, Stmt
from tvm.tirx.stmt import AllocBuffer

from burnish.backends.cpu.schedule.build import (
    Index,
    Registers,
    bind,
    constant,
    index,
    lanes,
    loop,
    ravel,
    sequence,
    splat,
)
from burnish.backends.cpu.schedule.epilogue import Epilogue, Position
from burnish.backends.kernels.geometry import Axis, Phase

_UNROLLED_STEPS = 96
"""Multiply-adds up to which kernel positions and channels are unrolled."""


@dataclass(frozen=True)
class Source:
    """Where the element of a row is found, in a flat buffer."""

    buffer: Buffer
    base: Callable[[Sequence[Index], Expr], Index]
    """The element of channel 0 at (positions along axes, group)."""
    position_pitch: int
    """Elements from one position of the last axis to the next."""
    channel_pitch: int = 1


@dataclass(frozen=True)
class Weights:
    """Where vectors of weights are found, in a flat buffer."""

    buffer: Buffer
    base: Callable[[Sequence[Index], Expr, Expr, Sequence[Index]], Index]
    """The first weight at (output positions, group, number of the vector, kernel positions)."""
    vector_pitch: int
    channel_pitch: int
    is_padded: bool
    """Whether the last vector of columns is stored in full."""


@dataclass(frozen=True)
class Contraction:
    """What a kernel sums, without saying in which order."""

    axes: tuple[Axis, ...]
    """Row axes; tiles run along the last."""
    depth: int
    """Products per kernel position: input channels of a group."""
    groups: int
    columns: int
    """Output columns of one group."""
    width: int
    """Columns of one vector."""
    source: Source
    weights: Weights
    lead: Callable[[Index, Sequence[Index]], tuple[Expr, ...]]
    """Leading output indices from a row number and positions along axes."""


@dataclass(frozen=True)
class Columns:
    """Adjacent vectors of output columns of one group."""

    group: Expr
    first: Expr
    """Number of the first vector within the group."""
    widths: tuple[int, ...]
    """Columns that exist, for each vector."""


@dataclass(frozen=True)
class Rows:
    """Rows of a tile, counted within their phase."""

    outer: tuple[Expr, ...]
    """Output numbers along all axes but the last."""
    first: Index
    """Output number along the last axis."""
    steps: Sequence[int]
    """Distance of each row from the first, along the last axis."""
    is_inside: bool = True
    """Whether all kernel positions of the last axis read existing input; else `first` is known."""


@dataclass(frozen=True)
class TileBuilder:
    """Writes the statements of one tile."""

    work: Contraction
    phases: tuple[Phase, ...]
    epilogue: Epilogue
    unroll: int
    """Channels per iteration of the innermost loop."""
    rows: Rows
    columns: Columns

    def build(self) -> Stmt:
        """Sum up one tile, apply the epilogue, store the results."""
        work, tile = self.work, self._tile
        statements: list[Stmt] = []
        first = self._outputs(0)
        start = bind(ravel(first, [axis.outputs for axis in work.axes]), statements, "row")
        column = bind(
            self.columns.group * work.columns + self.columns.first * work.width, statements, "column"
        )
        places = [(column + j * work.width, w) for j, w in enumerate(self.columns.widths)]

        def position(row: Index) -> Position:
            step = row if isinstance(row, Expr) else self.rows.steps[row]
            number = start + step * self.phases[-1].output_step
            outputs = [*first[:-1], first[-1] + step * self.phases[-1].output_step]
            return Position(number, work.lead(number, outputs))

        contiguous = tuple(self.rows.steps) == tuple(range(len(self.rows.steps)))
        return sequence(
            [
                *statements,
                AllocBuffer(tile.buffer),
                *tile.fill(tirx.const(0, tile.buffer.dtype)),
                *self._window(0, ()),
                *self.epilogue.finish(tile, places, position, contiguous),
            ]
        )

    @cached_property
    def _tile(self) -> Registers:
        return Registers(len(self.rows.steps), self._widths, self.work.source.buffer.dtype)

    @cached_property
    def _widths(self) -> list[int]:
        """Lanes of each accumulator of a row."""
        padded = self.work.weights.is_padded
        return [self.work.width if padded else width for width in self.columns.widths]

    def _outputs(self, step: int) -> list[Index]:
        numbers = [*self.rows.outer, self.rows.first + step]
        return [
            phase.first + t * phase.output_step
            for phase, t in zip(self.phases, numbers, strict=True)
        ]

    def _window(self, axis: int, taps: tuple[Index, ...]) -> list[Stmt]:
        """Loops over kernel positions along the axes from `axis` on."""
        phase = self.phases[axis]
        count = phase.taps.count
        if count == 0:
            return []
        if axis == len(self.phases) - 1:
            return self._last_axis(taps)

        def body(tap: Expr) -> Stmt:
            return sequence(self._window(axis + 1, (*taps, tap)))

        inputs = self.work.axes[axis].inputs
        if phase.interior(inputs) == (0, phase.count):
            return [loop(count, body, name="tap")]
        begin = self.rows.outer[axis] * phase.input_step + phase.taps.offset
        step = phase.taps.step
        low = tirx.max(0, tirx.floordiv(step - 1 - begin, step))
        high = tirx.min(count, tirx.floordiv(inputs - 1 - begin, step) + 1)
        return [loop(tirx.max(high - low, 0), body, name="tap", start=low)]

    def _last_axis(self, taps: tuple[Index, ...]) -> list[Stmt]:
        phase, steps = self.phases[-1], self.rows.steps
        every = range(len(steps))
        if not self.rows.is_inside:
            first = constant(self.rows.first)
            assert first is not None
            inputs = self.work.axes[-1].inputs
            valid = [phase.valid(first + step, inputs) for step in steps]
            return [
                statement
                for tap in range(phase.taps.count)
                for statement in self._channels(
                    (*taps, tap), [i for i in every if tap in valid[i]]
                )
            ]
        total = self.work.depth * phase.taps.count * len(steps) * len(self._widths)
        if phase.taps.count == 1 or total <= _UNROLLED_STEPS:
            return [
                statement
                for tap in range(phase.taps.count)
                for statement in self._channels((*taps, tap), every)
            ]

        def body(tap: Expr) -> Stmt:
            return sequence(self._channels((*taps, tap), every))

        return [loop(phase.taps.count, body, name="tap")]

    def _channels(self, taps: tuple[Index, ...], rows: Sequence[int]) -> list[Stmt]:
        """The sum over channels at one kernel position, for the rows that it reaches."""
        if not rows:
            return []
        statements: list[Stmt] = []
        element, vector = self._bases(taps, statements)
        depth = self.work.depth
        if depth * len(rows) * len(self._widths) <= _UNROLLED_STEPS:
            for channel in range(depth):
                statements += self._multiply(element, vector, index(channel), rows)
            return statements
        whole = depth // self.unroll

        def body(k: Expr) -> Stmt:
            inner = []
            for u in range(self.unroll):
                inner += self._multiply(element, vector, k * self.unroll + u, rows)
            return sequence(inner)

        statements.append(loop(whole, body, name="channel"))
        for channel in range(whole * self.unroll, depth):
            statements += self._multiply(element, vector, index(channel), rows)
        return statements

    def _bases(self, taps: tuple[Index, ...], statements: list[Stmt]) -> tuple[Index, Index]:
        """Where the first row's elements and the first vector's weights begin."""
        numbers = [*self.rows.outer, self.rows.first]
        source = [p.source(t, tap) for p, t, tap in zip(self.phases, numbers, taps, strict=True)]
        kernel = [
            p.taps.kernel + t * p.taps.kernel_step for p, t in zip(self.phases, taps, strict=True)
        ]
        columns = self.columns
        weights = self.work.weights.base(self._outputs(0), columns.group, columns.first, kernel)
        return (
            bind(self.work.source.base(source, columns.group), statements, "element"),
            bind(weights, statements, "weight"),
        )

    def _multiply(
        self, element: Index, vector: Index, channel: Expr, rows: Sequence[int]
    ) -> list[Stmt]:
        """Multiply-adds of one channel at one kernel position."""
        source, weights, tile = self.work.source, self.work.weights, self._tile
        statements: list[Stmt] = []
        vectors = []
        for j, width in enumerate(self._widths):
            place = vector + j * weights.vector_pitch + channel * weights.channel_pitch
            load = BufferLoad(weights.buffer, [lanes(place, width)])
            vectors.append(bind(load, statements, "w"))
        for row in rows:
            step = self.rows.steps[row] * self.phases[-1].input_step * source.position_pitch
            place = element + step + channel * source.channel_pitch
            value = bind(BufferLoad(source.buffer, [index(place)]), statements, "x")
            for j, (weight, width) in enumerate(zip(vectors, self._widths, strict=True)):
                total = tile.read(row, j) + splat(value, width) * weight
                statements.append(tile.write(row, j, total))
        return statements
