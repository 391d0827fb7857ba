"""Worker processes and the lock of timing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from burnish.bench import environment
from burnish.bench.client import Engine, EngineFailed
from burnish.bench.environment import machine_to_ourselves
from burnish.output import CannotWrite

START = """
import time
from burnish.bench.client import Engine
engine = Engine("ort")
engine.resident()
print(engine._process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's end")
def test_a_stopped_worker_ends_with_who_started_it() -> None:
    with subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.send_signal(signal.SIGTERM)
    for _ in range(500):
        if not _runs(worker):
            return
        time.sleep(0.01)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker is still there")


HANGS = """
import os, time

def load(job):
    return lambda feeds: time.sleep(1000)

def crash(job):
    os._exit(7)
"""


@pytest.fixture
def loaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hanging_loader.py").write_text(HANGS)
    monkeypatch.syspath_prepend(tmp_path)


def test_an_engine_that_hangs_is_given_up(loaders: None, tmp_path: Path) -> None:
    with Engine("hanging_loader:load", limit=60.0) as engine:
        engine.load(tmp_path, 1)
        engine.limit = 0.2
        with pytest.raises(EngineFailed, match=r"no answer in 0\.2 s; it hangs"):
            engine.time(1, warm=0)
        # It is gone, and says so from then on.
        with pytest.raises(EngineFailed, match="the worker died"):
            engine.resident()


def test_an_engine_that_crashes_is_told(loaders: None, tmp_path: Path) -> None:
    with (
        Engine("hanging_loader:crash") as engine,
        pytest.raises(EngineFailed, match="exit status 7"),
    ):
        engine.load(tmp_path, 1)


def _runs(pid: int) -> bool:
    """Whether there is such a process, other than one that nobody has asked about."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_a_lock_leaves_what_others_have_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "gettempdir", lambda: str(tmp_path))
    precious, lock = tmp_path / "precious", tmp_path / "burnish-timing.lock"
    precious.write_text("all")
    lock.symlink_to(precious)
    with pytest.raises(CannotWrite, match="cannot lock"), machine_to_ourselves():
        pass
    assert precious.read_text() == "all"
    lock.unlink()
    with machine_to_ourselves():
        assert lock.exists()
