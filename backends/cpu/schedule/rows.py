"""Functions that work row by row: softmax, normalizations, statistics with their epilogues.

All stages of a row run together, so that its values stay in the first-level cache:

    parallel for row:
        partial[lane] <- reduce(row);  total <- combine(partial)    # once per reduction
        output[row] <- map(row, totals)
"""

from dataclasses import dataclass

from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.schedule import LoopRV, SBlockRV

from burnish.backends.cpu.schedule.inlining import inline_producers
from burnish.backends.cpu.schedule.loops import fuse, pays_in_parallel
from burnish.backends.cpu.schedule.nest import Nest
from burnish.backends.cpu.schedule.reduction import partial_sums, vector_loop, vectorize_partial
from burnish.target import Target

_MOST_REPEATED = 1.25
"""Share of a stage's work that may be repeated by computing it per row."""


@dataclass(frozen=True)
class _Stage:
    nest: Nest
    partial: SBlockRV | None

    @property
    def blocks(self) -> list[SBlockRV]:
        """Blocks of the stage, consumers first."""
        return [self.nest.block] if self.partial is None else [self.nest.block, self.partial]


def applies(sch: Schedule) -> bool:
    """Whether several stages share leading loops and reduce along contiguous rows."""
    found = inline_producers(sch)
    if found is None or len(found) < 2 or sum(nest.is_output for nest in found) != 1:
        return False
    reductions = [nest for nest in found if nest.is_reduction]
    if not reductions or not found[-1].is_output or found[-1].is_reduction:
        return False
    along_rows = all(nest.kinds[vector_loop(sch, nest)] == "R" for nest in reductions)
    return along_rows and shared_prefix(found) > 0


def shared_prefix(found: list[Nest]) -> int:
    """Number of leading spatial loops with the same extents in every nest."""
    shapes = [nest.spatial_extents for nest in found]
    shared = 0
    while all(len(s) > shared and s[shared] == shapes[0][shared] for s in shapes):
        shared += 1
    return shared


def apply(sch: Schedule, target: Target, config: object = None) -> None:
    """Compute every stage of a row before the next row."""
    found = inline_producers(sch)
    if found is None:
        raise ScheduleError("the function has blocks that cannot be normalized")
    shared = shared_prefix(found)
    output = found[-1]
    rows = 1
    for extent in output.extents[:shared]:
        rows *= extent
    stages = [
        _Stage(nest, partial_sums(sch, nest, target) if nest.is_reduction else None)
        for nest in found[:-1]
    ]
    parallel = pays_in_parallel(sch, found, target) and rows > 1
    row = fuse(sch, list(output.loops[:shared]))
    for stage in reversed(stages):
        for block in stage.blocks:
            sch.compute_at(block, row, preserve_unit_loops=True)
        _check_work(sch, stage, row, rows)
    if parallel:
        sch.parallel(row)
    for stage in stages:
        if stage.partial is not None:
            vectorize_partial(sch, stage.partial)


def _check_work(sch: Schedule, stage: _Stage, row: LoopRV, rows: int) -> None:
    block = stage.blocks[-1]
    work = rows
    for loop in sch.get_loops(block)[1:]:
        work *= int(sch.get(loop).extent)
    if work > _MOST_REPEATED * max(stage.nest.domain, rows) + rows * 64:
        raise ScheduleError(f"{sch.get(block).name_hint} would be repeated for every row")
