"""Inline cheap producers so that their values never go to memory."""

from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.schedule import SBlockRV

from burnish.backends.cpu.schedule.nest import Nest, body_cost, nests

_CHEAP = 4
"""Arithmetic steps that cost less than a store and a load."""


def inline_producers(sch: Schedule) -> list[Nest] | None:
    """Inline producers in `sch` where that repeats little work; return the remaining nests.

    None when the function cannot be normalized.
    """
    found = nests(sch)
    if found is None:
        return None
    for nest in found:
        if nest.is_output or nest.is_reduction:
            continue
        if _repeats_little(sch, nest, found):
            _try_inline(sch, nest.block)
    return nests(sch)


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
