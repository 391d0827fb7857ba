"""What ``inspect`` says of FLOPs, of a machine at work, and where no terminal is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import burnish as api
from burnish.backends import profiling
from burnish.testing import graph
from tests.cli.conftest import Burnish


def test_inspect_a_model_that_computes_nothing(burnish: Burnish, tmp_path: Path) -> None:
    path = tmp_path / "moves.onnx"
    api.save(graph("g (float[2, 3] x) => (float[3, 2] y) { y = Transpose(x) }"), path)
    facts = json.loads(burnish("inspect", path, "--json").out)
    assert facts["flops"] == 0
    assert facts["operators_of_unknown_cost"] == 0


@pytest.mark.parametrize("waited", [0.0, 0.5])
def test_a_profile_says_whether_the_machine_was_at_work(
    burnish: Burnish, artifact: Path, monkeypatch: pytest.MonkeyPatch, waited: float
) -> None:
    monkeypatch.setattr(profiling, "seconds_waited", lambda: waited * time.perf_counter())
    shown = " ".join(burnish("inspect", artifact, "--profile").out.split())
    assert ("the machine was at work" in shown) == (waited > 0)
    (entry,) = json.loads(burnish("inspect", artifact, "--profile", "--json").out)[
        "profile_entries"
    ]
    assert entry["is_disturbed"] == (waited > 0)


def test_tables_are_whole_where_no_terminal_is(
    burnish: Burnish, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, name = tmp_path / "long.onnx", "a_node_whose_name_is_very_long" * 4
    model = graph("g (float[2, 3] x) => (float[2, 3] y) { y = Exp(x) }")
    next(iter(model)).provenance = (name,)
    next(iter(model)).name = name
    api.save(model, path)
    made = tmp_path / "long.artifact"
    assert burnish("compile", path, "-o", made, "--tune", "off").code == 0
    monkeypatch.delenv("COLUMNS", raising=False)
    assert name in burnish("inspect", made, "--profile").out
    monkeypatch.setenv("COLUMNS", "80")
    assert name not in burnish("inspect", made, "--profile").out
