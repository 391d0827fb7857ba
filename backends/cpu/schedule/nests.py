"""Loops around register tiles: tasks for threads, blocks for caches, tiles along rows."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import prod

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import ForKind, Stmt

from burnish.backends.cpu.schedule.build import Index, loop, sequence, unravel
from burnish.backends.cpu.schedule.tiling import Columns, Rows, Space, Span, Tile, TileConfig
from burnish.backends.kernels.geometry import Phase

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
            return self._columns(group, column, lambda columns: self._rows(row, columns))

        kind = ForKind.PARALLEL if self.threads > 1 else ForKind.SERIAL
        return loop(prod(extents), task, kind, "task")

    @property
    def _inside(self) -> range:
        """Output numbers along the last axis whose kernel positions all read existing input."""
        return range(*self.phases[-1].interior(self.space.axes[-1].inputs))

    @property
    def _is_flat(self) -> bool:
        return len(self.phases) == 1 and len(self._inside) == self.phases[-1].count

    @property
    def _row_units(self) -> int:
        if self._is_flat:
            return -(-self.phases[-1].count // self.config.rows)
        return prod(phase.count for phase in self.phases[:-1])

    @property
    def _vectors(self) -> int:
        return min(self.config.vectors, self.space.vectors)

    @property
    def _column_units(self) -> int:
        return -(-self.space.vectors // self._vectors)

    def _tile(self, rows: Rows, columns: Columns) -> Stmt:
        return self.tile(Tile(self.space, self.phases, rows, columns))

    def _columns(self, group: Expr, task: Expr, body: Callable[[Columns], Stmt]) -> Stmt:
        """The tiles side by side of one task."""

        def block(unit: Expr) -> Stmt:
            span = Span.number(unit, self._vectors, self.space.vectors)
            return body(Columns(self.space, group, span))

        return _units(task, self.config.column_block, self._column_units, block)

    def _rows(self, task: Expr, columns: Columns) -> Stmt:
        """The row units of one task."""
        size = self.config.row_block
        if self._is_flat:
            return _units(task, size, self._row_units, lambda unit: self._inner((), unit, columns))
        extents = [phase.count for phase in self.phases[:-1]]
        return _units(
            task, size, prod(extents), lambda unit: self._line(unravel(unit, extents), columns)
        )

    def _inner(self, outer: tuple[Expr, ...], unit: Expr, columns: Columns) -> Stmt:
        """Tile number `unit` of those away from borders."""
        inside = self._inside
        size = min(self.config.rows, len(inside))
        span = Span.number(unit, size, len(inside), inside.start)
        return self._tile(Rows.inside(outer, span), columns)

    def _line(self, outer: tuple[Expr, ...], columns: Columns) -> Stmt:
        """Tiles along the last axis: those between borders in a loop, the borders together."""
        count, size, inside = self.phases[-1].count, self.config.rows, self._inside
        if count <= size and len(inside) < count:
            return self._tile(Rows(outer, 0, range(count), False), columns)
        statements: list[Stmt] = []
        if inside:
            tiles = -(-len(inside) // min(size, len(inside)))
            statements.append(loop(tiles, lambda i: self._inner(outer, i, columns), name="x"))
        border = [*range(inside.start), *range(inside.stop, count)]
        for at in range(0, len(border), size):
            part = border[at : at + size]
            rows = Rows(outer, part[0], [x - part[0] for x in part], False)
            statements.append(self._tile(rows, columns))
        return sequence(statements)


def _units(task: Expr, size: int, total: int, body: Callable[[Expr], Stmt]) -> Stmt:
    """The units of one task, of `total` units in tasks of `size`."""
    if size >= total:
        return loop(total, body, name="unit")
    start = task * size
    extent: Index = size if total % size == 0 else tirx.min(size, total - start)
    return loop(extent, lambda i: body(start + i), name="unit")
