"""Maps to bytes by whole vectors of bytes, with instructions that LLVM is given as text."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import ir, tirx
from tvm.script.ir_builder import tirx as build

from burnish.backends.cpu.schedule.work import Atom, Work, replace
from burnish.backends.kernels import lookup, saturation
from burnish.backends.kernels.vectors import vector_load
from burnish.target import Target

Values = Sequence[tuple[tirx.Var, ir.Expr]]


def lanes_of(work: Work, lane: Atom | None, target: Target) -> int:
    """Bytes that `vector` makes of a map along `lane` at once; 0 if it cannot."""
    if work.reduces or lane is None:
        return 0
    rounded = saturation.operands(work.value)
    count = 0
    if rounded is not None and rounded.dtype in ("int8", "uint8"):
        is_known = isinstance(rounded.middle, tirx.IntImm)
        count = saturation.vector_bytes(target) if is_known else 0
    elif lookup.operands(work.value) is not None:
        count = lookup.LANES if lookup.is_wide(target) else 0
    return count if count <= lane.extent else 0


def tables(work: Work) -> list[ir.Expr]:
    """Emit the loads of the table that `work` looks bytes up in, if it does; return them."""
    found = lookup.operands(work.value)
    if found is None:
        return []
    (first,) = found.entry.indices
    entries = [
        tirx.BufferLoad(found.entry.source, [first + start])
        for start in range(0, lookup.ENTRIES, lookup.LANES)
    ]
    return [build.bind(vector_load(entry, lookup.LANES)) for entry in entries]


def vector(
    work: Work, lane: Atom, given: Values, here: ir.Expr, lanes: int, table: Sequence[ir.Expr]
) -> ir.Expr:
    """Emit the computation of `lanes` elements of `work` from `here` along `lane`."""

    def held(value: ir.Expr, start: ir.Expr, width: int, dtype: str) -> ir.Expr:
        buffer = build.alloc_buffer((width,), dtype)
        with build.vectorized(lane.index(0), lane.index(width)) as i:
            values = [*given, (lane.variable, start + i)]
            build.buffer_store(buffer, replace(value, values), [i])
        return vector_load(buffer[0], width)

    found = lookup.operands(work.value)
    if found is not None:
        return lookup.wide(held(found.index, here, lanes, "uint8"), table, found.dtype)
    rounded = saturation.operands(work.value)
    assert rounded is not None
    width = lanes // saturation.PARTS
    value = saturation.reachable(rounded)
    parts = [held(value, here + start, width, "float32") for start in range(0, lanes, width)]
    return saturation.wide(parts, rounded.middle, rounded.dtype)


def with_instructions(works: Sequence[Work], body: tirx.Stmt, target: Target) -> tirx.Stmt:
    """A whole kernel in which `vector` makes `works`, with the definitions of what it calls."""
    if any(saturation.operands(work.value) is not None for work in works):
        body = saturation.with_instructions(body, target)
    if any(lookup.operands(work.value) is not None for work in works):
        body = lookup.with_instructions(body)
    return body
