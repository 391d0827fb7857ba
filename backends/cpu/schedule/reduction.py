"""Reductions over any axes, each nest of the function on its own."""

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as build

from burnish.backends.cpu.schedule import vectors
from burnish.backends.cpu.schedule.loops import pays_in_parallel
from burnish.backends.cpu.schedule.nest import nests
from burnish.backends.cpu.schedule.stages import Stages
from burnish.backends.cpu.tir_pipeline import LOOPS_ONLY
from burnish.target import Target


def applies(sch: Schedule) -> bool:
    """Whether the function reduces something."""
    return any(nest.is_reduction for nest in nests(sch) or [])


def apply(sch: Schedule, target: Target, config: object = None) -> tirx.PrimFunc:
    """Schedule a function that reduces."""
    return by_vectors(sch, target)


def by_vectors(sch: Schedule, target: Target) -> tirx.PrimFunc:
    """Write every nest of the function as loops of vectors.

    Raises:
        ScheduleError: a nest stores several elements, or reduces in a way of its own.
    """
    found = nests(sch) or []
    func = sch.mod["main"]
    stages = Stages(sch, found)
    # A builder makes one statement: the only round of a loop holds them all.
    with IRBuilder() as builder:
        with build.serial(0, 1):
            stages.allocate()
            for nest, work in zip(found, stages.works, strict=True):
                vectors.emit(work, target, [], pays_in_parallel(sch, [nest], target))
        body = builder.get()
    body = vectors.complete(stages.works, stages.declare(body), target)
    loops = tirx.PrimFunc(func.params, body, attrs=func.attrs)
    return loops.with_attr(LOOPS_ONLY, True)
