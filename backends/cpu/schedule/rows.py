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
    return any(holds_lanes(sch, nest) for nest in found) and bool(_row_extents(found))


def apply(sch: Schedule, target: Target, config: object = None) -> tirx.PrimFunc:
    """Compute every stage of a row before the next row."""
    found = nests(sch) or []
    extents = _row_extents(found)
    count = math.prod(extents)
    parallel = pays_in_parallel(sch, found, target) and count > 1
    row = _row_loop(sch, found[-1], extents)
    for nest in reversed(found[:-1]):
        sch.compute_at(nest.block, row, preserve_unit_loops=True)
        _check_work(sch, nest, count)
    if parallel:
        sch.parallel(row)
    for nest in found:
        if holds_lanes(sch, nest):
            _vectorize_lanes(sch, nest)
    return sch.mod["main"]


def _row_extents(found: list[Nest]) -> list[int]:
    """Extents of the leading loops that every nest has.

    The last of them may be a whole part of the output's: several channels share the statistics
    of their group.
    """
    *stages, output = [nest.spatial_extents for nest in found]
    shared: list[int] = []
    for position, extent in enumerate(output):
        known = {stage[position] if position < len(stage) else 0 for stage in stages}
        if len(known) != 1 or 0 in known:
            break
        common = known.pop()
        if extent % common:
            break
        shared.append(common)
        if extent != common:
            break
    return shared


def _row_loop(sch: Schedule, output: Nest, extents: list[int]) -> LoopRV:
    loops = list(output.loops[: len(extents)])
    if output.extents[len(extents) - 1] != extents[-1]:
        loops[-1], _ = sch.split(loops[-1], [extents[-1], None])
    return fuse(sch, loops)


def holds_lanes(sch: Schedule, nest: Nest) -> bool:
    """Whether a nest computes one partial result per vector lane."""
    return LANES in sch.get(nest.block).annotations


def _check_work(sch: Schedule, nest: Nest, count: int) -> None:
    work = count
    for loop in sch.get_loops(nest.block)[1:]:
        work *= int(sch.get(loop).extent)
    if work > _MOST_REPEATED * nest.domain:
        raise ScheduleError(f"{nest.name} would be repeated for every row")


def _vectorize_lanes(sch: Schedule, nest: Nest) -> None:
    """Make the lanes the innermost loop of a block of partial results."""
    _, *inner = sch.get_loops(nest.block)
    reduced = nest.kinds.count("R")
    lane, rounds = inner[-reduced - 1], inner[-reduced:]
    sch.reorder(*rounds, lane)
    sch.vectorize(lane)
    vectorized_init(sch, nest.block, rounds[0])
