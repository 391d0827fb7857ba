"""simplify-loops: what is the same in every iteration is computed once."""

from __future__ import annotations

import onnx
import pytest

from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.passes.cleanup.infer_shapes import InferShapes
from burnish.passes.cleanup.remove_dead_code import RemoveDeadCode
from burnish.passes.cleanup.simplify_loops import SimplifyLoops
from burnish.pipeline import PassContext
from burnish.testing import assert_equivalent, graph

CONTEXT = PassContext(explain=True)


def prepared(text: str) -> Graph:
    model = graph(text)
    InferShapes().run(model, CONTEXT)
    return model


def check(text: str) -> Graph:
    before, after = graph(text), prepared(text)
    assert SimplifyLoops().run(after, CONTEXT).changed
    assert_equivalent(before, after, Numerics.EXACT)
    assert not SimplifyLoops().run(after, CONTEXT).changed
    RemoveDeadCode().run(after, CONTEXT)
    return after


def refused(text: str, reason: str = "") -> None:
    result = SimplifyLoops().run(prepared(text), CONTEXT)
    assert not result.changed
    assert not reason or any(reason in miss.reason for miss in result.missed), result.missed


def main(model: Graph) -> list[str]:
    return [node.op_type for node in model]


LOOP = """
g (float[2] x, float[2] s, int64 n) => (float[2] y) {{
    {count}
    y{outputs} = Loop ({times}, {start}, x, s) <
        body = step (int64 i, bool go, float[2] v, float[2] t)
        => (bool on, float[2] w, float[2] u) {{ on = Identity(go) {body} }}>
}}
"""


def loop(body: str, times: str = "three", start: str = "", outputs: str = ", z") -> str:
    count = "three = Constant<value = int64 {3}>() " + (
        "yes = Constant<value = bool {1}>() no = Constant<value = bool {0}>()"
    )
    return LOOP.format(body=body, times=times, start=start, outputs=outputs, count=count)


def test_golden() -> None:
    model = check(loop("e = Exp(t) w = Mul(v, e) u = Identity(t)"))
    assert main(model) == ["Exp", "Loop"]
    (node,) = (node for node in model if node.op_type == "Loop")
    assert [value and value.name for value in node.inputs][2:] == ["x"]
    assert [inner.op_type for inner in node.subgraphs["body"]] == ["Identity", "Mul"]


def test_states_that_are_returned() -> None:
    text = loop("w = Exp(v) u = Identity(t)").replace(
        "=> (float[2] y)", "=> (float[2] y, float[2] z)"
    )
    model = check(text)
    assert main(model) == ["Loop", "Identity"]
    assert model.output_names == ("y", "z")


def test_loops_that_only_hand_on() -> None:
    assert main(check(loop("w = Identity(v) u = Identity(t)"))) == ["Identity"]


@pytest.mark.parametrize("step", [SimplifyLoops, RemoveDeadCode])
def test_old_loops_carry_something(step: type[SimplifyLoops | RemoveDeadCode]) -> None:
    text = """g (float[2] x) => (int64[3] y) {
        n = Constant<value = int64 {3}>()
        z, y = Loop (n, , x) <body = step (int64 i, bool go, float[2] v)
            => (bool on, float[2] w, int64 r) { on = Identity(go) w = Identity(v) r = Identity(i) }>
    }"""
    model = graph(text, opset=9)
    InferShapes().run(model, CONTEXT)
    step().run(model, CONTEXT)
    onnx.checker.check_model(model.to_onnx())
    assert_equivalent(graph(text, opset=9), model, Numerics.EXACT)
    assert not step().run(model, CONTEXT).changed


def test_chains_of_what_does_not_change() -> None:
    model = check(loop("a = Neg(s) b = Exp(a) c = Add(b, t) w = Mul(v, c) u = Neg(t)"))
    assert main(model) == ["Neg", "Exp", "Loop"]


def test_out_of_both_loops() -> None:
    inner = """w = Loop (three, , v) <body = again (int64 j, bool h, float[2] p)
        => (bool k, float[2] q) {
            k = Identity(h) e = Exp(s) f = Exp(t) g = Add(e, f) q = Mul(p, g) }>
        u = Neg(t)"""
    model = check(loop(inner))
    assert main(model) == ["Exp", "Loop"]
    (node,) = (node for node in model if node.op_type == "Loop")
    assert [each.op_type for each in node.subgraphs["body"]] == [
        "Identity",
        "Exp",
        "Add",
        "Loop",
        "Neg",
    ]


def test_scans() -> None:
    model = check("""
    g (float[3, 2] x, float[2] s) => (float[2] y) {
        y, z = Scan <num_scan_inputs = 1, body = step (float[2] a, float[2] b, float[2] r)
            => (float[2] c, float[2] d) { e = Exp(b) f = Add(r, e) c = Add(a, f) d = Identity(b) }>
            (s, s, x)
    }
    """)
    assert main(model) == ["Exp", "Scan"]


@pytest.mark.parametrize(
    ("times", "start", "moves"),
    [("three", "", True), ("three", "yes", True), ("n", "", False), ("three", "no", False),
     ("n", "yes", False)],
)  # fmt: skip
@pytest.mark.parametrize("risky", [True, False])
def test_loops_that_may_not_run(times: str, start: str, moves: bool, risky: bool) -> None:
    read = "Gather<axis = 0>(s, n)" if risky else "Exp(s)"
    text = loop(f"e = {read} w = Mul(v, e) u = Neg(t)", times, start)
    if risky and not moves:
        refused(text, "the loop may not run at all")
    else:
        assert "Loop" in main(check(text))


def test_division_by_what_may_be_zero() -> None:
    text = loop("m = Div(n, n) e = Cast<to = 1>(m) w = Mul(v, e) u = Neg(t)", "n")
    refused(text, "the loop may not run at all")
    assert main(check(text.replace("Loop (n,", "Loop (three,"))) == ["Div", "Cast", "Loop"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("w = Exp(v) u = Neg(t)", ""),
        ("e = Cast<to = 1>(i) w = Mul(v, e) u = Neg(t)", ""),
        ("w = Exp(s) u = Neg(t)", "one of the loop's"),
        ("r = RandomUniformLike(s) w = Mul(v, r) u = Neg(t)", "something else each time"),
        ("w = Identity(t) u = Identity(v)", ""),
        ("w = Add(v, t) u = Abs(t)", ""),
    ],
)
def test_what_stays(body: str, reason: str) -> None:
    refused(loop(body), reason)
