"""remove-no-ops: bit for bit the input, or it stays and says why."""

from __future__ import annotations

import pytest

from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.passes.cleanup.infer_shapes import InferShapes
from burnish.passes.cleanup.remove_no_ops import JUDGES, RemoveNoOps
from burnish.pipeline import PassContext
from burnish.testing import assert_equivalent, graph

CONTEXT = PassContext(explain=True)


def model_of(call: str) -> Graph:
    """``call`` between two operators, so that it is neither an input nor an output."""
    ones = "{" + ", ".join(["1.0"] * 6) + "}"
    zeros = ones.replace("1.0", "0.0")
    model = graph(
        f"""
    g (float[2, 3] x0, float["n", 3] d0, bool[2, 3] c0, int64[2, 3] i0) => (float y) {{
        x = Exp(x0) d = Exp(d0) c = Not(c0) i = Neg(i0)
        one = Constant<value = float {{1.0}}>()
        big = Constant<value = float[1, 1, 1] {{1.0}}>()
        many = Constant<value = float[2, 3] {ones}>()
        zero = Constant<value = float {{0.0}}>()
        minus = Constant<value = float {{-0.0}}>()
        none = Constant<value = int64[4] {{0, 0, 0, 0}}>()
        some = Constant<value = int64[4] {{-1, 0, 1, 0}}>()
        shape = Constant<value = int64[2] {{2, 3}}>()
        turn = Constant<value = int64[2] {{3, 2}}>()
        back = Constant<value = int64[2] {{-1, -1}}>()
        from = Constant<value = int64[2] {{0, 0}}>()
        last = Constant<value = int64[2] {{-1, -1}}>()
        far = Constant<value = int64[2] {{-9, -9}}>()
        both = Constant<value = int64[2] {{0, 1}}>()
        true = Constant<value = bool {{1}}>()
        false = Constant<value = bool {{0}}>()
        yes = Constant<value = bool[2, 3] {{1, 1, 1, 1, 1, 1}}>()
        izero = Constant<value = int64 {{0}}>()
        unit = Constant<value = float[2] {{1.0, 1.0}}>()
        zeros = Constant<value = float[2, 3] {zeros}>()
        r = {call}
        f = Cast<to = 11>(r)
        y0 = ReduceSum<keepdims = 0>(f)
        y = Cast<to = 1>(y0)
    }}
    """,
        opset=18,
    )
    InferShapes().run(model, CONTEXT)
    return model


REMOVED = [
    "Identity(x)", "Cast<to = 1>(x)", "CastLike(x, one)", "Dropout(x)", "Dropout(x, zero, false)",
    "Reshape(x, shape)", "Expand(x, shape)", "Flatten(x)", "Transpose<perm = [0, 1]>(x)",
    "Concat<axis = 0>(x)", "Split<num_outputs = 1>(x)", "Pad(x, none)", "Slice(x, from, shape)",
    "Mul(x, one)", "Mul(one, x)", "Mul(x, many)", "Mul(d, one)", "Div(x, one)", "Pow(x, one)",
    "Add(x, minus)", "Sub(x, zero)", "Add(i, izero)", "Sub(i, izero)", "Max(x)", "Sum(x)",
    "And(c, true)", "Or(false, c)", "Clip(x)", "Where(yes, x, one)", "Resize(x, , unit)",
]  # fmt: skip

KEPT = [
    ("Cast<to = 6>(x)", "changes the type"),
    ("Dropout(x, zero, true)", "training mode"),
    ("Reshape(x, turn)", "changes the shape"),
    ("Reshape(d, shape)", "changes the shape"),
    ("Transpose(x)", "reverses the axes"),
    ("Transpose<perm = [1, 0]>(x)", "moves axes"),
    ("Concat<axis = 0>(x, x)", "several inputs"),
    ("Pad(x, some)", "it pads"),
    ("Slice(x, last, far, both, back)", "reverse"),
    ("Mul(x, zero)", "neutral"),
    ("Mul(x, big)", "broadcasts"),
    ("Mul(d, many)", "broadcasts"),
    ("Div(one, x)", "neutral"),
    ("Pow(one, x)", "neutral"),
    ("Add(x, zero)", "neutral"),
    ("Sub(x, minus)", "neutral"),
    ("Sub(zero, x)", "neutral"),
    ("Sub(izero, i)", "neutral"),
    ("Max(x, one)", "neutral"),
    ("Sum(x, x)", "several inputs"),
    ("And(c, false)", "neutral"),
    ("Or(c, true)", "neutral"),
    ("Clip(x, zero)", "it bounds"),
    ("Where(c, x, one)", "not constant"),
    ("Where(true, one, x)", "another shape"),
    ('Resize<coordinate_transformation_mode = "tf_crop_and_resize">(x, from_, unit)', "crops"),
]


@pytest.mark.parametrize("call", REMOVED)
def test_removed(call: str) -> None:
    before, after = model_of(call), model_of(call)
    nodes = len(after)
    assert RemoveNoOps().run(after, CONTEXT).changed
    assert len(after) == nodes - 1
    assert_equivalent(before, after, Numerics.EXACT)
    assert not RemoveNoOps().run(after, CONTEXT).changed


@pytest.mark.parametrize(("call", "reason"), KEPT)
def test_kept(call: str, reason: str) -> None:
    model = model_of(call.replace("from_", "many"))
    result = RemoveNoOps().run(model, CONTEXT)
    assert not result.changed
    assert any(reason in miss.reason for miss in result.missed), result.missed


def test_read_mask_keeps_dropout() -> None:
    model = graph("g (float[2] x) => (float[2] y, bool[2] m) { y, m = Dropout(x) }")
    InferShapes().run(model, CONTEXT)
    assert not RemoveNoOps().run(model, CONTEXT).changed


@pytest.mark.parametrize(
    "text",
    [
        "g (float[2] x) => (float[2] y) { y = Identity(x) }",
        "g (float[2] x) => (float[2] y, float[2] z) { y = Exp(x) z = Identity(y) }",
        """g (float[2] x) => (float[2] y) {
            k = Constant<value = float[2] {1.0, 2.0}>() y = Identity(k) }""",
    ],
)  # fmt: skip
def test_graph_outputs_keep_their_names(text: str) -> None:
    model = graph(text)
    result = RemoveNoOps().run(model, CONTEXT)
    assert not result.changed
    assert "its own name" in result.missed[0].reason


def test_a_graph_output_takes_over_its_name() -> None:
    text = "g (float[2] x) => (float[2] y) { a = Exp(x) y = Identity(a) }"
    before, after = graph(text), graph(text)
    assert RemoveNoOps().run(after, CONTEXT).changed
    assert_equivalent(before, after, Numerics.EXACT)
    assert [node.op_type for node in after] == ["Exp"]


def test_every_judge_has_a_rule() -> None:
    rules = RemoveNoOps().rules(CONTEXT)
    assert {kind for rule in rules for _, kind in rule.pattern.types} == set(JUDGES)  # type: ignore[union-attr]
