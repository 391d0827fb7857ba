"""Functions that work row by row: softmax, normalizations, statistics with their epilogues.

All stages of a row run together, so that its values stay in the first-level cache:

    parallel for row:
        partial[lane] <- reduce(row);  total <- combine(partial)    # once per reduction
        output[row] <- map(row, totals)
"""

import math

from tvm import tirx
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.schedule import LoopRV

from burnish.backends.cpu.schedule.lanes import LANES
from burnish.backends.cpu.schedule.loops import fuse, pays_in_parallel, vectorized_init
from burnish.backends.cpu.schedule.nest import Nest, nests
from burnish.target import Target

_MOST_REPEATED = 1.25
"""Share of a stage's work that may be repeated by computing it per row."""


def applies(sch: Schedule) -> bool:
    """Whether the function reduces contiguous rows and all its stages share the row loops."""
    found = nests(sch) or []
    outputs = [nest for nest in found if nest.is_output]
    if len(outputs) != 1 or not found[-1].is_output:
        return False
    return any(_holds_lanes(sch, nest) for nest in found) and shared_prefix(found) > 0


def shared_prefix(found: list[Nest]) -> int:
    """Number of leading spatial loops with the same extents in every nest."""
    shapes = [nest.spatial_extents for nest in found]
    shared = 0
    while all(len(s) > shared and s[shared] == shapes[0][shared] for s in shapes):
        shared += 1
    return shared


def apply(sch: Schedule, target: Target, config: object = None) -> tirx.PrimFunc:
    """Compute every stage of a row before the next row."""
    found = nests(sch) or []
    shared = shared_prefix(found)
    output = found[-1]
    count = math.prod(output.extents[:shared])
    parallel = pays_in_parallel(sch, found, target) and count > 1
    row = fuse(sch, list(output.loops[:shared]))
    for nest in reversed(found[:-1]):
        sch.compute_at(nest.block, row, preserve_unit_loops=True)
        _check_work(sch, nest, count)
    if parallel:
        sch.parallel(row)
    for nest in found:
        if _holds_lanes(sch, nest):
            _vectorize_lanes(sch, nest, row)
    return sch.mod["main"]


def _holds_lanes(sch: Schedule, nest: Nest) -> bool:
    return LANES in sch.get(nest.block).annotations


def _check_work(sch: Schedule, nest: Nest, count: int) -> None:
    work = count
    for loop in sch.get_loops(nest.block)[1:]:
        work *= int(sch.get(loop).extent)
    if work > _MOST_REPEATED * nest.domain:
        raise ScheduleError(f"{nest.name} would be repeated for every row")


def _vectorize_lanes(sch: Schedule, nest: Nest, row: LoopRV) -> None:
    """Make the lanes the innermost loop of a block of partial results."""
    _, *inner = sch.get_loops(nest.block)
    reduced = nest.kinds.count("R")
    lane, rounds = inner[-reduced - 1], inner[-reduced:]
    sch.reorder(*rounds, lane)
    sch.vectorize(lane)
    vectorized_init(sch, nest.block, rounds[0])
