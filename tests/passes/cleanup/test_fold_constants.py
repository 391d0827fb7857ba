"""fold-constants: what is known becomes a constant, what is large or random stays."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.passes.cleanup.fold_constants import FoldConstants
from burnish.pipeline import PassContext
from burnish.testing import assert_equivalent, graph

CONTEXT = PassContext()


def check(text: str, **options: int) -> Graph:
    before, after = graph(text), graph(text)
    assert FoldConstants(**options).run(after, CONTEXT).changed
    assert_equivalent(before, after, Numerics.EXACT)
    assert not FoldConstants(**options).run(after, CONTEXT).changed
    return after


def kinds(model: Graph) -> list[str]:
    return [node.op_type for node in model.walk()]


def test_constants_of_constants() -> None:
    model = check("""
    g (float[2] x) => (float[2] y) {
        a = Constant<value = float[2] {1.0, 4.0}>()
        b = Sqrt(a)
        c = Exp(b)
        y = Mul(x, c)
    }
    """)
    assert kinds(model) == ["Mul"]


def test_shapes_through_arithmetic() -> None:
    model = check("""
    g (float[2, 8, 9] x) => (float[2, 72] y) {
        s = Shape(x)
        zero = Constant<value = int64 {0}>()
        n = Gather(s, zero)
        axes = Constant<value = int64[1] {0}>()
        m = Unsqueeze(n, axes)
        rest = Constant<value = int64[1] {-1}>()
        t = Concat<axis = 0>(m, rest)
        y = Reshape(x, t)
    }
    """)
    assert "Concat" not in kinds(model)
    target = next(node for node in model if node.op_type == "Reshape").constant_input(1)
    assert target is not None
    assert target.numpy().tolist() == [2, -1]


def test_values_that_need_the_oracle_in_between() -> None:
    """NonZero has no value rule: the first round computes it, the second goes on from there."""
    model = check("""
    g (float[4] x) => (float["n"] y) {
        s = Shape(x)
        ones = ConstantOfShape<value = int64[1] {1}>(s)
        i = NonZero(ones)
        axes = Constant<value = int64[1] {0}>()
        j = Squeeze(i, axes)
        y = Gather(x, j)
    }
    """)
    assert kinds(model)[-1] == "Gather"
    assert "NonZero" not in kinds(model)
    assert model.outputs[0].shape == (4,)


def test_graph_output() -> None:
    model = check("g (float[2] x) => (int64[1] n, float[2] y) { n = Shape(x) y = Relu(x) }")
    assert kinds(model) == ["Relu", "Identity"]


def test_inside_subgraphs() -> None:
    model = check("""
    g (float[2] x, bool c) => (float[2] y) {
        k = Constant<value = float {4.0}>()
        y = If (c) <then_branch = yes () => (float[2] a) { r = Sqrt(k) a = Mul(x, r) },
                    else_branch = no () => (float[2] b) { b = Neg(x) }>
    }
    """)
    assert "Sqrt" not in kinds(model)


def test_large_results_stay() -> None:
    text = """
    g (float[1] x) => (float[1000] y) {
        one = Constant<value = float[1] {1.0}>()
        n = Constant<value = int64[1] {1000}>()
        e = Expand(one, n)
        y = Mul(x, e)
    }
    """
    model = graph(text)
    result = FoldConstants(max_bytes=1024).run(model, CONTEXT)
    assert "Expand" in kinds(model)
    assert "above fold-constants.max_bytes=1024" in result.notes[0]
    assert "Expand" not in kinds(check(text))


def test_a_large_weight_that_does_not_grow_is_folded() -> None:
    model = graph("""
    g (float[2] x) => (float[3] y) {
        w = Constant<value = float[3, 2] {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}>()
        t = Transpose(w)
        y = MatMul(x, t)
    }
    """)
    assert FoldConstants(max_bytes=1).run(model, CONTEXT).changed
    assert kinds(model) == ["MatMul"]


@pytest.mark.parametrize(
    "text",
    [
        "g (float[2] x) => (float[2] y) { r = RandomNormal<shape = [2]>() y = Add(x, r) }",
        """g (float[2] x) => (float[2] y) {
            q = Constant<value = int8[2] {1, 2}>() s = Constant<value = float {0.5}>()
            w = DequantizeLinear(q, s) y = Mul(x, w) }""",
        """g (float["n"] x) => (int64[1] y) { y = Shape(x) }""",
        """g (float["n"] x) => (float["n"] y) {
            k = Constant<value = float {2.0}>() y = Mul(x, k) }""",
    ],
)
def test_stays(text: str) -> None:
    model = graph(text)
    before = kinds(model)
    FoldConstants().run(model, CONTEXT)
    assert kinds(model) == before


def test_floats_come_from_the_oracle() -> None:
    """Shape arithmetic in floats is left to the oracle's kernels, and comes out bit for bit."""
    model = check("""
    g (float[3, 7] x) => (float[3, 7] y) {
        s = Shape<start = 1>(x)
        f = Cast<to = 1>(s)
        h = Constant<value = float {-0.5}>()
        p = Pow(f, h)
        y = Mul(x, p)
    }
    """)
    constant = next(node for node in model if node.op_type == "Mul").constant_input(1)
    assert constant is not None
    assert constant.numpy().dtype == np.float32
