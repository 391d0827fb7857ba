"""inline-control-flow: what runs is known, or both ways are computed."""

from __future__ import annotations

import onnx
import pytest

from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.passes.cleanup.infer_shapes import InferShapes
from burnish.passes.cleanup.inline_control_flow import InlineControlFlow
from burnish.pipeline import PassContext
from burnish.target import resolve
from burnish.testing import assert_equivalent, graph

CONTEXT = PassContext(explain=True)
COMPILING = PassContext(target=resolve("x86-64-v3"), explain=True)


def check(text: str, *, context: PassContext = CONTEXT, **options: object) -> Graph:
    """Apply the pass, compare with the original, apply it again: nothing may change."""
    before, after = graph(text), graph(text)
    InferShapes().run(after, context)
    step = InlineControlFlow(**options)  # type: ignore[arg-type]
    assert step.run(after, context).changed
    assert_equivalent(before, after, Numerics.EXACT)
    assert not step.run(after, context).changed
    return after


def refused(text: str, reason: str, context: PassContext = CONTEXT, **options: object) -> None:
    model = graph(text)
    InferShapes().run(model, context)
    result = InlineControlFlow(**options).run(model, context)  # type: ignore[arg-type]
    assert not result.changed
    assert any(reason in miss.reason for miss in result.missed), result.missed


def kinds(model: Graph) -> list[str]:
    return [node.op_type for node in model.walk()]


BRANCH = """
g (float[2, 3] x{inputs}) => (float[{rank}] y) {{
    {condition}
    y = If (c) <
        then_branch = yes () => (float[2, 3] a) {{ a = Relu(x) }},
        else_branch = no () => (float[{other}] b) {{ e = Exp(x) b = {result} }}
    >
}}
"""


def branch(condition: str, inputs: str = "", other: str = "2, 3", result: str = "Neg(e)") -> str:
    rank = "2, 3" if other == "2, 3" else '"m", "n"'
    return BRANCH.format(condition=condition, inputs=inputs, rank=rank, other=other, result=result)


@pytest.mark.parametrize(("truth", "expected"), [(1, ["Relu"]), (0, ["Exp", "Neg"])])
def test_known_condition(truth: int, expected: list[str]) -> None:
    model = check(branch(f"c = Constant<value = bool {{{truth}}}>()"))
    assert kinds(model) == expected


def test_unknown_condition_stays_when_onnx_goes_out() -> None:
    refused(branch("c = Identity(k)", ", bool k"), "only known when the model runs")


def test_unknown_condition_becomes_where_when_compiling() -> None:
    model = check(branch("c = Identity(k)", ", bool k"), context=COMPILING)
    assert sorted(kinds(model)) == ["Exp", "Identity", "Neg", "Relu", "Where"]


def test_condition_of_one_element_does_not_add_an_axis() -> None:
    text = """
    g (float x, bool[1] c) => (float y) {
        y = If (c) <then_branch = yes () => (float a) { a = Relu(x) },
                    else_branch = no () => (float b) { b = Exp(x) }>
    }
    """
    assert "Reshape" in kinds(check(text, context=COMPILING))


def test_branches_of_different_shapes_stay() -> None:
    text = branch("c = Identity(k)", ", bool k", "3, 2", "Transpose<perm=[1,0]>(e)")
    refused(text, "different or unknown shapes", COMPILING)


def test_random_branch_stays() -> None:
    text = branch("c = Identity(k)", ", bool k", result="RandomNormalLike(e)")
    refused(text, "random", COMPILING)


LOOP = """
g (float[3] x{inputs}) => (float[3] y, float["n", 3] all) {{
    {count}
    y, all = Loop (count, {start}, x) <body = step (int64 i, bool go, float[3] v)
        => (bool more, float[3] next, float[3] row) {{
        f = Cast<to = 1>(i)
        next = Add(v, f)
        row = Mul(next, x)
        {more}
    }}>
}}
"""
THREE = "count = Constant<value = int64 {3}>()"


def test_loop_with_known_count() -> None:
    text = LOOP.format(inputs="", count=THREE, start="", more="more = Identity(go)")
    refused(text, "unrolled it would leave 10 nodes, more than 5")
    model = check(text, max_nodes_left=10)
    assert kinds(model).count("Add") == 3
    assert "Loop" not in kinds(model)


def test_results_are_stacked_in_the_form_of_the_opset() -> None:
    text = LOOP.format(inputs="", count=THREE, start="", more="more = Identity(go)")
    before, after = graph(text, opset=11), graph(text, opset=11)
    InferShapes().run(after, CONTEXT)
    assert InlineControlFlow(max_nodes_left=10).run(after, CONTEXT).changed
    onnx.checker.check_model(after.to_onnx())
    assert_equivalent(before, after, Numerics.EXACT)


def test_loop_whose_body_decides_stays() -> None:
    more = "one = Constant<value = int64 {1}>() more = Less(i, one)"
    text = LOOP.format(inputs="", count=THREE, start="", more=more)
    refused(text, "its body decides")


def test_loop_with_unknown_count_stays() -> None:
    text = LOOP.format(
        inputs=", int64 n", count="count = Identity(n)", start="", more="more = Identity(go)"
    )
    refused(text, "how often it runs")


def test_loop_with_unknown_start_stays() -> None:
    text = LOOP.format(inputs=", bool s", count=THREE, start="s", more="more = Identity(go)")
    refused(text, "whether it starts")


