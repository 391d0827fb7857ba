"""Interpreters that hold the engines to compare with."""

import importlib.metadata
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.cache import Zoo, ZooError
from benchmarks.cli import app
from benchmarks.comparison import worst_error
from benchmarks.inputs import draw_feeds
from benchmarks.peer_engines import TORCH
from benchmarks.zoo import find
from burnish.bench.client import Engine
from burnish.bench.seats import (
    OPENVINO,
    ORT,
    VARIABLE,
    NoInterpreter,
    NotInstalled,
    PeerEngine,
    Seat,
    interpreters,
    seat,
)

HERE = Path(sys.executable)
ABACUS = PeerEngine("abacus", "Abacus", "abacus-of-bronze")


def other(folder: Path, answer: str) -> Path:
    """An interpreter that gives one answer, whatever it is asked."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return path


def test_this_interpreter_comes_first_then_those_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, os.pathsep.join(["/c", "/d"]))
    assert interpreters([Path("/b")]) == (HERE, Path("/b"), Path("/c"), Path("/d"))
    monkeypatch.delenv(VARIABLE)
    assert interpreters() == (HERE,)


def test_an_engine_is_seated_where_its_package_is(tmp_path: Path) -> None:
    assert seat(ORT, (HERE,)) == Seat(ORT, HERE, importlib.metadata.version("onnxruntime"))
    there = other(tmp_path, '{"abacus-of-bronze": "1.2"}')
    assert seat(ABACUS, (HERE, there)) == Seat(ABACUS, there, "1.2")


def test_a_missing_engine_says_what_helps() -> None:
    with pytest.raises(NotInstalled, match="no abacus-of-bronze here; pip install it, or name"):
        seat(ABACUS, (HERE,))


@pytest.mark.parametrize("answer", [None, "hello"])
def test_what_is_no_interpreter_is_named(answer: str | None, tmp_path: Path) -> None:
    path = tmp_path / "absent" if answer is None else other(tmp_path, answer)
    with pytest.raises(NoInterpreter, match=f"{path} does not run as a Python interpreter"):
        seat(ABACUS, (path,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engines", "abacus"], "no engine 'abacus'"),
        (["--peers-python", "/nowhere", "--engines", "openvino"], "/nowhere does not run"),
    ],
)
def test_usage_errors(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burnish.bench.seats.sys.executable", "/nowhere")
    result = CliRunner().invoke(app, ["latency", "--models", "loop", *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("peer", "name"),
    [(OPENVINO, "detector"), (OPENVINO, "half-torchscript"), (TORCH, "lora-dynamo")],
)
def test_peers_give_what_the_model_gives(peer: PeerEngine, name: str) -> None:
    try:
        there, path = seat(peer, interpreters()), Zoo().path(find(name))
    except (NotInstalled, ZooError) as missing:
        pytest.skip(str(missing))
    model = find(name)
    feeds = draw_feeds(model.inputs, model.cases[0])
    found = []
    with Engine("oracle") as oracle, Engine(peer.name, there.python) as engine:
        for one in (oracle, engine):
            one.load(path, 1, model.cases[0].shapes)
            one.feed(feeds)
            found.append(one.outputs())
    worst_error(found[1], found[0])
