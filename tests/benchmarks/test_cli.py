"""The commands of the benchmark suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.acceptance import SETS
from benchmarks.cli import app, selected_parts
from benchmarks.gathering import collect
from benchmarks.options import chosen, integers
from benchmarks.zoo import MAIN_JOB, MODELS, find

runner = CliRunner()


def test_builds_the_models_that_are_asked_for(tmp_path: Path) -> None:
    result = runner.invoke(app, ["zoo", "--zoo", str(tmp_path), "--models", "loop,branch"])
    assert result.exit_code == 0
    assert sorted(file.name for file in tmp_path.glob("*.onnx")) == ["branch.onnx", "loop.onnx"]


def test_a_damaged_model_is_reported(tmp_path: Path) -> None:
    arguments = ["zoo", "--zoo", str(tmp_path), "--models", "loop"]
    assert runner.invoke(app, arguments).exit_code == 0
    (tmp_path / "loop.onnx").write_bytes(b"")
    result = runner.invoke(app, arguments)
    assert result.exit_code == 1
    assert "has changed" in " ".join(result.stderr.split())
    assert runner.invoke(app, [*arguments, "--rebuild"]).exit_code == 0


@pytest.mark.parametrize("command", [["latency"], ["acceptance", "main-job", "--parts", "cases"]])
def test_measuring_needs_built_models(command: list[str], tmp_path: Path) -> None:
    result = runner.invoke(app, [*command, "--zoo", str(tmp_path), "--models", "loop"])
    assert result.exit_code == 1
    assert "make zoo" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zoo", "--models", "resnet"], "no model 'resnet' in the zoo"),
        (["latency", "--threads", "many"], "no list of integers"),
        (["latency", "--threads", "0"], "start at 1"),
        (["acceptance", "everything"], "no acceptance set"),
        (["tasks", "--only", "resnet"], "no task for 'resnet'; there are: fashion-cnn"),
        (["acceptance", "main-job", "--parts", "some"], "cases, repeats, shipped"),
    ],
)
def test_usage_errors(arguments: list[str], message: str) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_names_and_groups_choose_models() -> None:
    assert chosen("all") == MODELS
    assert chosen("main-job,loop") == (*MAIN_JOB, find("loop"))
    with pytest.raises(typer.BadParameter):
        chosen("")


def test_lists() -> None:
    assert integers("1,2") == (1, 2)
    main = SETS["main-job"]
    assert [part.value for part in selected_parts("shipped,cases", main)] == ["shipped", "cases"]
    assert [part.value for part in selected_parts(None, main)] == ["cases", "repeats", "shipped"]


def test_an_interrupt_keeps_what_is_there() -> None:
    def results() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    assert collect(results(), "Counting", 5, str) == [1]
