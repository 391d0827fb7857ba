"""Copies that exchange which axis is contiguous, by squares of vectors turned in registers.

    for tile of the axis contiguous in the source, tile of the axis contiguous in the result:
        rows <- one vector per element of the second tile
        result <- transpose(rows), one vector per element of the first

The last tile of an axis moves up instead of shrinking, so that no element needs a test.
"""

import math
from dataclasses import dataclass

from tvm import ir, sym, tirx
from tvm.s_tir import Schedule, ScheduleError
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as build

from burnish.backends.cpu.schedule.build import Views
from burnish.backends.cpu.schedule.loops import pays_in_parallel
from burnish.backends.cpu.schedule.nest import nests, strides
from burnish.backends.cpu.tir_pipeline import LOOPS_ONLY
from burnish.backends.kernels.vectors import transposed, vector_load, vector_store
from burnish.target import Target

_BYTES = 16
"""Lanes of vectors of bytes: more would take as many instructions for each element."""


@dataclass(frozen=True)
class _Axis:
    """A loop of a copy, or several that both sides walk as one."""

    extent: int
    to: int
    """Elements of the result from one iteration to the next."""
    source: int
    """Elements of the source likewise."""


@dataclass(frozen=True)
class _Copy:
    result: tirx.Buffer
    source: tirx.Buffer
    axes: tuple[_Axis, ...]


def applies(sch: Schedule) -> bool:
    """Whether the function is one copy whose contiguous axes differ, both with whole vectors."""
    return _describe(sch) is not None


def apply(sch: Schedule, target: Target, config: object = None) -> tirx.PrimFunc:
    """The function as a copy of squares."""
    copy = _describe(sch)
    if copy is None:
        raise ScheduleError("the function is no transposing copy")
    lanes = _BYTES if _bits(copy.result) == 8 else target.lanes("float32")
    row, column = _contiguous(copy)
    if min(row.extent, column.extent) < lanes:
        raise ScheduleError("the transposed axes are shorter than a vector")
    func = sch.mod["main"]
    parallel = pays_in_parallel(sch, nests(sch) or [], target)
    views = Views()
    body = _squares(copy, row, column, lanes, parallel, views)
    loops = tirx.PrimFunc(func.params, views.declare([body]), attrs=func.attrs)
    return loops.with_attr(LOOPS_ONLY, True)


def _describe(sch: Schedule) -> _Copy | None:
    found = nests(sch)
    if found is None or len(found) != 1 or found[0].is_reduction or 0 in found[0].extents:
        return None
    (nest,) = found
    store = sch.get(nest.block).body
    if not isinstance(store, tirx.BufferStore) or not isinstance(store.value, ir.TensorLoad):
        return None
    accesses = strides(nest, sch)
    if len(accesses) != 2:
        return None
    variables = [axis.var for axis in sch.get(nest.block).iter_vars]
    if _bits(store.buffer) not in (8, 32) or not _starts_at_zero(
        list(store.value.indices), variables
    ):
        return None
    (result, to), (source, reads) = accesses
    axes = [
        _Axis(extent, there, here)
        for extent, there, here in zip(nest.extents, to, reads, strict=True)
        if there is not None and here is not None
    ]
    if len(axes) != len(nest.extents):
        return None
    copy = _Copy(result, source, _merge(axes))
    return copy if len(_units(copy)) == 2 else None


def _bits(buffer: tirx.Buffer) -> int:
    return int(str(buffer.dtype).lstrip("abcdefghijklmnopqrstuvwxyz") or 8)


def _starts_at_zero(indices: list[ir.Expr], variables: list[tirx.Var]) -> bool:
    """Whether an access starts at the first element, unlike that of a slice."""
    for index in indices:
        coefficients = sym.detect_linear_equation(index, variables)
        base = coefficients[-1] if len(coefficients) else None
        if not isinstance(base, tirx.IntImm) or int(base) != 0:
            return False
    return True


def _merge(axes: list[_Axis]) -> tuple[_Axis, ...]:
    """Join neighbouring loops that step alike on both sides."""
    merged: list[_Axis] = []
    for axis in axes:
        last = merged[-1] if merged else None
        if (
            last is not None
            and last.to == axis.to * axis.extent
            and last.source == axis.source * axis.extent
        ):
            merged[-1] = _Axis(last.extent * axis.extent, axis.to, axis.source)
        else:
            merged.append(axis)
    return tuple(merged)


def _units(copy: _Copy) -> list[_Axis]:
    """The axes contiguous on one side only."""
    return [axis for axis in copy.axes if (axis.to == 1) != (axis.source == 1)]


def _contiguous(copy: _Copy) -> tuple[_Axis, _Axis]:
    """The axis contiguous in the source, and the one contiguous in the result."""
    first, second = _units(copy)
    return (first, second) if first.source == 1 else (second, first)


def _squares(
    copy: _Copy, row: _Axis, column: _Axis, lanes: int, parallel: bool, views: Views
) -> tirx.Stmt:
    source, result = views.of(copy.source), views.of(copy.result)
    outer = [axis for axis in copy.axes if axis not in (row, column)]
    tiles = math.ceil(row.extent / lanes)
    tasks = math.prod(axis.extent for axis in outer) * tiles
    with IRBuilder() as builder:
        with (build.parallel if parallel else build.serial)(0, tasks) as task:
            start = tirx.min(task % tiles * lanes, row.extent - lanes)
            to, read = start * row.to, start * row.source
            rest = task // tiles
            for axis in reversed(outer):
                to = to + rest % axis.extent * axis.to
                read = read + rest % axis.extent * axis.source
                rest = rest // axis.extent
            with build.serial(0, math.ceil(column.extent / lanes)) as tile:
                first = tirx.min(tile * lanes, column.extent - lanes)
                square = [
                    vector_load(
                        tirx.BufferLoad(source, [read + (first + i) * column.source]), lanes
                    )
                    for i in range(lanes)
                ]
                for i, vector in enumerate(transposed(square)):
                    vector_store(result, vector, [to + i * row.to + first], lanes)
        return builder.get()
