"""Timing kernels: in seconds, warm or cold, in a process that may die."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from burnish.backends.bench_kernels import KernelBench, KernelFailure
from burnish.target import Target
from tests.backends.artifact import toy


@pytest.fixture(scope="module")
def bench(kernels: bytes, target: Target) -> Iterator[KernelBench]:
    with KernelBench([kernels], target, threads=2) as bench:
        yield bench


def arrays(count: int) -> list[np.ndarray]:
    return [toy.sample(seed) for seed in range(count)]


def test_calls_a_kernel(bench: KernelBench) -> None:
    x, y, z = arrays(3)
    answer = bench.call_kernel("add", (x, y, z))
    np.testing.assert_array_equal(answer[2], x + y)
    np.testing.assert_array_equal(z, toy.sample(2))


@pytest.mark.parametrize("cold", [False, True, (0,)])
def test_times_are_seconds(bench: KernelBench, cold: bool | tuple[int, ...]) -> None:
    times = bench.time_kernel("twice", arrays(2), repeat=7, cold=cold)
    assert len(times) == 7
    assert all(0 < seconds < 0.1 for seconds in times)


def test_the_budget_ends_repetition(bench: KernelBench) -> None:
    assert len(bench.time_kernel("twice", arrays(2), repeat=1000, budget=0.0)) == 1


def test_an_error_of_the_kernel_is_told(bench: KernelBench) -> None:
    with pytest.raises(KernelFailure, match="kernel fails: RuntimeError: task failed"):
        bench.time_kernel("fails", arrays(2), repeat=1)


def test_an_unknown_kernel_is_told(bench: KernelBench) -> None:
    with pytest.raises(KernelFailure, match="kernel nothing: there is no such kernel"):
        bench.time_kernel("nothing", arrays(2), repeat=1)


def test_a_crash_costs_one_candidate(bench: KernelBench) -> None:
    with pytest.raises(KernelFailure, match=r"kernel crashes: crashed \(SIGSEGV\)"):
        bench.time_kernel("crashes", arrays(2), repeat=1)
    x, y = arrays(2)
    np.testing.assert_array_equal(bench.call_kernel("twice", (x, y))[1], 2 * x)


@pytest.mark.parametrize("is_told", [True, False])
def test_a_process_that_died_between_calls_costs_nothing(
    bench: KernelBench, kernels: bytes, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    x, y = arrays(2)
    bench.call_kernel("twice", (x, y))
    assert bench._child is not None
    process = bench._child._process
    process.kill()
    process.wait()
    if not is_told:
        # As if it died just after it was looked at.
        monkeypatch.setattr(process, "poll", lambda: None)
    bench.load([kernels])
    np.testing.assert_array_equal(bench.call_kernel("twice", (x, y))[1], 2 * x)
    assert bench._child is not None
    bench._child._process.kill()
    bench._child._process.wait()
    np.testing.assert_array_equal(bench.call_kernel("twice", (x, y))[1], 2 * x)


def test_a_kernel_that_hangs_is_ended(bench: KernelBench) -> None:
    with pytest.raises(KernelFailure, match="kernel hangs: no answer in time"):
        bench.time_kernel("hangs", arrays(2), repeat=1, timeout=1.0)
    assert bench.time_kernel("twice", arrays(2), repeat=1)


def test_arrays_are_sent_again_only_when_they_change(bench: KernelBench) -> None:
    x, y = arrays(2)
    bench.time_kernel("twice", (x, y), repeat=1)
    assert bench.time_kernel("twice", (x, y), repeat=2)
    other = x + 1
    np.testing.assert_array_equal(bench.call_kernel("twice", (other, y))[1], 2 * other)
