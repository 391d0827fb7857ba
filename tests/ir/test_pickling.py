"""Graphs survive being pickled, however deep they are."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx

from burnish.ir import Constant, Graph, OperatorNode, VariableNode
from burnish.ir.printer import to_text
from burnish.ir.regions import outline
from burnish.ir.verify import verify
from burnish.testing import graph
from tests.diagnosis.planted import deep_model
from tests.ir.test_sort_clone import TEXT


def through(source: Graph) -> Graph:
    result = pickle.loads(pickle.dumps(source, protocol=5))
    assert isinstance(result, Graph)
    verify(result)
    return result


def test_subgraphs_and_captures() -> None:
    assert to_text(through(graph(TEXT))) == to_text(graph(TEXT))


def test_a_deep_graph() -> None:
    source = Graph.from_onnx(deep_model(2000))
    assert to_text(through(source)) == to_text(source)


def test_regions_stay_regions() -> None:
    source = graph("g (float[4] x) => (float[4] y) { s = Sigmoid(x) y = Mul(x, s) }")
    nodes = list(source)
    outline(source, nodes, "Swish", [source.inputs[0]], [nodes[1].output], {"alpha": 1.0})
    found = through(source)
    assert [node.is_region for node in found] == [True]
    assert to_text(found) == to_text(source)


def test_everything_that_a_graph_holds() -> None:
    source = graph("g (float[4] x, seq(float[4]) s) => (float[4] y) { y = Tanh(x) }")
    source.metadata["author"] = "me"
    source.defaults = ("z",)
    node = next(iter(source))
    node.provenance = ("a", "b")
    node.attributes["value"] = Constant.of(np.arange(3))
    node.inputs = (node.inputs[0], None)
    found = through(source)
    (copy,) = found
    assert (found.metadata, found.defaults, found.header) == (
        source.metadata, ("z",), source.header
    )  # fmt: skip
    assert (copy.provenance, copy.inputs[1]) == (("a", "b"), None)
    assert copy.attributes["value"].same_value(Constant.of(np.arange(3)))
    assert found.inputs[1].onnx_type == source.inputs[1].onnx_type


def test_annotations_name_values_of_the_copy() -> None:
    source = graph("g (float[4] x) => (float[4] y) { y = Tanh(x) }")
    scale = VariableNode.of(Constant.of(np.float32([2.0])), "scale")
    source.outputs[0].quantization = {"scale": scale}
    found = through(source)
    assert found.outputs[0].quantization["scale"].constant.numpy() == 2.0


def test_weights_outside_of_the_model(tmp_path: Path) -> None:
    onnx.save(deep_model(10), tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    source = Graph.from_onnx(tmp_path / "m.onnx")
    assert to_text(through(source)) == to_text(source)


def test_a_value_twice() -> None:
    source = graph("g (float[4] x) => (float[4] y) { y = Add(x, x) }")
    (node,) = through(source)
    assert isinstance(node, OperatorNode)
    assert node.inputs[0] is node.inputs[1]
