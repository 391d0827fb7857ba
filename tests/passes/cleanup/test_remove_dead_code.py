"""remove-dead-code: only what no output depends on goes."""

from __future__ import annotations

import pytest

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


STATES = """
g (float[2] x, float[2] s) => (float[2] y) {{
    n = Constant<value = int64 {{3}}>()
    y, a, b = Loop (n, , x, s, s) <
        body = step (int64 i, bool go, float[2] v, float[2] t, float[2] u)
        => (bool on, float[2] w, float[2] p, float[2] q) {{
        on = Identity(go) w = {w} p = {p} q = {q} }}>
}}
"""


@pytest.mark.parametrize(
    ("w", "p", "q", "states"),
    [
        ("Exp(v)", "Exp(t)", "Exp(u)", 1),
        ("Exp(v)", "Add(t, u)", "Mul(u, t)", 1),
        ("Exp(v)", "Add(t, v)", "Mul(u, t)", 1),
        ("Add(v, t)", "Exp(t)", "Neg(u)", 2),
        ("Add(v, t)", "Exp(t)", "Mul(u, t)", 2),
        ("Add(v, t)", "Add(t, u)", "Neg(u)", 3),
        ("Add(v, u)", "Neg(t)", "Add(u, t)", 3),
    ],
)
def test_states_that_no_result_depends_on(w: str, p: str, q: str, states: int) -> None:
    text = STATES.format(w=w, p=p, q=q)
    if states == 3:
        assert not RemoveDeadCode().run(graph(text), CONTEXT).changed
        return
    loop = check(text).first
    assert loop is not None
    assert len(loop.outputs) == states
    assert len(loop.inputs) == len(loop.subgraphs["body"].inputs) == 2 + states


def test_states_that_stacked_results_depend_on() -> None:
    model = check("""
    g (float[2] x, float[2] s) => (float["n", 2] y) {
        n = Constant<value = int64 {3}>()
        a, b, y = Loop (n, , x, s) <body = step (int64 i, bool go, float[2] v, float[2] t)
            => (bool on, float[2] w, float[2] p, float[2] row) {
            on = Identity(go) w = Exp(v) p = Neg(t) row = Sqrt(v) }>
    }
    """)
    assert sorted(kinds(model)) == ["Exp", "Identity", "Loop", "Sqrt"]


def test_states_that_decide_when_a_loop_ends() -> None:
    model = graph("""
    g (float[2] x, float s) => (float[2] y) {
        n = Constant<value = int64 {3}>() half = Constant<value = float {0.5}>()
        y, b = Loop (n, , x, s) <body = step (int64 i, bool go, float[2] v, float t)
            => (bool on, float[2] w, float p) {
            p = Mul(t, half) on = Less(half, p) w = Exp(v) }>
    }
    """)
    assert not RemoveDeadCode().run(model, CONTEXT).changed


SCAN = """
g (float[3, 2] x, float[2, 3] z) => (float[2] y{more}) {{
    zero = Constant<value = float[2] {{0.0, 0.0}}>()
    y, rows, columns = Scan <num_scan_inputs = 2, scan_input_axes = [0, 1],
        scan_input_directions = [0, 1], scan_output_axes = [0, 1], scan_output_directions = [1, 0],
        body = step (float[2] s, float[2] a, float[2] b)
        => (float[2] t, float[2] row, float[2] column) {{
        t = Add(s, {read}) row = Neg({read}) column = Exp({read}) }}> (zero, x, z)
}}
"""


@pytest.mark.parametrize("read", ["a", "b", "s"])
@pytest.mark.parametrize("more", ["", ", float[3, 2] rows", ", float[2, 3] columns"])
def test_what_scans_read_and_stack_in_vain(read: str, more: str) -> None:
    model = check(SCAN.format(read=read, more=more))
    scan = next(node for node in model if node.op_type == "Scan")
    kept = 1 if read == "b" else 0
    assert scan.attribute("num_scan_inputs") == 1
    assert scan.attribute("scan_input_axes") == (kept,)
    assert len(scan.outputs) == 1 + bool(more)
    assert scan.inputs[1] is model.inputs[kept]
