"""infer-shapes: what the analysis finds is written to the graph, once."""

from __future__ import annotations

from burnish.ir import DType, Graph
from burnish.numerics import Numerics
from burnish.passes.cleanup.infer_shapes import InferShapes
from burnish.pipeline import PassContext
from burnish.rewrite import RewriteResult
from burnish.testing import assert_equivalent, graph

TEXT = """
g (float["n", 8, 8] x) => (float["p", "q"] y) {
    s = Shape(x)
    k = Constant<value = int64[1] {0}>()
    n = Gather(s, k)
    rest = Constant<value = int64[1] {-1}>()
    t = Concat<axis = 0>(n, rest)
    y = Reshape(x, t)
}
"""


def infer_shapes(model: Graph) -> RewriteResult:
    return InferShapes().run(model, PassContext())


def test_annotates_every_value_and_changes_nothing_else() -> None:
    before, after = graph(TEXT), graph(TEXT)
    result = infer_shapes(after)
    assert set(result.edits) == {"annotate"}
    assert after.outputs[0].shape == ("n", 64)
    assert all(value.shape is not None for node in after for value in node.outputs)
    assert_equivalent(before, after, Numerics.EXACT)
    assert not infer_shapes(after).changed


def test_a_stale_shape_is_replaced() -> None:
    model = graph("g (float[2, 3] x) => (float[3, 2] y) { a = Transpose(x) y = Relu(a) }")
    next(iter(model)).output.shape = (7, 7)
    infer_shapes(model)
    assert next(iter(model)).output.shape == (3, 2)


def test_marks_for_unknown_become_unknown() -> None:
    model = graph("g (float[2, 3] x) => (float[2, 3] y) { y = other.Op(x) }", domains=("other",))
    model.outputs[0].shape = ("?", -1)
    assert infer_shapes(model).changed
    assert model.outputs[0].shape == (None, None)


def test_inputs_are_taken_as_given() -> None:
    model = graph("g (float[2, 3] x) => (float[2, 3] y) { y = Relu(x) }")
    assert not infer_shapes(model).changed
    assert model.inputs[0].shape == (2, 3)


def test_types_of_results_that_declare_none() -> None:
    model = graph("g (float[2, 3] x) => (int64[2, 1] y) { y = ArgMax<axis = 1>(x) }")
    model.outputs[0].dtype, model.outputs[0].shape = DType.UNDEFINED, None
    infer_shapes(model)
    assert (model.outputs[0].dtype, model.outputs[0].shape) == (DType.INT64, (2, 1))


def test_contradictions_are_notes() -> None:
    model = graph("g (float[2, 3] x, float[4, 5] w) => (float[2, 5] y) { y = MatMul(x, w) }")
    (note,) = infer_shapes(model).notes
    assert note.startswith("MatMul")
    assert "Incompatible dimensions" in note
