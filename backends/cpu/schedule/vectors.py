"""Loops of vectors for one piece of work: maps, reductions along a row, reductions of columns.

    row:     parts[lane] <- combine over rounds of f(round + lane);  result <- fold(parts)
    columns: parts[column] <- combine over rows of f(row, column), a block of columns in registers

Whatever is left of an extent after whole vectors is one more vector, moved back to end with it: a
map writes some elements twice, a reduction puts its start in the place of those it has seen.
Functions here emit into the surrounding IRBuilder.
"""

import itertools
import math
from collections.abc import Callable, Sequence

from tvm import ir, tirx
from tvm.script.ir_builder import tirx as build
from tvm.tirx.script.builder.frame import ForFrame

from burnish.backends.cpu.schedule import byte_vectors
from burnish.backends.cpu.schedule.build import unravel
from burnish.backends.cpu.schedule.work import Atom, Work, replace
from burnish.backends.kernels.vectors import fold, vector_load, vector_store
from burnish.target import Target

Values = list[tuple[tirx.Var, ir.Expr]]
"""What atoms are."""
_MOST_PARTS = 4
"""Vectors that a row is combined into: enough to hide the latency of an addition."""
_NARROWEST = 4
"""Lanes below which vectors are not worth it."""
_TASKS_PER_THREAD = 4
"""Shares that one long loop is cut into, for threads that are not equally fast."""


def emit_all(works: Sequence[Work], target: Target, given: Values) -> None:
    """Emit several pieces of work in order, with the atoms of their rows `given`.

    What maps a row to elements that the next one combines runs with it, vector by vector.
    """
    waiting: Work | None = None
    for work, following in itertools.zip_longest(works, works[1:]):
        if following is not None and _feeds(work, following, target):
            waiting = work
            continue
        if waiting is None:
            emit(work, target, given)
        else:
            _row(work, lane_of(work, target), target, given, waiting)
        waiting = None


def _feeds(work: Work, following: Work, target: Target) -> bool:
    """Whether `work` maps a row of elements that `following` combines, one for one."""
    if work.reduces or len(work.loops) != 1 or following.loops != following.reduced:
        return False
    (lane,), own = work.loops, lane_of(following, target)
    if own is None or len(following.loops) != 1 or lane_of(work, target) is None:
        return False
    return own.extent == lane.extent and any(
        read.buffer.same_as(work.write.buffer) and read.step(own) == 1 for read in following.reads
    )


