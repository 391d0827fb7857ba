"""The matcher: order of operands, captures, alternatives, where a match must end."""

from __future__ import annotations

import pytest

from burnish.ir import Graph, OperatorNode
from burnish.rewrite import Any, Const, Match, Missing, OneOf, Op, Pattern, Scalar, match, matches
from burnish.testing import graph

X, Y = Any("x"), Any("y")


def node(model: Graph, op_type: str) -> OperatorNode:
    return next(n for n in model.walk() if n.op_type == op_type)


def find(pattern: Pattern, text: str, root: str) -> Match | None:
    return match(pattern, node(graph(text), root))


TWO = "g (float[2] a, float[2] b) => (float y) {{ {} }}"


def two(body: str) -> str:
    return TWO.format(body)


@pytest.mark.parametrize("order", ["c, a", "a, c"])
def test_commutative_operands_match_in_both_orders(order: str) -> None:
    found = find(Op("Add", Op("Exp", X), Y), two(f"c = Exp(b) y = Add({order})"), "Add")
    assert found is not None
    assert (found["x"].name, found["y"].name) == ("b", "a")


@pytest.mark.parametrize("kind", ["Sub", "Div", "Pow", "MatMul"])
def test_others_match_in_the_written_order_only(kind: str) -> None:
    pattern = Op(kind, Op("Exp", X), Y)
    assert find(pattern, two(f"c = Exp(b) y = {kind}(c, a)"), kind) is not None
    assert find(pattern, two(f"c = Exp(b) y = {kind}(a, c)"), kind) is None


def test_mixed_types_commute_only_where_they_may() -> None:
    pattern = Op("Add|Sub", Op("Exp", X), Y)
    assert find(pattern, two("c = Exp(b) y = Add(a, c)"), "Add") is not None
    assert find(pattern, two("c = Exp(b) y = Sub(a, c)"), "Sub") is None


def test_three_operands_of_max_do_not_match_two() -> None:
    assert find(Op("Max", X, Y), two("y = Max(a, b, a)"), "Max") is None


def test_the_same_name_needs_the_same_value() -> None:
    pattern = Op("Mul", X, Op("Sigmoid", X))
    assert find(pattern, two("s = Sigmoid(a) y = Mul(s, a)"), "Mul") is not None
    assert find(pattern, two("s = Sigmoid(b) y = Mul(s, a)"), "Mul") is None


def test_the_same_name_backtracks_over_both_orders() -> None:
    pattern = Op("Add", Op("Mul", X, Y), Op("Mul", X, Any("z")))
    found = find(pattern, two("m = Mul(a, b) n = Mul(b, b) y = Add(m, n)"), "Add")
    assert found is not None
    assert found["x"].name == "b"


def test_the_same_operator_name_needs_the_same_node() -> None:
    inner = Op("Exp", X, name="e")
    pattern = Op("Add", inner, Op("Neg", inner))
    assert find(pattern, two("e = Exp(a) n = Neg(e) y = Add(e, n)"), "Add") is not None
    assert find(pattern, two("e = Exp(a) f = Exp(a) n = Neg(f) y = Add(e, n)"), "Add") is None


def test_alternatives_are_tried_in_order_and_all_are_found() -> None:
    pattern = Op("Exp", OneOf(Op("Neg", X), Any("z")))
    found = list(matches(pattern, node(graph(two("n = Neg(a) y = Exp(n)")), "Exp")))
    assert [sorted(m.values) for m in found] == [["x"], ["z"]]


def test_alternatives_at_the_root() -> None:
    pattern = OneOf(Op("Exp", X), Op("Neg", X))
    assert find(pattern, two("y = Neg(a)"), "Neg") is not None
    assert find(pattern, two("y = Abs(a)"), "Abs") is None


CLIP = "g (float[2] a, float l, float h) => (float y) {{ y = Clip({}) }}"


@pytest.mark.parametrize(("call", "fits"), [
    ("a", False), ("a, l", False), ("a, , h", True), ("a, l, h", False),
])  # fmt: skip
def test_missing_inputs(call: str, fits: bool) -> None:
    found = find(Op("Clip", X, Missing(), Any("high")), CLIP.format(call), "Clip")
    assert (found is not None) == fits


@pytest.mark.parametrize(("call", "fits"), [("a", True), ("a, l", False), ("a, , h", False)])
def test_further_inputs_must_be_absent(call: str, fits: bool) -> None:
    assert (find(Op("Clip", X), CLIP.format(call), "Clip") is not None) == fits
    assert find(Op("Clip", X, open_ended=True), CLIP.format(call), "Clip") is not None
    assert find(Op("Clip"), CLIP.format(call), "Clip") is not None


