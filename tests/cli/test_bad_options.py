"""Options that do not exist or do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import burnish as api
from burnish.errors import UsageError
from tests.cli.conftest import Burnish

USAGE = UsageError.exit_code

pytestmark = pytest.mark.usefixtures("whole_or_nothing")


WRONG_OPTIONS = {
    "unknown pass": (["--passes", "fold-constant"], "did you mean fold-constants"),
    "no pass": (["--passes", ""], "names no pass"),
    "unknown skipped pass": (["--skip", "fuse-batchnorm"], "did you mean fuse-batch-norm"),
    "unknown preset": (["--preset", "defualt"], "did you mean default"),
    "unknown field": (["--set", "fold-constants.max_byte=1"], "did you mean max_bytes"),
    "field of an unknown pass": (["--set", "fold.max_bytes=1"], "unknown pass 'fold'"),
    "field of a skipped pass": (
        ["--set", "fold-constants.max_bytes=1", "--skip", "fold-constants"],
        "not among the passes",
    ),
    "field without a value": (["--set", "fold-constants.max_bytes"], "PASS.FIELD=VALUE"),
    "field of another type": (["--set", "fold-constants.max_bytes=big"], "a whole number"),
    "unknown input": (["--input-shape", "X=2,6"], "'X'"),
    "size for an input": (["--input-shape", "batch=2"], "'x=batch,6'"),
    "shape of another rank": (["--input-shape", "x=2,6,1"], "axes"),
    "shape that contradicts": (["--input-shape", "x=2,7"], "axis 1"),
    "shape that is none": (["--input-shape", "x=two,6"], "NAME=1,3,224,224"),
    "shape without elements": (["--input-shape", "x=0,6"], "at least 1"),
    "negative size": (["--input-shape", "x=-1,6"], "at least 1"),
    "shape without a name": (["--input-shape", "2,6"], "NAME=1,3,224,224"),
    "shape given twice": (["--input-shape", "x=2,6", "--input-shape", "x=2,6"], "twice"),
    "opset that does not exist": (["--opset", "99"], "opset"),
    "opset below": (["--opset", "7"], "opset"),
    "opset that is no number": (["--opset", "new"], "--opset"),
    "unknown verification": (["--verify", "maybe"], "--verify"),
    "unknown option": (["--frobnicate"], "--frobnicate"),
}


@pytest.mark.parametrize("case", WRONG_OPTIONS)
@pytest.mark.parametrize("command", ["optimize", "compile"])
def test_wrong_option(
    burnish: Burnish, open_model: Path, tmp_path: Path, command: str, case: str
) -> None:
    options, expected = WRONG_OPTIONS[case]
    if command == "compile" and "--input-shape" not in options:
        options = [*options, "--input-shape", "x=2,6"]
    done = burnish(command, open_model, "-o", tmp_path / "out.onnx", *options)
    assert expected in done.message
    assert done.code == USAGE


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--target", "x86-64-v5"], "x86-64-v4"),
        (["--target", "arm64:cortex-a67"], "did you mean"),
        (["--target", "arm64:foo"], "unknown processor of arm64 'foo'"),
        (["--target", "armv7:cortex-a76"], "cortex-a7"),
        (["--threads", "0"], "--threads"),
        (
            ["--weights", "bf16", "--skip", "narrow-weights"],
            "--skip narrow-weights contradicts --weights bf16",
        ),
        (["--threads", "1025"], "from 1 to 1024"),
        (
            [
                "--input-shape",
                "x=2,6",
                "--input-shape",
                "y=1",
                "--input-shape",
                "x=3,6",
                "--input-shape",
                "y=1",
                "--input-shape",
                "y=2",
            ],
            "gives 'x' 2 times, 'y' 3 times",
        ),
        (["--tune", "long"], "--tune"),
        (["--tune", "-1"], "--tune"),
    ],
)
def test_wrong_option_of_compile(
    burnish: Burnish, model: Path, tmp_path: Path, options: list[str], expected: str
) -> None:
    done = burnish("compile", model, "-o", tmp_path / "out", *options)
    assert expected in done.message
    assert done.code == USAGE


def test_a_name_like_no_other_is_not_answered_with_all(
    burnish: Burnish, model: Path, tmp_path: Path
) -> None:
    done = burnish("optimize", model, "-o", tmp_path / "out.onnx", "--passes", "???")
    assert "more" in done.message
    assert len(done.message) < 400


def test_what_is_no_choice_is_said_without_the_parsers_words(burnish: Burnish, model: Path) -> None:
    message = burnish("optimize", model, "-o", "out.onnx", "--verify", "maybe").message
    assert "'maybe' is not one of" in message
    assert "Value error" not in message


def test_unknown_command(burnish: Burnish) -> None:
    done = burnish("optimise", "model.onnx")
    assert "optimise" in done.message
    assert done.code == USAGE


def test_no_command(burnish: Burnish) -> None:
    done = burnish()
    assert "Usage" in done.out
    assert done.err == ""
    assert done.code == USAGE


def test_missing_argument(burnish: Burnish, model: Path) -> None:
    assert burnish("optimize", model).code == USAGE
    assert burnish("run").code == USAGE


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"verify": False}, "each, end, off"),
        ({"samples": []}, "samples is empty"),
        ({"skip": "fuse-pad"}, "list of names"),
        ({"passes": "fuse-pad"}, "list of names"),
        ({"input_shapes": (2, 6)}, "one shape per input"),
        ({"input_shapes": {"x": (2, 6.0)}}, "one shape per input"),
        ({"input_shapes": {"x": "2,6"}}, "one shape per input"),
        ({"input_shapes": {"x": (0, 6)}}, "at least 1"),
    ],
)
@pytest.mark.parametrize("function", [api.optimize, api.compile])
def test_wrong_argument(
    model: Path, function: Callable[..., object], options: dict[str, object], expected: str
) -> None:
    with pytest.raises(UsageError, match=expected):
        function(model, **options)


@pytest.mark.parametrize("command", ["optimize", "compile"])
def test_output_that_cannot_be_written(
    burnish: Burnish, model: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("keep me")
    done = burnish(command, model, "-o", tmp_path / "folder")
    assert str(tmp_path / "folder") in done.message
    assert done.code == USAGE
    assert (tmp_path / "folder" / "letter.txt").read_text() == "keep me"


def test_an_artifact_in_a_folder_that_is_not_there(
    burnish: Burnish, model: Path, tmp_path: Path
) -> None:
    done = burnish("compile", model, "-o", tmp_path / "other" / "out.burnish")
    assert done.code == USAGE
    assert "there is no folder" in done.message
    assert not (tmp_path / "other").exists()
