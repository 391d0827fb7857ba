"""Saving: whole or not at all, the same bytes each time, weights beside the model if large."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from burnish.errors import InvalidInput, UnsupportedModel, UsageError
from burnish.ir import Constant, DType, Graph, OperatorNode, VariableNode, saver
from burnish.ir.saver import save
from burnish.testing import graph


def weighted() -> Graph:
    result = graph("g (float[512] x) => (float[512] y) { y = Relu(x) }")
    relu = result.first
    assert relu is not None
    value = result.inputs[0]
    for seed in range(3):
        weight = np.random.default_rng(seed).standard_normal(512).astype(np.float32)
        node = OperatorNode("Add", [value, VariableNode.of(Constant.of(weight), f"w{seed}")],
                            [VariableNode(f"t{seed}")])  # fmt: skip
        result.insert_before(relu, node)
        value = node.output
    relu.inputs = (value,)
    return result


@pytest.mark.parametrize("external", [False, True])
def test_same_graph_same_bytes(tmp_path: Path, external: bool) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        save(weighted(), folder / "m.onnx", external=external)
    files = sorted(os.listdir(first))
    assert files == (["m.onnx", "m.onnx.data"] if external else ["m.onnx"])
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_external_weights_come_back(tmp_path: Path) -> None:
    save(weighted(), tmp_path / "m.onnx", external=True)
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    again = Graph.from_onnx(tmp_path / "m.onnx")
    assert again.to_onnx().SerializeToString() == weighted().to_onnx().SerializeToString()
    theirs = onnx.load(tmp_path / "m.onnx")
    offsets = [int(e.value) for t in theirs.graph.initializer for e in t.external_data
               if e.key == "offset"]  # fmt: skip
    assert all(offset % saver.ALIGNMENT == 0 for offset in offsets)


def test_small_tensors_stay_in_the_model(tmp_path: Path) -> None:
    small = graph("""g (float[2] x) => (float[2] y) {
      w = Constant <value = float[2] {1, 2}> ()  y = Add(x, w) }""")
    save(small, tmp_path / "m.onnx", external=True)
    assert onnx.load(tmp_path / "m.onnx", load_external_data=False).graph.initializer[0].raw_data


def test_saving_over_the_file_that_the_weights_are_read_from(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(weighted(), path, external=True)
    loaded = Graph.from_onnx(path)
    save(loaded, path, external=True)
    assert Graph.from_onnx(path).to_onnx().SerializeToString() == (
        weighted().to_onnx().SerializeToString()
    )


def test_large_models_keep_weights_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver, "EXTERNAL_ABOVE", 4096)
    save(weighted(), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx.data").exists()


def test_nothing_is_left_when_saving_fails(tmp_path: Path) -> None:
    broken = weighted()

    def fail() -> np.ndarray:
        raise InvalidInput("gone")

    weight = next(broken.constants())
    weight.constant = Constant((512,), DType.FLOAT, fail)
    (tmp_path / "m.onnx").write_bytes(b"what was there")
    for external in (False, True):
        with pytest.raises(InvalidInput, match="gone"):
            save(broken, tmp_path / "m.onnx", external=external)
        assert os.listdir(tmp_path) == ["m.onnx"]
        assert (tmp_path / "m.onnx").read_bytes() == b"what was there"


def test_path_that_cannot_be_written(tmp_path: Path) -> None:
    for external in (False, True):
        with pytest.raises(UsageError, match="there is no folder"):
            save(weighted(), tmp_path / "no" / "such" / "m.onnx", external=external)
        with pytest.raises(UsageError, match="is a folder"):
            save(weighted(), tmp_path, external=external)
    assert os.listdir(tmp_path) == []


def test_weights_stay_on_disk_until_used(tmp_path: Path) -> None:
    save(weighted(), tmp_path / "m.onnx", external=True)
    loaded = Graph.from_onnx(tmp_path / "m.onnx")
    (tmp_path / "m.onnx.data").unlink()
    with pytest.raises(InvalidInput, match="cannot read external data"):
        loaded.to_onnx()


@pytest.mark.slow
def test_model_over_two_gigabytes(tmp_path: Path) -> None:
    """The weights are a hole in a sparse file, so that neither disk nor memory is needed."""
    rows = 1 << 20
    table = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[rows, 520])
    table.data_location = TensorProto.EXTERNAL
    table.external_data.add(key="location", value="w.bin")
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(rows * 520 * 4)
        file.seek(5 * 520 * 4)
        file.write(np.full(520, 7, np.float32).tobytes())
    nodes = [helper.make_node("Gather", ["w", "i"], ["y"])]
    inputs = [helper.make_tensor_value_info("i", TensorProto.INT64, [2])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 520])]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, [table]))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())

    loaded = Graph.from_onnx(tmp_path / "m.onnx")
    weight = next(loaded.constants()).constant
    assert weight is not None
    assert weight.nbytes > 2**31
    np.testing.assert_array_equal(weight.numpy()[5], np.full(520, 7, np.float32))
    with pytest.raises(UnsupportedModel, match="2 GB"):
        loaded.to_onnx()

    save(loaded, tmp_path / "out.onnx")
    again = Graph.from_onnx(tmp_path / "out.onnx")
    copied = next(again.constants()).constant
    assert copied is not None
    np.testing.assert_array_equal(copied.numpy()[4:7], weight.numpy()[4:7])
