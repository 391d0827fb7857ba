"""Names that outlive rewriting: the interface always, other values on request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from burnish import api
from burnish.errors import UsageError
from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.oracle import Oracle, compare, random_inputs
from burnish.testing import graph

TEXT = """
<ir_version: 10, opset_import: ["": 21], producer_name: "somebody",
 metadata_props: ["author": "me"], doc_string: "what it does">
g (float["batch", 4] x, bool c) => (float["batch", 4] y, float["batch", 4] same, float[2] fixed,
                                    float["batch", 4] again, float["batch", 4] nothing) {
    half = Constant<value = float {0.5}>() two = Constant<value = float {2.0}>()
    a = Mul(x, half) b = Mul(a, two) d = Identity(b) e = Neg(d) f = Neg(b) spare = Exp(e)
    y = Add(e, f) same = Identity(y) again = Neg(d) nothing = Identity(x)
    one = Constant<value = float[2] {1.0, 2.0}>() fixed = Neg(one)
}
"""


def outputs(model: onnx.ModelProto, *names: str) -> dict[str, np.ndarray]:
    """What ``model`` computes under ``names``."""
    for name in names:
        model.graph.output.add(name=name)
    loaded = onnx.shape_inference.infer_shapes(model)
    return dict(Oracle(loaded, threads=1).run(random_inputs(graph(TEXT), 0, {"batch": 3})))


def test_the_interface_stays() -> None:
    source = graph(TEXT).to_onnx()
    result = api.optimize(source, verify="end")[0].to_onnx()
    for field in ("input", "output"):
        assert list(getattr(result.graph, field)) == list(getattr(source.graph, field))
    assert result.metadata_props == source.metadata_props
    assert result.opset_import == source.opset_import
    assert (result.doc_string, result.producer_name) == ("what it does", "somebody")
    assert [node.op_type for node in result.graph.node].count("Neg") < 3


@pytest.mark.parametrize("keep", [["a"], ["d"], ["b", "d"], ["e", "f"], ["spare"], ["one"][:0]])
def test_values_that_are_asked_for(keep: list[str]) -> None:
    result, report = api.optimize(graph(TEXT), keep=keep, verify="end")
    assert not report.rolled_back
    saved = result.to_onnx()
    onnx.checker.check_model(saved, full_check=True)
    assert [value.name for value in saved.graph.output] == list(graph(TEXT).output_names)
    expected, found = outputs(graph(TEXT).to_onnx(), *keep), outputs(saved, *keep)
    assert set(keep) < set(found)
    assert compare(expected, found, Numerics.REASSOCIATES)


def test_the_model_that_is_passed_stays_as_it_is() -> None:
    model = graph(TEXT)
    before = model.to_onnx()
    api.optimize(model, keep=["a"], verify="off")
    assert model.to_onnx() == before


def test_inputs_and_outputs_may_be_asked_for() -> None:
    plain = api.optimize(graph(TEXT), verify="off")[0].to_onnx()
    assert api.optimize(graph(TEXT), keep=["x", "y"], verify="off")[0].to_onnx() == plain


@pytest.mark.parametrize(("name", "hint"), [("spar", "did you mean spare"), ("???", "there are: ")])
def test_a_name_that_does_not_exist(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"tensor in the main graph .* {hint}|{hint}"):
        api.optimize(graph(TEXT), keep=[name], verify="off")


def test_a_fused_operator_has_the_name_of_what_it_stands_for(tmp_path: Path) -> None:
    model = graph("""
    g (float[4] x) => (float[4] y) {
        s = Sigmoid(x) swish = Mul(x, s) t = Transpose<perm = [0]>(swish) y = Exp(t) }
    """)
    result = api.optimize(model, verify="off", opset=24)[0]
    assert {value.name for node in result for value in node.outputs} <= {"s", "swish", "t", "y"}


def test_dead_branches_go_though_they_have_names() -> None:
    result: Graph = api.optimize(graph(TEXT), verify="off")[0]
    assert "spare" not in {value.name for value in result.variables()}
