"""The tuner: what it spends its time on, what it keeps, and how it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from burnish.backends.bench_kernels import KernelFailure
from burnish.backends.cpu import tuner
from burnish.backends.cpu.objects import KernelObjects, Variant
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.backends.cpu.tuner import Budget, Outcome, Task, residence, tune
from burnish.backends.schedule_cache import ScheduleCache
from burnish.errors import BurnishError
from burnish.target import resolve
from tests.backends.tuning.kernels import product

HERE = resolve()
CONFIGS = [TileConfig(rows, 1) for rows in range(1, 10)]
FUNC = product(4, 8, 16)
Seconds = Callable[[Variant], float]


class Machine:
    """Stands in for compiler and bench; logs what is compiled and called."""

    def __init__(self, seconds: Seconds, crashes: Sequence[TileConfig | None] = ()) -> None:
        self.seconds, self.crashes = seconds, crashes
        self.compiled: list[Variant] = []
        self.checked: list[Variant] = []
        self.on_check: Callable[[], object] = lambda: None

    def get(self, variants: Sequence[Variant], *_: object) -> dict[Variant, bytes]:
        self.compiled += variants
        return dict.fromkeys(variants, b"code")

    def __call__(self, *_: object) -> Machine:
        return self

    def load(self, _: object) -> None:
        pass

    def close(self) -> None:
        pass

    def check_kernel(self, symbol: str, *_: Any) -> None:
        variant = self._called(symbol)
        self.checked.append(variant)
        self.on_check()
        if variant.config in self.crashes:
            raise KernelFailure("crashed (SIGSEGV)")

    def time_kernel(self, symbol: str, *_: Any, **__: Any) -> list[float]:
        return [self.seconds(self._called(symbol))]

    def _called(self, symbol: str) -> Variant:
        return next(v for v in self.compiled if v.symbol == symbol)


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def tuned(machine: Machine, tasks: Sequence[Task], seconds: float | Budget = 60.0) -> Outcome:
    budget = seconds if isinstance(seconds, Budget) else Budget(seconds)
    with pytest.MonkeyPatch.context() as context:
        context.setattr(tuner, "candidates", lambda func, target: CONFIGS)
        context.setattr(tuner, "KernelBench", machine)
        cache = ScheduleCache(HERE)
        return tune(tasks, HERE, budget, cache, machine)  # type: ignore[arg-type]  # enough of a compiler


def by_rows(variant: Variant) -> float:
    """Kernels whose candidates get slower; the third is best."""
    rows = variant.config.rows if variant.config else 1
    return {1: 3e-3, 3: 1e-3}.get(rows, 2e-3 + 1e-4 * rows)


def test_every_promising_candidate_is_tried_once_and_the_best_is_kept() -> None:
    machine = Machine(by_rows)
    outcome = tuned(machine, [Task("k", "product", FUNC)])
    assert outcome == Outcome({"k": CONFIGS[2]}, 1, 1)
    assert {v.config for v in machine.checked} == {None, *CONFIGS[1:]}


def test_what_is_known_is_not_tried_again() -> None:
    tuned(Machine(by_rows), [Task("k", "product", FUNC)])
    machine = Machine(by_rows)
    assert tuned(machine, [Task("k", "product", FUNC)]) == Outcome({"k": CONFIGS[2]}, 1, 1)
    assert machine.compiled == []


def test_kernels_with_more_to_gain_come_first_and_negligible_ones_not_at_all() -> None:
    tasks = [
        Task("seldom", "product", FUNC, calls=1),
        Task("often", "product", FUNC, calls=50),
        Task("tiny", "product", FUNC, calls=1),
    ]
    machine = Machine(lambda v: by_rows(v) * (1e-4 if v.key == "tiny" else 1.0))
    outcome = tuned(machine, tasks)
    tried = list(dict.fromkeys(v.key for v in machine.checked if v.config))
    assert tried == ["often", "seldom"]
    assert (outcome.tuned, outcome.kernels) == (3, 3)


def test_a_kernel_at_the_best_rate_has_nothing_to_gain() -> None:
    tasks = [Task("slow", "product", FUNC, flops=1.0), Task("fast", "product", FUNC, flops=9.0)]
    machine = Machine(lambda variant: 1e-3)
    tuned(machine, tasks)
    assert {v.key for v in machine.checked if v.config} == {"slow"}


def test_a_candidate_that_crashes_is_never_tried_again() -> None:
    machine = Machine(by_rows, crashes=[CONFIGS[2]])
    outcome = tuned(machine, [Task("k", "product", FUNC)])
    assert outcome.configs["k"] == CONFIGS[1]
    assert [v.config for v in machine.checked].count(CONFIGS[2]) == 1


def test_a_wrong_first_choice_is_replaced_and_told(caplog: pytest.LogCaptureFixture) -> None:
    outcome = tuned(Machine(by_rows, crashes=[None]), [Task("k", "product", FUNC)])
    assert outcome.configs["k"] == CONFIGS[2]
    assert "the first choice for a product kernel is wrong" in caplog.text


def test_no_time_leaves_first_choices_and_a_later_call_goes_on() -> None:
    tasks = [Task("a", "product", FUNC, calls=2), Task("b", "product", FUNC)]
    assert tuned(Machine(by_rows), tasks, 1e-9) == Outcome({"a": None, "b": None}, 0, 2)
    machine = Machine(by_rows)
    assert tuned(machine, tasks) == Outcome({"a": CONFIGS[2], "b": CONFIGS[2]}, 2, 2)


def test_the_time_is_for_all_calls_together() -> None:
    tasks = [Task("a", "product", FUNC, calls=2), Task("b", "product", FUNC)]
    tuned(Machine(by_rows), tasks, 1e-9)
    again, other = Machine(by_rows), Machine(by_rows)
    assert tuned(again, tasks, 1e-9) == Outcome({"a": None, "b": None}, 0, 2)
    assert again.compiled == []
    tuned(other, [Task("c", "product", FUNC)], 1e-9)
    assert other.compiled != []


def shown(tasks: Sequence[Task], machine: Machine, seconds: float) -> list[tuple[int, int]]:
    """What tuning tells of how far it is."""
    found: list[tuple[int, int]] = []

    def note(name: str, done: int, whole: int) -> None:
        assert name == "tune"
        found.append((done, whole))

    tuned(machine, tasks, Budget(seconds, progress=note))
    return found


def test_progress_rises_with_the_kernels_that_are_done_and_is_never_all() -> None:
    tasks = [Task(name, "product", FUNC, calls=9) for name in "abcd"]
    found = shown(tasks, Machine(by_rows), 1000.0)
    assert {whole for _, whole in found} == {10_000}
    assert [done for done, _ in found] == sorted(done for done, _ in found)
    assert found[0][0] < 2000
    assert 7000 < found[-1][0] < 10_000


def test_progress_is_not_all_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(by_rows)
    ticking(monkeypatch, machine)
    found = shown([Task(name, "product", FUNC) for name in "abcdefgh"], machine, 20.0)
    assert all(done < whole for done, whole in found)
    assert found[-1][0] == found[-1][1] - 1


def ticking(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    """Let a check of a candidate take a second, and everything else no time."""
    clock = SimpleNamespace(monotonic=lambda: float(len(machine.checked)))
    monkeypatch.setattr(tuner, "time", clock)


def test_seconds_are_counted_once_in_several_calls_of_one_compilation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = [Task(key, "product", FUNC, calls=2) for key in "ab"]
    machine, budget = Machine(by_rows), Budget(16.0)
    machine.on_check = lambda: len(machine.checked) == 6 and os.kill(os.getpid(), signal.SIGINT)
    ticking(monkeypatch, machine)
    assert tuned(machine, tasks, budget).stopped
    assert budget.spent == 7.0  # the check under way ends
    tuned(machine, tasks, budget)
    assert 14.0 <= budget.spent <= 18.0
    assert 14 <= len(machine.checked) <= 18


def test_seconds_of_earlier_compilations_count_for_all_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = ([Task(key, "product", FUNC)] for key in "ab")
    for _ in range(2):
        machine, budget = Machine(by_rows), Budget(4.0)
        ticking(monkeypatch, machine)
        tuned(machine, first, budget)
        tuned(machine, second, budget)
    assert {v.key for v in machine.checked} == set()


def test_what_is_tuned_is_counted_alike_when_the_time_is_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Beside "big" the others are negligible, also when it is done and they are what is left.
    tasks = [Task("big", "product", FUNC), *(Task(key, "product", FUNC) for key in "small")]
    machine = Machine(lambda v: by_rows(v) * (1.0 if v.key == "big" else 1.5e-3))
    ticking(monkeypatch, machine)
    outcome = tuned(machine, tasks, 15.0)
    again = tuned(machine, tasks, 15.0)
    assert (again.tuned, again.kernels) == (outcome.tuned, outcome.kernels)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as in a foreground process; shells let those in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_keeps_what_was_found_and_ends_only_tuning() -> None:
    machine = Machine(by_rows)
    machine.on_check = lambda: len(machine.checked) == 8 and os.kill(os.getpid(), signal.SIGINT)
    tasks = [Task("a", "product", FUNC, calls=2), Task("b", "product", FUNC)]
    outcome = tuned(machine, tasks)
    assert outcome == Outcome({"a": CONFIGS[2], "b": None}, 0, 2, stopped=True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_ends_everything() -> None:
    machine = Machine(by_rows)
    machine.on_check = lambda: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt):
        tuned(machine, [Task("a", "product", FUNC), Task("b", "product", FUNC)])


def test_a_linker_that_hears_ctrl_c_does_no_harm() -> None:
    def interrupted(_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise BurnishError("the linker ended")

    machine = Machine(by_rows)
    machine.load = interrupted  # type: ignore[method-assign]  # as it fails
    assert tuned(machine, [Task("a", "product", FUNC)]).stopped


def test_weights_are_timed_where_the_model_has_them() -> None:
    caches = (1 << 20, 32 << 20)
    assert residence((1,), 1 << 19, caches) == ((),)
    assert residence((1,), 1 << 24, caches) == ((), (1,))
    assert residence((1,), 1 << 26, caches) == ((1,),)
    assert residence((), 1 << 26, caches) == ((),)


def test_objects_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    variants = [Variant("key", "product", FUNC, config) for config in (None, CONFIGS[1])]
    first = KernelObjects(HERE, ScheduleCache(HERE)).get(variants)
    monkeypatch.setattr(KernelObjects, "_one", None)
    assert KernelObjects(HERE, ScheduleCache(HERE)).get(variants) == first
    assert len({variant.symbol for variant in variants}) == 2


def test_a_kernel_that_does_not_compile_does_not_stop_the_others() -> None:
    good, bad = Variant("a", "product", FUNC), Variant("b", "product", "no function")
    made = KernelObjects(HERE, ScheduleCache(HERE)).get([bad, good])
    assert isinstance(made[bad], Exception)
    assert isinstance(made[good], bytes)
