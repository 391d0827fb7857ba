"""Small pieces of loop nests: loops, vectors, index arithmetic with constants folded."""

from collections.abc import Callable, Sequence
from math import prod
from typing import TypeAlias

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import Buffer, BufferLoad, BufferStore, For, ForKind, Stmt
from tvm.tirx.stmt import Bind, DeclBuffer

INDEX = "int32"

Index: TypeAlias = "Expr | int"
"""A place, computed or known."""


def index(value: Index) -> Expr:
    """An index expression."""
    return tirx.const(value, INDEX) if isinstance(value, int) else value


def constant(value: Index) -> int | None:
    """The value, if it is known."""
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, tirx.IntImm) else None


def sequence(statements: Sequence[Stmt]) -> Stmt:
    """One statement from several, or from none."""
    if not statements:
        return tirx.Evaluate(index(0))
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(list(statements))


def loop(
    extent: Index,
    body: Callable[[Expr], Stmt],
    kind: ForKind = ForKind.SERIAL,
    name: str = "i",
    start: Index = 0,
) -> Stmt:
    """A loop over ``[start, start + extent)``; none at all for a single iteration."""
    if constant(extent) == 1:
        return body(index(start))
    variable = tirx.Var(name, INDEX)
    return For(variable, index(start), index(extent), kind, body(variable))


def when(condition: Expr | bool, statement: Stmt) -> Stmt:
    """The statement under a condition that may be known to hold."""
    return statement if condition is True else tirx.IfThenElse(condition, statement, None)


def bind(value: Index, statements: list[Stmt], name: str = "v") -> Index:
    """A variable that holds `value`, bound in `statements`; constants need none."""
    if not isinstance(value, Expr) or isinstance(value, (tirx.IntImm, tirx.Var)):
        return value
    variable = tirx.Var(name, value.ty)
    statements.append(Bind(variable, value))
    return variable


def lanes(start: Index, width: int) -> Expr:
    """The indices of ``width`` adjacent elements."""
    return tirx.Ramp(index(start), index(1), width) if width > 1 else index(start)


def splat(value: Expr, width: int) -> Expr:
    """A scalar in every lane."""
    return tirx.Broadcast(value, width) if width > 1 else value


def unravel(flat: Index, extents: Sequence[int]) -> tuple[Expr, ...]:
    """The multi-index of position ``flat`` in row-major order."""
    found: list[Expr] = []
    pitch = 1
    for position, extent in reversed(list(enumerate(extents))):
        quotient = flat if pitch == 1 else index(flat) // pitch
        outermost = all(e == 1 for e in extents[:position])
        if extent == 1:
            found.append(index(0))
        else:
            found.append(index(quotient) if outermost else index(quotient) % extent)
        pitch *= extent
    return tuple(reversed(found))


def ravel(position: Sequence[Index], extents: Sequence[int]) -> Index:
    """The row-major number of a multi-index."""
    flat: Index = 0
    for i, extent in zip(position, extents, strict=True):
        if extent > 1:
            flat = flat * extent + i
    return flat


def ravel_line(position: Sequence[Index], extents: Sequence[int]) -> Index:
    """The same where the last index may lie beyond its axis: neighbours are counted from there."""
    return ravel(position[:-1], extents[:-1]) * extents[-1] + position[-1]


class Views:
    """Buffers seen as one row of elements, each declared once for a function."""

    def __init__(self) -> None:
        self._views: dict[tuple[Buffer, str], Buffer] = {}

    def of(self, buffer: Buffer, dtype: str | None = None, together: int = 1) -> Buffer:
        """The flat view of `buffer`; as elements of `dtype` that take up `together` of its own."""
        key = (buffer, dtype or str(buffer.dtype))
        if key not in self._views:
            size = prod(int(extent) for extent in buffer.shape) // together
            self._views[key] = tirx.decl_buffer((size,), key[1], name=buffer.name)
        return self._views[key]

    def declare(self, body: Sequence[Stmt]) -> Stmt:
        """`body` with its views declared."""
        views = [
            DeclBuffer(view, data=tirx.buffer_data(buffer))
            for (buffer, _), view in self._views.items()
        ]
        return sequence([*views, *body])


class Registers:
    """Accumulators: rows by vectors of one width, each slot at a constant place.

    Of the last vector of each row only the first lanes may be in use.
    """

    def __init__(
        self, rows: int, vectors: int, width: int, dtype: str, last: int | None = None
    ) -> None:
        self.rows = rows
        self.vectors = vectors
        self.width = width
        self.last = last or width
        self.buffer: Buffer = tirx.decl_buffer(
            (rows * vectors * width,), dtype, name="tile", scope="local"
        )

    def offset(self, row: Index, vector: int) -> Index:
        """Where a slot begins."""
        return row * (self.vectors * self.width) + vector * self.width

    def lanes(self, vector: int) -> int:
        """Lanes in use of a vector of any row."""
        return self.last if vector == self.vectors - 1 else self.width

    def read(self, row: int, vector: int) -> Expr:
        """The vector in a slot."""
        return BufferLoad(self.buffer, [self._place(row, vector)])

    def write(self, row: int, vector: int, value: Expr) -> Stmt:
        """Store into a slot."""
        return BufferStore(self.buffer, value, [self._place(row, vector)])

    def fill(self, value: Expr) -> list[Stmt]:
        """Store a scalar into every lane."""
        return [self.write(*slot, splat(value, self.lanes(slot[1]))) for slot in self._slots()]

    def copy_to(self, other: Buffer) -> list[Stmt]:
        """Store every slot at the same place of ``other``."""
        return [BufferStore(other, self.read(*s), [self._place(*s)]) for s in self._slots()]

    def _slots(self) -> list[tuple[int, int]]:
        return [(row, vector) for row in range(self.rows) for vector in range(self.vectors)]

    def _place(self, row: int, vector: int) -> Expr:
        return lanes(self.offset(row, vector), self.lanes(vector))
