"""Schedule rules for CPUs: the first rule that takes a function schedules it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx
from tvm.s_tir import Schedule, ScheduleError

from burnish.backends.cpu.schedule import elementwise, fallback, reduction, rows
from burnish.target import Target

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rule:
    """A way to schedule one family of functions."""

    name: str
    applies: Callable[[Schedule], bool]
    """Whether the rule takes the function; may normalize and inline in the schedule given."""
    apply: Callable[[Schedule, Target, object], None]
    """Schedule in place; raises ScheduleError to pass the function on to the next rule."""


RULES = (
    Rule("rows", rows.applies, rows.apply),
    Rule("reduction", reduction.applies, reduction.apply),
    Rule("elementwise", elementwise.applies, elementwise.apply),
    Rule("fallback", fallback.applies, fallback.apply),
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
    for rule in RULES:
        if not rule.applies(_fresh(func)):
            continue
        sch = _fresh(func)
        try:
            rule.apply(sch, target, config)
        except ScheduleError as error:
            _LOG.debug("rule %s declined: %s", rule.name, error)
            continue
        return Scheduled(_body(sch, func), rule.name)
    return Scheduled(func, "none")


def _fresh(func: tirx.PrimFunc) -> Schedule:
    return Schedule(func)


def _body(sch: Schedule, func: tirx.PrimFunc) -> tirx.PrimFunc:
    scheduled: tirx.PrimFunc = sch.mod["main"]
    symbol = func.attrs["global_symbol"] if func.attrs and "global_symbol" in func.attrs else None
    return scheduled.with_attr("global_symbol", symbol) if symbol else scheduled
