"""What README.md says is so: its tables are current and its examples run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.readme import README, refreshed
from burnish.building.config import read
from burnish.building.plan import plan
from burnish.cli import main


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``model.onnx`` with an input of open sizes, in the folder where the test runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("burnish.compilation.TUNE", 0.0)
    weight = np.full((4, 3, 3, 3), 0.1, np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])],
        "quick",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), "model.onnx")


def test_tables_are_current() -> None:
    text = README.read_text()
    assert refreshed(text) == text, "run `make docs`"


def test_a_missing_table_is_noticed() -> None:
    with pytest.raises(ValueError, match="passes"):
        refreshed("# burnish")


@pytest.mark.usefixtures("model")
def test_quick_start() -> None:
    (text,) = blocks("sh")
    lines = [line for line in text.splitlines() if line.startswith("burnish ")]
    assert len(lines) >= 3
    for line in lines:
        assert main(shlex.split(line, comments=True)[1:]) == 0, line


@pytest.mark.usefixtures("model")
def test_python_example() -> None:
    code = blocks("python")[0]
    scope: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), scope)
    assert Path("model.burnish").is_file()


def test_quick_start_is_short() -> None:
    assert all(len(text.splitlines()) <= 10 for text in [*blocks("sh"), blocks("python")[0]])


@pytest.mark.usefixtures("model")
def test_task_example(capsys: pytest.CaptureFixture[str]) -> None:
    Path("digits.py").write_text(blocks("python")[1])
    x = np.random.default_rng(0).normal(size=(10, 3, 8, 8)).astype(np.float32)
    np.savez("digits.npz", x=x, labels=np.zeros((10, 6, 6), np.int64).ravel())
    command = ["optimize", "model.onnx", "-o", "better.onnx", "--eval", "digits.py"]
    assert main(command) == 0
    assert "accuracy: " in capsys.readouterr().out


@pytest.mark.usefixtures("model")
def test_calibration_example(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pictures").mkdir()
    x = np.random.default_rng(0).normal(size=(10, 3, 8, 8)).astype(np.float32)
    np.savez("pictures/digits.npz", x=x, labels=np.zeros(10, np.int64))
    exec(compile(blocks("python")[2], "README.md", "exec"), {})
    assert "ranges from the first 5 of 10 samples" in capsys.readouterr().out


def test_configuration_example(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    path = tmp_path / "burnish.toml"
    path.write_text(text)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "rec.onnx").touch()
    (job,) = plan(read(path), tmp_path).values()
    assert len(job.shapes) == 2
    assert job.budgets.size == 12_000_000
