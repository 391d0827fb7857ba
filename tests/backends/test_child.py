"""A process that answers requests, however it starts and ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from burnish.backends.child import Child, ChildFailed

WORKER = "burnish.backends.run_worker"


def test_files_of_the_working_folder_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("struct.py", "numpy.py", "burnish.py"):
        (tmp_path / name).write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ChildFailed, match="nothing"):
        Child(WORKER, "nothing", 30.0)


def test_what_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ChildFailed, match="did not start: No such file"):
        Child(WORKER, "nothing", 30.0)


def test_ctrl_c_at_the_start_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    popen = subprocess.Popen

    def start(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **options))
        return started[-1]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("burnish.backends.child.subprocess.Popen", start)
    monkeypatch.setattr(Child, "ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Child(WORKER, "nothing", 30.0)
    assert started[0].poll() is not None
