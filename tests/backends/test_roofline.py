"""Bounds: arithmetic or traffic, and the level of memory that an operand can come from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from burnish.backends.calls import CallSpec, Operand
from burnish.backends.roofline import Level, Roofline, bounds, reuse_distances

KB = 1000
MACHINE = Roofline(
    "toy",
    1,
    {"float32": 100.0},
    (Level("L2", 10 * KB, 8.0 * KB), Level("L3", 100 * KB, 4.0 * KB), Level("memory", None, KB)),
)


def operand(space: str, start: int, size: int, written: bool = False) -> Operand:
    return Operand(space, start, size, size, written)


def call(*operands: Operand, flops: int = 0, arithmetic: str = "float32") -> CallSpec:
    return CallSpec("k", flops, arithmetic, ("Conv",), ("conv",), operands)


def chain(size: int, weights: int) -> list[CallSpec]:
    """Three calls with weights of their own, from one half of the arena to the other and back."""
    halves = [operand("arena", 0, size), operand("arena", size, size)]
    return [
        call(operand("weights", n * weights, weights), halves[n % 2], halves[1 - n % 2])
        for n in range(3)
    ]


def test_weights_are_as_far_as_a_whole_run_touches() -> None:
    distances = reuse_distances(chain(size=10, weights=1000))
    assert [row[0] for row in distances] == [3020] * 3


def test_what_was_just_written_is_near() -> None:
    assert reuse_distances(chain(size=10, weights=1000))[1][1:] == [10, 10]


def test_the_first_call_follows_the_last() -> None:
    weights = call(operand("weights", 0, 7))
    assert reuse_distances([weights, call(operand("arena", 0, 5)), weights]) == [[7], [12], [12]]


def test_arena_operands_share_bytes_by_overlap() -> None:
    calls = [call(operand("arena", 0, 100)), call(operand("weights", 0, 50)),
             call(operand("arena", 60, 10))]  # fmt: skip
    assert reuse_distances(calls)[2] == [60]


def test_inputs_are_told_apart_by_their_number() -> None:
    first, second = operand("input", 0, 8), operand("input", 1, 8)
    assert not first.overlaps(second)
    assert first.overlaps(operand("input", 0, 4))
    assert not operand("arena", 0, 8).overlaps(operand("weights", 0, 8))


def test_arithmetic_bounds_what_computes_much() -> None:
    (bound,) = bounds([call(operand("weights", 0, 8), flops=1000)], MACHINE)
    assert (bound.seconds, bound.by) == (10.0, "arithmetic")


@pytest.mark.parametrize(
    ("size", "by", "seconds"),
    [(8 * KB, "L2", 1.0), (40 * KB, "L3", 10.0), (200 * KB, "memory", 200.0)],
)
def test_the_level_that_holds_the_data_bounds_the_rest(size: int, by: str, seconds: float) -> None:
    (bound,) = bounds([call(operand("weights", 0, size))], MACHINE)
    assert (bound.by, bound.seconds) == (by, seconds)


def test_traffic_of_far_levels_passes_the_near_ones() -> None:
    """Few bytes from memory, many from L2: both go through L2."""
    near = operand("arena", 0, 9 * KB)
    far = operand("weights", 0, 1 * KB)
    sweep = call(operand("input", 0, 200 * KB))
    bound = bounds([sweep, call(near), call(near, far)], MACHINE)[-1]
    assert bound.by == "L2"
    assert bound.seconds == pytest.approx(10 * KB / (8 * KB))


def test_an_arithmetic_that_was_not_measured_bounds_nothing() -> None:
    (bound,) = bounds(
        [call(operand("weights", 0, 8 * KB), flops=10**9, arithmetic="int8")], MACHINE
    )
    assert bound.by == "L2"


def test_no_calls_no_bounds() -> None:
    assert bounds([], MACHINE) == []


def test_a_loop_is_bound_by_all_its_rounds_from_the_nearest_level() -> None:
    """A round finds what the last one left there, wherever it came from first."""
    looped = replace(call(operand("weights", 0, 200 * KB), flops=100), repeats=True)
    (bound,) = bounds([looped], MACHINE, [4])
    assert (bound.by, bound.seconds) == ("L2", 100.0)
    assert bounds([looped], MACHINE) == bounds([looped], MACHINE, [None]) == [None]


def test_only_what_must_be_touched_counts() -> None:
    row = Operand("weights", 0, 200 * KB, 80, False)
    (bound,) = bounds([call(row)], MACHINE)
    assert (bound.by, bound.seconds) == ("L2", 0.01)
