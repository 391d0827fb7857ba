"""remove-dead-code: only what no output depends on goes."""

from __future__ import annotations

from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.passes.cleanup.remove_dead_code import RemoveDeadCode
from burnish.pipeline import PassContext
from burnish.testing import assert_equivalent, graph

CONTEXT = PassContext()


def check(text: str) -> Graph:
    before, after = graph(text), graph(text)
    assert RemoveDeadCode().run(after, CONTEXT).changed
    assert_equivalent(before, after, Numerics.EXACT)
    assert not RemoveDeadCode().run(after, CONTEXT).changed
    return after


def kinds(model: Graph) -> list[str]:
    return [node.op_type for node in model.walk()]


def test_chains_of_dead_nodes() -> None:
    model = check("g (float[2] x) => (float[2] y) { a = Exp(x) b = Neg(a) y = Relu(x) }")
    assert kinds(model) == ["Relu"]


def test_unused_optional_outputs() -> None:
    model = check("g (float[2, 3] x) => (float[2, 3] y) { y, mask = Dropout(x) }")
    assert len(model.first.outputs) == 1  # type: ignore[union-attr]


def test_what_dead_subgraphs_capture() -> None:
    model = check("""
    g (float[2] x, bool c) => (float[2] y) {
        z = Exp(x)
        d = If (c) <then_branch = yes () => (float[2] a) { a = Neg(z) },
                    else_branch = no () => (float[2] b) { b = Relu(z) }>
        y = Abs(x)
    }
    """)
    assert kinds(model) == ["Abs"]


def test_results_of_branches() -> None:
    model = check("""
    g (float[2] x, bool c) => (float[2] y) {
        y, d = If (c) <
            then_branch = yes () => (float[2] a, float[2] p) { a = Neg(x) p = Exp(x) },
            else_branch = no () => (float[2] b, float[2] q) { b = Relu(x) q = Log(x) }>
    }
    """)
    assert sorted(kinds(model)) == ["If", "Neg", "Relu"]


def test_stacked_results_of_loops() -> None:
    model = check("""
    g (float[2] x) => (float[2] y) {
        n = Constant<value = int64 {3}>()
        y, all = Loop (n, , x) <body = step (int64 i, bool go, float[2] v)
            => (bool on, float[2] w, float[2] row) {
            on = Identity(go) w = Add(v, x) row = Exp(v) }>
    }
    """)
    assert "Exp" not in kinds(model)


def test_what_stays() -> None:
    for text in (
        "g (float[2] x) => (float[2] y) { a = Exp(x) y = Neg(a) }",
        "g (float[2] x, float[2] unused) => (float[2] y) { y = Neg(x) }",
        "g (float[4] x) => (float[2] y) { z, y = Split<num_outputs = 2>(x) }",
        "g (float[2, 3] x) => (bool[2, 3] mask) { y, mask = Dropout(x) }",
        """g (float[2] x) => (float[2] all0, float["n", 2] all) {
            n = Constant<value = int64 {3}>()
            all0, all = Loop (n, , x) <body = step (int64 i, bool go, float[2] v)
                => (bool on, float[2] w, float[2] row) {
                on = Identity(go) w = Add(v, x) row = Exp(v) }>
        }""",
    ):
        model = graph(text)
        assert not RemoveDeadCode().run(model, CONTEXT).changed
