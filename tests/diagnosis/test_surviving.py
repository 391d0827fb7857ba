"""What would end the process is tried in a copy of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

import burnish
from burnish.diagnosis import symptom
from burnish.diagnosis.surviving import killed_by
from burnish.errors import UnsupportedModel
from burnish.ir import Graph
from burnish.oracle import Oracle
from burnish.rewrite import Match, Rewriter
from tests.bench.test_user_task import is_running
from tests.diagnosis.planted import ByHand, Planted, deep_model


def end() -> None:
    os.kill(os.getpid(), signal.SIGTRAP)


def fail() -> None:
    raise ValueError("not fatal")


def test_what_ends_it() -> None:
    assert killed_by(end, 10.0) == "SIGTRAP"
    assert killed_by(fail, 10.0) is None
    assert killed_by(os.getpid, 10.0) is None


def test_a_copy_that_hangs_tells_nothing() -> None:
    assert killed_by(lambda: time.sleep(60), 0.05) is None


def test_ctrl_c_leaves_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[int] = []
    fork = os.fork

    def fork_and_note() -> int:
        copies.append(fork())
        return copies[-1]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("burnish.diagnosis.surviving.os.fork", fork_and_note)
    monkeypatch.setattr("burnish.diagnosis.surviving.select.select", interrupted)
    with pytest.raises(KeyboardInterrupt):
        killed_by(lambda: time.sleep(60), 60.0)
    with pytest.raises(ProcessLookupError):
        os.kill(copies[0], 0)


COPY = """
import os, pathlib, time
from burnish.diagnosis.surviving import killed_by

def wait():
    pathlib.Path("draft").write_text(str(os.getpid()))
    os.rename("draft", "copy")
    time.sleep(1000)

killed_by(wait, 1000.0)
"""


def test_a_copy_does_not_outlive_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", COPY])
    deadline = time.monotonic() + 60
    while not Path("copy").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    copy = int(Path("copy").read_text())
    while is_running(copy) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(copy)


class Fragile(Oracle):
    """Ends the process where an operator is negated."""

    def __init__(self, model: Graph) -> None:
        if any(node.op_type == "Neg" for node in model):
            end()
        super().__init__(model)


def test_an_oracle_that_crashes_on_what_a_rewrite_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symptom, "Oracle", Fragile)
    found = burnish.diagnose(deep_model(60), engine="ort", passes=[Planted(layer=5)])
    assert (found.kind, found.guilty) == ("oracle: SIGTRAP", "planted")
    assert found.sources == ("layer5/sigmoid5",)
    assert found.reproducer is not None
    assert found.reproducer.nodes == ["Sigmoid layer5/sigmoid5"]


@dataclass(frozen=True)
class Negating(Planted):
    """Negates what a Sigmoid reads, twice."""

    name: ClassVar[str] = "negating"

    def _write(self, rw: Rewriter, match: Match, facts: None) -> None:
        root = match.root
        if not self._is_here(match):
            self._good(rw, match, facts)
            return
        once = rw.op("Neg", root.inputs, like=root.output)
        twice = rw.op("Neg", [once], like=root.output)
        rw.replace(root.output, rw.op("Sigmoid", [twice], like=root.output, name="new"))


def test_an_oracle_that_crashes_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What all passes leave runs, what some of them leave ends the process."""
    monkeypatch.setattr(symptom, "Oracle", Fragile)
    steps = [Negating(layer=2), "simplify-elementwise", ByHand(layer=5)]
    found = burnish.diagnose(deep_model(60), engine="ort", passes=steps)
    assert (found.kind, found.guilty) == ("numerics", "by-hand")


def test_an_oracle_that_crashes_on_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burnish.diagnosis.diagnose.Reference", lambda *_: end())
    with pytest.raises(UnsupportedModel, match="crashes on the model itself"):
        burnish.diagnose(deep_model(10))
