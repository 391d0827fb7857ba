"""widen-half: the interface stays half, everything between is single precision."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.ir import DType, Graph
from burnish.numerics import Numerics
from burnish.oracle import Oracle
from burnish.passes.cleanup.infer_shapes import InferShapes
from burnish.passes.cleanup.widen_half import WidenHalf
from burnish.pipeline import PassContext
from burnish.target import resolve
from burnish.testing import assert_equivalent, graph

COMPILING = PassContext(target=resolve("x86-64-v3"))


def check(text: str) -> Graph:
    before, after = graph(text), graph(text)
    InferShapes().run(after, COMPILING)
    assert WidenHalf().run(after, COMPILING).changed
    assert_equivalent(before, after, Numerics.REASSOCIATES)
    assert not WidenHalf().run(after, COMPILING).changed
    assert [v.dtype for v in after.inputs] == [v.dtype for v in before.inputs]
    assert [v.dtype for v in after.outputs] == [v.dtype for v in before.outputs]
    InferShapes().run(after, COMPILING)
    inner = [v for node in after.walk() if node.op_type != "Cast" for v in node.outputs]
    assert not any(v.dtype in (DType.FLOAT16, DType.BFLOAT16) for v in inner)
    return after


def kinds(model: Graph) -> list[str]:
    return [node.op_type for node in model.walk()]


# The text form takes the bits of half-precision numbers: 1.0, 2.0, 0.5, -1.0, 3.0, 0.25.
MODEL = """
g (float16[2, 3] x) => (float16[2, 2] y)
<float16[3, 2] w = {15360, 16384, 14336, 48128, 16896, 13312}> {
    h = MatMul(x, w)
    y = Softmax(h)
}
"""


def test_casts_stand_at_the_border() -> None:
    assert kinds(check(MODEL)) == ["Cast", "MatMul", "Softmax", "Cast"]


def test_returned_constants_stay() -> None:
    text = """g (float x) => (float16[1] y, float z) {
        c = Constant<value = float16[1] {15360}>() y = Identity(c) z = Exp(x)
    }"""
    assert not WidenHalf().run(graph(text), COMPILING).changed


def test_inputs_that_are_returned_stay() -> None:
    text = "g (float16[2] x) => (float16[2] y) { y = Cast<to = 10>(x) }"
    model = graph(text)
    InferShapes().run(model, COMPILING)
    assert not WidenHalf().run(model, COMPILING).changed


def test_weights_are_converted_when_they_are_read() -> None:
    model = check(MODEL)
    weight = next(v for v in model.constants() if v.rank == 2).constant
    assert weight is not None
    assert weight.dtype is DType.FLOAT
    assert weight.numpy().dtype == np.float32


def test_cast_to_half_in_between_no_longer_rounds() -> None:
    model = check("""
    g (float[4] x) => (float[4] y) {
        h = Cast<to = 10>(x)
        e = Exp(h)
        y = Cast<to = 1>(e)
    }
    """)
    assert all(node.attribute("to") == 1 for node in model.walk() if node.op_type == "Cast")
    feeds = {"x": np.full(4, 1.0001, np.float32)}
    found = Oracle(model, threads=1).run(feeds)["y"]
    np.testing.assert_allclose(found, np.exp(feeds["x"]), rtol=1e-6)


def test_type_attributes_and_tensors_in_attributes() -> None:
    check("""
    g (float16[2] x, int64[1] n) => (float16["k", 2] y) {
        ones = ConstantOfShape<value = float16[1] {15360}>(n)
        axes = Constant<value = int64[1] {1}>()
        column = Unsqueeze(ones, axes)
        y = Mul(column, x)
    }
    """)


def test_subgraphs_and_values_they_capture() -> None:
    model = check("""
    g (float16[2] x, bool c) => (float16[2] y) {
        z = Relu(x)
        y = If (c) <then_branch = yes () => (float16[2] a) { a = Exp(z) },
                    else_branch = no () => (float16[2] b) { b = Neg(x) }>
    }
    """)
    assert kinds(model).count("Cast") == 2


def test_output_that_is_also_read() -> None:
    check("g (float16[2] x) => (float16[2] y, float16[2] z) { y = Relu(x) z = Exp(y) }")


@pytest.mark.parametrize(
    "text",
    [
        "g (float[2] x) => (float[2] y) { y = Relu(x) }",
        "g (double[2] x) => (double[2] y) { y = Neg(x) }",
        "g (float[2] x) => (float16[2] y) { y = Cast<to = 10>(x) }",
        "g (float16[2] x) => (float[2] y) { y = Cast<to = 1>(x) }",
    ],
)
def test_leaves_alone(text: str) -> None:
    model = graph(text)
    InferShapes().run(model, COMPILING)
    assert not WidenHalf().run(model, COMPILING).changed


def test_leaves_onnx_models_half() -> None:
    model = graph(MODEL)
    assert not WidenHalf().run(model, PassContext()).changed
