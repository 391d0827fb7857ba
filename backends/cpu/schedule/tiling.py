"""Register tiles: which results they hold, which input they read, where they are stored.

The results of a kernel are rows (positions along axes) by columns (channels). A tile is a few rows
by a few vectors of columns, small enough to be computed in registers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Stmt
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
)
from burnish.backends.cpu.schedule.epilogue import Epilogue, Position, Store
from burnish.backends.kernels.geometry import Axis, Phase


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
    tile: int = 1
    """Outputs along each axis that share products (Winograd); 1 for direct sums."""


_NARROWEST = 4
"""Fewest lanes of a vector."""
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
    shifts: bool
    """Whether the last vector moves back to end with the last column; else it is padded."""
    lead: Callable[[Index, Sequence[Index]], tuple[Expr, ...]]
    """Leading output indices from a row number and positions along axes."""

    @property
    def vectors(self) -> int:
        """Vectors that hold the columns of one group."""
        return -(-self.columns // self.width)

    @property
    def tail(self) -> int:
        """Columns that only the last vector holds, if it is not a whole one of its own."""
        return self.columns % self.width

    def last(self, vectors: int) -> int:
        """Lanes of the last one of so many vectors side by side: fewer than others hold its tail.

        Only where it always is the last one of the group, so that its tail is known.
        """
        lanes = self.width
        if self.tail and not self.shifts and vectors >= self.vectors:
            while lanes > _NARROWEST and self.tail <= lanes // 2:
                lanes //= 2
        return lanes


@dataclass(frozen=True)
class Span:
    """A few of many things in a row. Spans of one size overlap if it does not divide their number.

    Code for one size then serves all; what an earlier span has done is computed again and dropped.
    """

    first: Index
    size: int
    fresh: Expr | None = None
    """The first one that no earlier span has done; None if that is `first`."""

    @classmethod
    def number(cls, unit: Expr, size: int, total: int, start: int = 0) -> "Span":
        """Span number ``unit`` of those that cover ``total`` things from ``start`` on."""
        if total % size == 0:
            return cls(start + unit * size, size)
        return cls(start + tirx.min(unit * size, total - size), size, start + unit * size)

    def is_fresh(self, step: Index) -> Expr | bool:
        """Whether the one `step` after the first has not been done before."""
        return True if self.fresh is None else self.first + step >= self.fresh


@dataclass(frozen=True)
class Columns:
    """Adjacent vectors of output columns of one group."""

    space: Space
    group: Expr
    span: Span

    def starts(self) -> list[Index]:
        """The column, within the group, of the first lane of each vector."""
        space = self.space
        found = [self.span.first * space.width + j * space.width for j in range(self.span.size)]
        if space.shifts and space.tail:
            found[-1] = tirx.min(found[-1], space.columns - space.width)
        return found

    @property
    def last(self) -> int:
        """Lanes of the last vector that are to be computed."""
        return self.space.last(self.span.size)

    def stores(self) -> list[list[Store]]:
        """Which lanes of each vector to store, and when."""
        space, span = self.space, self.span
        base = self.group * space.columns
        found = []
        for j in range(span.size):
            column = base + (span.first + j) * space.width
            fresh = span.is_fresh(j)
            if not space.tail or j < span.size - 1:
                found.append([Store(fresh, column, 0, space.width)])
                continue
            last = Store(True, column, space.width - space.tail if space.shifts else 0, space.tail)
            if span.size == space.vectors:
                found.append([last])
                continue
            at_end = tirx.EQ(index(span.first + span.size), index(space.vectors))
            whole = Store(tirx.Not(at_end), column, 0, space.width)
            found.append([replace(last, condition=at_end), whole])
        return found


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
    span: Span | None = None
    """Which of the rows are still to be stored; None if all are."""

    @classmethod
    def inside(cls, outer: tuple[Expr, ...], span: Span) -> "Rows":
        """Adjacent rows away from borders."""
        return cls(outer, span.first, range(span.size), True, span)


@dataclass(frozen=True)
class Ahead:
    """What is brought closer while a tile is computed, because it is needed soon."""

    rows: Rows | None = None
    """The tile after this one, if its rows follow each other without gaps."""
    columns: Columns | None = None
    """The columns after these."""
    vectors: Sequence[Index] = ()
    """Which of their vectors: other tiles bring the others."""


@dataclass(frozen=True)
class Tile:
    """One tile, and the loops over kernel positions within it."""

    space: Space
    phases: tuple[Phase, ...]
    rows: Rows
    columns: Columns
    ahead: Ahead = Ahead()

    def outputs(self, step: int) -> list[Index]:
        """Output position along each axis, `step` rows after the first."""
        numbers = [*self.rows.outer, self.rows.first + step]
        return [
            phase.first + t * phase.output_step
            for phase, t in zip(self.phases, numbers, strict=True)
        ]

    def source(self, taps: Sequence[Index]) -> list[Index]:
        """The input positions that kernel positions `taps` of the first row read."""
        return self.source_of(self.rows, taps)

    def source_of(self, rows: Rows, taps: Sequence[Index]) -> list[Index]:
        """The same for other rows of the same phases."""
        numbers = [*rows.outer, rows.first]
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
        space, rows = self.space, self.rows
        statements: list[Stmt] = []
        first = self.outputs(0)
        start = bind(ravel(first, [axis.outputs for axis in space.axes]), statements, "row")

        def position(row: Index) -> Position:
            step = row if isinstance(row, Expr) else rows.steps[row]
            exists = True if rows.span is None else rows.span.is_fresh(step)
            step = step * self.phases[-1].output_step
            lead = space.lead(start + step, [*first[:-1], first[-1] + step])
            return Position(start + step, lead, exists)

        fetch = epilogue.fetch(self.columns.stores(), [position(i) for i in range(len(rows.steps))])
        contiguous = tuple(rows.steps) == tuple(range(len(rows.steps)))
        finish = epilogue.finish(totals, self.columns.stores(), position, contiguous)
        return sequence([*statements, *fetch, AllocBuffer(totals.buffer), *body, *finish])
