"""What every rule for normalized functions starts from."""

import logging
import math

import tvm
from tvm import tirx
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.schedule import SBlockRV

from burnish.backends.cpu.schedule.nest import Nest, body_cost, nests

_LOG = logging.getLogger(__name__)
_MOST_ELEMENTS = 1 << 31
_CHEAP = 4
"""Arithmetic steps that cost less than a store and a load."""


def narrow_indices(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """`func` with 32-bit loops and indices, which vectorize and divide into ranges better.

    As it was if it handles 64-bit integers as data, or more elements than 32 bits count.
    """
    if any(math.prod(int(extent) for extent in p.shape) >= _MOST_ELEMENTS for p in func.params):
        return func
    if "int64" in {str(param.dtype) for param in func.params}:
        return func
    try:
        module = tirx.transform.ForceNarrowIndexToInt32()(tvm.IRModule({"main": func}))
    except RuntimeError as error:
        # An intermediate value is a 64-bit integer: the pass has no other way to say so.
        _LOG.debug("indices stay as they are: %s", str(error).strip().splitlines()[-1])
        return func
    narrowed: tirx.PrimFunc = module["main"]
    return narrowed


def prepare(func: tirx.PrimFunc) -> tirx.PrimFunc | None:
    """Normalize `func` and inline its cheap producers.

    None when the function has blocks that cannot be normalized.
    """
    sch = Schedule(func)
    if not _inline_producers(sch):
        return None
    return None if nests(sch) is None else sch.mod["main"]


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
