"""Bytes of several rows side by side, as instructions on quads take them.

Given to LLVM as text. A kernel that calls `weave` is wrapped in `with_weaving`.
"""

from collections.abc import Sequence
from itertools import product

from tvm import tirx
from tvm.ir import Expr, StringImm
from tvm.tirx import Stmt
from tvm.tirx.stmt import AttrStmt

from burnish.backends.kernels.quads import SIZE

_WEAVE = "burnish_weave"
_LANE = 16
"""Bytes of a vector that an instruction interleaves with as many of another one."""


def weave(rows: Sequence[Expr], part: int, width: int, in_order: bool) -> Expr:
    """Quads of the bytes at the same place of one to four rows of ``width`` bytes; the rest is 0.

    There are as many as rows are long: a quarter of them, number ``part``, as a vector of int32.
    They follow each other as bytes of rows do if they are to be ``in_order``; else part ``p`` has,
    of each 16 bytes of a row, the four from ``4 p`` on, which is less work.
    """
    name = f"{_WEAVE}{width}_{len(rows)}_{part}{'_ordered' if in_order else ''}"
    return tirx.call_extern(f"int32x{width // SIZE}", name, *rows)


def with_weaving(body: Stmt, width: int) -> Stmt:
    """A whole kernel with the definition of `weave` for rows of ``width`` bytes."""
    every = product(range(1, SIZE + 1), range(SIZE), (False, True))
    text = "".join(_weave_ir(width, *which) for which in every)
    return AttrStmt(tirx.const(0, "int32"), "pragma_import_llvm", StringImm(text), body)


def _weave_ir(width: int, rows: int, part: int, in_order: bool) -> str:
    """Interleave bytes of two rows each, then pairs of these, within lanes of 16 bytes.

    If quads are to be in order, rows are brought into one first that makes them come out so. LLVM
    would merge all of that into permutations of single bytes: it must not see through the first.
    """
    row, half, count = f"<{width} x i8>", f"<{width // 2} x i16>", width // 2
    quads = f"<{width // SIZE} x i32>"
    order = _indices(_lanewise_order(width))
    bytes_ = _indices(_interleaved(width, _LANE, part // 2))
    pairs = _indices(_interleaved(width // 2, _LANE // 2, part % 2))
    given = ", ".join(f"{row} %r{i}" for i in range(rows))
    name = f"{_WEAVE}{width}_{rows}_{part}{'_ordered' if in_order else ''}"
    lines = [f"define <{width // SIZE} x i32> @{name}({given}) {{"]
    for i in range(rows if in_order else 0):
        lines += [
            f"  %d{i} = bitcast {row} %r{i} to {quads}",
            f"  %s{i} = shufflevector {quads} %d{i}, {quads} poison, "
            f"<{width // SIZE} x i32> <{order}>",
            f"  %b{i} = bitcast {quads} %s{i} to {row}",
            f'  %o{i} = call {row} asm "", "=v,0"({row} %b{i}) nounwind memory(none)',
        ]
    letter = "o" if in_order else "r"
    ordered = [f"%{letter}{i}" if i < rows else "zeroinitializer" for i in range(4)]
    for name, first in (("p", 0), ("q", 2)):
        lines += [
            f"  %{name} = shufflevector {row} {ordered[first]}, {row} {ordered[first + 1]}, "
            f"<{width} x i32> <{bytes_}>",
            f"  %{name}w = bitcast {row} %{name} to {half}",
        ]
    lines += [
        f"  %w = shufflevector {half} %pw, {half} %qw, <{count} x i32> <{pairs}>",
        f"  %r = bitcast {half} %w to <{width // SIZE} x i32>",
        f"  ret <{width // SIZE} x i32> %r",
        "}\n",
    ]
    return "\n".join(lines)


def _lanewise_order(width: int) -> list[int]:
    """Where quads of a row come from so that number ``p`` of lane ``l`` is ``p * lanes + l``."""
    lanes = width // _LANE
    return [part * lanes + lane for lane in range(lanes) for part in range(4)]


def _interleaved(count: int, lane: int, upper: int) -> list[int]:
    """Elements of the lower or upper half of each lane of two vectors, in turn."""
    return [
        side * count + start + upper * lane // 2 + i
        for start in range(0, count, lane)
        for i in range(lane // 2)
        for side in (0, 1)
    ]


def _indices(places: Sequence[int]) -> str:
    return ", ".join(f"i32 {place}" for place in places)
