"""common-subexpressions: equal things are computed once, where the one comes before the other."""

from __future__ import annotations

import pytest

from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.passes.cleanup.common_subexpressions import CommonSubexpressions
from burnish.pipeline import PassContext
from burnish.testing import assert_equivalent, graph

CONTEXT = PassContext()


def check(text: str) -> Graph:
    before, after = graph(text), graph(text)
    assert CommonSubexpressions().run(after, CONTEXT).changed
    assert_equivalent(before, after, Numerics.EXACT)
    assert not CommonSubexpressions().run(after, CONTEXT).changed
    return after


def kinds(model: Graph) -> list[str]:
    return [node.op_type for node in model.walk()]


def test_equal_nodes_and_what_reads_them() -> None:
    model = check("""
    g (float[2] x) => (float[2] y) {
        a = Exp(x) b = Exp(x) c = Neg(a) d = Neg(b) y = Mul(c, d)
    }
    """)
    assert kinds(model) == ["Exp", "Neg", "Mul"]


def test_operands_in_either_order() -> None:
    model = check("""
    g (float[2] x, float[2] z) => (float[2] y) { a = Add(x, z) b = Add(z, x) y = Mul(a, b) }
    """)
    assert kinds(model) == ["Add", "Mul"]


def test_equal_constants() -> None:
    model = check("""
    g (float[2] x) => (float[2] y) {
        one = Constant<value = float[2] {1.0, 2.0}>()
        two = Constant<value = float[2] {1.0, 2.0}>()
        a = Sub(x, one) b = Sub(x, two) y = Mul(a, b)
    }
    """)
    assert kinds(model) == ["Sub", "Mul"]
    assert len(list(model.constants())) == 1


def test_a_branch_reuses_what_came_before() -> None:
    model = check("""
    g (float[2] x, bool c) => (float[2] y) {
        z = Exp(x)
        w = If (c) <then_branch = yes () => (float[2] a) { e = Exp(x) a = Neg(e) },
                    else_branch = no () => (float[2] b) { b = Relu(x) }>
        y = Mul(w, z)
    }
    """)
    assert kinds(model).count("Exp") == 1


def test_two_outputs_that_are_equal() -> None:
    model = check("g (float[2] x) => (float[2] y, float[2] z) { y = Exp(x) z = Exp(x) }")
    assert kinds(model) == ["Exp", "Identity"]


def test_provenance_names_both() -> None:
    model = graph("g (float[2] x) => (float[2] y) { a = Exp(x) b = Exp(x) y = Mul(a, b) }")
    nodes = list(model)
    names = {name for node in nodes[:2] for name in node.provenance}
    CommonSubexpressions().run(model, CONTEXT)
    assert set(next(iter(model)).provenance) == names


@pytest.mark.parametrize(
    "text",
    [
        "g (float[2] x) => (float[2] y) { a = Exp(x) b = Log(x) y = Mul(a, b) }",
        "g (float[2] x, float[2] z) => (float[2] y) { a = Sub(x, z) b = Sub(z, x) y = Mul(a, b) }",
        """g (float[2, 2] x) => (float[2, 2] y) {
            a = Softmax<axis = 0>(x) b = Softmax<axis = 1>(x) y = Mul(a, b) }""",
        """g (float[2] x) => (float[2] y) {
            a = RandomNormalLike(x) b = RandomNormalLike(x) y = Sub(a, b) }""",
        """g (float[2] x) => (float[2] y) {
            p = Constant<value = float {0.0}>() n = Constant<value = float {-0.0}>()
            a = Div(x, p) b = Div(x, n) y = Sub(a, b) }""",
        # What a branch computes does not exist outside it, nor in the other branch.
        """g (float[2] x, bool c) => (float[2] y) {
            w = If (c) <then_branch = yes () => (float[2] a) { e = Exp(x) a = Neg(e) },
                        else_branch = no () => (float[2] b) { f = Exp(x) b = Abs(f) }>
            z = Exp(x) y = Mul(w, z) }""",
    ],
)
def test_stays(text: str) -> None:
    assert not CommonSubexpressions().run(graph(text), CONTEXT).changed


def test_large_constants_are_not_read() -> None:
    text = """
    g (float[2] x) => (float[2] y) {
        one = Constant<value = float[2] {1.0, 2.0}>()
        two = Constant<value = float[2] {1.0, 2.0}>()
        a = Sub(x, one) b = Sub(x, two) y = Mul(a, b)
    }
    """
    assert not CommonSubexpressions(max_constant_bytes=4).run(graph(text), CONTEXT).changed
