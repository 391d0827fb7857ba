"""Reductions of contiguous rows, split into one partial result per vector lane.

    total = combine over k of f(k)

becomes, with V lanes and rows of any length,

    partial[lane] = combine over rounds of f(round * V + lane)
    total         = combine of partial[0..V) and of the last length mod V elements

Done on the function itself because a schedule would leave a test on every element.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import tvm_ffi
from tvm import ir, s_tir, tirx
from tvm.s_tir import Schedule

from burnish.backends.cpu.schedule.nest import Nest, strides
from burnish.target import Target

LANES = "burnish.lanes"
"""Annotation of blocks that hold partial results per lane."""

_COMBINERS = (tirx.Add, tirx.Mul, tirx.Max, tirx.Min)
_FEWEST_ROUNDS = 2


@dataclass(frozen=True)
class _Row:
    """A reduction to split: its block, the iterations that form the row, the lanes to use."""

    block: s_tir.SBlock
    row: tuple[int, ...]
    """Positions of the iteration variables that walk the row, slowest first."""
    lanes: int


def split_rows(sch: Schedule, nests: list[Nest], target: Target) -> tirx.PrimFunc:
    """The function of the normalized `sch` with its row reductions split over lanes."""
    rows = {nest.name: row for nest in nests if (row := _find_row(sch, nest, target))}
    func = sch.mod["main"]
    if not rows:
        return func
    root = func.body.block
    children = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
    statements, buffers = [], list(root.alloc_buffers)
    for child in children:
        row = rows.get(_block_name(child))
        if row is None:
            statements.append(child)
            continue
        partial, stages = _split(row)
        buffers.append(partial)
        statements.extend(stages)
    block = s_tir.SBlock([], [], [], "root", tirx.SeqStmt(statements), alloc_buffers=buffers)
    return func.with_body(s_tir.SBlockRealize([], True, block))


def _block_name(statement: tirx.Stmt) -> str:
    while isinstance(statement, tirx.For):
        statement = statement.body
    return str(statement.block.name_hint)


def vector_loop(sch: Schedule, nest: Nest) -> int:
    """Position of the loop along which most of what a nest reads is contiguous."""
    written = {buffer.source.name for buffer in sch.get(nest.block).writes}
    reads = [steps for buffer, steps in strides(nest, sch) if buffer.name not in written]

    def gain(position: int) -> int:
        return sum(_footprint(nest, steps) * _contiguity(steps[position]) for steps in reads)

    return max(range(len(nest.loops)), key=lambda p: (gain(p) if nest.extents[p] > 1 else 0, p))


def _footprint(nest: Nest, steps: tuple[int | None, ...]) -> int:
    """Elements that an access touches over the whole nest."""
    return math.prod(extent for extent, step in zip(nest.extents, steps, strict=True) if step != 0)


def _contiguity(step: int | None) -> int:
    return {0: 0, 1: 1}.get(-1 if step is None else step, -1)


def _find_row(sch: Schedule, nest: Nest, target: Target) -> _Row | None:
    if not nest.is_reduction:
        return None
    last = vector_loop(sch, nest)
    block = sch.get(nest.block)
    if nest.kinds[last] != "R" or not _combines(block):
        return None
    row = [last]
    written = {buffer.source.name for buffer in block.writes}
    reads = [steps for buffer, steps in strides(nest, sch) if buffer.name not in written]
    while row[0] > 0 and nest.kinds[row[0] - 1] == "R" and _walked_together(reads, nest, row[0]):
        row.insert(0, row[0] - 1)
    length = math.prod(nest.extents[p] for p in row)
    width = target.lanes("float32")
    alone = len(row) == nest.kinds.count("R")
    if length < _FEWEST_ROUNDS * width or (length % width and not alone):
        return None
    return _Row(block, tuple(row), _accumulators(length, width, alone) * width)


def _accumulators(length: int, width: int, with_tail: bool) -> int:
    """Vectors to accumulate in, so that the longest chain of dependent steps is short."""

    def chain(vectors: int) -> int:
        lanes = vectors * width
        return length // lanes + length % lanes + 2 * lanes.bit_length()

    known = [
        n for n in (1, 2, 4) if length >= n * width and (with_tail or not length % (n * width))
    ]
    return min(known, key=chain)


def _walked_together(reads: list[tuple[int | None, ...]], nest: Nest, inner: int) -> bool:
    extent = nest.extents[inner]
    return all(
        step is not None and steps[inner - 1] == step * extent
        for steps, step in ((steps, steps[inner]) for steps in reads)
    )


def _combines(block: s_tir.SBlock) -> bool:
    """Whether a block updates one buffer by a known combiner with itself on the left."""
    store = block.body
    if not isinstance(store, tirx.BufferStore) or not isinstance(store.value, _COMBINERS):
        return False
    previous = store.value.a
    return isinstance(previous, ir.TensorLoad) and previous.source.same_as(store.buffer)


def _split(row: _Row) -> tuple[tirx.Buffer, list[tirx.Stmt]]:
    block, lanes = row.block, row.lanes
    total = block.body.buffer
    partial = tirx.decl_buffer(
        [*total.shape, lanes], str(total.dtype), f"{block.name_hint}_partial"
    )
    return partial, [_partial_stage(row, partial), _total_stage(row, partial)]


def _partial_stage(row: _Row, partial: tirx.Buffer) -> tirx.Stmt:
    block = row.block
    length = math.prod(int(block.iter_vars[p].dom.extent) for p in row.row)
    axes = _Axes(block, row.row)
    lane = axes.add("lane", row.lanes, tirx.IterVar.DataPar)
    for position in axes.others_reduced():
        axes.keep(position)
    rounds = axes.add("round", length // row.lanes, tirx.IterVar.CommReduce)
    element = axes.element(rounds * row.lanes + lane)
    indices = [*(axes.substitute(i) for i in block.body.indices), lane]
    name, first = f"{block.name_hint}_partial", block.init.value
    return axes.nest(partial, indices, name, first, element, {LANES: 1})


def _total_stage(row: _Row, partial: tirx.Buffer) -> tirx.Stmt:
    block = row.block
    length = math.prod(int(block.iter_vars[p].dom.extent) for p in row.row)
    tail = length % row.lanes
    axes = _Axes(block, row.row)
    indices = [axes.substitute(i) for i in block.body.indices]
    parts = [tirx.BufferLoad(partial, [*indices, axes.index(i)]) for i in range(row.lanes)]
    first = _folded(parts, type(block.body.value))
    element = None
    if tail:
        part = axes.add("part", tail, tirx.IterVar.CommReduce)
        element = axes.element(length - tail + part)
    return axes.nest(block.body.buffer, indices, block.name_hint, first, element, {})


def _folded(parts: list[ir.Expr], combine: Callable[[ir.Expr, ir.Expr], ir.Expr]) -> ir.Expr:
    """The combination of all parts as a tree, whose steps depend on each other the least."""
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [combine(parts[i], parts[i + half]) for i in range(half)]
    return parts[0]


class _Axes:
    """Iteration variables of a stage under construction and the substitution they induce."""

    def __init__(self, block: s_tir.SBlock, row: tuple[int, ...]) -> None:
        self._block = block
        self._row = row
        self._iters: list[tirx.IterVar] = []
        self._values: list[tuple[tirx.Var, ir.Expr]] = []
        for position, axis in enumerate(block.iter_vars):
            if axis.iter_type == tirx.IterVar.DataPar:
                self.keep(position)

    def others_reduced(self) -> list[int]:
        """Positions of reduced iteration variables outside the row."""
        axes = self._block.iter_vars
        return [
            p for p, axis in enumerate(axes)
            if axis.iter_type != tirx.IterVar.DataPar and p not in self._row
        ]  # fmt: skip

    def index(self, value: int) -> ir.Expr:
        """A constant of the dtype of the iteration variables."""
        return tirx.const(value, str(self._block.iter_vars[0].var.ty))

    def keep(self, position: int) -> None:
        """Take over an iteration variable of the original block."""
        axis = self._block.iter_vars[position]
        var = self.add(axis.var.name, int(axis.dom.extent), axis.iter_type)
        self._values.append((axis.var, var))

    def add(self, name: str, extent: int, kind: int) -> tirx.Var:
        """Add an iteration variable."""
        dtype = str(self._block.iter_vars[0].var.ty)
        var = tirx.Var(name, dtype)
        self._iters.append(
            tirx.IterVar(ir.Range(tirx.const(0, dtype), tirx.const(extent, dtype)), var, kind)
        )
        return var

    def element(self, position: ir.Expr) -> ir.Expr:
        """The combined expression of the original block at a position of the row."""
        values, rest = list(self._values), position
        axes = [self._block.iter_vars[p] for p in self._row]
        pitch = math.prod(int(axis.dom.extent) for axis in axes)
        # Slowest first: what is left each time is one expression, which TVM can put together again.
        for axis in axes[:-1]:
            pitch //= int(axis.dom.extent)
            values.append((axis.var, tirx.floordiv(rest, self.index(pitch))))
            rest = tirx.floormod(rest, self.index(pitch))
        values.append((axes[-1].var, rest))
        return _with_fresh_lets(_substitute(self._block.body.value.b, values))

    def substitute(self, expr: ir.Expr) -> ir.Expr:
        """Rename the original variables in `expr`."""
        return _substitute(expr, self._values)

    def nest(
        self,
        buffer: tirx.Buffer,
        indices: list[ir.Expr],
        name: str,
        first: ir.Expr,
        element: ir.Expr | None,
        annotations: dict[str, int],
    ) -> tirx.Stmt:
        """A loop nest that stores `first`, then combines every `element` into it."""
        init = tirx.BufferStore(buffer, first, indices)
        body = init
        if element is not None:
            combine = type(self._block.body.value)
            update = combine(tirx.BufferLoad(buffer, indices), element)
            body = tirx.BufferStore(buffer, update, indices)
        start = None if element is None else init
        block = s_tir.SBlock(self._iters, [], [], name, body, start, annotations=annotations)
        reads, writes = _regions(block)
        block = s_tir.SBlock(self._iters, reads, writes, name, body, start, annotations=annotations)
        loops = [tirx.Var(f"i{p}", str(axis.var.ty)) for p, axis in enumerate(self._iters)]
        statement: tirx.Stmt = s_tir.SBlockRealize(loops, True, block)
        for loop, axis in zip(reversed(loops), reversed(self._iters), strict=True):
            kind = tirx.ForKind.SERIAL
            statement = tirx.For(loop, axis.dom.min, axis.dom.extent, kind, statement)
        return statement


def _regions(block: s_tir.SBlock) -> tuple[list[ir.TensorRegion], list[ir.TensorRegion]]:
    accesses: dict[str, tirx.Buffer] = {}

    def load(node: ir.TensorLoad) -> None:
        accesses.setdefault(node.source.name, node.source)

    tvm_ffi.structural_walk(block, (ir.TensorLoad, load), order="pre")
    buffers = {buffer: buffer for buffer in [*accesses.values(), block.body.buffer]}
    reads, writes, _ = s_tir.analysis.get_sblock_access_region(block, buffers)
    return list(reads), list(writes)


def _substitute(expr: ir.Expr, values: list[tuple[tirx.Var, ir.Expr]]) -> ir.Expr:
    def replace(var: tirx.Var) -> ir.Expr:
        return next((value for old, value in values if old.same_as(var)), var)

    mapped: ir.Expr = tvm_ffi.structural_map(expr, (ir.Var, replace), order="post")
    return mapped


def _with_fresh_lets(expr: ir.Expr) -> ir.Expr:
    """Rename let-bound variables: an expression used twice must not define one twice."""

    def rename(let: tirx.Let) -> ir.Expr:
        var = tirx.Var(let.var.name, str(let.var.ty))
        return tirx.Let(var, let.value, _substitute(let.body, [(let.var, var)]))

    mapped: ir.Expr = tvm_ffi.structural_map(expr, (tirx.Let, rename), order="post")
    return mapped
