"""A block of a function as work over flat memory, ready to be written as loops of vectors.

The iteration variables of a block become *atoms*: those of the rows that a function works through,
which are known when the block runs, and those that the block loops over. Neighbours that every
access walks as one are merged, so that a loop over them is as long as it can be.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tvm_ffi
from tvm import ir, sym, tirx
from tvm.s_tir import SBlock, ScheduleError

_COMBINERS = (tirx.Add, tirx.Mul, tirx.Max, tirx.Min)
_BYTES = frozenset({"int8", "uint8"})
_STORED = frozenset({"float32", "int32", "uint32", "int8", "uint8", "int16", "uint16"})
"""Types that vectors are stored as."""


@dataclass(frozen=True, eq=False)
class Atom:
    """A variable that elements are addressed by."""

    variable: tirx.Var
    extent: int
    reduced: bool = False

    def index(self, value: int) -> ir.Expr:
        """A constant to compare and combine the variable with."""
        return tirx.const(value, str(self.variable.ty))


@dataclass(frozen=True)
class Access:
    """An access to memory: the distance in elements from one value of an atom to the next."""

    buffer: tirx.Buffer
    steps: Mapping[tirx.Var, int] | None
    """None where the place is no linear function of the atoms."""

    def step(self, atom: Atom) -> int | None:
        """The distance along `atom`; None if it is not constant."""
        return None if self.steps is None else self.steps.get(atom.variable, 0)


@dataclass(frozen=True)
class Work:
    """One block: ``target[place] = value``, or ``combine(target[place], value)`` if it reduces."""

    target: tirx.Buffer
    place: ir.Expr
    value: ir.Expr
    write: Access
    reads: tuple[Access, ...]
    loops: tuple[Atom, ...]
    """What it loops over, slowest first, without the rows."""
    combine: Callable[[ir.Expr, ir.Expr], ir.Expr] | None = None
    start: ir.Expr | None = None
    """What a reduction of nothing gives."""

    @property
    def reduces(self) -> bool:
        """Whether several values are combined into one result."""
        return self.combine is not None

    def combined(self, one: ir.Expr, other: ir.Expr) -> ir.Expr:
        """The combination of two values of a reduction."""
        assert self.combine is not None
        return self.combine(one, other)

    @property
    def spatial(self) -> tuple[Atom, ...]:
        """Loops over results."""
        return tuple(atom for atom in self.loops if not atom.reduced)

    @property
    def reduced(self) -> tuple[Atom, ...]:
        """Loops over what is combined into one result."""
        return tuple(atom for atom in self.loops if atom.reduced)

    def streams_along(self, atom: Atom) -> bool:
        """Whether vectors along `atom` are loaded whole: each access contiguous or constant."""
        steps = [read.step(atom) for read in self.reads]
        narrow = all(_bits(read.buffer) <= 32 for read in self.reads if read.step(atom) != 0)
        return narrow and set(steps) <= {0, 1} and atom.extent > 1

    def stores_along(self, atom: Atom) -> bool:
        """Whether vectors along `atom` are stored whole."""
        return self.write.step(atom) == 1 and str(self.target.dtype) in _STORED

    def widest(self, atom: Atom) -> str:
        """The type whose vectors suit what is read and stored along `atom`: uint8 or float32."""
        types = [str(read.buffer.dtype) for read in self.reads if read.step(atom) != 0]
        names = {*types, str(self.target.dtype)}
        return "uint8" if names <= _BYTES else "float32"

    def contiguous_along(self, atom: Atom) -> int:
        """Elements read contiguously along `atom`, over all loops."""
        return sum(
            math.prod(other.extent for other in self.loops if read.step(other) != 0)
            for read in self.reads
            if read.step(atom) == 1
        )


Substitution = Mapping[tirx.Var, ir.Expr]
Place = Callable[[tirx.Buffer], tuple[tirx.Buffer, Mapping[tirx.Var, int]]]
"""The flat buffer that holds a buffer; steps along atoms that it holds one value of at a time."""


def describe(
    block: SBlock, variables: Substitution, rows: Sequence[Atom], loops: Sequence[Atom], at: Place
) -> Work:
    """The work of `block`.

    Args:
        block: with a single store.
        variables: its iteration variables, as expressions of atoms.
        rows: atoms that are known when the block runs.
        loops: atoms that it loops over, slowest first.
        at: where buffers are.

    Raises:
        ScheduleError: the block does something else, or reduces by an unknown combiner.
    """
    store = block.body
    if not isinstance(store, tirx.BufferStore):
        raise ScheduleError("a block is more than one store")
    reader = _Reader(variables, [*rows, *loops], at)
    combine, start, value = None, None, store.value
    if any(atom.reduced for atom in loops):
        combine, start, value = _reduction(block)
    value = reader.read(value)
    place, write = reader.address(store.buffer, [reader.substitute(i) for i in store.indices])
    if write.steps is None:
        raise ScheduleError("a block stores at places that are not linear in its loops")
    work = Work(
        at(store.buffer)[0], place, value, write, tuple(reader.accesses), tuple(loops), combine,
        start,
    )  # fmt: skip
    return _merged(work)


def replace(expr: ir.Expr, values: Sequence[tuple[tirx.Var, ir.Expr]]) -> ir.Expr:
    """`expr` with variables replaced."""

    def substitute(variable: tirx.Var) -> ir.Expr:
        return next((value for old, value in values if old.same_as(variable)), variable)

    mapped: ir.Expr = tvm_ffi.structural_map(expr, (ir.Var, substitute), order="post")
    return mapped


def _bits(buffer: tirx.Buffer) -> int:
    name = str(buffer.dtype)
    return 8 if name == "bool" else int(name.lstrip("abcdefghijklmnopqrstuvwxyz").split("x")[0])


def _reduction(
    block: SBlock,
) -> tuple[Callable[[ir.Expr, ir.Expr], ir.Expr], ir.Expr, ir.Expr]:
    """Combiner, start and update of a block that combines with its own result on the left."""
    store = block.body
    if isinstance(store.value, _COMBINERS) and isinstance(block.init, tirx.BufferStore):
        previous = store.value.a
        if isinstance(previous, ir.TensorLoad) and previous.source.same_as(store.buffer):
            return type(store.value), block.init.value, store.value.b
    raise ScheduleError("a block reduces in a way of its own")


class _Reader:
    """Rewrites an expression to flat loads at places computed from atoms."""

    def __init__(self, variables: Substitution, atoms: Sequence[Atom], at: Place) -> None:
        self._variables = list(variables.items())
        self._atoms = [atom.variable for atom in atoms]
        self._at = at
        self._analyzer = sym.Analyzer()
        for atom in atoms:
            dtype = str(atom.variable.ty)
            bounds = ir.Range(tirx.const(0, dtype), tirx.const(atom.extent, dtype))
            self._analyzer.bind(atom.variable, bounds)
        self.accesses: list[Access] = []

    def substitute(self, expr: ir.Expr) -> ir.Expr:
        return replace(expr, self._variables)

    def read(self, value: ir.Expr) -> ir.Expr:
        def load(node: ir.TensorLoad) -> ir.Expr:
            place, access = self.address(node.source, list(node.indices))
            self.accesses.append(access)
            return tirx.BufferLoad(self._at(node.source)[0], [place])

        mapped: ir.Expr = tvm_ffi.structural_map(
            self.substitute(value), (ir.TensorLoad, load), order="post"
        )
        return mapped

    def address(self, buffer: tirx.Buffer, indices: list[ir.Expr]) -> tuple[ir.Expr, Access]:
        """The flat place of an access: a sum of atoms times constants, if it is one."""
        dropped = self._at(buffer)[1]
        flat: ir.Expr = tirx.const(0, str(self._atoms[0].ty) if self._atoms else "int32")
        for i, extent in zip(indices, buffer.shape, strict=True):
            flat = flat * int(extent) + self._analyzer.simplify(i)
        found = sym.detect_linear_equation(self._analyzer.simplify(flat), self._atoms)
        numbers = [int(f) if isinstance(f, tirx.IntImm) else None for f in found]
        if not numbers or None in numbers:
            if dropped:
                raise ScheduleError("part of a row is read at places that are not linear")
            return flat, Access(buffer, None)
        *factors, base = (number or 0 for number in numbers)
        steps = {a: f for a, f in zip(self._atoms, factors, strict=True) if f}
        for atom, step in dropped.items():
            if steps.pop(atom, step) != step:
                raise ScheduleError("a row reads intermediate results of another row")
        place: ir.Expr = tirx.const(base, str(flat.ty))
        for atom, factor in steps.items():
            place = place + atom * factor
        return place, Access(buffer, steps)


def _merged(work: Work) -> Work:
    """`work` with fewer, longer loops."""
    loops = [atom for atom in work.loops if atom.extent > 1]
    values = [
        (atom.variable, tirx.const(0, str(atom.variable.ty)))
        for atom in work.loops
        if atom.extent == 1
    ]
    accesses = (work.write, *work.reads)
    free = {atom for atom in loops if _only_in_places(work.value, atom.variable)}
    position = len(loops) - 1
    while position > 0:
        outer, inner = loops[position - 1], loops[position]
        same = outer.reduced == inner.reduced and {outer, inner} <= free
        if same and all(_continues(access, outer, inner) for access in accesses):
            both = Atom(inner.variable, outer.extent * inner.extent, inner.reduced)
            loops[position - 1 : position + 1] = [both]
            free.add(both)
            values.append((outer.variable, tirx.const(0, str(outer.variable.ty))))
        position -= 1
    return Work(
        work.target, replace(work.place, values), replace(work.value, values), work.write,
        work.reads, tuple(loops), work.combine, work.start,
    )  # fmt: skip


def _continues(access: Access, outer: Atom, inner: Atom) -> bool:
    step = access.step(inner)
    return step is not None and access.step(outer) == step * inner.extent


def _only_in_places(value: ir.Expr, variable: tirx.Var) -> bool:
    """Whether `variable` is used for nothing but the places of loads."""

    def hide(load: ir.TensorLoad) -> ir.Expr:
        return tirx.const(0, str(load.ty))

    def match(node: tirx.Var) -> tvm_ffi.VisitInterrupt | None:
        return tvm_ffi.VisitInterrupt(True) if node.same_as(variable) else None

    bare = tvm_ffi.structural_map(value, (ir.TensorLoad, hide), order="post")
    return tvm_ffi.structural_walk(bare, (tirx.Var, match), order="pre") is None
