"""Files that are no models, and models that cannot be compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from burnish.errors import InvalidInput, UnsupportedModel, UsageError
from tests.cli.conftest import Burnish, small_model

pytestmark = pytest.mark.usefixtures("whole_or_nothing")


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def parsed(text: str, path: Path) -> Path:
    header = '<ir_version: 10, opset_import: ["": 21]>\n'
    return save(onnx.parser.parse_model(header + text), path)


def external(path: Path, location: str, length: int = 96) -> Path:
    """The small model with its weight in file ``location``."""
    model = small_model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return save(model, path)


# Files that are no model: each writes one and says what the message must contain.


def missing(folder: Path) -> tuple[Path, str]:
    return folder / "missing.onnx", "does not exist"


def a_folder(folder: Path) -> tuple[Path, str]:
    return folder, "is a folder"


def empty(folder: Path) -> tuple[Path, str]:
    path = folder / "empty.onnx"
    path.touch()
    return path, "is empty"


def not_a_model(folder: Path) -> tuple[Path, str]:
    path = folder / "text.onnx"
    path.write_text("<html>404 not found</html>" * 20)
    return path, "is not an ONNX model"


def truncated(folder: Path) -> tuple[Path, str]:
    path = folder / "short.onnx"
    path.write_bytes(small_model().SerializeToString()[:-60])
    return path, "truncated"


def external_missing(folder: Path) -> tuple[Path, str]:
    return external(folder / "external.onnx", "weights.bin"), "weights.bin"


def external_outside(folder: Path) -> tuple[Path, str]:
    (folder / "inside").mkdir()
    (folder / "secret.bin").write_bytes(bytes(96))
    return external(folder / "inside" / "model.onnx", "../secret.bin"), "refused for safety"


def external_absolute(folder: Path) -> tuple[Path, str]:
    return external(folder / "external.onnx", "/etc/hostname"), "refused for safety"


def external_too_short(folder: Path) -> tuple[Path, str]:
    (folder / "weights.bin").write_bytes(bytes(95))
    return external(folder / "external.onnx", "weights.bin"), "95"


def breaks_the_standard(folder: Path) -> tuple[Path, str]:
    model = small_model()
    model.graph.node[2].op_type = "Sigmoit"
    return save(model, folder / "checker.onnx"), "Sigmoit"


def undefined_value(folder: Path) -> tuple[Path, str]:
    model = small_model()
    model.graph.node[1].input[0] = "nowhere"
    return save(model, folder / "undefined.onnx"), "reads 'nowhere', which nothing computes"


def cycle(folder: Path) -> tuple[Path, str]:
    model = small_model()
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    model.graph.node.extend(nodes)
    return save(model, folder / "cycle.onnx"), "cycle"


def damaged_weight(folder: Path) -> tuple[Path, str]:
    model = small_model()
    model.graph.initializer[0].raw_data = bytes(40)
    return save(model, folder / "damaged.onnx"), "damaged"


NO_MODELS = [
    missing, a_folder, empty, not_a_model, truncated, external_missing, external_outside,
    external_absolute, external_too_short, breaks_the_standard, undefined_value, cycle,
    damaged_weight,
]  # fmt: skip


@pytest.mark.parametrize("command", ["optimize", "compile", "inspect", "explain"])
@pytest.mark.parametrize("make", NO_MODELS, ids=lambda make: make.__name__)
def test_no_model(
    burnish: Burnish, tmp_path: Path, command: str, make: Callable[[Path], tuple[Path, str]]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path, expected = make(folder)
    out = ["-o", tmp_path / "out"] if command in ("optimize", "compile") else []
    if command == "inspect" and path.is_dir():
        expected = "is not an artifact"
    done = burnish(command, path, *out)
    assert expected in done.message
    assert done.code == InvalidInput.exit_code
    assert done.out == ""


def test_open_size_when_compiling(burnish: Burnish, tmp_path: Path) -> None:
    path = parsed(
        """
        g (float["batch", 3, "height", 8] image, int64["batch"] label, float[2] fixed)
          => (float["batch", 3, "height", 8] y) { y = Relu(image) }
        """,
        tmp_path / "open.onnx",
    )
    done = burnish("compile", path, "-o", tmp_path / "out")
    assert "--input-shape 'image=batch,3,height,8'" in done.message
    assert "--input-shape 'label=batch'" in done.message
    assert "fixed" not in done.message.replace("fixed shapes", "")
    assert done.code == UsageError.exit_code


def test_unsupported_operator(burnish: Burnish, tmp_path: Path) -> None:
    node = helper.make_node("Quux", ["x"], ["y"], domain="org.example", name="odd")
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("org.example", 1)]
    path = save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "q.onnx")
    done = burnish("compile", path, "-o", tmp_path / "out")
    assert "Quux" in done.message
    assert done.code == UnsupportedModel.exit_code


@pytest.mark.parametrize("target", ["cpu", "arm64:cortex-a76"])
def test_unsupported_dtype(burnish: Burnish, tmp_path: Path, target: str) -> None:
    path = parsed(
        'g (string[2] x) => (string[2] y) { y = StringNormalizer<case_change_action="UPPER">(x) }',
        tmp_path / "strings.onnx",
    )
    done = burnish("compile", path, "-o", tmp_path / "out", "--target", target)
    assert "string" in done.message.lower()
    assert done.code == UnsupportedModel.exit_code


def test_operator_that_only_the_host_can_run(burnish: Burnish, tmp_path: Path) -> None:
    path = parsed(
        """
        g (float[2, 3, 3] x) => (float[2] y) { [volume] y = Det(x) }
        """,
        tmp_path / "det.onnx",
    )
    done = burnish("compile", path, "-o", tmp_path / "out", "--target", "arm64:cortex-a76")
    assert "Det" in done.message
    assert done.code == UnsupportedModel.exit_code
