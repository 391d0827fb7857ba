"""common-subexpressions: equal things are computed once, where the one comes before the other."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.ir import Array, Constant, DType, Graph, OperatorNode, VariableNode
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


def unreadable(shape: tuple[int, ...], dtype: DType = DType.FLOAT) -> VariableNode:
    def load() -> Array:
        raise AssertionError("this weight was read")

    return VariableNode.of(Constant(shape, dtype, load))


def test_weights_unlike_all_others_are_not_read() -> None:
    model = graph("g (float[2] x) => (float[2] y) { y = Abs(x) }")
    last = model.first
    assert last is not None
    source: VariableNode | None = model.inputs[0]
    for weight in (unreadable((2,)), unreadable((1,)), unreadable((2,), DType.DOUBLE)):
        result = VariableNode("", DType.FLOAT, (2,))
        model.insert_before(last, OperatorNode("Mul", [source, weight], [result]))
        source = result
    last.inputs = (source,)
    assert not CommonSubexpressions().run(model, CONTEXT).changed


@pytest.mark.parametrize("differs", [0, 1, 500, 999])
def test_weights_that_differ_in_one_element(differs: int) -> None:
    model = graph("g (float[1000] x) => (float[1000] y) { a = Exp(x) y = Abs(a) }")
    for node in model:
        array = np.zeros(1000, np.float32)
        array[differs] = 1.0 if node.op_type == "Abs" else 2.0
        result = VariableNode("", DType.FLOAT, (1000,))
        weight = VariableNode.of(Constant.of(array))
        model.insert_before(node, OperatorNode("Mul", [node.inputs[0], weight], [result]))
        node.inputs = (result,)
    assert not CommonSubexpressions().run(model, CONTEXT).changed


def test_weights_of_bodies_and_of_the_main_graph() -> None:
    model = check("""
    g (float[2] x, bool c) => (float[2] y) {
        one = Constant<value = float[2] {1.0, -0.0}>()
        z = Mul(x, one)
        w = If (c) <then_branch = yes () => (float[2] a) {
                        two = Constant<value = float[2] {1.0, -0.0}>() a = Sub(x, two) },
                    else_branch = no () => (float[2] b) {
                        three = Constant<value = float[2] {1.0, 0.0}>() b = Sub(x, three) }>
        y = Mul(w, z)
    }
    """)
    assert len(list(model.constants())) == 2


def test_comparisons_from_either_side() -> None:
    model = check("""
    g (float[2] x, float[2] z) => (bool[2] y) {
        a = Greater(x, z) b = Less(z, x) c = GreaterOrEqual(x, z) d = LessOrEqual(z, x)
        e = And(a, b) f = Or(c, d) y = Xor(e, f) }
    """)
    assert kinds(model) == ["Greater", "GreaterOrEqual", "And", "Or", "Xor"]


def test_attributes_spelled_out() -> None:
    model = check("""
    g (float[2, 3] x) => (float[2, 3] y) {
        a = Softmax(x) b = Softmax<axis = -1>(x) c = LeakyRelu<alpha = 0.01>(a) d = LeakyRelu(b)
        y = Mul(c, d) }
    """)
    assert kinds(model) == ["Softmax", "LeakyRelu", "Mul"]


CHOICE = """
    g (float[2] x, bool c) => (float[2] y) {{
        v = If (c) <then_branch = yes () => (float[2] a) {{ e = Exp(x) a = Neg(e) }},
                    else_branch = no () => (float[2] b) {{ b = Abs(x) }}>
        w = If (c) <then_branch = yes2 () => (float[2] p) {{ q = Exp(x) p = Neg({then}) }},
                    else_branch = no2 () => (float[2] r) {{ r = {other}(x) }}>
        y = Mul(v, w)
    }}
"""


def test_equal_branches_are_chosen_between_once() -> None:
    model = check(CHOICE.format(then="q", other="Abs"))
    assert kinds(model) == ["If", "Exp", "Neg", "Abs", "Mul"]


@pytest.mark.parametrize(("then", "other"), [("x", "Abs"), ("q", "Relu"), ("q", "Bernoulli")])
def test_branches_that_differ(then: str, other: str) -> None:
    text = CHOICE.format(then=then, other=other)
    assert not CommonSubexpressions().run(graph(text), CONTEXT).changed


def test_loops_over_different_states_differ() -> None:
    loop = """Loop (n, , {start}) <body = {name} (int64 {name}i, bool {name}g, float[2] {name}v)
        => (bool {name}o, float[2] {name}w) {{
        {name}o = Identity({name}g) {name}w = Mul({name}v, {name}v) }}>"""
    text = """g (float[2] x) => (float[2] y) {{
        n = Constant<value = int64 {{3}}>() z = Exp(x)
        a = {first} b = {second} y = Add(a, b) }}"""
    same = text.format(
        first=loop.format(start="x", name="p"), second=loop.format(start="x", name="q")
    )
    assert kinds(check(same)).count("Loop") == 1
    other = text.format(
        first=loop.format(start="x", name="p"), second=loop.format(start="z", name="q")
    )
    assert not CommonSubexpressions().run(graph(other), CONTEXT).changed
