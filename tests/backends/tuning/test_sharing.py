"""Which calls are shared among threads, by arithmetic and from times."""

from __future__ import annotations

import pytest

from burnish.backends.cpu import sharing
from burnish.backends.cpu.sharing import LINE, LINE_SECONDS, Step, plan, planned, steps_of
from burnish.backends.program import Buffer, BufferKind, Call, Program, Work
from burnish.target import resolve

MICRO = 1e-6
FORK = 1 * MICRO


def buffer(name: str, size: int = 4096, kind: BufferKind = BufferKind.TEMPORARY) -> Buffer:
    return Buffer(name, (size // 4,), "float32", kind)


def bytes_that_take(seconds: float) -> int:
    """To fetch from another core's cache."""
    return LINE * int(seconds / LINE_SECONDS)


def chain(times: list[float | None], size: int = 4096) -> list[Step]:
    """Calls that each read what the one before wrote; None for one that cannot be shared."""
    buffers = [buffer(f"t{i}", size) for i in range(len(times) + 1)]
    return [
        Step(
            MICRO if time is None else time,
            None if time is None else time / 2 + FORK,
            {buffers[number]: size},
            (buffers[number + 1],),
        )
        for number, time in enumerate(times)
    ]


def test_only_what_outweighs_a_fork_is_shared() -> None:
    assert plan(chain([10 * MICRO, 1 * MICRO, 10 * MICRO], 64), 2) == (False, True, False)


def test_what_cannot_be_shared_is_not_called_alone() -> None:
    assert plan(chain([None, 1 * MICRO]), 2) == (False, True)


def test_a_kernel_between_serial_ones_is_shared_only_if_that_pays_for_what_crosses() -> None:
    # Half of a buffer crosses on the way in, and half on the way out.
    few, many = bytes_that_take(1 * MICRO), bytes_that_take(5 * MICRO)
    between: list[float | None] = [None, 2 * (FORK + 4 * MICRO), None]
    assert plan(chain(between, few), 2) == (False, False, False)
    assert plan(chain(between, many), 2) == (False, True, False)


def test_a_chain_is_shared_if_it_pays_for_what_crosses_at_its_ends() -> None:
    size = bytes_that_take(5 * MICRO)
    one = 2 * (FORK + 2 * MICRO)
    assert plan(chain([None, one, None], size), 2)[1]
    assert not any(plan(chain([None, *[one] * 8, None], size), 2))


def test_what_was_written_together_is_fetched_by_one_that_runs_alone() -> None:
    wide = bytes_that_take(10 * MICRO)
    x, y, z = buffer("x"), buffer("y", wide), buffer("z")
    big = Step(20 * MICRO, 11 * MICRO, {x: 64}, (y,))
    last = Step(3 * MICRO, 3 * MICRO, {y: wide}, (z,))
    assert plan([big, last], 2) == (False, False)
    assert plan([last], 2) == (True,)


def test_many_calls_take_few_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = chain([(1 + number % 7) * MICRO for number in range(500)])
    wide = plan(steps, 2)
    monkeypatch.setattr(sharing, "STATES", 64)
    assert plan(steps, 2) == wide


def program(*sizes: int) -> Program:
    """Products of so many operations, one after the other."""
    x, y = buffer("x", kind=BufferKind.INPUT), buffer("y", kind=BufferKind.OUTPUT)
    middle = [buffer(f"t{i}") for i in range(len(sizes) - 1)]
    ends = [x, *middle, y]
    calls = [Call("matmul", (ends[i], ends[i + 1])) for i in range(len(sizes))]
    return Program(
        [x], [y], calls, parallel=frozenset({"matmul"}), work=[Work(flops) for flops in sizes]
    )


def test_large_kernels_are_shared_by_arithmetic_and_small_ones_are_not() -> None:
    target = resolve("x86-64-v3", 2)
    small, large = 10**4, 10**8
    given = program(small, large, small)
    assert plan(steps_of(given, target), 2) == (True, False, True)
    assert plan(steps_of(given, resolve("x86-64-v3", 1)), 1) == (False, False, False)


def test_a_plan_changes_nothing_but_how_calls_run() -> None:
    given = program(1, 1)
    changed = planned(given, (True, False))
    assert [call.alone for call in changed.calls] == [True, False]
    assert [call.args for call in changed.calls] == [call.args for call in given.calls]
    assert planned(given, (False, False)).calls == given.calls
