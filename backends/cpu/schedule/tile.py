"""Register tiles of a contraction: rows by vectors of output columns, summed in registers.

A contraction sums products of an input element, the same for all columns, and a vector of weights,
the same for all rows. Convolutions and matrix products differ only in which input positions a row
reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Stmt
from tvm.tirx.stmt import AllocBuffer

from burnish.backends.cpu.schedule.build import (
    Index,
    Registers,
    constant,
    index,
    loop,
    sequence,
    splat,
)
from burnish.backends.cpu.schedule.epilogue import Epilogue, Position
from burnish.backends.kernels.geometry import Axis, Phase

_UNROLLED_STEPS = 160
"""Multiply-adds of a tile below which positions and channels of a window are unrolled."""


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
    padded: bool
    """Whether weights are padded to whole vectors."""
    dtype: str
    source: Callable[[Sequence[Expr], Expr, Expr], Expr]
    """The input element at (positions along axes, group, channel)."""
    weight: Callable[[Sequence[Expr], Expr, Expr, Sequence[Expr], Expr, int], Expr]
    """The weights at (output positions, group, first column / width, kernel positions, channel),
    for a number of columns."""
    position: Callable[[Sequence[Index]], Position]
    """Where results go, by output positions along axes."""


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
    """Adjacent rows of a tile."""

    outer: tuple[Expr, ...]
    """Output numbers along all axes but the last, each within its phase."""
    first: Index
    """Output number along the last axis, within its phase."""
    count: int
    inside: bool
    """Whether all kernel positions of the last axis read existing input; else `first` is known."""


@dataclass(frozen=True)
class TileBuilder:
    """Writes the statements of one tile."""

    work: Contraction
    phases: tuple[Phase, ...]
    epilogue: Epilogue
    unroll: int
    """Channels per iteration of the innermost loop."""

    def build(self, rows: Rows, columns: Columns) -> Stmt:
        """Sum up one tile, apply the epilogue, store the results."""
        work = self.work
        widths = [work.width if work.padded else w for w in columns.widths]
        tile = Registers(rows.count, widths, work.dtype)
        start = columns.group * work.columns + columns.first * work.width
        places = [(start + j * work.width, w) for j, w in enumerate(columns.widths)]

        def position(i: Index) -> Position:
            return work.position(self._outputs(rows, i))

        return sequence(
            [
                AllocBuffer(tile.buffer),
                *tile.fill(tirx.const(0, work.dtype)),
                *self._window(rows, columns, tile, 0, ()),
                *self.epilogue.finish(tile, places, position),
            ]
        )

    def _outputs(self, rows: Rows, row: Index) -> list[Index]:
        numbers = [*rows.outer, rows.first + row]
        return [
            phase.first + t * phase.output_step
            for phase, t in zip(self.phases, numbers, strict=True)
        ]

    def _window(
        self, rows: Rows, columns: Columns, tile: Registers, axis: int, taps: tuple[Index, ...]
    ) -> list[Stmt]:
        """Loops over kernel positions along the axes from `axis` on."""
        phase = self.phases[axis]
        count = phase.taps.count
        if count == 0:
            return []
        if axis == len(self.phases) - 1:
            return self._last_axis(rows, columns, tile, taps)

        def body(tap: Expr) -> Stmt:
            return sequence(self._window(rows, columns, tile, axis + 1, (*taps, tap)))

        inputs = self.work.axes[axis].inputs
        if phase.interior(inputs) == (0, phase.count):
            return [loop(count, body, name="tap")]
        begin = rows.outer[axis] * phase.input_step + phase.taps.offset
        step = phase.taps.step
        low = tirx.max(0, tirx.floordiv(step - 1 - begin, step))
        high = tirx.min(count, tirx.floordiv(inputs - 1 - begin, step) + 1)
        return [loop(tirx.max(high - low, 0), body, name="tap", start=low)]

    def _last_axis(
        self, rows: Rows, columns: Columns, tile: Registers, taps: tuple[Index, ...]
    ) -> list[Stmt]:
        work, phase = self.work, self.phases[-1]
        every = range(rows.count)
        if not rows.inside:
            first = constant(rows.first)
            assert first is not None
            valid = [phase.valid(first + i, work.axes[-1].inputs) for i in every]
            statements = []
            for tap in range(phase.taps.count):
                reached = [i for i in every if tap in valid[i]]
                if reached:
                    statements += self._channels(rows, columns, tile, (*taps, tap), reached)
            return statements
        steps = work.depth * phase.taps.count * rows.count * len(columns.widths)
        if phase.taps.count == 1 or steps <= _UNROLLED_STEPS:
            return [
                statement
                for tap in range(phase.taps.count)
                for statement in self._channels(rows, columns, tile, (*taps, tap), every)
            ]

        def body(tap: Expr) -> Stmt:
            return sequence(self._channels(rows, columns, tile, (*taps, tap), every))

        return [loop(phase.taps.count, body, name="tap")]

    def _channels(
        self,
        rows: Rows,
        columns: Columns,
        tile: Registers,
        taps: tuple[Index, ...],
        reached: Sequence[int],
    ) -> list[Stmt]:
        """The sum over channels at one kernel position, for the rows that it reaches."""

        def step(channel: Index) -> list[Stmt]:
            return self._multiply(rows, columns, tile, taps, reached, index(channel))

        depth = self.work.depth
        if depth * len(reached) * len(columns.widths) <= _UNROLLED_STEPS // 2:
            return [s for channel in range(depth) for s in step(channel)]
        unroll = self.unroll
        whole = depth // unroll

        def body(k: Expr) -> Stmt:
            return sequence([s for u in range(unroll) for s in step(k * unroll + u)])

        rest = [s for channel in range(whole * unroll, depth) for s in step(channel)]
        return [loop(whole, body, name="channel"), *rest]

    def _multiply(
        self,
        rows: Rows,
        columns: Columns,
        tile: Registers,
        taps: tuple[Index, ...],
        reached: Sequence[int],
        channel: Expr,
    ) -> list[Stmt]:
        """Multiply-adds of one channel at one kernel position."""
        work = self.work
        outputs = [index(o) for o in self._outputs(rows, 0)]
        kernel = [
            index(p.taps.kernel + t * p.taps.kernel_step)
            for p, t in zip(self.phases, taps, strict=True)
        ]
        vectors = [
            work.weight(outputs, columns.group, columns.first + j, kernel, channel, width)
            for j, width in enumerate(columns.widths)
        ]
        statements = []
        for row in reached:
            numbers = [*rows.outer, rows.first + row]
            source = [
                index(p.source(t, tap))
                for p, t, tap in zip(self.phases, numbers, taps, strict=True)
            ]
            element = work.source(source, columns.group, channel)
            for j, vector in enumerate(vectors):
                width = work.width if work.padded else columns.widths[j]
                total = tile.read(row, j) + splat(element, width) * vector
                statements.append(tile.write(row, j, total))
        return statements
