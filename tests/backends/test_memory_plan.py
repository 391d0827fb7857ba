"""The arena: nothing that is still needed is ever overwritten."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.backends.memory_plan import ALIGNMENT, plan_memory
from burnish.backends.program import Buffer, BufferKind, Call, Program
from tests.depth import part


def temporary(name: str, size: int) -> Buffer:
    return Buffer(name, (size,), "uint8", BufferKind.TEMPORARY)


def chain(*buffers: Buffer) -> Program:
    """Each buffer computed from the one before it."""
    source = Buffer("in", (8,), "uint8", BufferKind.INPUT)
    target = Buffer("out", (8,), "uint8", BufferKind.OUTPUT)
    steps = (source, *buffers, target)
    calls = [Call("k", (a, b)) for a, b in itertools.pairwise(steps)]
    return Program([source], [target], calls)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Calls that read any earlier temporaries or views of them."""
    known: list[Buffer] = []
    calls: list[Call] = []
    for index in range(draw(st.integers(1, 25))):
        reads = draw(st.lists(st.sampled_from(known), max_size=3)) if known else []
        reads = [draw(st.sampled_from((buffer, view_of(draw, buffer)))) for buffer in reads]
        size = draw(st.sampled_from((1, 63, 64, 65, 500, 4096)))
        outputs = draw(st.integers(1, 2))
        writes = [temporary(f"t{index}.{i}", size) for i in range(outputs)]
        calls.append(Call("k", (*reads, *writes), outputs))
        known += writes
    return Program([], [], calls)


def view_of(draw: st.DrawFn, buffer: Buffer) -> Buffer:
    start = draw(st.integers(0, buffer.nbytes - 1))
    size = draw(st.integers(1, buffer.nbytes - start))
    return Buffer("view", (size,), "uint8", BufferKind.TEMPORARY, alias_of=buffer, offset=start)


@settings(max_examples=part(200), deadline=None)
@given(programs())
def test_every_call_finds_what_was_written(program: Program) -> None:
    plan = plan_memory(program)
    arena = np.zeros(plan.arena_bytes, np.uint8)
    stamp: dict[Buffer, int] = {}

    def window(buffer: Buffer) -> np.ndarray:
        owner, offset = buffer.root()
        start = plan.offsets[owner] + offset
        return arena[start : start + buffer.nbytes]

    for number, call in enumerate(program.calls, 1):
        for buffer in call.reads:
            assert (window(buffer) == stamp[buffer.root()[0]]).all()
        for output, buffer in enumerate(call.writes):
            stamp[buffer] = number + 100 * output
            window(buffer)[:] = stamp[buffer]
        for buffer in call.writes:
            assert (window(buffer) == stamp[buffer]).all()
        for buffer in call.reads:
            assert (window(buffer) == stamp[buffer.root()[0]]).all()


@settings(max_examples=part(100), deadline=None)
@given(programs())
def test_places_are_aligned_and_repeat(program: Program) -> None:
    plan = plan_memory(program)
    assert all(offset % ALIGNMENT == 0 for offset in plan.offsets.values())
    assert plan == plan_memory(program)


def test_a_chain_needs_two_buffers() -> None:
    plan = plan_memory(chain(*(temporary(f"t{i}", 640) for i in range(6))))
    assert plan.arena_bytes == 1280


def test_slices_written_one_by_one_share_their_owner() -> None:
    whole = temporary("whole", 128)
    parts = [
        Buffer(f"part{i}", (64,), "uint8", BufferKind.TEMPORARY, alias_of=whole, offset=64 * i)
        for i in range(2)
    ]
    between = temporary("between", 128)
    calls = [Call("k", (parts[0],)), Call("k", (between,)), Call("k", (between, parts[1]))]
    plan = plan_memory(Program([], [], [*calls, Call("k", (whole, temporary("end", 64)))]))
    first, second = sorted((plan.offsets[whole], plan.offsets[between]))
    assert second - first >= 128


def _looping(jump: int | None) -> Program:
    """One value from before the loop is read at its start, another one made at its end."""
    before, inside, end = temporary("before", 64), temporary("inside", 64), temporary("end", 64)
    calls = [Call("k", (before,)), Call("k", (before, inside)), Call("k", (inside, end))]
    back = [] if jump is None else [Call("goto", (), outputs=0, jump=jump)]
    return Program([], [], [*calls, *back])


def test_the_next_round_finds_what_came_from_before_the_loop() -> None:
    before, _, end = plan_memory(_looping(1)).offsets.values()
    assert before != end


@pytest.mark.parametrize("jump", [None, 0, 2])
def test_only_what_a_loop_reads_from_before_it_outlives_its_round(jump: int | None) -> None:
    before, _, end = plan_memory(_looping(jump)).offsets.values()
    assert before == end


def test_an_inner_loop_keeps_what_the_outer_one_needs() -> None:
    a, b, c = (temporary(name, 64) for name in "abc")
    calls = [
        Call("k", (a,)),
        Call("k", (b,)),
        Call("k", (a, b)),
        Call("goto", (), outputs=0, jump=2),
        Call("k", (c,)),
        Call("goto", (), outputs=0, jump=1),
    ]
    plan = plan_memory(Program([], [], calls))
    assert plan.offsets[c] not in (plan.offsets[a],)


def test_reading_what_was_never_written_is_an_error() -> None:
    with pytest.raises(ValueError, match="reads a before anything writes it"):
        plan_memory(Program([], [], [Call("k", (temporary("a", 64), temporary("b", 64)))]))


def test_a_view_beyond_its_owner_is_an_error() -> None:
    whole = temporary("whole", 64)
    view = Buffer("view", (64,), "uint8", BufferKind.TEMPORARY, alias_of=whole, offset=1)
    with pytest.raises(ValueError, match="view sees bytes outside whole"):
        plan_memory(Program([], [], [Call("k", (whole,)), Call("k", (view, whole))]))


def test_sizes_known_only_at_run_time_take_no_room() -> None:
    unknown = Buffer("n", (-1, 3), "float32", BufferKind.TEMPORARY)
    calls = [Call("r", (unknown,), region=b"x"), Call("r", (unknown, unknown), region=b"x")]
    assert plan_memory(Program([], [], calls)).arena_bytes == 0