def emit(work: Work, target: Target, given: Values, parallel: bool = False) -> None:
    """Emit all of `work`, with the atoms of its rows `given`."""
    lane = lane_of(work, target)
    around = _parallel if parallel else _nested
    outer = [atom for atom in work.spatial if atom is not lane]
    if lane is None or lane.reduced:
        around(outer, given, lambda values: _row(work, lane, target, values))
        return
    count = byte_vectors.lanes_of(work, lane, target)
    kernel = _Columns if work.reduces else _Bytes if count else _Map
    blocks = 1
    if work.reduces:
        blocks = math.ceil(lane.extent / (_lanes(work, lane, target) * (target.registers // 2)))
    elif parallel and not outer:
        blocks = _TASKS_PER_THREAD * target.threads
    block = _Block(lane, count or _lanes(work, lane, target), blocks)
    around([*outer, block.atom], given, lambda values: kernel(work, block).emit(values))


def lane_of(work: Work, target: Target) -> Atom | None:
    """The loop to make vectors of; None if there is none worth it."""
    fewest = min(_NARROWEST, target.lanes("float32"))
    fits = [
        atom for atom in work.loops
        if atom.extent >= fewest and work.streams_along(atom)
        and (atom.reduced or work.stores_along(atom))
    ]  # fmt: skip
    return max(fits, key=work.contiguous_along, default=None)


def makes_bytes(work: Work, target: Target) -> bool:
    """Whether `work` makes whole vectors of bytes, by instructions that have to be defined."""
    return byte_vectors.lanes_of(work, lane_of(work, target), target) > 0


def complete(works: Sequence[Work], body: tirx.Stmt, target: Target) -> tirx.Stmt:
    """A whole kernel of `works` with the definitions of what it calls."""
    return byte_vectors.with_instructions(
        [work for work in works if makes_bytes(work, target)], body, target
    )


def _lanes(work: Work, lane: Atom, target: Target) -> int:
    """Lanes of a vector: halved until a vector fits the loop."""
    lanes = target.lanes(work.widest(lane))
    while lanes > lane.extent:
        lanes //= 2
    return lanes


def _nested(atoms: Sequence[Atom], given: Values, body: Callable[[Values], None]) -> None:
    """Loops over `atoms` around `body`."""
    if not atoms:
        body(given)
        return
    first, *rest = atoms
    if first.extent == 1:
        _nested(rest, [*given, (first.variable, first.index(0))], body)
        return
    with _serial(first, first.extent) as index:
        _nested(rest, [*given, (first.variable, index)], body)


def _parallel(atoms: Sequence[Atom], given: Values, body: Callable[[Values], None]) -> None:
    """One parallel loop over `atoms` around `body`; none at all for a single round."""
    extents = [atom.extent for atom in atoms]
    if math.prod(extents) == 1:
        _nested(atoms, given, body)
        return
    with build.parallel(0, math.prod(extents)) as task:
        places = unravel(task, extents)
        values = [
            (atom.variable, place.astype(str(atom.variable.ty)))
            for atom, place in zip(atoms, places, strict=True)
        ]
        body([*given, *values])


def _serial(atom: Atom, extent: int) -> ForFrame:
    return build.serial(atom.index(0), atom.index(extent))


def _across(atom: Atom, lanes: int) -> ForFrame:
    """The lanes of a vector along `atom`."""
    return build.vectorized(atom.index(0), atom.index(lanes))


def _store(buffer: tirx.Buffer, value: ir.Expr, index: ir.Expr | int = 0) -> None:
    build.buffer_store(buffer, value, [index])


def _registers(work: Work, lanes: int) -> tirx.Buffer:
    """One vector; larger buffers would go to memory."""
    return build.alloc_buffer((lanes,), str(work.target.dtype))


class _Block:
    """Equal shares of a loop, in whole vectors but for the last one; the last share overlaps."""

    def __init__(self, lane: Atom, lanes: int, shares: int) -> None:
        vectors = math.ceil(lane.extent / lanes)
        self.lane, self.lanes = lane, lanes
        self.width = min(math.ceil(vectors / shares) * lanes, lane.extent)
        count = math.ceil(lane.extent / self.width)
        self.atom = Atom(tirx.Var("block", str(lane.variable.ty)), count)

    def start(self, given: Values) -> ir.Expr:
        """Where the share of `given` begins."""
        (block,) = [value for variable, value in given if variable.same_as(self.atom.variable)]
        return tirx.min(block * self.width, self.lane.index(self.lane.extent - self.width))


class _Map:
    """Elements of a share, each from others."""

    def __init__(self, work: Work, block: _Block) -> None:
        self._work, self._block = work, block

    def emit(self, given: Values) -> None:
        block, lanes = self._block, self._block.lanes
        start, last = block.start(given), block.width - lanes
        if block.width % lanes:
            # Computed before anything is stored: the result may lie where an operand was.
            held = _registers(self._work, lanes)
            with _across(block.lane, lanes) as i:
                _store(held, self._at(self._work.value, given, start + last + i), i)
        with _serial(block.lane, block.width // lanes) as step, _across(block.lane, lanes) as i:
            here = start + step * lanes + i
            value = self._at(self._work.value, given, here)
            _store(self._work.target, value, self._at(self._work.place, given, here))
        if block.width % lanes:
            with _across(block.lane, lanes) as i:
                here = start + last + i
                _store(self._work.target, held[i], self._at(self._work.place, given, here))

    def _at(self, expr: ir.Expr, given: Values, place: ir.Expr) -> ir.Expr:
        return replace(expr, [*given, (self._block.lane.variable, place)])


class _Bytes:
    """The same by whole vectors of bytes."""

    def __init__(self, work: Work, block: _Block) -> None:
        self._work, self._block = work, block

    def emit(self, given: Values) -> None:
        block, lanes = self._block, self._block.lanes
        start, last = block.start(given), block.width - lanes
        table = byte_vectors.tables(self._work)

        def made(here: ir.Expr) -> ir.Expr:
            return byte_vectors.vector(self._work, block.lane, given, here, lanes, table)

        def put(value: ir.Expr, here: ir.Expr) -> None:
            place = replace(self._work.place, [*given, (block.lane.variable, here)])
            vector_store(self._work.target, value, [place], lanes)

        # Computed before anything is stored: the result may lie where an operand was.
        held = build.bind(made(start + last)) if block.width % lanes else None
        with _serial(block.lane, block.width // lanes) as step:
            put(made(start + step * lanes), start + step * lanes)
        if held is not None:
            put(held, start + last)


class _Columns:
    """Results of a share, each combined from one column."""

    def __init__(self, work: Work, block: _Block) -> None:
        self._work, self._block = work, block
        last = block.width - block.lanes
        self._offsets = [min(i, last) for i in range(0, block.width, block.lanes)]

    def emit(self, given: Values) -> None:
        work, lane, lanes = self._work, self._block.lane, self._block.lanes
        start = self._block.start(given)
        parts = [_registers(work, lanes) for _ in self._offsets]
        for part in parts:
            with _across(lane, lanes) as i:
                _store(part, work.start, i)

        def add(values: Values) -> None:
            for part, offset in zip(parts, self._offsets, strict=True):
                with _across(lane, lanes) as i:
                    here = [*values, (lane.variable, start + offset + i)]
                    _store(part, work.combined(part[i], replace(work.value, here)), i)

        _nested(work.reduced, given, add)
        for part, offset in zip(parts, self._offsets, strict=True):
            with _across(lane, lanes) as i:
                here = [*given, (lane.variable, start + offset + i)]
                _store(work.target, part[i], replace(work.place, here))


def _row(
    work: Work, lane: Atom | None, target: Target, given: Values, before: Work | None = None
) -> None:
    """One result: the value of a map without vectors, or what a row is combined into."""
    place = replace(work.place, given)
    if not work.reduces:
        _store(work.target, replace(work.value, given), place)
        return
    if lane is None:
        total = _registers(work, 1)
        _store(total, work.start)
        _nested(
            work.reduced, given,
            lambda values: _store(total, work.combined(total[0], replace(work.value, values))),
        )  # fmt: skip
        _store(work.target, total[0], place)
        return
    parts = _Parts(work, lane, target, before)
    outer = [atom for atom in work.reduced if atom is not lane]
    _nested(outer, given, parts.add_row)
    _store(work.target, parts.total(), place)


class _Parts:
    """Partial results of a row, in a few vectors."""

    def __init__(self, work: Work, lane: Atom, target: Target, before: Work | None) -> None:
        self._work, self._lane, self._before = work, lane, before
        self._lanes = _lanes(work, lane, target)
        count = max(n for n in (1, 2, _MOST_PARTS) if n * self._lanes <= lane.extent)
        self._parts = [_registers(work, self._lanes) for _ in range(count)]
        for part in self._parts:
            with _across(self._lane, self._lanes) as i:
                _store(part, self._work.start, i)

    def add_row(self, given: Values) -> None:
        """Combine a whole row into the parts."""
        lanes, count, extent = self._lanes, len(self._parts), self._lane.extent
        rounds, rest = divmod(extent, lanes * count)
        with _serial(self._lane, rounds) as step:
            for number, part in enumerate(self._parts):
                self._combine(part, given, step * (lanes * count) + number * lanes)
        for number in range(rest // lanes):
            start = (rounds * count + number) * lanes
            self._combine(self._parts[number], given, self._lane.index(start))
        if rest % lanes:
            start = self._lane.index(extent - lanes)
            self._combine(self._parts[-1], given, start, seen=lanes - rest % lanes)

    def total(self) -> ir.Expr:
        """All parts in one."""
        combine = self._work.combined
        vectors = [vector_load(part[0], self._lanes) for part in self._parts]
        while len(vectors) > 1:
            half = len(vectors) // 2
            vectors = [combine(vectors[i], vectors[i + half]) for i in range(half)]
        if combine is tirx.Max and str(self._work.target.dtype) == "uint8":
            # Of so many lanes, processors have ways of their own.
            return tirx.call_llvm_pure_intrin("uint8", "llvm.vector.reduce.umax", vectors[0])
        return fold(vectors[0], self._lanes, combine)

    def _combine(self, part: tirx.Buffer, given: Values, start: ir.Expr, seen: int = 0) -> None:
        """Combine the vector from `start` on into `part`, but for the first `seen` lanes."""
        if self._before is not None:
            mapped = self._before
            with _across(self._lane, self._lanes) as i:
                here = [*given, (mapped.loops[0].variable, start + i)]
                _store(mapped.target, replace(mapped.value, here), replace(mapped.place, here))
        with _across(self._lane, self._lanes) as i:
            value = replace(self._work.value, [*given, (self._lane.variable, start + i)])
            if seen:
                value = tirx.Select(i >= self._lane.index(seen), value, self._work.start)
            _store(part, self._work.combined(part[i], value), i)
