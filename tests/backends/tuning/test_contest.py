"""Contests: candidates are checked against definitions, timed in turns, and must be faster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from tvm import tirx

from burnish.backends.bench_kernels import KernelBench, KernelFailure
from burnish.backends.bench_patterns import Expected, Patterns, agree
from burnish.backends.cpu import codegen, contest
from burnish.backends.cpu.contest import Subject, Trial, check, hold
from burnish.backends.cpu.objects import Variant
from burnish.backends.cpu.schedule import schedule
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.backends.lowering.pitched import pitched
from burnish.target import resolve
from tests.backends.tuning.kernels import byte_product, product

HERE = resolve()
RIGHT = product(6, 40, 33)
CANDIDATES = [None, *(TileConfig(rows, 1) for rows in range(1, 5))]


def always() -> bool:
    return True


class Stopwatch:
    """Stands in for a bench: candidate number n takes as long as it is told to."""

    def __init__(self, seconds: Sequence[float], failing: Sequence[int] = ()) -> None:
        self.seconds = {trial(n).variant.symbol: s for n, s in enumerate(seconds)}
        self.failing = [trial(n).variant.symbol for n in failing]
        self.calls: list[str] = []

    def check_kernel(self, symbol: str, *_: Any) -> None:
        if symbol in self.failing:
            raise KernelFailure("wrong")

    def time_kernel(self, symbol: str, *_: Any, **__: Any) -> list[float]:
        self.calls.append(symbol)
        return [self.seconds[symbol], 2 * self.seconds[symbol]]


def trial(number: int) -> Trial:
    return Trial(Variant("key", "product", None, CANDIDATES[number]))


def winner(seconds: Sequence[float], failing: Sequence[int] = ()) -> int | None:
    trials = [trial(number) for number in range(len(seconds))]
    subject = Subject(Patterns(()), (), ((),))
    best = hold(Stopwatch(seconds, failing), subject, trials, always)  # type: ignore[arg-type]  # enough of a bench
    return None if best is None else trials.index(best)


@pytest.mark.parametrize(
    ("seconds", "failing", "best"),
    [
        ([1.0, 0.9, 0.5], [], 2),
        ([1.0, 0.98, 1.5], [], 0),
        ([1.0, 0.5, 0.7], [1], 2),
        ([0.1, 0.5, 0.7], [0], 1),
        ([1.0, 0.5], [0, 1], None),
    ],
)
def test_the_first_choice_stays_unless_another_is_right_and_clearly_faster(
    seconds: list[float], failing: list[int], best: int | None
) -> None:
    assert winner(seconds, failing) == best


def test_a_candidate_that_fails_after_all_has_no_time() -> None:
    failing = trial(0)
    failing.seconds = [1.0]
    assert failing.score == 1.0
    failing.failed = True
    assert failing.score is None


def test_a_first_choice_that_was_disturbed_stays() -> None:
    first, other = trial(0), trial(1)
    first.seconds, other.seconds = [3.0, 3.0, 3.0, 1.0, 3.0], [1.0] * 5
    assert not contest._beats(other, first)
    first.seconds[3] = 2.0
    assert contest._beats(other, first)


def test_only_leaders_go_on_and_take_turns() -> None:
    watch = Stopwatch([1.0, 0.9, 5.0])
    trials = [trial(number) for number in range(3)]
    hold(watch, Subject(Patterns(()), (), ((),)), trials, always)  # type: ignore[arg-type]  # enough of a bench
    first, second, slow = (one.variant.symbol for one in trials)
    assert watch.calls.count(slow) == 1
    rounds = watch.calls[3:]
    assert set(rounds[:2]) == set(rounds[2:4]) == {first, second}


def test_time_may_run_out() -> None:
    trials = [trial(number) for number in range(3)]
    left = iter([True, True, False])
    subject = Subject(Patterns(()), (), ((),))
    hold(Stopwatch([1.0, 0.5, 0.1]), subject, trials, lambda: next(left))  # type: ignore[arg-type]  # enough of a bench
    assert [one.score is None for one in trials] == [False, False, True]


@pytest.fixture(scope="module")
def bench() -> Iterator[KernelBench]:
    """The first choice, one that skips work, and one that is slightly off everywhere."""
    short, off = product(6, 39, 33), product(6, 40, 32)
    funcs = [RIGHT, short, off, RIGHT]
    objects = [
        codegen.compile_object(trial(number).variant.symbol, schedule(func, HERE), HERE)
        for number, func in enumerate(funcs)
    ]
    with KernelBench(objects, HERE, threads=1) as bench:
        yield bench


def test_wrong_candidates_are_found_whoever_comes_first(bench: KernelBench) -> None:
    subject = Subject.of(RIGHT, ((),))
    for order in ([0, 1, 2, 3], [2, 1, 3, 0]):
        trials = [trial(number) for number in order]
        right = check(bench, subject, trials)
        assert sorted(order[trials.index(one)] for one in right) == [0, 3]


def test_kernels_of_equal_shapes_need_not_agree() -> None:
    other = product(6, 40, 33, tirx.exp)
    funcs = {"t": RIGHT, "e": other}
    objects = [codegen.compile_object(n, schedule(f, HERE), HERE) for n, f in funcs.items()]
    with KernelBench(objects, HERE, threads=1) as bench:
        for name, func in funcs.items():
            subject = Subject.of(func, ((),))
            bench.check_kernel(name, subject.arguments, subject.expected)


@pytest.mark.parametrize(
    ("depth", "filled"), [(3, [0, 1, 2]), (8, range(8)), (10, [*range(8), 10, 11])]
)
def test_weights_in_quads_are_filled_up_with_zeros(depth: int, filled: Sequence[int]) -> None:
    func = byte_product(6, depth, 16)
    subject = Subject.of(func, ((),))
    assert subject.arguments.quads == {1: depth}
    held = subject.arguments.array(1).transpose(1, 3, 0, 2).reshape(-1, 16)
    assert sorted(np.flatnonzero(held.any(axis=1))) == list(filled)


@pytest.mark.parametrize("depth", [3, 10, 257])
def test_products_of_quads_that_are_not_whole_are_right(depth: int) -> None:
    func = byte_product(6, depth, 16)
    data = codegen.compile_object("bytes", schedule(func, HERE), HERE)
    subject = Subject.of(func, ((),))
    with KernelBench([data], HERE, threads=1) as bench:
        bench.check_kernel("bytes", subject.arguments, subject.expected)


def test_the_definition_is_compared_near_borders_too() -> None:
    (expected,) = Subject.of(product(50, 8, 70), ((),)).expected
    rows, columns = np.unravel_index(expected.places, (50, 70))
    assert {0, 49} <= set(rows)
    assert {0, 69} <= set(columns)


def test_patterns_are_the_same_in_part_and_as_a_whole() -> None:
    patterns = Patterns((((300, 500), "float32"), ((7,), "int64"), ((), "float32")))
    for number in range(3):
        whole = patterns.array(number).reshape(-1)
        places = np.arange(whole.size)[::-3]
        np.testing.assert_array_equal(patterns.at(number, places), whole[places])
    assert patterns.array(0).shape == (300, 500)
    assert set(patterns.array(1)) <= {0, 1}


def test_agreement() -> None:
    a = np.array([1.0, np.nan, np.inf, -3.0], np.float32)
    assert agree(a, a.copy())
    assert agree(a, a + np.float32(1e-3))
    assert not agree(a, a + np.float32(1e-2))
    assert not agree(a, np.nan_to_num(a))
    assert not agree(np.array([True, False]), np.array([True, True]))
    assert agree(np.uint8([255, 0]), np.uint8([254, 1]))
    assert not agree(np.uint8([255, 0]), np.uint8([0, 0]))
    assert not agree(np.int32([7]), np.int32([8]))
    assert agree(np.float16(a), np.float16(a) + np.float16(2e-3))


def test_a_wrong_answer_names_the_kernel(bench: KernelBench) -> None:
    subject = Subject.of(RIGHT, ((),))
    zeros = Expected(2, np.arange(4), np.zeros(4))
    with pytest.raises(KernelFailure, match=r"product_\w+: its results are wrong"):
        bench.check_kernel(trial(0).variant.symbol, subject.arguments, [zeros])


def test_only_what_a_kernel_writes_is_checked() -> None:
    wider = Subject.of(pitched(RIGHT, {2: (6, 64)}), ((),))
    ((_, places, values),) = ((e.argument, e.places, e.values) for e in wider.expected)
    assert (places % 64).max() == 32
    assert places.max() >= 5 * 64
    operands = [wider.arguments.array(number).astype(float) for number in (0, 1)]
    expected = np.tanh(operands[0] @ operands[1])
    np.testing.assert_allclose(values, expected[places // 64, places % 64], rtol=1e-9)
