"""Calls that run alone or on all threads, as compiled and as asked for while measuring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from burnish.backends import run_worker
from burnish.backends.artifact import Artifact, load_artifact
from burnish.backends.build import Provenance, build_artifact, relink
from burnish.backends.child import Child, ChildFailed
from burnish.backends.program import Buffer, BufferKind, Call, Program
from burnish.backends.run_worker import Bench, Request
from burnish.backends.self_test import Vector
from burnish.errors import InvalidInput
from burnish.target import Target
from tests.backends.artifact import toy

COUNTS = (
    toy.KERNELS
    + r"""
static int32_t note(int32_t task, burnish_environment *env, void *closure) {
  if (!task) *(float *)closure = (float)env->tasks;
  return 0;
}

KERNEL(counts) {
  UNUSED;
  return __TVMBackendParallelLaunch(note, FLOATS(1), 0);
}
"""
)


@pytest.fixture(scope="module")
def counting(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Three calls that say by how many threads they ran."""
    data = toy.compile_c(COUNTS, target, tmp_path_factory.mktemp("counts"))
    x = Buffer("x", (1,), "float32", BufferKind.INPUT)
    outputs = [Buffer(name, (1,), "float32", BufferKind.OUTPUT) for name in "abc"]
    calls = [Call("counts", (x, output), alone=output.name == "b") for output in outputs]
    return Program([x], outputs, calls, [data])


@pytest.fixture
def made(counting: Program, target: Target) -> Artifact:
    x = np.zeros(1, np.float32)
    vector = Vector({"x": x}, {"a": x + 2, "b": x + 1, "c": x + 2})
    return build_artifact([counting], target, [vector], Provenance())


def threads_of(artifact: Artifact) -> list[float]:
    return [float(y[0]) for y in artifact.run({"x": np.zeros(1, np.float32)}).values()]


def test_calls_run_alone_as_compiled(made: Artifact) -> None:
    assert threads_of(made) == [2, 1, 2]


def test_calls_run_alone_as_asked(made: Artifact) -> None:
    made.native.share(0, [True, False, True])
    assert threads_of(made) == [1, 2, 1]
    with pytest.raises(InvalidInput, match="2 calls are given"):
        made.native.share(0, [True, False])


def test_relinking_changes_how_calls_run_and_leaves_a_whole_artifact(
    made: Artifact, counting: Program, target: Target
) -> None:
    assert threads_of(made) == [2, 1, 2]
    calls = [replace(call, alone=not call.alone) for call in counting.calls]
    relink(made, [replace(counting, calls=calls)], target)
    assert threads_of(made) == [1, 2, 1]
    assert threads_of(load_artifact(made.path)) == [1, 2, 1]


def test_times_are_seconds_by_plan_round_and_call(artifact: Artifact) -> None:
    plans = ((True, False, False), (False, False, False))
    child = Child("burnish.backends.run_worker", str(artifact.path), 30.0)
    try:
        rounds = child.ask(Request(0, plans, 0.3, 1, True), 30.0)
        assert all(rounds)
        # A turn may have been disturbed.
        shapes = {turn.shape[1:] for plan in rounds for turn in plan if len(turn)}
        assert shapes <= {(3,)}
        assert all((turn > 0).all() for plan in rounds for turn in plan)
    finally:
        child.close()


def test_what_takes_too_long_is_given_up(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = []
    monkeypatch.setattr(Bench, "_block", lambda *_: turns.append(1))
    monkeypatch.setattr(run_worker, "perf_counter", iter(range(0, 1000, 10)).__next__)
    plans = ((False,) * 3,) * 2
    assert Bench(artifact).time(Request(0, plans, 1.0, 5, False)) == [[], []]
    assert len(turns) == 2


def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="nothing"):
        Child("burnish.backends.run_worker", str(tmp_path / "nothing"), 30.0)
