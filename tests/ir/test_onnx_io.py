"""What loading and saving keep, fix and refuse."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from burnish.errors import InvalidInput, UnsupportedModel
from burnish.ir import Constant, DType, Graph
from burnish.ir.clone import clone
from burnish.ir.verify import verify
from burnish.numerics import Numerics
from burnish.oracle import Oracle, compare
from burnish.testing import graph

X = np.array([1.0, -2.0], np.float32)
W = np.array([1.0, 2.0], np.float32)


def run(source: Graph | onnx.ModelProto, **inputs: object) -> dict[str, np.ndarray]:
    return Oracle(source, threads=1).run(inputs)


def names(messages: object) -> list[str]:
    return [message.name for message in messages]  # type: ignore[attr-defined]


BRANCHES = """
g (bool c, float[2] x) => (float[2] y) {
  w = Constant <value = float[2] {1, 2}> ()
  s = Add(x, w)
  y = If (c) <
    then_branch = a () => (float[2] p) { p = Mul(s, w) },
    else_branch = b () => (float[2] q) { k = Constant <value_float = 3.0> ()  q = Add(x, k) }
  >
}"""


def test_branches_capture_values() -> None:
    loaded = graph(BRANCHES)
    add, branch = loaded
    assert branch.op_type == "If"
    assert list(branch.subgraphs) == ["then_branch", "else_branch"]
    body = branch.subgraphs["then_branch"]
    assert body.owner is branch
    assert body.parent is loaded
    (mul,) = body
    assert mul.inputs[0] is add.output
    assert {use.user for use in add.output.uses} == {mul}
    before = run(parser.parse_model(HEADER + BRANCHES), c=np.array(True), x=X)
    for condition in (True, False):
        inputs = {"c": np.array(condition), "x": X}
        before = run(parser.parse_model(HEADER + BRANCHES), **inputs)
        assert compare(before, run(loaded, **inputs), Numerics.EXACT)


HEADER = '<ir_version: 10, opset_import: ["": 21]>\n'


def test_constant_shared_by_scopes_is_stored_once() -> None:
    saved = graph(BRANCHES).to_onnx()
    assert names(saved.graph.initializer) == ["w"]
    bodies = {a.name: a.g for node in saved.graph.node for a in node.attribute}
    assert names(bodies["then_branch"].initializer) == []
    assert names(bodies["else_branch"].initializer) == ["k"]


def test_inner_name_that_hides_an_outer_one() -> None:
    model = graph(BRANCHES).to_onnx()
    body = next(a.g for node in model.graph.node for a in node.attribute if a.name == "else_branch")
    body.initializer[0].name = "w"  # another value under the name of an outer one
    body.node[0].input[1] = "w"
    loaded = Graph.from_onnx(model)
    result = run(loaded, c=np.array(False), x=X)
    np.testing.assert_array_equal(result["y"], X + 3)
    result = run(loaded, c=np.array(True), x=X)
    np.testing.assert_array_equal(result["y"], (X + W) * W)


def test_loop_and_nested_bodies() -> None:
    text = """
    g (int64 n, float[2] x) => (float[2] y) {
      t = Constant <value = bool {1}> ()
      y = Loop (n, t, x) <body = b (int64 i, bool c, float[2] v) => (bool d, float[2] u) {
        d = Identity(c)
        u = If (c) <
          then_branch = p () => (float[2] e) { e = Add(v, x) },
          else_branch = q () => (float[2] f) { f = Identity(v) }
        >
      }>
    }"""
    loaded = graph(text)
    assert len(list(loaded.graphs())) == 4
    result = run(loaded, n=np.array(3), x=X)
    np.testing.assert_array_equal(result["y"], 4 * X)


def test_body_may_return_what_it_captured() -> None:
    loaded = graph("""g (bool c, float[2] x) => (float[2] y) {
      a = Abs(x)
      y = If (c) <then_branch = p () => (float[2] e) { e = Neg(a) },
                  else_branch = q () => (float[2] f) { f = Neg(a) }>
    }""")
    absolute, branch = loaded
    body = branch.subgraphs["then_branch"]
    body.outputs = (absolute.output,)
    body.remove(next(iter(body)))
    verify(loaded)
    result = run(loaded, c=np.array(True), x=X)
    np.testing.assert_array_equal(result["y"], np.abs(X))


def test_functions_are_inlined() -> None:
    text = """<ir_version: 10, opset_import: ["": 21, "f": 1]>
    g (float[2] x) => (float[2] y) { t = f.twice <scale = 3.0> (x)  y = f.twice(t) }
    <domain: "f", opset_import: ["": 21]>
    twice <scale: float = 2.0> (a) => (b) { k = Constant <value_float: float = @scale> ()
                                            b = Mul(a, k) }"""
    model = parser.parse_model(text)
    loaded = Graph.from_onnx(model)
    assert {node.domain for node in loaded} == {""}
    np.testing.assert_array_equal(run(loaded, x=X)["y"], 6 * X)


def test_function_of_an_older_opset_is_inlined_too() -> None:
    text = """<ir_version: 10, opset_import: ["": 21, "f": 1]>
    g (float[2] x) => (float[2] y) { y = f.clamp(x) }
    <domain: "f", opset_import: ["": 18]>
    clamp (a) => (b) { b = Relu(a) }"""
    loaded = Graph.from_onnx(parser.parse_model(text))
    assert [node.op_type for node in loaded] == ["Relu"]


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("value = float[2] {1, 2}", np.array([1, 2], np.float32)),
        ("value_float = 1.5", np.array(1.5, np.float32)),
        ("value_floats = [1.5, 2.0]", np.array([1.5, 2], np.float32)),
        ("value_int = 7", np.array(7)),
        ("value_ints = [7, 8]", np.array([7, 8])),
        ('value_string = "a"', np.array("a", object)),
        ('value_strings = ["a", "b"]', np.array(["a", "b"], object)),
    ],
)
def test_constant_nodes_become_constants(attribute: str, expected: np.ndarray) -> None:
    dtype = str(DType.from_numpy(expected.dtype))
    shape = f"[{expected.size}]" if expected.ndim else ""
    loaded = graph(f"g () => ({dtype}{shape} y) {{ y = Constant <{attribute}> () }}")
    assert len(loaded) == 0
    constant = loaded.outputs[0].constant
    assert constant is not None
    assert constant.shape == expected.shape
    np.testing.assert_array_equal(constant.numpy(), expected)
    saved = loaded.to_onnx()
    onnx.checker.check_model(saved)
    assert [node.op_type for node in saved.graph.node] == ["Identity"]


@pytest.mark.parametrize("indices", [[1, 4], [[0, 1], [1, 1]]])
def test_sparse_tensors_become_dense(indices: list[object]) -> None:
    values = numpy_helper.from_array(np.array([5, 6], np.float32), "w")
    sparse = helper.make_sparse_tensor(
        values, numpy_helper.from_array(np.array(indices, np.int64)), [2, 3]
    )
    model = parser.parse_model(HEADER + "g (float[2,3] x) => (float[2,3] y) { y = Add(x, w) }")
    model.graph.sparse_initializer.append(sparse)
    node = helper.make_node("Constant", [], ["w"], sparse_value=sparse)
    other = parser.parse_model(HEADER + "g (float[2,3] x) => (float[2,3] y) { y = Add(x, w) }")
    other.graph.node.insert(0, node)
    for source in (model, other):
        (add,) = Graph.from_onnx(source)
        constant = add.constant_input(1)
        assert constant is not None
        np.testing.assert_array_equal(constant.numpy(), [[0, 5, 0], [0, 6, 0]])


def test_sparse_tensors_are_checked() -> None:
    values = numpy_helper.from_array(np.array([5], np.float32), "w")
    model = parser.parse_model(HEADER + "g (float[2] x) => (float[2] y) { y = Add(x, w) }")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([0])), [2])
    model.graph.sparse_initializer.append(sparse)
    stored = model.graph.sparse_initializer[0]
    stored.indices.CopyFrom(numpy_helper.from_array(np.array([9])))
    with pytest.raises(InvalidInput):
        Graph.from_onnx(model)
    stored.dims[:] = [1 << 40]
    with pytest.raises(UnsupportedModel, match="dense"):
        Graph.from_onnx(model)


@pytest.mark.parametrize(("version", "defaults"), [(3, ()), (8, ("w",))])
def test_initializer_that_is_an_input_becomes_a_constant(
    version: int, defaults: tuple[str, ...]
) -> None:
    model = parser.parse_model(
        f'<ir_version: {version}, opset_import: ["": 9]>'
        "g (float[2] x, float[2] w) => (float[2] y) { y = Add(x, w) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    loaded = Graph.from_onnx(model)
    assert [value.name for value in loaded.inputs] == ["x"]
    # Before version 4 every initializer had to be an input, which says nothing.
    assert loaded.defaults == clone(loaded)[0].defaults == defaults
    saved = loaded.to_onnx()
    assert saved.ir_version == max(4, version)
    onnx.checker.check_model(saved)
    np.testing.assert_array_equal(run(loaded, x=X)["y"], X + 1)


def test_sizes_are_numbers_symbols_or_unknown() -> None:
    model = parser.parse_model(
        HEADER + "g (float[N, 3, M, P, Q, R] x) => (float[N, 3, M, P, Q, R] y) { y = Relu(x) }"
    )
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[2].dim_param = "?"
    dims[3].dim_value = -1
    dims[4].dim_value = 0
    dims[5].dim_param = ""
    loaded = Graph.from_onnx(model)
    assert loaded.inputs[0].shape == ("N", 3, None, None, 0, None)
    assert loaded.outputs[0].shape is not None
    assert loaded.outputs[0].shape[0] == "N"


def test_zero_is_the_size_of_an_empty_input_but_nothing_that_is_known_of_other_values() -> None:
    model = parser.parse_model(
        HEADER + "g (float[2, 4] x) => (float[2, 4] y) <float[2, 4] n> { n = Neg(x) y = Abs(n) }"
    )
    for value in (model.graph.input[0], model.graph.value_info[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 0
    loaded = Graph.from_onnx(model)
    assert loaded.inputs[0].shape == (0, 4)
    assert [node.output.shape for node in loaded] == [(None, 4)] * 2
    saved = loaded.to_onnx().graph.input[0].type.tensor_type.shape.dim[0]
    assert saved.HasField("dim_value")
    assert saved.dim_value == 0


def test_unknown_rank_and_scalar_differ() -> None:
    model = parser.parse_model(HEADER + "g (float x, float y) => (float z) { z = Add(x, y) }")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    model.graph.input[1].type.tensor_type.shape.SetInParent()
    first, second = Graph.from_onnx(model).inputs
    assert first.shape is None
    assert second.shape == ()
    saved = Graph.from_onnx(model).to_onnx().graph.input
    assert [entry.type.tensor_type.HasField("shape") for entry in saved] == [False, True]


def test_header_travels() -> None:
    text = """<ir_version: 9, opset_import: ["": 19, "com.microsoft": 1], producer_name: "me",
      producer_version: "2", domain: "acme", model_version: 7, doc_string: "of the model",
      metadata_props: ["b": "2", "a": "1"]>
    g (float[2] x) => (float[2] y) { y = Relu(x) }"""
    model = parser.parse_model(text)
    model.graph.doc_string = "of the graph"
    loaded = Graph.from_onnx(model)
    assert loaded.opset == 19
    assert loaded.metadata == {"b": "2", "a": "1"}
    assert loaded.doc == "of the graph"
    saved = loaded.to_onnx()
    for message in (model, saved):
        del message.graph.node[0].attribute[:]
        message.graph.node[0].ClearField("name")
        message.graph.node[0].ClearField("domain")
    assert saved == model


def test_alias_of_the_standard_domain() -> None:
    model = parser.parse_model(HEADER + "g (float[2] x) => (float[2] y) { y = Relu(x) }")
    model.opset_import[0].domain = "ai.onnx"
    model.graph.node[0].domain = "ai.onnx"
    loaded = Graph.from_onnx(model)
    assert loaded.opsets == {"": 21}
    assert next(iter(loaded)).is_op("Relu")


def test_values_that_are_no_tensors() -> None:
    loaded = graph("""g (float[2] x) => (seq(float[2]) s, optional(float[2]) o) {
      s = SequenceConstruct(x, x)  o = Optional(x) }""")
    assert [value.onnx_type is not None for value in loaded.outputs] == [True, True]
    saved = loaded.to_onnx()
    onnx.checker.check_model(saved)
    kinds = [entry.type.WhichOneof("value") for entry in saved.graph.output]
    assert kinds == ["sequence_type", "optional_type"]


def test_attributes_of_every_kind() -> None:
    node = helper.make_node("Op", ["x"], ["y"], domain="acme", i=3, f=1.5, s="text", raw=b"\xff\0",
                            ints=[1, 2], floats=[1.0, 2.5], strings=["a", "b"], mixed=[b"\xfe"],
                            t=numpy_helper.from_array(np.ones(3, np.float32)))  # fmt: skip
    node.attribute.append(helper.make_attribute(
        "kind", helper.make_tensor_type_proto(TensorProto.FLOAT, [2])))  # fmt: skip
    node.attribute.append(onnx.AttributeProto(name="none", type=onnx.AttributeProto.FLOATS))
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21, "acme": 1]>'
        "g (float[2] x) => (float[2] y) { y = acme.Op(x) }"
    )
    model.graph.node[0].CopyFrom(node)
    (loaded,) = Graph.from_onnx(model)
    found = dict(loaded.attributes)
    assert isinstance(found.pop("t"), Constant)
    assert isinstance(found.pop("kind"), onnx.AttributeProto)
    assert found == {"i": 3, "f": 1.5, "s": "text", "raw": b"\xff\0", "ints": (1, 2),
                     "floats": (1.0, 2.5), "strings": ("a", "b"), "mixed": (b"\xfe",),
                     "none": ()}  # fmt: skip
    assert loaded.graph is not None
    saved = {a.name: a for a in loaded.graph.to_onnx().graph.node[0].attribute}
    wanted = {a.name: a for a in node.attribute}
    for name in wanted.keys() - {"t", "none"}:
        assert saved[name] == wanted[name], name
    np.testing.assert_array_equal(numpy_helper.to_array(saved["t"].t), np.ones(3))


def test_empty_lists_and_integers_get_the_type_that_the_operator_declares() -> None:
    loaded = graph("g (float[1,2] x) => (float[2] y) { y = LeakyRelu <alpha = 0.5> (x) }")
    (node,) = loaded
    node.attributes["alpha"] = 1
    assert loaded.to_onnx().graph.node[0].attribute[0].type == onnx.AttributeProto.FLOAT


def test_quantization_annotations_travel() -> None:
    model = parser.parse_model(HEADER + "g (float[2] x) => (float[2] y) { y = Relu(x) }")
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "s"))
    annotation = model.graph.quantization_annotation.add(tensor_name="y")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="s")
    loaded = Graph.from_onnx(model)
    scale = loaded.outputs[0].quantization["SCALE_TENSOR"]
    assert scale.constant.numpy() == 0.5
    saved = loaded.to_onnx()
    assert saved.graph.quantization_annotation[0] == annotation
    assert names(saved.graph.initializer) == ["s"]


def test_unnamed_nodes_get_stable_names() -> None:
    loaded = graph("g (float[2] x) => (float[2] y) { a = Relu(x) b = Abs(a) y = Relu(b) }")
    assert [node.name for node in loaded] == ["Relu_0", "Abs_1", "Relu_2"]
    assert [node.provenance for node in loaded] == [("Relu_0",), ("Abs_1",), ("Relu_2",)]


def test_omitted_inputs_and_outputs_stay_omitted() -> None:
    loaded = graph("""g (float[4,1,2] x, float[1,12,2] w, float[1,12,3] r) => (float[1,1,3] h) {
      y, h = LSTM <hidden_size = 3> (x, w, r, , , h0) h0 = Identity(x) }""".replace(
        ", , , h0) h0 = Identity(x) }", ") }"))  # fmt: skip
    (node,) = loaded
    node.outputs[0].name = ""
    node.inputs = (*node.inputs, None, None, None)
    saved = loaded.to_onnx().graph.node[0]
    assert list(saved.output) == ["", "h"]
    assert list(saved.input) == ["x", "w", "r", "", "", ""]
    assert len(Graph.from_onnx(loaded.to_onnx()).first.inputs) == 6  # type: ignore[union-attr]


def test_message_passed_in_is_left_alone() -> None:
    model = parser.parse_model(HEADER + BRANCHES)
    before = model.SerializeToString()
    Graph.from_onnx(model).to_onnx()
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    "dtype",
    [d for d in DType if d not in (DType.UNDEFINED, DType.STRING)],
    ids=str,
)
def test_constants_of_every_type(dtype: DType) -> None:
    array = np.array([1, 0.5, 1, 1, 0.5] if dtype.is_floating else [0, 1, 1, 0, 1]).astype(
        dtype.numpy
    )
    tensor = helper.make_tensor("w", int(dtype), [5], array)
    model = parser.parse_model(HEADER + "g () => (float[5] y) { y = Identity(w) }")
    model.graph.output[0].type.tensor_type.elem_type = int(dtype)
    for raw in (tensor, numpy_helper.from_array(array, "w")):
        del model.graph.initializer[:]
        model.graph.initializer.append(raw)
        loaded = Graph.from_onnx(model)
        again = Graph.from_onnx(loaded.to_onnx())
        for found in (loaded, again):
            constant = next(found.constants()).constant
            assert constant is not None
            assert constant.dtype is dtype
            assert constant.numpy().dtype == dtype.numpy
            np.testing.assert_array_equal(constant.numpy(), array)
