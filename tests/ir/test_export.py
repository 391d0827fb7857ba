"""What saving does with names, and the way through graphsurgeon."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from burnish.errors import UnsupportedModel
from burnish.ir import Constant, DType, Graph, OperatorNode, VariableNode
from burnish.ir.verify import verify
from burnish.oracle import Oracle
from burnish.testing import graph

X = np.array([1.0, -2.0], np.float32)
W = np.array([1.0, 2.0], np.float32)
BRANCHES = """
g (bool c, float[2] x) => (float[2] y) {
  w = Constant <value = float[2] {1, 2}> ()
  s = Add(x, w)
  y = If (c) <
    then_branch = a () => (float[2] p) { p = Mul(s, w) },
    else_branch = b () => (float[2] q) { k = Constant <value_float = 3.0> ()  q = Add(x, k) }
  >
}"""


def run(source: Graph | onnx.ModelProto, **inputs: object) -> dict[str, np.ndarray]:
    return Oracle(source, threads=1).run(inputs)


def names(messages: object) -> list[str]:
    return [message.name for message in messages]  # type: ignore[attr-defined]


@pytest.mark.parametrize("replacement", ["input", "constant", "twice", "renamed"])
def test_names_of_outputs_survive(replacement: str) -> None:
    loaded = graph("g (float[2] x) => (float[2] y, float[2] z) { y = Relu(x) z = Abs(x) }")
    relu, absolute = loaded
    if replacement == "input":
        loaded.replace_output(0, loaded.inputs[0])
        expected = X
    elif replacement == "constant":
        loaded.replace_output(0, VariableNode.of(Constant.of(np.ones(2, np.float32)), "k"))
        expected = np.ones(2)
    elif replacement == "twice":
        loaded.replace_output(0, absolute.output)
        expected = np.abs(X)
    else:
        relu.output.name = "z"  # what another output is called
        absolute.output.name = "something else"
        expected = np.maximum(X, 0)
    if not relu.output.uses:
        loaded.remove(relu)
    verify(loaded)
    saved = loaded.to_onnx()
    onnx.checker.check_model(saved)
    assert names(saved.graph.output) == ["y", "z"]
    assert names(saved.graph.input) == ["x"]
    result = run(saved, x=X)
    np.testing.assert_array_equal(result["y"], expected)
    np.testing.assert_array_equal(result["z"], np.abs(X))


def test_output_that_is_an_input_from_the_start() -> None:
    loaded = graph("g (float[2] x) => (float[2] x, float[2] y) { y = Relu(x) }")
    saved = loaded.to_onnx()
    assert names(saved.graph.output) == ["x", "y"]
    assert [node.op_type for node in saved.graph.node] == ["Relu"]


def test_output_that_is_listed_twice() -> None:
    loaded = graph("g (float[2] x) => (float[2] y, float[2] y) { y = Relu(x) }")
    assert names(loaded.to_onnx().graph.output) == ["y", "y"]


def test_values_without_names_and_with_equal_names() -> None:
    loaded = graph("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    relu = loaded.first
    assert relu is not None
    value = loaded.inputs[0]
    for name in ("", "y", "y", "x"):
        node = OperatorNode("Neg", [value], [VariableNode(name)])
        loaded.insert_before(relu, node)
        value = node.output
    relu.inputs = (value,)
    saved = loaded.to_onnx()
    onnx.checker.check_model(saved)
    np.testing.assert_array_equal(run(saved, x=X)["y"], np.maximum(X, 0))


@pytest.mark.parametrize("call", ["Split <num_outputs = 3> (x)", "TopK (x, k)"])
def test_unread_outputs_that_are_not_optional_keep_a_name(call: str) -> None:
    results = "a, b, c" if call.startswith("Split") else "a, b"
    loaded = graph(f"""g (float[6] x) => (float[n] y) {{
      k = Constant <value = int64[1] {{2}}> ()
      {results} = {call}
      y = Relu(a) }}""")
    (node,) = (one for one in loaded if one.is_op("Split", "TopK"))
    for value in node.outputs[1:]:
        value.name = ""
    (saved,) = (one for one in loaded.to_onnx().graph.node if one.op_type == node.op_type)
    assert all(saved.output)
    assert run(loaded, x=np.arange(6, dtype=np.float32))["y"].shape == (2,)


def test_output_without_a_type_is_refused() -> None:
    loaded = graph("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    loaded.outputs[0].dtype = DType.UNDEFINED
    with pytest.raises(UnsupportedModel, match="'y'"):
        loaded.to_onnx()


def test_graphsurgeon_and_back() -> None:
    loaded = graph(BRANCHES)
    surgeon = loaded.to_graphsurgeon()
    assert surgeon.nodes[0].op == "Add"
    assert surgeon.opset == 21
    surgeon.nodes[0].inputs[1].values = np.array([10, 20], np.float32)
    surgeon.nodes[0].name = "renamed"
    again = Graph.from_graphsurgeon(surgeon)
    verify(again)
    np.testing.assert_array_equal(run(again, c=np.array(True), x=X)["y"], (X + 10 * W) * (10 * W))
    np.testing.assert_array_equal(run(loaded, c=np.array(True), x=X)["y"], (X + W) * W)


def test_graphsurgeon_nodes_out_of_order_are_sorted() -> None:
    surgeon = graph("g (float[2] x) => (float[2] y) { a = Abs(x) y = Neg(a) }").to_graphsurgeon()
    surgeon.nodes.reverse()
    assert [node.op_type for node in Graph.from_graphsurgeon(surgeon)] == ["Abs", "Neg"]


def test_graphsurgeon_cannot_hold_every_attribute() -> None:
    loaded = graph("g (float[2] x) => (optional(float[2]) o) { o = Optional(x) }")
    assert loaded.first is not None
    loaded.first.attributes["raw"] = b"\xff"
    with pytest.raises(UnsupportedModel, match="'raw'"):
        loaded.to_graphsurgeon()
