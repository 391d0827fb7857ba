"""The disk is full, the user has enough, or burnish itself is wrong."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from burnish import errors
from burnish.backends.artifact import Artifact
from burnish.cli import main
from burnish.ir import Graph
from tests.cli.conftest import Burnish, Outcome
from tests.depth import slow

FAILED, INTERRUPTED = 1, 130

pytestmark = pytest.mark.usefixtures("whole_or_nothing")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system refuse files beyond a few bytes while results are saved."""
    for kind in (Graph, Artifact):
        monkeypatch.setattr(kind, "save", limited(kind.save))
    monkeypatch.setattr(np, "savez", limited(np.savez))


def limited(function: Callable[..., None]) -> Callable[..., None]:
    def call(*args: object, **options: object) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
        try:
            function(*args, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return call


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("out", ["out", "out.burnish"])
def test_full_disk_when_compiling(burnish: Burnish, model: Path, tmp_path: Path, out: str) -> None:
    done = burnish("compile", model, "-o", tmp_path / out)
    assert f"cannot write {tmp_path / out}" in done.message
    assert done.code == FAILED


@pytest.mark.usefixtures("full_disk")
def test_full_disk_when_optimizing(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    done = burnish("optimize", model, "-o", tmp_path / "out.onnx")
    assert f"cannot write {tmp_path / 'out.onnx'}" in done.message
    assert done.code == FAILED


@pytest.mark.usefixtures("full_disk")
def test_full_disk_when_running(burnish: Burnish, artifact: Path, tmp_path: Path) -> None:
    done = burnish("run", artifact, "-o", tmp_path / "out.npz")
    assert f"cannot write {tmp_path / 'out.npz'}" in done.message
    assert done.code == FAILED


@pytest.mark.usefixtures("full_disk")
def test_full_disk_keeps_what_was_there(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    before = tmp_path / "kept.onnx"
    before.write_text("the previous result")
    assert burnish("optimize", model, "-o", before).code == FAILED
    assert before.read_text() == "the previous result"


@pytest.fixture
def listening() -> Iterator[None]:
    """Hear Ctrl-C, also where the tests run in the background and were started deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("command", ["optimize", "compile"])
@pytest.mark.parametrize("moment", ["burnish.pipeline.run_pass", "os.replace"])
def test_interrupt(
    burnish: Burnish,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    moment: str,
) -> None:
    monkeypatch.setattr(moment, lambda *args, **options: signal.raise_signal(signal.SIGINT))
    done = burnish(command, model, "-o", tmp_path / "out.onnx")
    assert "interrupted" in done.message
    assert done.code == INTERRUPTED


def pressing(
    slow: str, model: Path, tmp_path: Path, times: int, number: int = signal.SIGINT
) -> Outcome:
    """Press Ctrl-C in a real process, in which a pass does what ``slow`` says once it is ready."""
    code = (
        "import signal, sys, time, burnish.pipeline as p\n"
        "from concurrent.futures import ThreadPoolExecutor as Pool\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"def slow(*args, **options):\n    {slow}\n"
        "p.run_pass = slow\n"
        "from burnish.cli import main\n"
        "sys.exit(main())\n"
    )
    command = [sys.executable, "-c", code, "optimize", str(model), "-o", str(tmp_path / "out.onnx")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(times):
            process.send_signal(number)
            time.sleep(0.1)
        try:
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    return Outcome(process.returncode, out, err)


def test_interrupt_of_a_process(model: Path, tmp_path: Path) -> None:
    """The same through a real process: passes are slowed down, then Ctrl-C comes."""
    done = pressing("print('ready', flush=True); time.sleep(60)", model, tmp_path, 1)
    assert done.message == "burnish: interrupted; nothing was written"
    assert done.code == INTERRUPTED


@pytest.mark.parametrize("number", [signal.SIGTERM, slow(signal.SIGHUP)])
def test_what_ends_a_job_leaves_nothing_behind(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Such as a worker, which is stopped most of the time, and its files."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    slow = (
        "from burnish.bench.client import Engine\n"
        "    with Engine('oracle') as engine:\n"
        "        engine.resident()\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)"
    )
    done = pressing(slow, model, tmp_path, 1, number)
    assert done.message == "burnish: interrupted; nothing was written"
    assert done.code == 128 + number
    assert list(scratch.iterdir()) == []


def test_ctrl_c_again_and_again_waits_for_no_thread(model: Path, tmp_path: Path) -> None:
    slow = (
        "with Pool() as pool: "
        "pool.submit(time.sleep, 60); print('ready', flush=True); time.sleep(60)"
    )
    done = pressing(slow, model, tmp_path, 5)
    assert done.message == "burnish: interrupted; nothing was written"
    assert done.code == INTERRUPTED


def test_a_bug_is_called_one(
    burnish: Burnish, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("burnish.report.describe_graph", crash)
    done = burnish("inspect", model)
    assert "this is a bug in burnish (ZeroDivisionError: by zero)" in done.message
    assert done.code == FAILED


def test_traceback_only_on_demand(burnish: Burnish, tmp_path: Path) -> None:
    assert "Traceback" not in burnish("inspect", tmp_path / "missing.onnx").err
    done = burnish("inspect", tmp_path / "missing.onnx", "-v")
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("burnish: ")


def test_a_pass_that_is_undone_is_named(
    burnish: Burnish, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from burnish.passes.cleanup.remove_dead_code import RemoveDeadCode

    def crash(*args: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(RemoveDeadCode, "run", crash)
    path = tmp_path / "result.onnx"
    done = burnish("optimize", model, "-o", path)
    assert done.code == 0
    assert "pass remove-dead-code was undone: it crashed" in done.err
    assert "Traceback" not in done.err
    assert "Traceback" in burnish("optimize", model, "-o", path, "-v").err


def test_exit_codes() -> None:
    kinds = (errors.UnsupportedModel, errors.UsageError, errors.GateFailed, errors.InvalidInput)
    assert [kind.exit_code for kind in kinds] == [1, 2, 3, 4]
    assert main(["--version"]) == 0
