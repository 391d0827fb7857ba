"""Reshapes move behind elementwise operators, and only where that helps and is right."""

from __future__ import annotations

import pytest

from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from burnish.testing import assert_equivalent, graph

W = "w = Constant<value_floats=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]>() s = Constant<value_ints=[2, 3]>() m = Reshape(w, s)"  # noqa: E501


def ran(text: str) -> tuple[Graph, Graph, list[str]]:
    before, after = graph(text), graph(text)
    for each in (before, after):
        run_pass(each, get_pass("infer-shapes"), PassContext())
        run_pass(each, get_pass("fold-constants"), PassContext())
    run_pass(after, get_pass("sink-views"), PassContext())
    return before, after, [node.op_type for node in after]


@pytest.mark.parametrize(
    "tail",
    [
        "b = Constant<value_floats=[1.0, 2.0, 3.0]>() z = Add(u, b) y = Relu(z)",
        "b = Constant<value_float=2.0>() z = Sub(b, u) y = Tanh(z)",
        "z = Relu(u) y = Sigmoid(z)",
    ],
)
def test_elementwise_operators_come_to_stand_behind_the_product(tail: str) -> None:
    before, after, kinds = ran(
        f"g (float[4, 2] x) => (float[4, 1, 3] y) {{ {W} p = MatMul(x, m)"
        f" a = Constant<value_ints=[1]>() u = Unsqueeze(p, a) {tail} }}"
    )
    assert kinds[-1] == "Unsqueeze"
    assert "Unsqueeze" not in kinds[:-1]
    assert_equivalent(before, after, Numerics.EXACT)


@pytest.mark.parametrize(
    "body",
    [
        # nothing heavy in front
        "r = Neg(x) u = Unsqueeze(r, a) y = Relu(u)",
        # the value is read on both sides of the view
        "p = MatMul(x, m) u = Unsqueeze(p, a) q = Relu(u) k = Unsqueeze(p, a) y = Mul(q, k)",
        # the view itself is read twice
        "p = MatMul(x, m) u = Unsqueeze(p, a) q = Relu(u) y = Mul(q, u)",
        # the reshape moves elements between axes
        "p = MatMul(x, m) t = Constant<value_ints=[2, 1, 6]>() u = Reshape(p, t)"
        " b = Constant<value_floats=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]>() y = Add(u, b)",
        # the constant makes the value larger
        "p = MatMul(x, m) u = Unsqueeze(p, a) t = Constant<value_ints=[1, 2, 1]>()"
        " c = Constant<value_floats=[1.0, 2.0]>() b = Reshape(c, t) y = Add(u, b)",
    ],
)
def test_near_misses_stay(body: str) -> None:
    before, _after, kinds = ran(
        f"g (float[4, 2] x) => (float y) {{ {W} a = Constant<value_ints=[1]>() {body} }}"
    )
    assert kinds == [node.op_type for node in before]


def test_unknown_shapes_stay() -> None:
    before, _after, kinds = ran(
        f'g (float["n", 2] x) => (float y) {{ {W} p = MatMul(x, m) a = Constant<value_ints=[1]>()'
        " u = Unsqueeze(p, a) b = Constant<value_floats=[1.0, 2.0, 3.0]>() y = Add(u, b) }"
    )
    assert kinds == [node.op_type for node in before]


def test_a_second_run_changes_nothing() -> None:
    _, after, _ = ran(
        f"g (float[4, 2] x) => (float[4, 1, 3] y) {{ {W} p = MatMul(x, m)"
        " a = Constant<value_ints=[1]>() u = Unsqueeze(p, a) y = Relu(u) }"
    )
    assert not run_pass(after, get_pass("sink-views"), PassContext()).changed
