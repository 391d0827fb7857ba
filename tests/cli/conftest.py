"""Small models on the disk, one of them compiled, and the command line in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from burnish.cli import main

WEIGHT = np.linspace(-1, 1, 24, dtype=np.float32).reshape(6, 4)


def small_model(batch: int | str = 2) -> onnx.ModelProto:
    """``y = Sigmoid(x @ w + 0)`` with a node that passes remove."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], name="product"),
        helper.make_node("Identity", ["product"], ["same"], name="same"),
        helper.make_node("Sigmoid", ["same"], ["y"], name="gate"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def expected(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-(x @ WEIGHT)))


@dataclass(frozen=True)
class Outcome:
    """What one command left behind."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one message of a command that failed."""
        lines = self.err.splitlines()
        assert len(lines) == 1, f"not one message but:\n{self.err}"
        assert lines[0].startswith("burnish: ")
        return lines[0]


Burnish = Callable[..., Outcome]
Write = Callable[..., Path]


@pytest.fixture
def burnish(capsys: pytest.CaptureFixture[str]) -> Burnish:
    """Run a command line: its exit code and what it wrote."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return Outcome(code, written.out, written.err)

    return call


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    onnx.save(small_model(), path)
    return path


@pytest.fixture
def open_model(tmp_path: Path) -> Path:
    path = tmp_path / "open.onnx"
    onnx.save(small_model("batch"), path)
    return path


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled model; tests must not change it."""
    folder = tmp_path_factory.mktemp("compiled")
    onnx.save(small_model(), folder / "small.onnx")
    out = folder / "small.burnish"
    assert main(["compile", str(folder / "small.onnx"), "-o", str(out), "-q", "--tune", "off"]) == 0
    return out


@pytest.fixture
def whole_or_nothing(tmp_path: Path) -> Iterator[None]:
    """After the test: no output, and no scrap of one."""
    yield
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert not [name for name in left if name.startswith("out") or "/." in name or name[0] == "."]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a configuration of one model; keys with their values as TOML."""
    monkeypatch.chdir(tmp_path)
    onnx.save(small_model(), tmp_path / "small.onnx")

    def make(output: str = "out/small.burnish", **keys: str) -> Path:
        lines = ["[models.small]", 'path = "small.onnx"', f'output = "{output}"']
        if not output.endswith(".onnx"):
            lines += ["threads = 1", 'tune = "off"']
        lines += [f"{key.replace('_', '-')} = {value}" for key, value in keys.items()]
        path = tmp_path / "burnish.toml"
        path.write_text("\n".join(lines))
        return path

    return make
