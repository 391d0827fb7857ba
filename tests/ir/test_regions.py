"""Regions come and go without a trace."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.ir import Graph, OperatorNode
from burnish.ir.clone import clone
from burnish.ir.printer import to_text
from burnish.ir.regions import expand, outline
from burnish.ir.verify import verify
from burnish.numerics import Numerics
from burnish.testing import assert_equivalent, graph

TEXT = """g (bool c, float[2] x) => (float[2] y, float[2] b) {
  w = Constant <value = float[2] {1, 2}> ()
  a = Add(x, w)
  b = Abs(a)
  d = If (c) <then_branch = p () => (float[2] e) { e = Mul(b, w) },
              else_branch = q () => (float[2] f) { f = Neg(a) }>
  y = Relu(d)
}"""


def by_type(source: Graph, *op_types: str) -> list[OperatorNode]:
    return [node for node in source if node.op_type in op_types]


def outlined() -> tuple[Graph, OperatorNode]:
    source = graph(TEXT)
    nodes = by_type(source, "Add", "Abs", "If")
    region = outline(source, nodes, "Front", [source.inputs[1], source.inputs[0]],
                     [nodes[1].output, nodes[2].output], {"level": 3})  # fmt: skip
    return source, region


def test_region_holds_the_operators() -> None:
    source, region = outlined()
    verify(source)
    assert region.is_region
    assert [node.op_type for node in source] == ["Front", "Relu"]
    assert [node.op_type for node in region.subgraphs["body"]] == ["Add", "Abs", "If"]
    assert region.provenance == ("Add_1", "Abs_2", "If_3")
    assert region.attributes == {"level": 3}
    assert source.output_names == ("y", "b")


def test_region_expands_to_what_was_there() -> None:
    source, _ = outlined()
    expand(source)
    verify(source)
    assert to_text(source) == to_text(graph(TEXT))
    assert_equivalent(graph(TEXT), source, Numerics.EXACT)


def test_export_expands_and_leaves_the_graph_alone() -> None:
    source, _ = outlined()
    before = to_text(source)
    saved = source.to_onnx()
    assert [node.op_type for node in saved.graph.node] == ["Add", "Abs", "If", "Relu"]
    assert [value.name for value in saved.graph.output] == ["y", "b"]
    assert to_text(source) == before
    assert_equivalent(graph(TEXT), source, Numerics.EXACT)


def test_regions_in_regions() -> None:
    source, region = outlined()
    body = region.subgraphs["body"]
    nodes = by_type(body, "Add", "Abs")
    inner = outline(body, nodes, "Inner", [body.inputs[0]], [nodes[0].output, nodes[1].output])
    verify(source)
    assert inner.graph is body
    expand(source)
    verify(source)
    assert to_text(source) == to_text(graph(TEXT))


def test_region_that_passes_an_input_through() -> None:
    source, region = outlined()
    body = region.subgraphs["body"]
    body.replace_output(0, body.inputs[0])
    (absolute,) = by_type(body, "Abs")
    verify(source)
    expand(source)
    verify(source)
    assert absolute.graph is source
    assert source.outputs[1] is source.inputs[1]


def test_region_can_be_cloned() -> None:
    source, _ = outlined()
    copy, made = clone(source)
    verify(copy)
    assert to_text(copy) == to_text(source)
    assert set(made.nodes) == set(source.walk())


def test_values_used_outside_must_be_returned() -> None:
    source = graph(TEXT)
    before = to_text(source)
    nodes = by_type(source, "Add", "Abs")
    with pytest.raises(ValueError, match="'b' is used outside"):
        outline(source, nodes, "Front", [source.inputs[1]], [nodes[0].output])
    assert to_text(source) == before


def test_constants_may_be_inputs_or_stay_inside() -> None:
    source = graph(TEXT)
    (add,) = by_type(source, "Add")
    weight = add.inputs[1]
    assert weight is not None
    region = outline(source, [add], "Front", [source.inputs[1], weight], [add.output])
    verify(source)
    (inner,) = region.subgraphs["body"]
    assert inner.inputs[1] is region.subgraphs["body"].inputs[1]
    expand(source)
    assert to_text(source) == to_text(graph(TEXT))
    np.testing.assert_array_equal(weight.constant.numpy(), [1, 2])  # type: ignore[union-attr]
