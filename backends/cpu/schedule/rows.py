"""Functions that work row by row: softmax, normalizations, statistics with their epilogues.

All stages of a row run together, so that its values stay in the first-level cache:

    parallel for some rows:
        for row:
            total <- reduce(row)            # once per reduction
            output[row] <- map(row, totals)
"""

import math

from tvm import tirx
from tvm.s_tir import Schedule, ScheduleError
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as build

from burnish.backends.cpu.schedule import vectors
from burnish.backends.cpu.schedule.build import unravel
from burnish.backends.cpu.schedule.loops import pays_in_parallel
from burnish.backends.cpu.schedule.nest import Nest, nests
from burnish.backends.cpu.schedule.stages import Stages
from burnish.backends.cpu.tir_pipeline import LOOPS_ONLY
from burnish.target import Target

_TASKS_PER_THREAD = 4
"""Shares that the rows are cut into, for threads that are not equally fast."""


def applies(sch: Schedule) -> bool:
    """Whether the function reduces, and all its stages share leading loops."""
    found = nests(sch) or []
    outputs = [nest for nest in found if nest.is_output]
    if len(outputs) != 1 or not found[-1].is_output:
        return False
    return any(nest.is_reduction for nest in found) and bool(_row_extents(found))


def apply(sch: Schedule, target: Target, config: object = None) -> tirx.PrimFunc:
    """Compute every stage of a row before the next row."""
    found = nests(sch) or []
    extents = _row_extents(found)
    count = math.prod(extents)
    func = sch.mod["main"]
    stages = Stages(sch, found, extents)
    if any(vectors.lane_of(work, target) is None for work in stages.works if work.reduced):
        raise ScheduleError("rows that are reduced too short for vectors")
    tasks = 1
    if pays_in_parallel(sch, found, target):
        tasks = min(count, _TASKS_PER_THREAD * target.threads)
    share = math.ceil(count / tasks)
    with IRBuilder() as builder:
        with (build.parallel if tasks > 1 else build.serial)(0, math.ceil(count / share)) as task:
            stages.allocate()
            with build.serial(0, tirx.min(share, count - task * share)) as step:
                place = unravel(task * share + step, extents)
                given = [(row.variable, p) for row, p in zip(stages.rows, place, strict=True)]
                vectors.emit_all(stages.works, target, given)
        body = builder.get()
    body = vectors.complete(stages.works, stages.declare(body), target)
    loops = tirx.PrimFunc(func.params, body, attrs=func.attrs)
    return loops.with_attr(LOOPS_ONLY, True)


def _row_extents(found: list[Nest]) -> list[int]:
    """Extents of the leading loops that every nest has.

    The last of them may be a whole part of the output's: several channels share the statistics
    of their group.
    """
    *stages, output = [nest.spatial_extents for nest in found]
    shared: list[int] = []
    for position, extent in enumerate(output):
        known = {stage[position] if position < len(stage) else 0 for stage in stages}
        if not known:
            known = {extent}
        if len(known) != 1 or 0 in known:
            break
        common = known.pop()
        if extent % common:
            break
        shared.append(common)
        if extent != common:
            break
    return shared
