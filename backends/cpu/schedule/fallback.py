"""The last rule: whatever a function contains, run it correctly."""

from tvm import tirx
from tvm.s_tir import Schedule, ScheduleError

from burnish.backends.cpu.schedule.nest import nests
from burnish.target import Target


def applies(sch: Schedule) -> bool:
    """Always."""
    return True


def apply(sch: Schedule, target: Target, config: object = None) -> tirx.PrimFunc:
    """Run the outermost loop of every nest in parallel where that is legal."""
    if target.threads < 2:
        return sch.mod["main"]
    for nest in nests(sch) or []:
        spatial = nest.loops_of("S")
        if not spatial:
            continue
        try:
            sch.parallel(spatial[0])
        except ScheduleError:
            # Iterations depend on each other: the nest stays serial.
            continue
    return sch.mod["main"]
