"""Schedule rules for CPUs: the first rule that takes a function schedules it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx
from tvm.s_tir import Schedule, ScheduleError

from burnish.backends.cpu.schedule import (
    anchored,
    elementwise,
    fallback,
    opaque,
    reduction,
    rows,
    transpose,
)
from burnish.backends.cpu.schedule.fused import ScheduleMiss
from burnish.backends.cpu.schedule.prepare import narrow_indices, prepare
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.target import Target

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rule:
    """A way to schedule one family of functions."""

    name: str
    applies: Callable[[Schedule], bool]
    """Whether the rule takes the function; may change the schedule it is given."""
    apply: Callable[[Schedule, Target, object], tirx.PrimFunc]
    """The scheduled function; raises ScheduleError to pass it on to the next rule."""
    prepared: bool = True
    """Whether the rule starts from the function as `prepare` leaves it, not from the original."""


RULES = (
    Rule("rows", rows.applies, rows.apply),
    Rule("reduction", reduction.applies, reduction.apply),
    Rule("transpose", transpose.applies, transpose.apply),
    Rule("elementwise", elementwise.applies, elementwise.apply),
    Rule("opaque", opaque.applies, opaque.apply, prepared=False),
    Rule("fallback", fallback.applies, fallback.apply, prepared=False),
)
"""Rules in the order in which they are tried."""


@dataclass(frozen=True)
class Scheduled:
    """A scheduled function and the name of the rule that scheduled it."""

    func: tirx.PrimFunc
    rule: str


def schedule(func: tirx.PrimFunc, target: Target, config: object = None) -> tirx.PrimFunc:
    """Schedule `func` for `target` by the first rule that takes it.

    `config` is a candidate of that rule's family, None for its default.
    """
    return schedule_with_rule(func, target, config).func


def schedule_with_rule(func: tirx.PrimFunc, target: Target, config: object = None) -> Scheduled:
    """Schedule `func` and say which rule did it."""
    if anchored.applies(func):
        known = config if isinstance(config, TileConfig) else None
        try:
            built = anchored.schedule(func, target, known)
        except ScheduleMiss as miss:
            _LOG.debug("no tiles for an anchored function: %s", miss)
        else:
            return Scheduled(_with_symbol_of(func, built), "anchored")
    func = narrow_indices(func)
    prepared = _Prepared(func)
    for rule in RULES:
        start = prepared.get() if rule.prepared else func
        if start is None or not rule.applies(Schedule(start)):
            continue
        sch = Schedule(start)
        try:
            scheduled = rule.apply(sch, target, config)
        except ScheduleError as error:
            _LOG.debug("rule %s declined: %s", rule.name, str(error).strip().splitlines()[-1])
            continue
        return Scheduled(_with_symbol_of(func, scheduled), rule.name)
    return Scheduled(func, "none")


class _Prepared:
    """The prepared function, computed when the first rule asks for it."""

    def __init__(self, func: tirx.PrimFunc) -> None:
        self._func = func
        self._done = False
        self._result: tirx.PrimFunc | None = None

    def get(self) -> tirx.PrimFunc | None:
        if not self._done:
            self._result = prepare(self._func)
            self._done = True
        return self._result


def _with_symbol_of(original: tirx.PrimFunc, func: tirx.PrimFunc) -> tirx.PrimFunc:
    symbol = original.attrs.get("global_symbol") if original.attrs else None
    return func if symbol is None else func.with_attr("global_symbol", symbol)
