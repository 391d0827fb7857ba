"""Each invariant, broken once."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.ir import Constant, DType, Graph, OperatorNode, VariableNode
from burnish.ir.verify import InvalidGraph, verify
from burnish.testing import graph

TEXT = """g (bool c, float[2] x) => (float[2] y) {
  a = Relu(x)
  b = Abs(a)
  y = If (c) <then_branch = p () => (float[2] e) { e = Add(a, b) },
              else_branch = q () => (float[2] f) { f = Neg(b) }>
}"""


@pytest.fixture
def good() -> Graph:
    result = graph(TEXT)
    verify(result)
    return result


def node(source: Graph, op_type: str) -> OperatorNode:
    return next(n for n in source.walk() if n.op_type == op_type)


def refused(source: Graph, message: str) -> None:
    with pytest.raises(InvalidGraph, match=message):
        verify(source)


def test_use_that_is_not_recorded(good: Graph) -> None:
    node(good, "Relu").output.uses.popitem()
    refused(good, "uses do not say so")


def test_use_that_is_recorded_twice(good: Graph) -> None:
    value = node(good, "Relu").output
    use = next(iter(value.uses))
    value.add_use(use.user, use.index)
    refused(good, "exactly once")


def test_use_that_is_not_real(good: Graph) -> None:
    good.inputs[1].add_use(node(good, "Abs"), 0)
    refused(good, "does not read it")


def test_reader_that_was_taken_out(good: Graph) -> None:
    add = node(good, "Add")
    spare = VariableNode("spare", DType.FLOAT, (2,))
    extra = OperatorNode("Neg", [node(good, "Abs").output], [spare])
    assert add.graph is not None
    refused(good, "removed")
    extra.inputs = ()
    verify(good)


def test_order(good: Graph) -> None:
    relu = node(good, "Relu")
    good.unlink(relu)
    good.append(relu)
    refused(good, "not defined before")


def test_capture_from_a_sibling(good: Graph) -> None:
    node(good, "Neg").inputs = (node(good, "Add").output,)
    refused(good, "not defined before")


def test_capture_by_an_enclosing_graph(good: Graph) -> None:
    good.outputs = (node(good, "Add").output,)
    refused(good, "does not define")


def test_value_nobody_makes(good: Graph) -> None:
    node(good, "Abs").inputs = (VariableNode("nowhere"),)
    refused(good, "nowhere")


def test_two_producers(good: Graph) -> None:
    relu, absolute = node(good, "Relu"), node(good, "Abs")
    absolute._outputs = relu.outputs
    refused(good, "another definition")


def test_producer_link(good: Graph) -> None:
    node(good, "Abs").output.producer = node(good, "Relu")
    refused(good, "another definition")


def test_input_with_a_producer(good: Graph) -> None:
    good.inputs.append(node(good, "Relu").output)
    refused(good, "input")


def test_constant_that_does_not_fit(good: Graph) -> None:
    value = VariableNode.of(Constant.of(np.ones(2, np.float32)))
    node(good, "Abs").inputs = (value,)
    verify(good)
    value.dtype = DType.INT64
    refused(good, "of type float")
    value.dtype, value.shape = DType.FLOAT, (3,)
    refused(good, "of shape")


def test_owner_of_a_subgraph(good: Graph) -> None:
    node(good, "If").subgraphs["then_branch"].owner = node(good, "Relu")
    refused(good, "owner")


def test_links_between_nodes(good: Graph) -> None:
    node(good, "Abs")._previous = None
    refused(good, "linked wrongly")


def test_equal_names(good: Graph) -> None:
    good.inputs[0].name = "x"
    refused(good, "2 inputs are called 'x'")


def test_names_of_outputs(good: Graph) -> None:
    good.output_names = ()
    refused(good, "1 outputs have 0 names")


def test_several_faults_name_one_node(good: Graph) -> None:
    node(good, "Abs").inputs = (VariableNode("nowhere"),)
    with pytest.raises(InvalidGraph) as caught:
        verify(good)
    assert "Abs" in str(caught.value)
    assert "\n" not in str(caught.value)
