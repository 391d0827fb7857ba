"""Loops around register tiles: tasks for threads, blocks for caches, tiles along rows.

The results of a kernel are rows (positions along axes) by columns (channels). A tile is a few rows
by a few vectors of columns, small enough to be computed in registers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import ForKind, Stmt
from tvm.tirx.stmt import AllocBuffer

from burnish.backends.cpu.schedule.build import (
    Index,
    Registers,
    bind,
    constant,
    index,
    loop,
    ravel,
    sequence,
    unravel,
    when,
)
from burnish.backends.cpu.schedule.epilogue import Epilogue, Position
from burnish.backends.kernels.geometry import Axis, Phase


WindowBody = Callable[[tuple[Index, ...], Sequence[int]], list[Stmt]]
"""Statements at one kernel position, for the rows of the tile that it reaches."""


@dataclass(frozen=True)
class Space:
    """The results of a kernel."""

    axes: tuple[Axis, ...]
    """Row axes; tiles run along the last."""
    groups: int
    columns: int
    """Columns of one group."""
    width: int
    """Columns of one vector."""
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
class Tile:
    """One tile, and the loops over kernel positions within it."""

    space: Space
    phases: tuple[Phase, ...]
    rows: Rows
    columns: Columns

    def outputs(self, step: int) -> list[Index]:
        """Output position along each axis, `step` rows after the first."""
        numbers = [*self.rows.outer, self.rows.first + step]
        return [
            phase.first + t * phase.output_step
            for phase, t in zip(self.phases, numbers, strict=True)
        ]

    def source(self, taps: Sequence[Index]) -> list[Index]:
        """The input positions that kernel positions `taps` of the first row read."""
        numbers = [*self.rows.outer, self.rows.first]
        return [p.source(t, tap) for p, t, tap in zip(self.phases, numbers, taps, strict=True)]

    def kernel(self, taps: Sequence[Index]) -> list[Index]:
        """The kernel positions that are number `taps` of their phases."""
        return [
            p.taps.kernel + t * p.taps.kernel_step for p, t in zip(self.phases, taps, strict=True)
        ]

    def input_step(self, row: int) -> int:
        """Input positions along the last axis from the first row to row number `row`."""
        return self.rows.steps[row] * self.phases[-1].input_step

    def reached(self, tap: int) -> list[int]:
        """The rows for which kernel position `tap` of the last axis reads existing input."""
        every = range(len(self.rows.steps))
        if self.rows.is_inside:
            return list(every)
        first = constant(self.rows.first)
        assert first is not None
        phase, inputs = self.phases[-1], self.space.axes[-1].inputs
        return [i for i in every if tap in phase.valid(first + self.rows.steps[i], inputs)]

    def window(self, body: WindowBody, unrolls: bool) -> list[Stmt]:
        """`body` at every kernel position; `unrolls` if those of the last axis are written out."""

        def last(taps: tuple[Index, ...]) -> list[Stmt]:
            count = self.phases[-1].taps.count
            if self.rows.is_inside and count > 1 and not unrolls:
                rows = self.reached(0)
                return [loop(count, lambda tap: sequence(body((*taps, tap), rows)), name="tap")]
            places = [(tap, self.reached(tap)) for tap in range(count)]
            return [s for tap, rows in places if rows for s in body((*taps, tap), rows)]

        return self.outer_window(last)

    def outer_window(
        self, body: Callable[[tuple[Index, ...]], list[Stmt]], taps: tuple[Index, ...] = ()
    ) -> list[Stmt]:
        """`body` at every kernel position of all axes but the last, where input exists."""
        axis = len(taps)
        if axis == len(self.phases) - 1:
            return body(taps)
        phase, inputs = self.phases[axis], self.space.axes[axis].inputs
        count, step = phase.taps.count, phase.taps.step
        if count == 0:
            return []

        def inner(tap: Expr) -> Stmt:
            return sequence(self.outer_window(body, (*taps, tap)))

        if phase.interior(inputs) == (0, phase.count):
            return [loop(count, inner, name="tap")]
        begin = self.rows.outer[axis] * phase.input_step + phase.taps.offset
        low = tirx.max(0, tirx.floordiv(step - 1 - begin, step))
        high = tirx.min(count, tirx.floordiv(inputs - 1 - begin, step) + 1)
        return [loop(tirx.max(high - low, 0), inner, name="tap", start=low)]

    def finish(self, totals: Registers, body: list[Stmt], epilogue: Epilogue) -> Stmt:
        """`body`, which computes the tile, then what becomes of its results."""
        space, columns, steps = self.space, self.columns, self.rows.steps
        statements: list[Stmt] = []
        first = self.outputs(0)
        start = bind(ravel(first, [axis.outputs for axis in space.axes]), statements, "row")
        column = columns.group * space.columns + columns.first * space.width
        column = bind(column, statements, "column")
        places = [(column + j * space.width, width) for j, width in enumerate(columns.widths)]

        def position(row: Index) -> Position:
            step = row if isinstance(row, Expr) else steps[row]
            step = step * self.phases[-1].output_step
            return Position(start + step, space.lead(start + step, [*first[:-1], first[-1] + step]))

        contiguous = tuple(steps) == tuple(range(len(steps)))
        finish = epilogue.finish(totals, places, position, contiguous)
        return sequence([*statements, AllocBuffer(totals.buffer), *body, *finish])


@dataclass(frozen=True)
class TileConfig:
    """A way to order the work of a kernel."""

    rows: int
    """Rows of a register tile."""
    vectors: int
    """Vectors of columns of a register tile."""
    unroll: int = 1
    """Channels per iteration of the innermost loop."""
    row_block: int = 1
    """Row units of a task: tiles along a single axis, else positions of the outer axes."""
    column_block: int = 1
    """Tiles side by side in a task."""
    columns_slow: bool = True
    """Whether neighbouring tasks share columns (weights) instead of rows (activations)."""


TileWriter = Callable[[Tile], Stmt]
"""The statements of one tile."""


def nests(space: Space, config: TileConfig, threads: int, tile: TileWriter) -> list[Stmt]:
    """The loop nests around the tiles of a kernel, one for each combination of phases."""
    return [
        _Nest(space, tuple(phases), config, threads, tile).build()
        for phases in product(*(axis.phases() for axis in space.axes))
    ]


@dataclass(frozen=True)
class _Nest:
    space: Space
    phases: tuple[Phase, ...]
    config: TileConfig
    threads: int
    tile: TileWriter

    def build(self) -> Stmt:
        row_tasks = -(-self._row_units // self.config.row_block)
        column_tasks = -(-self._column_units // self.config.column_block)
        extents = (self.space.groups, row_tasks, column_tasks)
        order = (0, 2, 1) if self.config.columns_slow else (0, 1, 2)

        def task(number: Expr) -> Stmt:
            place = unravel(number, [extents[i] for i in order])
            group, row, column = (place[order.index(i)] for i in range(3))
            return self._columns(
                group, column, column_tasks, lambda c: self._rows(row, row_tasks, c)
            )

        kind = ForKind.PARALLEL if self.threads > 1 else ForKind.SERIAL
        return loop(prod(extents), task, kind, "task")

    @property
    def _is_flat(self) -> bool:
        return len(self.phases) == 1 and self._border_free

    @property
    def _border_free(self) -> bool:
        return self.phases[-1].interior(self.space.axes[-1].inputs) == (0, self.phases[-1].count)

    @property
    def _row_units(self) -> int:
        if self._is_flat:
            return -(-self.phases[-1].count // self.config.rows)
        return prod(phase.count for phase in self.phases[:-1])

    @property
    def _column_units(self) -> int:
        return -(-(-(-self.space.columns // self.space.width)) // self.config.vectors)

    def _columns(
        self, group: Expr, task: Expr, tasks: int, body: Callable[[Columns], Stmt]
    ) -> Stmt:
        """Blocks of columns of one task: equal ones in a loop, then what is left."""
        width, vectors = self.space.width, self.config.vectors
        whole = self.space.columns // width // vectors
        rest = self.space.columns - whole * vectors * width
        widths = tuple(min(width, rest - at) for at in range(0, rest, width))

        def block(unit: Expr) -> Stmt:
            return body(Columns(group, unit * vectors, (width,) * vectors))

        def tail() -> Stmt:
            return body(Columns(group, index(whole * vectors), widths))

        return _blocks(
            task, tasks, self.config.column_block, whole, block, tail if rest else None
        )

    def _tile(self, rows: Rows, columns: Columns) -> Stmt:
        return self.tile(Tile(self.space, self.phases, rows, columns))

    def _rows(self, task: Expr, tasks: int, columns: Columns) -> Stmt:
        size = self.config.row_block
        if not self._is_flat:
            extents = [phase.count for phase in self.phases[:-1]]

            def line(unit: Expr) -> Stmt:
                return self._line(unravel(unit, extents), columns)

            return _blocks(task, tasks, size, prod(extents), line, None)
        count = self.config.rows
        whole, rest = divmod(self.phases[-1].count, count)

        def full(unit: Expr) -> Stmt:
            return self._tile(Rows((), unit * count, range(count)), columns)

        def tail() -> Stmt:
            return self._tile(Rows((), whole * count, range(rest)), columns)

        return _blocks(task, tasks, size, whole, full, tail if rest else None)

    def _line(self, outer: tuple[Expr, ...], columns: Columns) -> Stmt:
        """Tiles along the last axis: those between borders in a loop, the borders together."""
        phase, count = self.phases[-1], self.config.rows
        if phase.count <= count and not self._border_free:
            return self._tile(Rows(outer, 0, range(phase.count), False), columns)
        low, high = phase.interior(self.space.axes[-1].inputs)
        whole, rest = divmod(high - low, count)
        statements: list[Stmt] = []
        if whole:
            statements.append(
                loop(
                    whole,
                    lambda i: self._tile(Rows(outer, low + i * count, range(count)), columns),
                    name="x",
                )
            )
        if rest:
            statements.append(
                self._tile(Rows(outer, low + whole * count, range(rest)), columns)
            )
        border = [*range(low), *range(high, phase.count)]
        for at in range(0, len(border), count):
            part = border[at : at + count]
            steps = [x - part[0] for x in part]
            statements.append(self._tile(Rows(outer, part[0], steps, False), columns))
        return sequence(statements)


def _blocks(
    task: Expr,
    tasks: int,
    size: int,
    whole: int,
    body: Callable[[Expr], Stmt],
    tail: Callable[[], Stmt] | None,
) -> Stmt:
    """The units of one task of `size` units: `whole` equal ones, then perhaps a different one."""
    statements: list[Stmt] = []
    if tasks == 1:
        if whole:
            statements.append(loop(whole, body, name="unit"))
        if tail:
            statements.append(tail())
        return sequence(statements)
    start = task * size
    if whole >= tasks * size:
        statements.append(loop(size, lambda i: body(start + i), name="unit"))
    elif whole:
        extent: Index = tirx.max(0, tirx.min(size, whole - start))
        statements.append(loop(extent, lambda i: body(start + i), name="unit"))
    if tail:
        statements.append(when(tirx.EQ(task, index(tasks - 1)), tail()))
    return sequence(statements)
