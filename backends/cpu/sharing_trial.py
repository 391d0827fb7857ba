"""Which calls to share, found out by running the compiled model.

Every call is timed with all calls shared and with none, inside the model; the plan that these
times suggest, and some others, then run against the plan in force. It stays unless another one is
clearly faster as a whole, and until another trial, in a later compilation, found the same: a host
that moves virtual cores, or a neighbour, makes sharing dear for minutes. What was found is kept in
the schedule cache.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from burnish.backends.child import Child, ChildFailed
from burnish.backends.cpu import sharing
from burnish.backends.cpu.sharing import Plan, Step
from burnish.backends.program import Buffer, Program
from burnish.backends.run_worker import Request, Rounds
from burnish.backends.schedule_cache import ScheduleCache
from burnish.target import Target

_LOG = logging.getLogger(__name__)

SECONDS = 0.4
"""Time for one entry, beside what starting a process takes."""
SHARE = 0.1
"""Part of the time for tuning that this may take at most."""
LONGEST = 0.005
"""Seconds of a run, by arithmetic, beyond which few calls are in question, and turns too few."""
CALLS = 0.3
"""Part of the time in which calls are timed one by one; the rest is for whole runs."""
ROUNDS = 7
"""Turns of each plan, at least."""
LEAST = 5
"""Undisturbed turns of each plan without which nothing is known."""
MARGIN = 0.05
"""Share of its time by which a call must gain to be shared."""
WORTH, MOST = 0.1, 0.75
"""Share by which a plan must be faster than the one in force, and share of the rounds in which it
must be faster at all. It is large because cores may be elsewhere a minute later: see
`sharing.LINE_SECONDS`."""
TRIES = 4
"""Trials of a program that may tell nothing, as the machine was at work, before it is left at its
plan: the next compilation would wait for nothing again."""

Timer = Callable[[Request], Rounds]
"""What times plans."""


class SharingTrial:
    """Plans for the entries of one model."""

    def __init__(self, target: Target, cache: ScheduleCache, seconds: float) -> None:
        """Find out within ``seconds`` of tuning; 0 asks only arithmetic."""
        self._target, self._cache = target, cache
        self.seconds = min(SECONDS, SHARE * seconds) if target.is_host else 0.0
        """What it may take."""

    def first_plans(self, programs: Sequence[Program]) -> list[Program]:
        """The programs with their calls shared as was found out before, or by arithmetic."""
        found = []
        for program in programs:
            steps = sharing.steps_of(program, self._target)
            known = self._known(program, steps) if self.seconds else None
            found.append(
                sharing.planned(program, known or sharing.plan(steps, self._target.threads))
            )
        return found

    def better_plans(self, programs: Sequence[Program], artifact: Path) -> list[Program]:
        """The programs with their calls shared as is fastest; the same ones if they are.

        Ctrl-C ends it: what was not found out by then stays as it is.

        Args:
            programs: as ``first_plans`` returned them.
            artifact: where they lie, compiled.
        """
        steps = [sharing.steps_of(program, self._target) for program in programs]
        is_open = [
            self._is_open(program, each) for program, each in zip(programs, steps, strict=True)
        ]
        if not any(is_open):
            return list(programs)
        found = list(programs)
        try:
            child = Child("burnish.backends.run_worker", str(artifact), 30.0)
            try:
                for entry, (program, asked) in enumerate(zip(programs, is_open, strict=True)):
                    if asked:
                        found[entry] = self._better(program, steps[entry], entry, _timer(child))
            finally:
                child.close()
        except ChildFailed as failure:
            _LOG.debug("timing calls in their model failed: %s", failure)
        except KeyboardInterrupt:
            _LOG.debug("timing calls in their model was stopped")
        return found

    def _better(self, program: Program, steps: list[Step], entry: int, timer: Timer) -> Program:
        current = tuple(call.alone for call in program.calls)
        plan = choose(steps, current, entry, self._target.threads, (timer, self.seconds))
        key = _key(program)
        if plan is None:
            _LOG.debug("too few turns were undisturbed to say which calls to share")
            self._cache.spend(key, self.seconds)
            return program
        alone = [i for i, is_alone in enumerate(plan) if is_alone]
        if plan != current and self._cache.plan(_once(key)) != alone:
            self._cache.put_plan(_once(key), alone)
            return program
        self._cache.put_plan(key, alone)
        return sharing.planned(program, plan)

    def _is_open(self, program: Program, steps: list[Step]) -> bool:
        """Whether there is something to find out."""
        return (
            self.seconds > 0
            and any(step.shared is not None for step in steps)
            and all(call.region is None for call in program.calls)
            and sum(step.alone for step in steps) <= LONGEST
            and self._known(program, steps) is None
            and self._cache.spent(_key(program)) < TRIES * self.seconds
        )

    def _known(self, program: Program, steps: Sequence[Step]) -> Plan | None:
        alone = self._cache.plan(_key(program))
        if alone is None or not set(alone) <= set(range(len(steps))):
            return None
        return tuple(number in alone for number in range(len(steps)))


def choose(
    steps: list[Step], current: Plan, entry: int, threads: int, timing: tuple[Timer, float]
) -> Plan | None:
    """The fastest plan for an entry; ``current`` unless another is clearly faster.

    Args:
        steps: its calls.
        current: the plan in force.
        entry: its number.
        threads: how many there are.
        timing: what times plans, and the seconds that this may take.

    Returns:
        None if too many turns were disturbed, or there were too few, to tell.
    """
    timer, seconds = timing
    alone = tuple(step.shared is not None for step in steps)
    shared = (False,) * len(steps)
    rounds = timer(Request(entry, (alone, shared), CALLS * seconds, ROUNDS, True))
    times = [_medians(each) for each in rounds]
    if times[0] is None or times[1] is None:
        return None
    found = sharing.plan(sharing.with_times(steps, times[0], times[1], MARGIN), threads)
    plans = tuple(dict.fromkeys([current, found, alone, shared]))
    if len(plans) == 1:
        return current
    rounds = timer(Request(entry, plans, (1 - CALLS) * seconds, ROUNDS, False))
    winner = fastest(rounds)
    return None if winner is None else plans[winner]


def fastest(rounds: Rounds) -> int | None:
    """The number of the fastest plan: 0 unless another is faster beyond noise.

    Returns None if too few turns of any two were undisturbed in the same round.
    """
    medians = np.array([[np.median(r) if len(r) else np.nan for r in plan] for plan in rounds])
    best, least = 0, 1.0
    for number in range(1, len(rounds)):
        ratios = medians[number] / medians[0]
        ratios = ratios[~np.isnan(ratios)]
        if len(ratios) < LEAST:
            return None
        ratio = float(np.median(ratios))
        is_clear = ratio < 1 - WORTH and np.mean(ratios < 1) >= MOST
        if is_clear and ratio < least:
            best, least = number, ratio
    return best


def _medians(rounds: Sequence[np.ndarray]) -> list[float] | None:
    """What each call takes, None if that is not known."""
    clean = [each for each in rounds if len(each)]
    if len(clean) < LEAST:
        return None
    seconds: list[float] = np.median(np.concatenate(clean), axis=0).tolist()
    return seconds


def _timer(child: Child) -> Timer:
    def timer(request: Request) -> Rounds:
        answer: Rounds | str = child.ask(request, 30.0)
        if isinstance(answer, str):
            raise ChildFailed(answer)
        return answer

    return timer


def _once(key: str) -> str:
    """Where a plan lies that one trial found faster, and no other did yet."""
    return f"{key} once"


def _key(program: Program) -> str:
    """What the plan depends on: kernels, and how data flows between them."""
    numbers: dict[Buffer, int] = {}

    def describe(buffer: Buffer) -> tuple[int, int, int]:
        owner, start = buffer.root()
        return numbers.setdefault(owner, len(numbers)), start, buffer.nbytes

    flow = [
        (call.kernel, call.outputs, call.jump, [describe(b) for b in call.args if b.is_static])
        for call in program.calls
    ]
    return hashlib.sha256(repr(flow).encode()).hexdigest()[:32]
