"""Nests without reductions: elementwise chains, broadcasts, copies, gathers, padding.

The innermost loop stays a plain loop over contiguous output: LLVM vectorizes it, remainder
included, better than an explicit vector loop whose last round needs a test.
"""

import tvm_ffi
from tvm import ir, tirx
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.schedule import LoopRV

from burnish.backends.cpu.schedule.loops import (
    PARTITION_HINT,
    fuse,
    parallel_prefix,
    pays_in_parallel,
)
from burnish.backends.cpu.schedule.nest import Nest, body_cost, nests, strides
from burnish.backends.cpu.schedule.reduction import by_vectors
from burnish.backends.cpu.schedule.stages import Stages
from burnish.backends.cpu.schedule.vectors import lane_of, makes_bytes
from burnish.target import Target

_SHORT = 9
"""Vectors below which a loop counts as short."""
_UNROLLED = range(9, 48)
"""Rounds of a loop that LLVM may write out before it looks for vectors, and then finds none: rows
of 24 or 40 elements took ten times as long. Fewer rounds become vectors nevertheless."""
_MOST_REPEATS = 8
"""Copies of an element that are stored side by side."""
_MOST_CONDITIONS = 8
"""Choices in one expression up to which a loop is divided by their outcome."""


def applies(sch: Schedule) -> bool:
    """Whether every block of the function only maps elements to elements."""
    found = nests(sch)
    return found is not None and not any(nest.is_reduction for nest in found)


def apply(sch: Schedule, target: Target, config: object = None) -> tirx.PrimFunc:
    """Schedule every nest of an injective function."""
    found = nests(sch) or []
    chooses = any(_chooses_loads(sch, nest) for nest in found)
    if chooses or _has_short_rows(sch, found, target) or _makes_bytes(sch, found, target):
        return by_vectors(sch, target)
    for nest in found:
        schedule_spatial(sch, nest, target)
    return sch.mod["main"]


def _makes_bytes(sch: Schedule, found: list[Nest], target: Target) -> bool:
    """Whether the only nest streams along its last loop and makes whole vectors of bytes."""
    if len(found) != 1 or not all(found[0].extents or (0,)) or _conditions(sch, found[0]):
        return False
    try:
        (work,) = Stages(sch, found).works
    except ScheduleError:
        return False
    streams = bool(work.loops) and lane_of(work, target) is work.loops[-1]
    return streams and makes_bytes(work, target)


def _has_short_rows(sch: Schedule, found: list[Nest], target: Target) -> bool:
    """Whether all nests stream along their last loops, and a row has `_UNROLLED` elements.

    Rows of whole vectors do not count: `schedule_spatial` writes them as such. Nor do copies, of
    which LLVM makes vectors in any case.
    """
    # A block without loops may write many elements by loops of its own.
    if not found or any(not all(nest.extents or (0,)) or _conditions(sch, nest) for nest in found):
        return False
    try:
        works = Stages(sch, found).works
    except ScheduleError:
        return False
    if not all(work.loops and lane_of(work, target) is work.loops[-1] for work in works):
        return False
    rows = [
        work.loops[-1].extent
        for nest, work in zip(found, works, strict=True)
        if len(work.loops) > 1 and body_cost(sch, nest.block)
    ]
    return any(row in _UNROLLED and row % target.lanes("float32") for row in rows)


def schedule_spatial(sch: Schedule, nest: Nest, target: Target) -> None:
    """Run the leading loops of a nest without reductions in parallel, the last one as vectors."""
    if not nest.loops:
        return  # A single element.
    parallel = pays_in_parallel(sch, [nest], target)
    loops = _fuse_contiguous(sch, nest)
    *outer, inner = loops
    lanes = target.lanes("float32")
    conditions = _conditions(sch, nest)
    rounds, times = inner, _repeats(sch, nest)
    if times and len(loops) == len(nest.loops) and int(sch.get(inner).extent) % times == 0:
        # Divided indices hide that neighbours are the same: a loop over what is repeated does not.
        _, copies = sch.split(inner, [None, times])
        sch.unroll(copies)
    elif outer and int(sch.get(inner).extent) in range(lanes, _SHORT * lanes, lanes):
        # LLVM unrolls so short a loop before it looks for vectors.
        rounds, vector = sch.split(inner, [None, lanes])
        sch.vectorize(vector)
    if not times and 0 < conditions <= _MOST_CONDITIONS:
        # Ranges of the last loop with one outcome each vectorize; a test of every element stops it.
        sch.annotate(rounds, PARTITION_HINT, 1)
    if parallel:
        parallel_prefix(sch, outer or loops, target)


def _repeats(sch: Schedule, nest: Nest) -> int | None:
    """How often neighbours along the last loop read the same, if by dividing its index."""
    block = sch.get(nest.block)
    last = block.iter_vars[-1].var
    found: set[int] = set()

    def visit(division: tirx.FloorDiv) -> None:
        if isinstance(division.a, tirx.Var) and division.a.same_as(last):
            found.add(int(division.b))

    tvm_ffi.structural_walk(block.body, (tirx.FloorDiv, visit), order="pre")
    times = found.pop() if len(found) == 1 else None
    return times if times is not None and times <= _MOST_REPEATS else None


def _conditions(sch: Schedule, nest: Nest) -> int:
    """Number of choices between values, such as those of padding and concatenation."""
    count = 0

    def visit(call: ir.Call) -> None:
        nonlocal count
        count += isinstance(call.op, ir.Op) and call.op.name.endswith("if_then_else")

    tvm_ffi.structural_walk(sch.get(nest.block).body, (ir.Call, visit), order="pre")
    return count


def _chooses_loads(sch: Schedule, nest: Nest) -> bool:
    """Whether one of two loads is chosen: LLVM would choose the address and gather from it."""

    def visit(select: tirx.Select) -> tvm_ffi.VisitInterrupt | None:
        arms = (select.true_value, select.false_value)
        chosen = any(isinstance(arm, ir.TensorLoad) for arm in arms)
        by_load = isinstance(select.condition, ir.TensorLoad)
        return tvm_ffi.VisitInterrupt(True) if chosen and by_load else None

    body = sch.get(nest.block).body
    return tvm_ffi.structural_walk(body, (tirx.Select, visit), order="pre") is not None


def _fuse_contiguous(sch: Schedule, nest: Nest) -> list[LoopRV]:
    """Fuse the trailing loops that every access walks contiguously into one long loop."""
    accesses = [steps for _, steps in strides(nest, sch)]
    keep = len(nest.loops) - 1
    while keep > 0 and all(
        _continues(steps[keep - 1], steps[keep], nest.extents[keep]) for steps in accesses
    ):
        keep -= 1
    if keep == 0 and len(nest.loops) > 1:
        keep = 1
    return [*nest.loops[:keep], fuse(sch, list(nest.loops[keep:]))]


def _continues(outer: int | None, inner: int | None, extent: int) -> bool:
    return outer is not None and inner is not None and outer == inner * extent
