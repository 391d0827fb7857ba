"""Loop transformations shared by the rules: when to go parallel, how to vectorize."""

import math

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV

from burnish.backends.cpu.schedule.nest import Nest, body_cost
from burnish.target import Target

PARALLEL_STEPS = 1 << 11
"""Vector steps of work below which sharing it out costs more than it saves."""

PARTITION_HINT = "pragma_loop_partition_hint"
"""Annotation of a loop whose last rounds shall get code of their own, free of tests before."""


def steps(sch: Schedule, nest: Nest, target: Target) -> int:
    """Rough vector instructions of a nest: arithmetic, loads and stores of all its instances."""
    block = sch.get(nest.block)
    accesses = len(block.reads) + len(block.writes)
    return nest.domain * (body_cost(sch, nest.block) + accesses) // target.lanes("float32")


def pays_in_parallel(sch: Schedule, nests: list[Nest], target: Target) -> bool:
    """Whether the work of `nests` together is worth more than one thread."""
    if target.threads < 2:
        return False
    return sum(steps(sch, nest, target) for nest in nests) >= PARALLEL_STEPS


def parallel_prefix(sch: Schedule, loops: list[LoopRV], target: Target) -> None:
    """Fuse as few leading `loops` as balance the threads, and run them in parallel."""
    taken, extent = 0, 1
    while taken < len(loops) and not _balanced(extent, target.threads):
        extent *= int(sch.get(loops[taken]).extent)
        taken += 1
    if extent > 1:
        sch.parallel(fuse(sch, loops[:taken]))


def _balanced(tasks: int, threads: int) -> bool:
    """Whether equal tasks keep all threads busy nine tenths of the time."""
    rounds = math.ceil(tasks / threads)
    return tasks >= 0.9 * rounds * threads


def fuse(sch: Schedule, loops: list[LoopRV]) -> LoopRV:
    """Fuse adjacent loops, one or more."""
    return loops[0] if len(loops) == 1 else sch.fuse(*loops)
