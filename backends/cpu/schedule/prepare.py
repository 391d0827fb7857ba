"""What every rule for normalized functions starts from."""

from tvm import tirx
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.schedule import SBlockRV

from burnish.backends.cpu.schedule.lanes import split_rows
from burnish.backends.cpu.schedule.nest import Nest, body_cost, nests
from burnish.target import Target

_CHEAP = 4
"""Arithmetic steps that cost less than a store and a load."""


def prepare(func: tirx.PrimFunc, target: Target) -> tirx.PrimFunc | None:
    """Normalize `func`, inline its cheap producers, split its row reductions over lanes.

    None when the function has blocks that cannot be normalized.
    """
    sch = Schedule(func)
    if not _inline_producers(sch):
        return None
    found = nests(sch)
    return None if found is None else split_rows(sch, found, target)


def _inline_producers(sch: Schedule) -> bool:
    found = nests(sch)
    if found is None:
        return False
    for nest in found:
        if not nest.is_output and not nest.is_reduction and _repeats_little(sch, nest, found):
            _try_inline(sch, nest.block)
    return True


def _repeats_little(sch: Schedule, nest: Nest, found: list[Nest]) -> bool:
    if body_cost(sch, nest.block) <= _CHEAP:
        return True
    consumers = {sch.get(block).name_hint for block in sch.get_consumers(nest.block)}
    return sum(other.domain for other in found if other.name in consumers) <= nest.domain


def _try_inline(sch: Schedule, block: SBlockRV) -> None:
    try:
        sch.compute_inline(block)
    except ScheduleError:
        # Not an injective write of every element: the block keeps its own nest.
        return
