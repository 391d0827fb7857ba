"""Many threads, many models, sleeping pools: the same answers and no memory that grows."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from struct import pack

import numpy as np
import pytest

from burnish.backends.artifact import Artifact, load_artifact
from burnish.backends.build import Provenance, build_artifact
from burnish.backends.program import Buffer, BufferKind, Call, Program
from burnish.errors import BurnishError, InvalidInput
from burnish.target import Target
from tests.backends.artifact import toy


def run_many(artifact: Artifact, seed: int, count: int, wrong: list[int]) -> None:
    x = toy.sample(seed)
    expected = toy.answer(x)
    for _ in range(count):
        if not np.array_equal(artifact.run({"x": x})["y"], expected):
            wrong.append(seed)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_four_callers_on_one_model(artifact: Artifact, tmp_path: Path, threads: int) -> None:
    artifact.save(tmp_path / "m")
    shared = load_artifact(tmp_path / "m", threads=threads)
    wrong: list[int] = []
    callers = [
        threading.Thread(target=run_many, args=(shared, seed, 300, wrong)) for seed in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


def test_a_sleeping_pool_wakes(artifact: Artifact) -> None:
    for _ in range(20):
        time.sleep(0.002)
        run_many(artifact, 0, 1, wrong := [])
        assert wrong == []


def test_an_idle_model_uses_no_processor(artifact: Artifact) -> None:
    artifact.run({"x": toy.sample()})
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1


def test_a_run_without_parallel_kernels_wakes_nobody(kernels: bytes, target: Target) -> None:
    made = single("reverse", kernels, target)
    made.run({"x": toy.sample()})
    time.sleep(0.05)
    before = voluntary_switches()
    for _ in range(50):
        made.run({"x": toy.sample()})
    assert voluntary_switches() == before


def voluntary_switches() -> list[int]:
    """How often each thread but this one has gone to sleep."""
    main = threading.get_native_id()
    tasks = (task for task in os.listdir("/proc/self/task") if int(task) != main)
    return [int(status(task, "voluntary_ctxt_switches")) for task in sorted(tasks)]


def status(task: str, field: str) -> str:
    lines = Path("/proc/self/task", task, "status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(field))


@pytest.mark.skipif(sys.platform != "linux", reason="binds threads on Linux only")
def test_threads_run_where_they_are_wanted(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact.save(tmp_path / "m")
    allowed = sorted(os.sched_getaffinity(0))
    wanted = [allowed[-1], allowed[0]]
    known = set(os.listdir("/proc/self/task"))
    monkeypatch.setenv("BURNISH_AFFINITY", ",".join(map(str, wanted)))
    loaded = load_artifact(tmp_path / "m", threads=4)
    assert np.array_equal(loaded.run({"x": toy.sample()})["y"], toy.answer(toy.sample()))
    new = sorted(set(os.listdir("/proc/self/task")) - known, key=int)
    assert [status(task, "Cpus_allowed_list") for task in new] == [
        str(wanted[0]), str(wanted[1]), str(wanted[0])
    ]  # fmt: skip
    assert sorted(os.sched_getaffinity(0)) == allowed


@pytest.mark.parametrize("text", ["x", "1-", "3-1", "0,", "-1", "0;1", "99999"])
def test_a_list_of_processors_that_is_none_is_refused(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    artifact.save(tmp_path / "m")
    monkeypatch.setenv("BURNISH_AFFINITY", text)
    with pytest.raises(InvalidInput, match=f'BURNISH_AFFINITY is "{text}"; list processors'):
        load_artifact(tmp_path / "m", threads=2).run({"x": toy.sample()})


def test_a_processor_that_is_not_there_is_named(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact.save(tmp_path / "m")
    monkeypatch.setenv("BURNISH_AFFINITY", "1023")
    with pytest.raises(InvalidInput, match="cannot use processor 1023"):
        load_artifact(tmp_path / "m", threads=2).run({"x": toy.sample()})


def test_two_models_in_one_process(artifact: Artifact, tmp_path: Path) -> None:
    artifact.save(tmp_path / "a")
    artifact.save(tmp_path / "b.burnish")
    models = [load_artifact(tmp_path / "a"), load_artifact(tmp_path / "b.burnish", threads=3)]
    for seed in range(30):
        run_many(models[seed % 2], seed, 1, wrong := [])
        assert wrong == []


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def thread_count() -> int:
    return len(os.listdir("/proc/self/task"))


def test_memory_does_not_grow_with_runs(artifact: Artifact) -> None:
    run_many(artifact, 0, 200, [])
    before = resident_bytes()
    run_many(artifact, 0, 3000, [])
    assert resident_bytes() - before < 1 << 20


def test_a_forgotten_model_gives_back_its_threads_and_files(
    artifact: Artifact, tmp_path: Path
) -> None:
    artifact.save(tmp_path / "m")
    gc.collect()
    threads, files = thread_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        loaded = load_artifact(tmp_path / "m", threads=3)
        loaded.run({"x": toy.sample()})
        del loaded
    gc.collect()
    assert thread_count() == threads
    assert len(os.listdir("/proc/self/fd")) == files


FORK = """
import os, sys
import numpy as np
from burnish.backends.artifact import load_artifact
model = load_artifact(sys.argv[1], threads=2)
x = np.zeros((37, 53), np.float32)
expected = model.run({"x": x})["y"]
child = os.fork()
answer = model.run({"x": x})["y"]
if child == 0:
    os._exit(0 if (answer == expected).all() else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_forked_process_runs_without_the_workers(artifact: Artifact, tmp_path: Path) -> None:
    artifact.save(tmp_path / "m")
    command = [sys.executable, "-c", FORK, str(tmp_path / "m")]
    subprocess.run(command, check=True, timeout=30)


def single(kernel: str, kernels: bytes, target: Target) -> Artifact:
    x = Buffer("x", toy.SHAPE, "float32", BufferKind.INPUT)
    y = Buffer("y", toy.SHAPE, "float32", BufferKind.OUTPUT)
    return build_artifact(
        [Program([x], [y], [Call(kernel, (x, y))], [kernels])], target, [], Provenance()
    )


def test_a_failing_kernel_is_named_with_its_reason(kernels: bytes, target: Target) -> None:
    made = single("fails", kernels, target)
    for _ in range(50):
        with pytest.raises(BurnishError, match="kernel fails failed: RuntimeError: task failed"):
            made.run({"x": toy.sample()})


def test_kernels_see_aligned_memory_wherever_the_caller_has_it(
    kernels: bytes, target: Target
) -> None:
    made = single("aligned", kernels, target)
    x = toy.sample()
    for shift in range(0, 64, 4):
        memory = np.zeros(x.nbytes + 128, np.uint8)
        shifted = memory[shift : shift + x.nbytes].view(np.float32).reshape(x.shape)
        shifted[...] = x
        np.testing.assert_array_equal(made.run({"x": shifted})["y"], x)


def test_a_kernel_of_the_runtime_is_linked_in(kernels: bytes, target: Target) -> None:
    made = single("burnish_copy", kernels, target)
    np.testing.assert_array_equal(made.run({"x": toy.sample()})["y"], toy.sample())


def test_a_run_in_parts_keeps_its_model(artifact: Artifact, tmp_path: Path) -> None:
    artifact.save(tmp_path / "m")
    loaded = load_artifact(tmp_path / "m")
    x, y = toy.sample(), np.empty(toy.SHAPE, np.float32)
    run = loaded.native.begin(0, *(pack("P", array.ctypes.data) for array in (x, y)))
    del loaded
    gc.collect()
    with run:
        run.calls(0, 3)
    np.testing.assert_array_equal(y, toy.answer(x))
