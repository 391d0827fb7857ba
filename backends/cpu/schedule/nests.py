"""Loops around register tiles: tasks for threads, blocks for caches, tiles along rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import ForKind, Stmt

from burnish.backends.cpu.schedule.build import Index, index, loop, sequence, unravel, when
from burnish.backends.cpu.schedule.tiling import (
    Ahead,
    Columns,
    Rows,
    Space,
    Span,
    Tile,
    TileConfig,
)
from burnish.backends.kernels.geometry import Phase

TileWriter = Callable[[Tile], Stmt]
"""The statements of one tile."""

_TASKS_PER_THREAD = 4
"""Lines that are fewer than this are cut into segments, so that threads find work."""
_FETCHED_BY = 64
"""Most tiles that share the work of bringing the weights after theirs closer."""


def nests(space: Space, config: TileConfig, threads: int, tile: TileWriter) -> Stmt:
    """The loop nest around the tiles of a kernel."""
    return _Nest(space, config, Lines(space, config.rows, threads), threads, tile).build()


@dataclass(frozen=True)
class Lines:
    """How the rows of a kernel are counted: by tiles if there is one axis, else by lines.

    A line takes in the outputs of all phases at one position of the outer axes.
    """

    space: Space
    rows: int
    """Most rows of a tile."""
    threads: int

    @cached_property
    def phases(self) -> list[tuple[Phase, ...]]:
        """All combinations of phases."""
        return list(product(*(axis.phases() for axis in self.space.axes)))

    @cached_property
    def is_flat(self) -> bool:
        """Whether there is one axis, of which tiles are counted."""
        last = self.space.axes[-1]
        return len(self.space.axes) == 1 and last.is_pointwise

    @cached_property
    def outer(self) -> list[int]:
        """Positions along all axes but the last."""
        columns = zip(*(phases[:-1] for phases in self.phases), strict=True)
        return [max(phase.count for phase in axis) for axis in columns]

    @cached_property
    def segments(self) -> int:
        """Parts of a line."""
        lines, wanted = prod(self.outer), _TASKS_PER_THREAD * self.threads
        if self.threads == 1 or lines >= wanted:
            return 1
        return min(-(-wanted // lines), max(1, *(len(self.tiles(p[-1])) for p in self.phases)))

    @cached_property
    def units(self) -> int:
        """How many row units there are."""
        if self.is_flat:
            return len(self.tiles(self.phases[0][0]))
        return prod(self.outer) * self.segments

    def inside(self, phase: Phase) -> range:
        """Output numbers along the last axis whose kernel positions all read existing input."""
        return range(*phase.interior(self.space.axes[-1].inputs))

    def size(self, phase: Phase) -> int:
        """Rows of a tile away from borders."""
        return min(self.rows, len(self.inside(phase)))

    def tiles(self, phase: Phase) -> range:
        """The tiles of a line away from borders."""
        inside = self.inside(phase)
        return range(-(-len(inside) // self.size(phase)) if inside else 0)


@dataclass(frozen=True)
class _Line:
    """The outputs of one combination of phases along the last axis, or a segment of them."""

    phases: tuple[Phase, ...]
    outer: tuple[Expr, ...]
    """The position along all axes but the last."""
    segment: Expr
    columns: Columns
    ahead: Ahead


@dataclass(frozen=True)
class _Nest:
    space: Space
    config: TileConfig
    lines: Lines
    threads: int
    tile: TileWriter

    def build(self) -> Stmt:
        row_tasks = -(-self.lines.units // self.config.row_block)
        column_tasks = -(-self._column_units // self.config.column_block)
        extents = (self.space.groups, row_tasks, column_tasks)
        order = (0, 2, 1) if self.config.columns_slow else (0, 1, 2)

        def task(number: Expr) -> Stmt:
            place = unravel(number, [extents[i] for i in order])
            group, row, column = (place[order.index(i)] for i in range(3))
            return self._columns(
                group, column, lambda columns, after: self._rows(row, columns, after)
            )

        kind = ForKind.PARALLEL if self.threads > 1 else ForKind.SERIAL
        return loop(prod(extents), task, kind, "task")

    @property
    def _vectors(self) -> int:
        return min(self.config.vectors, self.space.vectors)

    @property
    def _column_units(self) -> int:
        return -(-self.space.vectors // self._vectors)

    def _columns(
        self, group: Expr, task: Expr, body: Callable[[Columns, Columns | None], Stmt]
    ) -> Stmt:
        """The tiles side by side of one task; `body` takes columns and those after them."""
        total = self._column_units

        def number(unit: Expr) -> Columns:
            return Columns(self.space, group, Span.number(unit, self._vectors, self.space.vectors))

        def block(unit: Expr) -> Stmt:
            after = number(tirx.min(unit + 1, total - 1)) if total > 1 else None
            return body(number(unit), after)

        return _units(task, self.config.column_block, total, block)

    def _rows(self, task: Expr, columns: Columns, after: Columns | None) -> Stmt:
        """The row units of one task."""
        total, size = self.lines.units, min(self.config.row_block, self.lines.units)

        def unit(number: Expr) -> Stmt:
            ahead = self._share(number, size, after)
            if self.lines.is_flat:
                return self._flat(number, columns, ahead)
            *outer, segment = unravel(number, [*self.lines.outer, self.lines.segments])
            return sequence([
                self._guarded(_Line(phases, tuple(outer), segment, columns, ahead))
                for phases in self.lines.phases
            ])  # fmt: skip

        return _units(task, size, total, unit)

    def _share(self, unit: Expr, tiles: int, after: Columns | None) -> Ahead:
        """What the tiles of one row unit, of `tiles`, bring closer of the weights after theirs."""
        if after is None or tiles > _FETCHED_BY:
            return Ahead()
        vectors = after.span.size
        count = -(-vectors // tiles)
        return Ahead(None, after, [(unit * count + i) % vectors for i in range(count)])

    def _flat(self, unit: Expr, columns: Columns, ahead: Ahead) -> Stmt:
        """Tile number `unit` along a single axis."""
        (phase,) = self.lines.phases[0]
        if self.lines.units > 1:
            after = tirx.min(unit + 1, self.lines.units - 1)
            ahead = replace(ahead, rows=self._inside((), phase, after))
        return self._tile((phase,), self._inside((), phase, unit), columns, ahead)

    def _guarded(self, line: _Line) -> Stmt:
        """The part of a line that belongs to its phases, if these have that line."""
        body = self._line(line)
        for number, phase, most in zip(line.outer, line.phases, self.lines.outer, strict=False):
            if phase.count < most:
                body = when(number < phase.count, body)
        return body

    def _line(self, line: _Line) -> Stmt:
        """Tiles along the last axis: those between borders in a loop, the borders together."""
        phase, size, segments = line.phases[-1], self.config.rows, self.lines.segments
        inside, count = self.lines.inside(phase), phase.count
        is_last = True if segments == 1 else tirx.EQ(line.segment, index(segments - 1))

        def border(numbers: Sequence[int]) -> Stmt:
            rows = Rows(line.outer, numbers[0], [x - numbers[0] for x in numbers], False)
            return when(is_last, self._tile(line.phases, rows, line.columns, line.ahead))

        def inner(unit: Expr) -> Stmt:
            rows = self._inside(line.outer, phase, unit)
            return self._tile(line.phases, rows, line.columns, line.ahead)

        if count <= size and len(inside) < count:
            return border(range(count))
        statements: list[Stmt] = []
        if inside:
            tiles = len(self.lines.tiles(phase))
            start = line.segment * tiles // segments if segments > 1 else 0
            stop = (line.segment + 1) * tiles // segments if segments > 1 else tiles
            statements.append(loop(stop - start, inner, name="x", start=start))
        rest = [*range(inside.start), *range(inside.stop, count)]
        statements += [border(rest[at : at + size]) for at in range(0, len(rest), size)]
        return sequence(statements)

    def _inside(self, outer: tuple[Expr, ...], phase: Phase, unit: Expr) -> Rows:
        """The rows of tile number `unit` of those away from borders."""
        inside = self.lines.inside(phase)
        span = Span.number(unit, self.lines.size(phase), len(inside), inside.start)
        return Rows.inside(outer, span)

    def _tile(self, phases: tuple[Phase, ...], rows: Rows, columns: Columns, ahead: Ahead) -> Stmt:
        return self.tile(Tile(self.space, phases, rows, columns, ahead))


def _units(task: Expr, size: int, total: int, body: Callable[[Expr], Stmt]) -> Stmt:
    """The units of one task, of `total` units in tasks of `size`."""
    if size >= total:
        return loop(total, body, name="unit")
    start = task * size
    extent: Index = size if total % size == 0 else tirx.min(size, total - start)
    return loop(extent, lambda i: body(start + i), name="unit")