def test_long_loop_stays() -> None:
    text = LOOP.format(inputs="", count=THREE, start="", more="more = Identity(go)")
    refused(text, "max_iterations=2", max_iterations=2)
    refused(text, "max_nodes=5", max_nodes=5)


def test_loop_that_never_runs_and_stacks_stays() -> None:
    count = "count = Constant<value = int64 {0}>()"
    text = LOOP.format(inputs="", count=count, start="", more="more = Identity(go)")
    refused(text, "never runs")


def test_nested_control_flow() -> None:
    text = """
    g (float[2] x) => (float[2] y) {
        n = Constant<value = int64 {2}>()
        y = Loop (n, , x) <body = outer (int64 i, bool go, float[2] v)
            => (bool go2, float[2] w) {
            go2 = Identity(go)
            w = Loop (n, , v) <body = inner (int64 j, bool on, float[2] u)
                => (bool on2, float[2] t) {
                on2 = Identity(on)
                t = Add(u, x)
            }>
        }>
    }
    """
    assert kinds(check(text)).count("Add") == 4


SCAN = """
g (float[2] s, float["{size}", 2] x) => (float[2] last, float[2, "t"] all) {{
    last, all = Scan <num_scan_inputs = 1, scan_input_directions = [1],
        scan_output_axes = [1], scan_output_directions = [1],
        body = step (float[2] state, float[2] row) => (float[2] next, float[2] out) {{
            next = Add(state, row)
            out = Mul(next, row)
        }}> (s, x)
}}
"""


def test_scan_backwards_along_another_axis() -> None:
    text = SCAN.format(size="n").replace('"n"', "3")
    assert "Scan" not in kinds(check(text, max_nodes_left=20))


def test_scan_of_unknown_length_stays() -> None:
    refused(SCAN.format(size="n"), "give --input-shape")


def test_an_old_scan_stays() -> None:
    model = graph(SCAN.format(size="n").replace('"n"', "3"), opset=12)
    InferShapes().run(model, CONTEXT)
    result = InlineControlFlow(max_nodes_left=20).run(model, CONTEXT)
    assert not result.changed
    assert any("use --opset" in miss.reason for miss in result.missed)


def test_scan_over_nothing_stays() -> None:
    text = SCAN.format(size="n").replace("(s, x)", "(s, e)")
    empty = "k = Constant<value = int64[1] {0}>() e = Slice(x, k, k) last, all ="
    refused(text.replace("last, all =", empty), "runs over nothing")


def test_a_loop_that_never_starts_stacks_nothing() -> None:
    refused("""
    g (float[2] x) => (float[2] y, float["n", 2] z) {
        n = Constant<value = int64 {3}>() c = Constant<value = bool {0}>()
        y, z = Loop (n, c, x) <body = step (int64 j, bool go, float[2] v)
            => (bool on, float[2] w, float[2] u) {
            on = Identity(go) w = Neg(v) u = Exp(v) }>
    }
    """, "stacks results")  # fmt: skip


def test_equal_branches() -> None:
    model = check("""
    g (float[2] x, bool c) => (float[2] y) {
        y = If (c) <then_branch = yes () => (float[2] a) { e = Exp(x) a = Add(e, x) },
                    else_branch = no () => (float[2] b) { f = Exp(x) b = Add(x, f) }>
    }
    """)
    assert kinds(model) == ["Exp", "Add"]


@pytest.mark.parametrize("other", ["Add(x, x)", "Mul(e, x)", "RandomUniformLike(x)"])
def test_branches_that_differ(other: str) -> None:
    text = f"""
    g (float[2] x, bool c) => (float[2] y) {{
        y = If (c) <then_branch = yes () => (float[2] a) {{ d = Exp(x) a = Add(d, x) }},
                    else_branch = no () => (float[2] b) {{ e = Exp(x) b = {other} }}>
    }}
    """
    refused(text, "its condition is only known")


LONG = """
g (float[2] x) => (float[2] y) {{
    n = Constant<value = int64 {{20}}>() zero = Constant<value = float {{0}}>()
    y, last = Loop (n, , x, zero) <body = step (int64 i, bool go, float[2] v, float s)
        => (bool on, float[2] w, float t) {{
        on = Identity(go) k = Cast<to = 1>(i) r = Sqrt(k) t = Add(s, r) w = Mul(v, {factor}) }}>
}}
"""


def test_a_long_loop_stays_and_says_so() -> None:
    text = LONG.format(factor="t").replace("w = Mul", "q = Exp(v) w = Mul")
    model = graph(text)
    InferShapes().run(model, CONTEXT)
    result = InlineControlFlow().run(model, PassContext())
    assert not result.changed
    assert "stays: unrolled it would leave 40 nodes, more than 7; --set" in result.notes[0]
    assert "Loop" not in kinds(check(text, max_nodes_left=40))
    assert "Loop" not in kinds(check(text, context=COMPILING))


def test_what_folds_does_not_count() -> None:
    text = LONG.format(factor="t").replace("w = Mul(v, t)", "w = Sqrt(t)")
    text = text.replace("float[2] ", "float ").replace(", , x, zero", ", , zero, zero")
    assert "Loop" not in kinds(check(text))


@pytest.mark.parametrize("outside", ["x", "s", "v"])
def test_states_count_once_they_depend_on_inputs(outside: str) -> None:
    text = LONG.format(factor="t").replace("Add(s, r)", f"ReduceSum<keepdims = 0>({outside})")
    left = 20 if outside == "s" else 40
    refused(text, f"leave {left} nodes")
    assert "Loop" not in kinds(check(text, max_nodes_left=left))
