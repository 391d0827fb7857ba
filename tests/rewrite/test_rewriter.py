"""The rewriter: uses, names of outputs, records of edits."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.ir import Constant, DType, Graph, OperatorNode, VariableNode
from burnish.ir.verify import verify
from burnish.numerics import Numerics
from burnish.rewrite import Rewriter
from burnish.testing import assert_equivalent, graph

TEXT = "g (float[2] a) => (float y, float z) { n = Neg(a) y = Exp(n) z = Abs(n) }"


def node(model: Graph, op_type: str) -> OperatorNode:
    return next(n for n in model.walk() if n.op_type == op_type)


def test_new_nodes_go_before_the_anchor_and_inherit_provenance() -> None:
    model = graph(TEXT)
    rw = Rewriter(model)
    rw.anchor, rw.provenance = node(model, "Abs"), ("here",)
    value = rw.op("Sqrt", [model.inputs[0]], like=model.inputs[0])
    assert [n.op_type for n in model] == ["Neg", "Exp", "Sqrt", "Abs"]
    assert value.producer is not None
    assert value.producer.provenance == ("here",)
    assert (value.dtype, value.shape) == (DType.FLOAT, (2,))
    assert rw.edits == {"insert": 1}
    assert rw.changed


def test_without_an_anchor_they_go_last() -> None:
    model = graph(TEXT)
    Rewriter(model).op("Sqrt", [model.inputs[0]])
    assert [n.op_type for n in model][-1] == "Sqrt"


def test_replacing_moves_every_reader() -> None:
    model = graph(TEXT)
    rw = Rewriter(model)
    rw.replace(node(model, "Neg").output, model.inputs[0])
    assert node(model, "Exp").inputs == node(model, "Abs").inputs == (model.inputs[0],)
    assert set(rw.touched) == {node(model, "Exp"), node(model, "Abs")}
    verify(model)


def test_a_node_may_wrap_the_value_that_it_replaces() -> None:
    model = graph(TEXT)
    negated = node(model, "Neg")
    rw = Rewriter(model)
    rw.anchor = node(model, "Exp")
    rw.replace(negated.output, rw.op("Relu", [negated.output], like=negated.output))
    assert [n.op_type for n in model] == ["Neg", "Relu", "Exp", "Abs"]
    assert node(model, "Relu").inputs == (negated.output,)
    verify(model)


@pytest.mark.parametrize("source", ["input", "constant", "output"])
def test_an_output_that_is_no_result_of_its_own_gets_an_identity(source: str) -> None:
    model = graph(TEXT)
    rw = Rewriter(model)
    new = {
        "input": model.inputs[0],
        "constant": rw.constant(np.zeros(2, np.float32)),
        "output": model.outputs[1],
    }[source]
    rw.replace(model.outputs[0], new)
    rw.erase_unused([node(model, "Exp")])
    verify(model)
    assert [v.name for v in model.outputs] == ["y", "z"]
    assert model.outputs[0].producer is not None
    assert model.outputs[0].producer.op_type == "Identity"


def test_replacing_by_another_type_is_an_error() -> None:
    model = graph(TEXT)
    other = VariableNode("other", DType.INT64, (2,))
    with pytest.raises(ValueError, match="is float but its replacement is int64"):
        Rewriter(model).replace(model.outputs[0], other)


def test_replacing_by_itself_is_nothing() -> None:
    model = graph(TEXT)
    rw = Rewriter(model)
    rw.replace(model.outputs[0], model.outputs[0])
    assert not rw.changed


def test_erasing_what_is_read_is_an_error() -> None:
    model = graph(TEXT)
    with pytest.raises(ValueError, match="still in use"):
        Rewriter(model).erase(node(model, "Neg"))


def test_unused_nodes_go_users_first() -> None:
    model = graph("g (float[2] a) => (float y) { n = Neg(a) m = Exp(n) y = Abs(a) }")
    rw = Rewriter(model)
    rw.erase_unused([node(model, "Neg"), node(model, "Exp"), node(model, "Abs")])
    assert [n.op_type for n in model] == ["Abs"]
    assert rw.edits == {"erase": 2}


def test_unused_nodes_may_be_named_twice_and_in_any_order() -> None:
    model = graph("g (float[2] a) => (float y) { n = Neg(a) m = Exp(n) y = Abs(a) }")
    rw = Rewriter(model)
    rw.erase_unused([node(model, "Neg"), node(model, "Exp"), node(model, "Neg")])
    assert [n.op_type for n in model] == ["Abs"]


def test_unused_bodies_let_go_of_what_they_read() -> None:
    model = graph("""g (float[2] a, bool c) => (float y) {
        n = Neg(a) m = If(c) <then_branch = t () => (float[2] u) { u = Exp(n) },
            else_branch = e () => (float[2] v) { v = Abs(n) }> y = Sqrt(a)
    }""")
    rw = Rewriter(model)
    rw.erase_unused([node(model, "Neg"), node(model, "If")])
    assert [n.op_type for n in model] == ["Sqrt"]


def test_inputs_and_attributes_are_edits() -> None:
    model = graph("g (float[2] a, float l) => (float y) { y = Clip(a) }")
    rw, clip = Rewriter(model), node(model, "Clip")
    rw.set_input(clip, 2, model.inputs[1])
    assert clip.inputs == (model.inputs[0], None, model.inputs[1])
    rw.set_inputs(clip, [model.inputs[0]])
    rw.set_attribute(clip, "note", 1)
    rw.set_attribute(clip, "note", None)
    assert clip.attributes == {}
    assert rw.edits == {"update": 4}
    verify(model)


def test_a_constant_takes_the_place_of_a_result() -> None:
    model = graph("g (float[2] a) => (float y) <float one = {1}> { n = Exp(one) y = Add(a, n) }")
    before = graph("g (float[2] a) => (float y) <float one = {1}> { n = Exp(one) y = Add(a, n) }")
    rw, exp = Rewriter(model), node(model, "Exp")
    rw.make_constant(exp.output, np.asarray(np.exp(np.float32(1))))
    rw.erase(exp)
    assert_equivalent(before, model, Numerics.REASSOCIATES)


def test_a_node_may_stand_for_others_as_well() -> None:
    model = graph(TEXT)
    exp, absolute = node(model, "Exp"), node(model, "Abs")
    names = (*exp.provenance, *absolute.provenance)
    Rewriter(model).adopt(exp, [absolute, exp])
    assert exp.provenance == names


def test_a_shared_constant_is_not_edited_in_place() -> None:
    constant = Constant.of(np.ones(2, np.float32))
    with pytest.raises(ValueError, match="read-only"):
        constant.numpy()[0] = 2