NUMBER = "g (float[2] a) => (float y) <{} c = {{{}}}> {{ y = Mul(a, c) }}"


@pytest.mark.parametrize(("kind", "value", "fits"), [
    ("float", "0.5", True), ("float[1]", "0.5", True), ("float[1, 1]", "0.5004", True),
    ("float", "0.51", False), ("float", "-0.5", False), ("float[2]", "0.5, 0.5", False),
])  # fmt: skip
def test_scalars(kind: str, value: str, fits: bool) -> None:
    found = find(Op("Mul", X, Scalar(0.5)), NUMBER.format(kind, value), "Mul")
    assert (found is not None) == fits


def test_zero_matches_only_zero() -> None:
    assert find(Op("Mul", X, Scalar(0.0)), NUMBER.format("float", "0.0"), "Mul") is not None
    assert find(Op("Mul", X, Scalar(0.0)), NUMBER.format("float", "0.000001"), "Mul") is None


def test_constants_with_a_condition() -> None:
    text = NUMBER.format("float[2]", "1, 2")
    assert find(Op("Mul", X, Const("c", lambda v: v.rank == 1)), text, "Mul") is not None
    assert find(Op("Mul", X, Const("c", lambda v: v.rank == 0)), text, "Mul") is None
    assert find(Op("Add", X, Const("c")), two("y = Add(a, b)"), "Add") is None


SPLIT = "g (float[4] a) => (float y) {{ p, q = Split<num_outputs = 2>(a) y = Exp({}) }}"


@pytest.mark.parametrize(("output", "fits"), [("p", False), ("q", True)])
def test_which_output_of_a_node(output: str, fits: bool) -> None:
    found = find(Op("Exp", Op("Split", X, output=1)), SPLIT.format(output), "Exp")
    assert (found is not None) == fits


def test_an_output_that_the_node_lacks() -> None:
    assert find(Op("Exp", Op("Neg", X, output=1)), two("n = Neg(a) y = Exp(n)"), "Exp") is None


def test_nodes_of_other_domains_do_not_match() -> None:
    text = "g (float[2] a) => (float y) { y = com.microsoft.Gelu(a) }"
    gelu = node(graph(text, domains=("com.microsoft",)), "Gelu")
    assert match(Op("Gelu", X), gelu) is None
    assert match(Op("com.microsoft:Gelu", X), gelu) is not None


BRANCH = """
g (float[2] a, bool b) => (float y) {
    n = Neg(a)
    y = If<then_branch = t () => (float u) { u = Exp(n) },
           else_branch = e () => (float v) { m = Neg(a) v = Exp(m) }>(b)
}"""


def test_a_match_never_leaves_its_subgraph() -> None:
    model = graph(BRANCH)
    inner, outer = (n for n in model.walk() if n.op_type == "Exp")
    pattern = Op("Exp", Op("Neg", X))
    assert match(pattern, inner) is None
    assert match(pattern, outer) is not None


def test_accept_looks_at_the_node() -> None:
    pattern = Op("Exp", Op("Neg", X, accept=lambda n: n.name == "no"))
    assert find(pattern, two("n = Neg(a) y = Exp(n)"), "Exp") is None


LEAK = Op("Exp", Op("Neg", X))


@pytest.mark.parametrize(("body", "result", "leaks"), [
    ("n = Neg(a) y = Exp(n)", "float y", False),
    ("n = Neg(a) y = Exp(n)", "float y, float n", True),
    ("n = Neg(a) y = Exp(n) z = Abs(n)", "float y, float z", True),
])  # fmt: skip
def test_leaks(body: str, result: str, leaks: bool) -> None:
    text = f"g (float[2] a) => ({result}) {{ {body} }}"
    found = find(LEAK, text, "Exp")
    assert found is not None
    assert (found.leak() is not None) == leaks
    shared = find(Op("Exp", Op("Neg", X, shared=True)), text, "Exp")
    assert shared is not None
    assert shared.leak() is None


def test_a_read_by_a_subgraph_is_a_leak() -> None:
    text = """
    g (float[2] a, bool b) => (float y, float z) {
        n = Neg(a)
        y = Exp(n)
        z = If<then_branch = t () => (float u) { u = Abs(n) },
               else_branch = e () => (float v) { v = Abs(a) }>(b)
    }"""
    found = find(LEAK, text, "Exp")
    assert found is not None
    leak = found.leak()
    assert leak is not None
    assert "another Abs" in leak.reason


def test_a_second_read_inside_the_match_is_none() -> None:
    pattern = Op("Mul", Op("Exp", X, name="e"), Op("Neg", Op("Exp", X, name="e")))
    found = find(pattern, two("e = Exp(a) n = Neg(e) y = Mul(e, n)"), "Mul")
    assert found is not None
    assert found.leak() is None
