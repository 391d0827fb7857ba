"""Reductions: along contiguous elements by vector accumulators, along others by output vectors."""

from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.schedule import SBlockRV

from burnish.backends.cpu.schedule.elementwise import schedule_spatial
from burnish.backends.cpu.schedule.inlining import inline_producers
from burnish.backends.cpu.schedule.loops import (
    fuse,
    parallel_prefix,
    pays_in_parallel,
    split_remainder,
    vectorized_init,
)
from burnish.backends.cpu.schedule.nest import Nest, strides
from burnish.target import Target


def applies(sch: Schedule) -> bool:
    """Whether the function normalizes and reduces something."""
    found = inline_producers(sch)
    return found is not None and any(nest.is_reduction for nest in found)


def apply(sch: Schedule, target: Target, config: object = None) -> None:
    """Schedule every nest of the function on its own."""
    found = inline_producers(sch)
    if found is None:
        raise ScheduleError("the function has blocks that cannot be normalized")
    for nest in found:
        if nest.is_reduction:
            schedule_reduction(sch, nest, target)
        else:
            schedule_spatial(sch, nest, target)


def schedule_reduction(sch: Schedule, nest: Nest, target: Target) -> None:
    """Vectorize and parallelize one reduction nest."""
    parallel = pays_in_parallel(sch, [nest], target)
    lane = vector_loop(sch, nest)
    if nest.kinds[lane] == "S":
        _along_outputs(sch, nest, lane, target, parallel)
    else:
        _along_row(sch, nest, lane, target, parallel)


def vector_loop(sch: Schedule, nest: Nest) -> int:
    """Position of the loop along which most accesses of the block are contiguous."""
    accesses = strides(nest, sch)
    contiguous = [
        sum(steps[position] == 1 for _, steps in accesses) for position in range(len(nest.loops))
    ]
    return max(
        range(len(contiguous)),
        key=lambda p: (nest.extents[p] > 1 and contiguous[p] > 0, contiguous[p], p),
    )


def _along_outputs(
    sch: Schedule, nest: Nest, lane: int, target: Target, parallel: bool
) -> None:
    """Reduce a vector of neighbouring outputs at once, the reduced loops around the vector."""
    outer = [
        loop for p, (loop, kind) in enumerate(zip(nest.loops, nest.kinds, strict=True))
        if kind == "S" and p != lane
    ]
    chunk, vector = split_remainder(sch, nest.loops[lane], target.lanes("float32"))
    reduced = nest.loops_of("R")
    sch.reorder(*outer, chunk, *reduced, vector)
    sch.vectorize(vector)
    if parallel:
        parallel_prefix(sch, [*outer, chunk], target)
    vectorized_init(sch, nest.block, reduced[0])


def _along_row(sch: Schedule, nest: Nest, lane: int, target: Target, parallel: bool) -> None:
    """Keep one accumulator per vector lane along a contiguous row, combined at its end."""
    partial = partial_sums(sch, nest, target)
    if partial is None:
        if parallel:
            parallel_prefix(sch, nest.loops_of("S"), target)
        return
    rows = sch.get_loops(nest.block)[: len(nest.spatial_extents)]
    if parallel and nest.spatial_extents:
        parallel_prefix(sch, rows, target)
        rows = sch.get_loops(nest.block)[:-1]
    if nest.spatial_extents:
        sch.compute_at(partial, rows[-1], preserve_unit_loops=True)
    vectorize_partial(sch, partial)


def partial_sums(sch: Schedule, nest: Nest, target: Target) -> SBlockRV | None:
    """Split a reduction into one partial result per vector lane; None for rows too short.

    The original block then combines the lanes.
    """
    lanes = target.lanes("float32")
    reduced = nest.loops_of("R")
    row = fuse(sch, reduced) if _adjacent(nest) else reduced[-1]
    if int(sch.get(row).extent) < 2 * lanes:
        return None
    _, lane = split_remainder(sch, row, lanes)
    return sch.rfactor(lane, -1)


def _adjacent(nest: Nest) -> bool:
    return nest.kinds == "S" * nest.kinds.count("S") + "R" * nest.kinds.count("R")


def vectorize_partial(sch: Schedule, partial: SBlockRV) -> None:
    """Make the lanes of a block of partial results the innermost, vectorized loop."""
    *_, rounds, lane = sch.get_loops(partial)
    sch.vectorize(lane)
    vectorized_init(sch, partial, rounds)
