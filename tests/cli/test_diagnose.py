"""What ``burnish diagnose`` prints, writes and returns."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest

from burnish.passes import PASSES
from tests.cli.conftest import Burnish
from tests.diagnosis.planted import deep_model

PLANTED = ("--engine", "ort", "--passes", "infer-shapes,planted", "--set", "planted.layer=3")


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in the folder where the test runs, and a pass with a defect."""
    monkeypatch.setitem(PASSES, "planted", "tests.diagnosis.planted:Planted")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "deep.onnx"
    onnx.save(deep_model(20), path)
    return path


def test_a_defect_is_explained_and_written(burnish: Burnish, deep: Path) -> None:
    done = burnish("diagnose", deep, *PLANTED)
    assert done.code == 3
    assert done.err == ""
    for text in (
        "pass        planted", "rule        rewrite-sigmoid, application ",
        "at          layer3/sigmoid3", "smallest    1 operator: Sigmoid",
        "instead     --skip planted: the result is right without it", "wrote deep-diagnosis in",
    ):  # fmt: skip
        assert text in done.out
    assert sorted(path.name for path in Path("deep-diagnosis").iterdir()) == [
        "expected.npz", "inputs.npz", "report.json", "reproducer.onnx",
    ]  # fmt: skip
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("tolerance", [(), ("--tolerance", "0.0123456789")])
def test_the_command_that_it_prints_shows_it_again(
    burnish: Burnish, deep: Path, tolerance: tuple[str, ...]
) -> None:
    out = burnish("diagnose", deep, *PLANTED, *tolerance).out
    command = shlex.split(out.splitlines()[-1])
    assert command[0] == "burnish"
    assert [word for word in command if word in tolerance] == list(tolerance)
    again = burnish(*command[1:], "-o", "again", "--json")
    assert again.code == 3
    found = json.loads(again.out)
    assert (found["kind"], found["pass"], found["application"]) == ("numerics", "planted", 1)


def test_json(burnish: Burnish, deep: Path) -> None:
    done = burnish("diagnose", deep, *PLANTED, "--json", "-o", "out")
    assert done.code == 3
    printed, written = json.loads(done.out), json.loads(Path("out/report.json").read_text())
    assert printed == {"model": str(deep), "output": "out", **written}
    assert written["version"] == 1
    assert written["reproducer"]["nodes"] == ["Sigmoid layer3/sigmoid3"]
    assert written["nodes"] == ["layer3/sigmoid3"]


def test_nothing_wrong(burnish: Burnish, deep: Path) -> None:
    done = burnish("diagnose", deep, "--engine", "ort")
    assert (done.code, done.err) == (0, "")
    first, *rest = done.out.splitlines()
    assert first == "nothing is wrong: the result agrees with the original"
    told = " ".join(" ".join(rest).split())
    form = (
        r"right rewritten for ONNX Runtime, \d of \d\d passes with an effect, on 3 sets of inputs: "
    )
    assert re.fullmatch(form + "bit-identical", told), told
    assert not Path("deep-diagnosis").exists()


def test_nothing_wrong_in_json(burnish: Burnish, deep: Path) -> None:
    done = burnish("diagnose", deep, "--engine", "ort", "--json")
    found = json.loads(done.out)
    assert (done.code, found["wrong"], found["output"], found["command"]) == (0, False, None, None)
    (attempt,) = found["attempts"]
    assert attempt["what"] == "rewritten for ONNX Runtime"
    assert attempt["samples"] > 0
    assert 0 <= attempt["error"] < 1e-4


def test_quiet(burnish: Burnish, deep: Path) -> None:
    done = burnish("diagnose", deep, *PLANTED, "-q")
    assert (done.code, done.out, done.err) == (3, "", "")


def test_inputs_of_the_users_own(burnish: Burnish, deep: Path) -> None:
    np.savez("in.npz", x=np.zeros((4, 8), np.float32))
    # Of zeros the defect makes nothing wrong.
    done = burnish("diagnose", deep, *PLANTED, "--inputs", "in.npz")
    assert done.code == 0
    np.savez("in.npz", x=np.ones((4, 8), np.float32))
    done = burnish("diagnose", deep, *PLANTED, "--inputs", "in.npz")
    assert done.code == 3


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--engine", "gpu"), 2, "--engine is ort or tvm"),
        (("--time", "0"), 2, "--time takes a number of seconds above 0"),
        (("--time", "0.000001"), 1, "raise --time"),
        (("--tolerance", "-1"), 2, "--tolerance takes a number of at least 0"),
        (("--inputs", "nowhere.npz"), 4, "nowhere.npz does not exist"),
        (("--inputs", "x.txt"), 2, "takes"),
        (("--passes", "no-such"), 2, "unknown pass 'no-such'"),
        (("-o", "no/such/folder"), 2, "there is no folder no/such"),
        (("-o", "deep.onnx"), 2, "deep.onnx is no folder"),
        (("-o", "full"), 2, "full is there already"),
    ],
)
def test_bad_options(
    burnish: Burnish, deep: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    Path("full").mkdir()
    Path("full/file").touch()
    done = burnish("diagnose", deep, *options)
    assert done.code == code
    assert message in done.message
    assert not Path("deep-diagnosis").exists()


def test_a_folder_that_is_there_but_empty_is_used(burnish: Burnish, deep: Path) -> None:
    Path("out").mkdir()
    assert burnish("diagnose", deep, *PLANTED, "-o", "out").code == 3
    assert Path("out/report.json").exists()


def test_a_disk_that_is_full(burnish: Burnish, deep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("burnish.diagnosis.outcome._save_arrays", refuse)
    done = burnish("diagnose", deep, *PLANTED)
    assert done.code == 1
    assert "No space left" in done.message
    assert sorted(path.name for path in Path().iterdir()) == ["deep.onnx"]


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_file_that_is_no_model(burnish: Burnish, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    done = burnish("diagnose", path, "-o", tmp_path / "out")
    assert done.code == 4
    assert done.message
