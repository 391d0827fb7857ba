"""Explicit vector code: loads, folds and transposes by shuffles.

For what a loop annotated as vectorized cannot say. Functions here emit into the surrounding
IRBuilder where they say so.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from tvm import ir, tirx
from tvm.script.ir_builder import tirx as build
from tvm.tirx.script.builder.frame import ForFrame

Expr: TypeAlias = ir.Expr


def each_lane(lanes: int) -> ForFrame:
    """A loop over the elements of a vector, of which there may be only one."""
    return build.vectorized(0, lanes) if lanes > 1 else build.serial(0, lanes)


def store(buffer: tirx.Buffer, value: Expr, *indices: Expr | int) -> None:
    """Emit a store of `value` to the element of `buffer` at `indices`."""
    build.buffer_store(buffer, value, list(indices))


def vector_load(element: ir.TensorLoad, lanes: int) -> Expr:
    """The `lanes` contiguous elements that start at a loaded element."""
    *outer, last = element.indices
    return tirx.BufferLoad(element.source, [*outer, tirx.Ramp(last, 1, lanes)])


def vector_store(buffer: tirx.Buffer, value: Expr, indices: Sequence[Expr], lanes: int) -> None:
    """Emit a store of `value` to the `lanes` contiguous elements from `indices` on."""
    *outer, last = indices
    build.buffer_store(buffer, value, [*outer, tirx.Ramp(tirx.convert(last), 1, lanes)])


def fold(value: Expr, lanes: int, combine: Callable[[Expr, Expr], Expr]) -> Expr:
    """Emit the combination of all lanes of a vector, in log2(lanes) steps; return the scalar."""
    width = lanes // 2
    current = build.bind(value)
    while width:
        low = tirx.Shuffle([current], list(range(width)))
        high = tirx.Shuffle([current], list(range(width, 2 * width)))
        current = build.bind(combine(low, high))
        width //= 2
    return current


def transposed(rows: Sequence[Expr]) -> list[Expr]:
    """Emit the transpose of a square of vectors, as many as each has lanes, a power of two."""
    lanes = len(rows)
    current = [build.bind(row) for row in rows]
    width = 1
    while width < lanes:
        # Exchange the off-diagonal width x width squares of every pair of squares.
        even = [i if i & width == 0 else i - width + lanes for i in range(lanes)]
        odd = [i + width if i & width == 0 else i + lanes for i in range(lanes)]
        for upper in (row for row in range(lanes) if row & width == 0):
            pair = [current[upper], current[upper + width]]
            current[upper] = build.bind(tirx.Shuffle(pair, even))
            current[upper + width] = build.bind(tirx.Shuffle(pair, odd))
        width *= 2
    return current
