"""Plans found by timing a model: what noise cannot do, and what is remembered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from burnish.backends.child import ChildFailed
from burnish.backends.cpu import sharing_trial
from burnish.backends.cpu.sharing import Plan, Step
from burnish.backends.cpu.sharing_trial import LEAST, ROUNDS, TRIES, SharingTrial, choose, fastest
from burnish.backends.program import Buffer, BufferKind, Call, Program, Work
from burnish.backends.run_worker import Request, Rounds
from burnish.backends.schedule_cache import ScheduleCache
from burnish.target import Target, resolve

MICRO = 1e-6
NOTHING = np.array([])
HERE = resolve("cpu", 2)


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


class Machine:
    """Answers requests by the time of each call: (alone, shared)."""

    def __init__(self, *calls: tuple[float, float]) -> None:
        self.calls = calls
        self.asked: list[Request] = []
        self.disturbed: Callable[[int], bool] = lambda number: False
        """Of a turn."""
        self.factor: Callable[[Plan], float] = lambda plan: 1.0
        """What whole runs by a plan take beyond the sum of their calls."""

    def __call__(self, request: Request) -> Rounds:
        self.asked.append(request)
        return [
            [self._turn(plan, number, request.profiled) for number in range(ROUNDS)]
            for plan in request.plans
        ]

    def _turn(self, plan: Plan, number: int, profiled: bool) -> np.ndarray:
        if self.disturbed(number):
            return NOTHING
        times = [
            one if alone else all_ for alone, (one, all_) in zip(plan, self.calls, strict=True)
        ]
        if profiled:
            return np.array([times] * 3) * MICRO
        return np.array([sum(times) * self.factor(plan)] * 3) * MICRO


def steps(count: int) -> list[Step]:
    return [Step(MICRO, MICRO, {}, ()) for _ in range(count)]


def chosen(machine: Machine, current: Plan) -> Plan | None:
    return choose(steps(len(machine.calls)), current, 0, 2, (machine, 1.0))


def test_calls_that_are_slower_together_run_alone() -> None:
    assert chosen(Machine((1, 2), (10, 6), (1, 1.5)), (False,) * 3) == (True, False, True)


def test_a_gain_within_the_margin_is_none() -> None:
    machine = Machine((10, 9.8), (100, 60))
    assert chosen(machine, (False, False)) == (False, False)
    assert (True, False) in machine.asked[-1].plans


def test_a_plan_that_is_no_faster_as_a_whole_changes_nothing() -> None:
    machine = Machine((1, 2), (10, 6))
    machine.factor = lambda plan: 2.0 if any(plan) else 1.0
    assert chosen(machine, (False, False)) == (False, False)


def test_a_machine_at_work_tells_nothing() -> None:
    machine = Machine((1, 2), (10, 6))
    machine.disturbed = lambda number: number >= LEAST - 1
    assert chosen(machine, (False, False)) is None


def test_a_run_that_takes_too_long_tells_nothing() -> None:
    assert choose(steps(1), (False,), 0, 2, (lambda request: [[], []], 1.0)) is None


def rounds(*plans: list[float]) -> Rounds:
    return [[np.array([s]) if s else NOTHING for s in plan] for plan in plans]


@pytest.mark.parametrize(
    ("other", "wins"),
    [
        ([0.8] * 8, True),
        ([0.95] * 8, False),  # not by enough
        ([0.7] * 5 + [1.1] * 3, False),  # not often enough
        ([0.8] * 7 + [9.0], True),  # but for one turn
    ],
)
def test_only_what_is_clearly_faster_wins(other: list[float], wins: bool) -> None:
    assert fastest(rounds([1.0] * 8, other)) == int(wins)


def test_only_rounds_in_which_neither_was_disturbed_count() -> None:
    assert fastest(rounds([1.0] * 4 + [0] * 4, [0] * 4 + [0.5] * 4)) is None


def test_the_fastest_of_several_wins() -> None:
    assert fastest(rounds([1.0] * 6, [0.8] * 6, [0.6] * 6, [0.7] * 6)) == 2


def program(region: bytes | None = None, flops: int = 10**6) -> Program:
    x = Buffer("x", (4,), "float32", BufferKind.INPUT)
    y = Buffer("y", (4,), "float32", BufferKind.OUTPUT)
    return Program(
        [x], [y], [Call("k", (x, y), region=region)],
        parallel=frozenset({"k"}), work=[Work(flops)],
    )  # fmt: skip


class FakeChild:
    """Times every run alone as faster."""

    started = 0
    crashes = False
    interrupts = False
    closed = 0
    machine = Machine((1, 2))

    def __init__(self, *_: object) -> None:
        FakeChild.started += 1

    def ask(self, request: Request, _: float) -> Rounds:
        if FakeChild.crashes:
            raise ChildFailed("crashed (SIGSEGV)")
        if FakeChild.interrupts:
            raise KeyboardInterrupt
        return FakeChild.machine(request)

    def close(self) -> None:
        FakeChild.closed += 1


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> type[FakeChild]:
    FakeChild.started, FakeChild.crashes, FakeChild.machine = 0, False, Machine((1, 2))
    FakeChild.interrupts, FakeChild.closed = False, 0
    monkeypatch.setattr(sharing_trial, "Child", FakeChild)
    return FakeChild


def settled(target: Target, given: Program, seconds: float = 30.0) -> list[bool]:
    trial = SharingTrial(target, ScheduleCache(target), seconds)
    (found,) = trial.better_plans(trial.first_plans([given]), Path("artifact"))
    return [call.alone for call in found.calls]


def test_what_was_found_out_is_not_measured_again(child: type[FakeChild]) -> None:
    large = program(flops=10**7)
    assert settled(HERE, large, 0.0) == [False]
    assert settled(HERE, large) == [False]  # one trial may have met a busy host
    assert settled(HERE, large) == [True]
    assert settled(HERE, large) == [True]
    assert child.started == 2
    assert settled(HERE, large, 0.0) == [False]


def test_two_trials_have_to_find_the_same(child: type[FakeChild]) -> None:
    large = program(flops=10**7)
    settled(HERE, large)
    child.machine = Machine((2, 1))
    assert settled(HERE, large) == [False]  # and that is settled: the plan in force won
    child.machine = Machine((1, 2))
    assert settled(HERE, large) == [False]
    assert child.started == 2


@pytest.mark.parametrize(
    ("given", "threads"),
    [(program(b"model"), 2), (program(), 1), (program(flops=10**12), 2)],
    ids=["another engine's", "one thread", "long"],
)
def test_what_has_nothing_to_find_out_is_not_run(
    child: type[FakeChild], given: Program, threads: int
) -> None:
    settled(resolve("cpu", threads), given)
    assert child.started == 0


def test_another_machine_is_not_measured(child: type[FakeChild]) -> None:
    settled(resolve("x86-64-v2", 2), program())
    assert child.started == 0


def test_a_crash_changes_nothing_and_is_not_remembered(child: type[FakeChild]) -> None:
    child.crashes = True
    assert settled(HERE, program(flops=10**7)) == [False]
    child.crashes = False
    assert settled(HERE, program(flops=10**7)) == [False]
    assert settled(HERE, program(flops=10**7)) == [True]


def test_ctrl_c_keeps_what_is_there_and_is_not_remembered(child: type[FakeChild]) -> None:
    child.interrupts = True
    assert settled(HERE, program(flops=10**7)) == [False]
    assert child.closed == 1
    child.interrupts = False
    assert settled(HERE, program(flops=10**7)) == [False]
    assert settled(HERE, program(flops=10**7)) == [True]


def test_a_machine_that_is_at_work_is_not_asked_for_ever(child: type[FakeChild]) -> None:
    child.machine.disturbed = lambda number: True
    for _ in range(TRIES + 2):
        assert settled(HERE, program(flops=10**7)) == [False]
    assert child.started == TRIES


def test_a_machine_that_was_at_work_once_is_asked_again(child: type[FakeChild]) -> None:
    child.machine.disturbed = lambda number: True
    settled(HERE, program(flops=10**7))
    child.machine.disturbed = lambda number: False
    assert settled(HERE, program(flops=10**7)) == [False]
    assert settled(HERE, program(flops=10**7)) == [True]
