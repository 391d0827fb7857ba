"""Which calls all threads share, and which the calling thread runs alone.

Sharing a call divides its time and costs a fork and a join. Besides, what one core wrote and
another reads crosses between their caches: a kernel between two that run alone gains little from
more threads, as its inputs go out and its outputs come back. So calls are not weighed one by one;
the cheapest plan for the whole sequence is found by dynamic programming over what lies where.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from burnish.backends.machine import CYCLE, FORK_SECONDS
from burnish.backends.program import Buffer, BufferKind, Call, Program, Work
from burnish.target import Target

LINE, LINE_SECONDS = 64, 2e-9
"""Bytes of a cache line, and what a kernel waits for one that another core wrote. Measured inside
models on two virtual cores of a Zen 4: 8 ns while these are cores without a common cache (300 ns
there and back), 1 ns while they are neighbours (64 ns), both within seconds, as the host moves
them. Plans by this are within a tenth of the best one between neighbours, which is what an idle
host tends to give; whoever has other cores has tuning to find out."""
PACE = 16
"""Bytes that a kernel reads and writes in a cycle. Kernels as short as those in question hide
neither arithmetic nor memory behind each other; measured, they take 0.5 to 2 times the sum."""
STATES = 8
"""Plans for the calls so far that are followed up: the best for each state of the caches."""

Plan = tuple[bool, ...]
"""Whether each call runs alone."""


@dataclass(frozen=True)
class Step:
    """A call as far as sharing it matters."""

    alone: float
    """Seconds if one thread runs it."""
    shared: float | None
    """Seconds if all do, fork and join included; None if its kernel has no parallel loop."""
    reads: Mapping[Buffer, int]
    """Bytes by buffer of what other calls wrote and a core's cache may hold."""
    writes: tuple[Buffer, ...]


def steps_of(program: Program, target: Target) -> list[Step]:
    """The calls of a program, with times from arithmetic."""
    work = program.work or [Work()] * len(program.calls)
    return [_step(program, call, does, target)
            for call, does in zip(program.calls, work, strict=True)]  # fmt: skip


def _step(program: Program, call: Call, work: Work, target: Target) -> Step:
    static = [buffer for buffer in call.args if buffer.is_static]
    sizes = {buffer: buffer.nbytes for buffer in static}
    if work.selects:
        written = sum(buffer.nbytes for buffer in call.writes if buffer.is_static)
        sizes = {buffer: min(size, written) for buffer, size in sizes.items()}
    alone = (work.flops / (2 * target.lanes()) + sum(sizes.values()) / PACE) * CYCLE
    passing = [b for b in sizes if b.root()[0].kind is not BufferKind.CONSTANT]
    cached = min(target.l2, sum(sizes[buffer] for buffer in passing))
    can_share = call.kernel in program.parallel and target.threads > 1
    return Step(
        alone,
        _shared(alone, cached, target.threads) if can_share else None,
        {
            buffer.root()[0]: min(sizes[buffer], target.l2)
            for buffer in call.reads
            if buffer in passing
        },
        tuple(buffer.root()[0] for buffer in call.writes),
    )


def _shared(alone: float, cached: int, threads: int) -> float:
    """Seconds of a call that all threads share, from those of one.

    Each has a part of the ``cached`` bytes that it reads and writes. As kernels cut their work in
    different ways, that part lies in any core's cache.
    """
    foreign = cached / LINE / threads * (threads - 1) / threads
    return alone / threads + FORK_SECONDS + foreign * LINE_SECONDS


def with_times(
    steps: Sequence[Step], alone: Sequence[float], shared: Sequence[float], margin: float
) -> list[Step]:
    """The steps with measured times; sharing has to gain more than a share of ``margin``."""
    return [
        replace(step, alone=one, shared=None if step.shared is None else (1 + margin) * all_)
        for step, one, all_ in zip(steps, alone, shared, strict=True)
    ]


@dataclass(frozen=True)
class _State:
    """A plan for the first calls, and where it leaves what later ones read."""

    cost: float
    spread: frozenset[Buffer]
    """What several cores wrote between them; all else is in the caller's cache."""
    last: bool
    before: _State | None

    def plan(self) -> Plan:
        found, state = [], self
        while state.before is not None:
            found.append(state.last)
            state = state.before
        return tuple(reversed(found))


def plan(steps: Sequence[Step], threads: int) -> Plan:
    """The plan that takes least time; calls that cannot be shared count as not alone."""
    needed = _last_reads(steps)
    states = [_State(0.0, frozenset(), False, None)]
    for number, step in enumerate(steps):
        best: dict[frozenset[Buffer], _State] = {}
        for state in states:
            for is_shared in (False, True) if step.shared is not None else (False,):
                after = _after(state, step, is_shared, threads)
                after = replace(
                    after,
                    spread=frozenset(b for b in after.spread if needed.get(b, -1) > number),
                )
                if after.spread not in best or after.cost < best[after.spread].cost:
                    best[after.spread] = after
        states = sorted(best.values(), key=lambda state: state.cost)[:STATES]
    return states[0].plan()


def _last_reads(steps: Sequence[Step]) -> dict[Buffer, int]:
    return {buffer: number for number, step in enumerate(steps) for buffer in step.reads}


def _after(state: _State, step: Step, is_shared: bool, threads: int) -> _State:
    seconds = step.alone
    if is_shared:
        assert step.shared is not None
        seconds = step.shared
    for buffer, size in step.reads.items():
        lines = size / LINE
        if is_shared and buffer not in state.spread:
            # Each of the others fetches its part, at once.
            seconds += lines / threads * LINE_SECONDS
        elif not is_shared and buffer in state.spread:
            seconds += lines * (threads - 1) / threads * LINE_SECONDS
    written = frozenset(step.writes)
    spread = state.spread | written if is_shared else state.spread - written
    is_alone = step.shared is not None and not is_shared
    return _State(state.cost + seconds, spread, is_alone, state)


def planned(program: Program, chosen: Plan) -> Program:
    """The program with its calls shared as ``chosen`` says."""
    calls = [replace(call, alone=alone) if alone != call.alone else call
             for call, alone in zip(program.calls, chosen, strict=True)]  # fmt: skip
    return replace(program, calls=calls)
