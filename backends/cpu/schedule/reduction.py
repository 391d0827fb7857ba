"""Reductions whose outputs are contiguous where their inputs are: vectors of neighbours."""

from tvm import tirx
from tvm.s_tir import Schedule

from burnish.backends.cpu.schedule.elementwise import schedule_spatial
from burnish.backends.cpu.schedule.lanes import LANES, vector_loop
from burnish.backends.cpu.schedule.loops import (
    parallel_prefix,
    pays_in_parallel,
    split_remainder,
    vectorized_init,
)
from burnish.backends.cpu.schedule.nest import Nest, nests
from burnish.target import Target


def applies(sch: Schedule) -> bool:
    """Whether the function reduces something."""
    return any(nest.is_reduction for nest in nests(sch) or [])


def apply(sch: Schedule, target: Target, config: object = None) -> tirx.PrimFunc:
    """Schedule every nest of the function on its own."""
    for nest in nests(sch) or []:
        if nest.is_reduction:
            _schedule_reduction(sch, nest, target)
        else:
            schedule_spatial(sch, nest, target)
    return sch.mod["main"]


def _schedule_reduction(sch: Schedule, nest: Nest, target: Target) -> None:
    parallel = pays_in_parallel(sch, [nest], target)
    position = _lane_position(sch, nest)
    if nest.kinds[position] == "R":
        # Rows too short for vectors, or a combiner of several values such as argmax.
        if parallel:
            parallel_prefix(sch, nest.loops_of("S"), target)
        return
    lane = nest.loops[position]
    outer = [loop for loop in nest.loops_of("S") if not loop.same_as(lane)]
    chunk, vector = split_remainder(sch, lane, target.lanes("float32"))
    reduced = nest.loops_of("R")
    sch.reorder(*outer, chunk, *reduced, vector)
    sch.vectorize(vector)
    if parallel:
        parallel_prefix(sch, [*outer, chunk], target)
    vectorized_init(sch, nest.block, reduced[0])


def _lane_position(sch: Schedule, nest: Nest) -> int:
    """Position of the loop to vectorize: the lanes of partial results are the last spatial one."""
    return (
        nest.kinds.rindex("S")
        if LANES in sch.get(nest.block).annotations
        else (vector_loop(sch, nest))
    )
