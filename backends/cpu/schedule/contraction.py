"""The loops around register tiles: tasks for threads, blocks for caches."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import prod

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import ForKind, Stmt

from burnish.backends.cpu.schedule.build import Index, index, loop, sequence, unravel, when
from burnish.backends.cpu.schedule.epilogue import Epilogue
from burnish.backends.cpu.schedule.tile import Columns, Contraction, Rows, TileBuilder
from burnish.backends.kernels.geometry import Phase


@dataclass(frozen=True)
class ContractionConfig:
    """A way to order the work of a contraction."""

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


def build(
    work: Contraction, epilogue: Epilogue, config: ContractionConfig, threads: int
) -> list[Stmt]:
    """The loop nests of a contraction, one for each combination of phases."""
    return [
        _Nest(work, tuple(phases), epilogue, config, threads).build()
        for phases in product(*(axis.phases() for axis in work.axes))
    ]


@dataclass(frozen=True)
class _Nest:
    work: Contraction
    phases: tuple[Phase, ...]
    epilogue: Epilogue
    config: ContractionConfig
    threads: int

    def build(self) -> Stmt:
        row_tasks = -(-self._row_units // self.config.row_block)
        column_tasks = -(-self._column_units // self.config.column_block)
        extents = (self.work.groups, row_tasks, column_tasks)
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
        return self.phases[-1].interior(self.work.axes[-1].inputs) == (0, self.phases[-1].count)

    @property
    def _row_units(self) -> int:
        if self._is_flat:
            return -(-self.phases[-1].count // self.config.rows)
        return prod(phase.count for phase in self.phases[:-1])

    @property
    def _column_units(self) -> int:
        return -(-(-(-self.work.columns // self.work.width)) // self.config.vectors)

    def _columns(
        self, group: Expr, task: Expr, tasks: int, body: Callable[[Columns], Stmt]
    ) -> Stmt:
        """Blocks of columns of one task: equal ones in a loop, then what is left."""
        width, vectors = self.work.width, self.config.vectors
        whole = self.work.columns // width // vectors
        rest = self.work.columns - whole * vectors * width
        widths = tuple(min(width, rest - at) for at in range(0, rest, width))

        def block(unit: Expr) -> Stmt:
            return body(Columns(group, unit * vectors, (width,) * vectors))

        def tail() -> Stmt:
            return body(Columns(group, index(whole * vectors), widths))

        return _blocks(
            task, tasks, self.config.column_block, whole, block, tail if rest else None
        )

    def _tile(self, rows: Rows, columns: Columns) -> Stmt:
        unroll = self.config.unroll
        return TileBuilder(self.work, self.phases, self.epilogue, unroll, rows, columns).build()

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
        low, high = phase.interior(self.work.axes[-1].inputs)
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
