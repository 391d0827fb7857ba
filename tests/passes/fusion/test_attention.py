"""recognise-attention: where the scale stands, how it is masked, how keys are transposed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "recognise-attention"
LOWEST = np.finfo(np.float32).min
NUMBERS = {
    "s": np.float32(0.35), "r": np.sqrt(np.float32(0.35)), "d": np.float32(2.5),
    "zero": np.float32(0), "low": np.float32(LOWEST), "inf": np.float32(-np.inf),
    "flat": np.array([-1, 5, 8]), "back": np.array([2, 4, 8, 5]),
}  # fmt: skip
DECLARED = "float s, float r, float d, float zero, float low, float inf, int64 flat, int64 back"
T = "t = Transpose<perm = [0, 1, 3, 2]>(k)"
TAIL = "w = Softmax<axis = -1>(c) y = MatMul(w, v)"


def model(body: str, extra: str = "", result: str = "float y", heads: int = 4) -> str:
    q, k, v = "float[2, 4, 3, 8] q", f"float[2, {heads}, 5, 8] k", f"float[2, {heads}, 5, 8] v"
    return f"g ({q}, {k}, {v}, {extra}{DECLARED}) => ({result}) {{ {body} }}"


def attention(graph: Graph) -> float:
    """The scale of the only attention."""
    (node,) = [n for n in graph if n.op_type == "Attention"]
    return round(node.attribute("scale"), 5)


SCALES = {
    "on the product": f"{T} p = MatMul(q, t) c = Mul(p, s)",
    "dividing the product": f"{T} p = MatMul(q, t) c = Div(p, d)",
    "on the queries": f"{T} a = Mul(s, q) c = MatMul(a, t)",
    "on the keys": "a = Mul(k, s) t = Transpose<perm = [0, 1, 3, 2]>(a) c = MatMul(q, t)",
    "on transposed keys": f"{T} b = Mul(t, s) c = MatMul(q, b)",
    "on both": f"{T} a = Mul(q, r) b = Mul(t, r) c = MatMul(a, b)",
    "dividing both": f"{T} a = Div(q, d) b = Div(t, d) c = MatMul(a, b)",
    "nowhere": f"{T} c = MatMul(q, t)",
}
WANTED = {"dividing the product": 0.4, "dividing both": 0.16, "nowhere": 1.0}


@pytest.mark.parametrize("place", SCALES)
def test_scale(fires: Callable[..., Graph], place: str) -> None:
    first = ["two-scales"] if "both" in place else []
    graph = fires(NAME, model(f"{SCALES[place]} {TAIL}"), *first, "attention", opset=23, **NUMBERS)
    assert attention(graph) == pytest.approx(WANTED.get(place, 0.35))
    assert [n.op_type for n in graph] == ["Attention"]


@pytest.mark.parametrize("argument", [
    "e = Div(p, d)", "a = Mul(p, s) e = Div(a, d)", "e = Mul(p, r)",
])  # fmt: skip
def test_bounded_scores(fires: Callable[..., Graph], argument: str) -> None:
    body = f"{T} p = MatMul(q, t) {argument} h = Tanh(e) b = Mul(h, d) c = Add(b, m) {TAIL}"
    graph = fires(NAME, model(body, "float[3, 5] m, "), "attention", opset=23, **NUMBERS)
    (node,) = [n for n in graph if n.op_type == "Attention"]
    assert node.attribute("softcap") == 2.5


def test_declines_a_bound_that_is_not_positive(misses: Callable[..., None]) -> None:
    text = model(f"{T} p = MatMul(q, t) h = Tanh(p) c = Mul(h, d) {TAIL}")
    misses(NAME, text, "bound -2.5 of the scores", opset=23, **NUMBERS | {"d": np.float32(-2.5)})


def test_bias_and_mask(fires: Callable[..., Graph]) -> None:
    body = f"{T} p = MatMul(q, t) b = Add(p, e) c = Add(b, m) {TAIL}"
    text = model(body, "float[4, 3, 5] e, float[2, 1, 1, 5] m, ")
    fires(NAME, text, "two-masks", "attention", opset=23, **NUMBERS)


def test_keys_through_three_axes(fires: Callable[..., Graph]) -> None:
    body = f"""
        a = Reshape(k, flat) b = Transpose<perm = [0, 2, 1]>(a) t = Reshape(b, back)
        p = MatMul(q, t) c = Mul(p, s) {TAIL}"""
    graph = fires(NAME, model(body), "transpose-detour", "attention", opset=23, **NUMBERS)
    assert [n.op_type for n in graph] == ["Attention"]


def test_keys_by_one_transpose_from_before_the_heads(fires: Callable[..., Graph]) -> None:
    text = model(f"t = Transpose<perm = [0, 2, 3, 1]>(k) c = MatMul(q, t) {TAIL}")
    text = text.replace("float[2, 4, 5, 8] k", "float[2, 5, 4, 8] k")
    graph = fires(NAME, text, "attention", opset=23, **NUMBERS)
    assert [n.op_type for n in graph] == ["Transpose", "Attention"]


def test_keys_that_come_transposed(fires: Callable[..., Graph]) -> None:
    text = model(f"c = MatMul(q, k) {TAIL}").replace("float[2, 4, 5, 8] k", "float[2, 4, 8, 5] k")
    graph = fires(NAME, text, "attention", opset=23, **NUMBERS)
    assert [n.op_type for n in graph] == ["Transpose", "Attention"]


def test_three_axes(fires: Callable[..., Graph]) -> None:
    text = f"""
    g (float[6, 3, 8] q, float[6, 5, 8] k, float[6, 5, 8] v, float[6, 1, 5] m, {DECLARED})
    => (float y) {{ t = Transpose<perm = [0, 2, 1]>(k) p = MatMul(q, t) c = Add(p, m) {TAIL} }}"""
    graph = fires(NAME, text, "attention", opset=23, **NUMBERS)
    kinds = [n.op_type for n in graph]
    assert sorted(kinds) == ["Attention", "Expand", "Squeeze", *["Unsqueeze"] * 4]


@pytest.mark.parametrize("shape", ["3, 5", "1, 5", "4, 3, 5", "2, 1, 1, 5", "2, 4, 3, 5"])
def test_added_mask(fires: Callable[..., Graph], shape: str) -> None:
    body = f"{T} p = MatMul(q, t) a = Mul(p, s) c = Add(m, a) {TAIL}"
    graph = fires(NAME, model(body, f"float[{shape}] m, "), "attention", opset=23, **NUMBERS)
    (node,) = [n for n in graph if n.op_type == "Attention"]
    mask = node.input(3)
    assert mask is not None
    assert mask.rank == 4


def test_one_mask_for_all_of_an_unknown_number_of_queries(fires: Callable[..., Graph]) -> None:
    text = model(PLAIN, "float[2, 1, 1, 5] m, ").replace("float[2, 4, 3, 8]", "float[2, 4, N, 8]")
    graph = fires(NAME, text, "attention", opset=23, **NUMBERS)
    assert [n.op_type for n in graph] == ["Shape", "Concat", "Expand", "Attention"]


@pytest.mark.parametrize("fill", ["low", "inf"])
@pytest.mark.parametrize("order", ["(b, a, {})", "(b, {}, a)"])
def test_chosen_mask(fires: Callable[..., Graph], fill: str, order: str) -> None:
    body = f"{T} p = MatMul(q, t) a = Mul(p, s) c = Where{order.format(fill)} {TAIL}"
    text = model(body, "bool[2, 1, 3, 5] b, ")
    rng = np.random.default_rng(0)
    keep = rng.random((2, 1, 3, 5)) < 0.5
    keep[..., 0] = order == "(b, a, {})"
    keep[..., 1] = order != "(b, a, {})"
    inputs = {
        name: rng.standard_normal((2, 4, n, 8)).astype(np.float32)
        for name, n in (("q", 3), ("k", 5), ("v", 5))
    }
    fires(NAME, text, "attention", opset=23, inputs=inputs | {"b": keep}, **NUMBERS)


def test_rows_masked_altogether_by_the_lowest_number(fires: Callable[..., Graph]) -> None:
    body = f"{T} p = MatMul(q, t) m = Where(b, zero, low) c = Add(p, m) {TAIL}"
    inputs = {
        name: np.random.default_rng(n).standard_normal((2, 4, n, 8)).astype(np.float32)
        for name, n in (("q", 3), ("k", 5), ("v", 5))
    }
    keep = np.zeros((3, 5), bool)
    keep[1] = True
    text = model(body, "bool[3, 5] b, ")
    fires(NAME, text, "attention", opset=23, inputs=inputs | {"b": keep}, **NUMBERS)


GUARDED = f"{T} p = MatMul(q, t) m = Where(b, zero, {{}}) c = Add(p, m) w = Softmax<axis = -1>(c) i = IsNaN(w) u = Where(i, zero, w) y = MatMul(u, v)"  # noqa: E501


@pytest.mark.parametrize(("fill", "kept"), [("low", False), ("inf", True)])
def test_guard_against_empty_rows(fires: Callable[..., Graph], fill: str, kept: bool) -> None:
    text = model(GUARDED.format(fill), "bool[3, 5] b, ")
    inputs = {
        name: np.random.default_rng(n).standard_normal((2, 4, n, 8)).astype(np.float32)
        for name, n in (("q", 3), ("k", 5), ("v", 5))
    }
    keep = np.tril(np.ones((3, 5), bool))
    keep[0] = False
    rules = ["attention"] if kept else ["nan-guard", "attention"]
    graph = fires(NAME, text, *rules, opset=23, inputs=inputs | {"b": keep}, **NUMBERS)
    assert ("IsNaN" in [n.op_type for n in graph]) == kept


REPEAT = "{0}u = Unsqueeze({0}, two) {0}e = Expand({0}u, spread) {0}r = Reshape({0}e, full)"


def test_grouped_heads(fires: Callable[..., Graph]) -> None:
    body = f"""{REPEAT.format("k")} {REPEAT.format("v")} t = Transpose<perm = [0, 1, 3, 2]>(kr)
        p = MatMul(q, t) c = Mul(p, s) w = Softmax(c) y = MatMul(w, vr)"""
    extra = "int64 two, int64 spread, int64 full, "
    numbers = {
        **NUMBERS, "two": np.array([2]), "spread": np.array([2, 2, 2, 5, 8]),
        "full": np.array([2, 4, 5, 8]),
    }  # fmt: skip
    graph = fires(NAME, model(body, extra, heads=2), "attention", opset=23, **numbers)
    (node,) = [n for n in graph if n.op_type == "Attention"]
    assert [value.shape[1] for value in node.inputs[:3] if value and value.shape] == [4, 2, 2]


def test_a_scaled_query_that_others_read_stays(fires: Callable[..., Graph]) -> None:
    text = model(f"{SCALES['on the queries']} {TAIL}", result="float y, float a")
    graph = fires(NAME, text, "attention", opset=23, **NUMBERS)
    assert sorted(n.op_type for n in graph) == ["Attention", "Mul"]


PLAIN = f"{T} p = MatMul(q, t) a = Mul(p, s) c = Add(a, m) {TAIL}"
MASK = "float[3, 5] m, "


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("Softmax<axis = -1>", "Softmax<axis = 2>", "does not go over the keys"),
    ("Softmax<axis = -1>", "LogSoftmax<axis = -1>", None),
    ("y = MatMul(w, v)", "y = MatMul(v, w)", None),
    ("c = Add(a, m)", "c = Sub(a, m)", None),
    ("a = Mul(p, s)", "a = Mul(p, m)", None),
])  # fmt: skip
def test_declines(misses: Callable[..., None], old: str, new: str, reason: str | None) -> None:
    text = model(PLAIN.replace(old, new), MASK)
    if "MatMul(v, w)" in new:
        text = text.replace("float[2, 4, 5, 8] v", "float[2, 4, 8, 3] v")
    misses(NAME, text, reason, opset=23, **NUMBERS)


def test_declines_before_opset_23(misses: Callable[..., None]) -> None:
    misses(NAME, model(PLAIN, MASK), "needs opset 23", opset=22, **NUMBERS)


@pytest.mark.parametrize("inner", ["p", "a", "c", "w"])
def test_declines_when_the_middle_is_returned(misses: Callable[..., None], inner: str) -> None:
    text = model(PLAIN, MASK, f"float y, float {inner}")
    misses(NAME, text, "graph output", opset=23, **NUMBERS)


@pytest.mark.parametrize("value", [-0.35, 0.0])
def test_declines_a_scale_that_is_not_positive(misses: Callable[..., None], value: float) -> None:
    numbers = {**NUMBERS, "s": np.float32(value)}
    misses(NAME, model(PLAIN, MASK), "is not positive", opset=23, **numbers)


@pytest.mark.parametrize(("mask", "reason"), [
    ("float[M, 5] m, ", "unknown whether the mask fits"),
    ("float[3, 1] m, ", "the same for all keys"),
    ("float[1] m, ", "the same for all keys"),
    ("float[7, 2, 4, 3, 5] m, ", "too many axes"),
])  # fmt: skip
def test_declines_a_mask(misses: Callable[..., None], mask: str, reason: str) -> None:
    misses(NAME, model(PLAIN, mask), reason, opset=23, **NUMBERS)


def test_declines_a_fill_that_leaves_a_trace(misses: Callable[..., None]) -> None:
    body = f"{T} p = MatMul(q, t) c = Where(b, p, low) {TAIL}"
    numbers = {**NUMBERS, "low": np.float32(-1e4)}
    text = model(body, "bool[3, 5] b, ")
    misses(NAME, text, "masked scores become -10000", opset=23, **numbers)


def test_accepts_such_a_fill_if_no_row_is_empty(fires: Callable[..., Graph]) -> None:
    body = f"{T} p = MatMul(q, t) c = Where(b, p, low) {TAIL}"
    numbers = {**NUMBERS, "low": np.float32(-1e4), "b": np.tril(np.ones((3, 5), bool))}
    fires(NAME, model(body, "bool b, "), "attention", opset=23, **numbers)


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("float[2, 4, 5, 8] k", "float[1, 4, 5, 8] k", "differ in batch size or heads"),
    ("float[2, 4, 5, 8] k", "float[2, 1, 5, 8] k", "differ in batch size or heads"),
    ("float[2, 4, 5, 8] v", "float[4, 5, 8] v", "3 or all 4 known axes"),
    ("float[2, 4, 3, 8] q", "float[2, H, 3, 8] q", "differ in heads"),
])  # fmt: skip
def test_declines_operands_that_broadcast(
    misses: Callable[..., None], old: str, new: str, reason: str
) -> None:
    text = model(f"{T} c = MatMul(q, t) {TAIL}").replace(old, new)
    misses(NAME, text, reason, opset=23, **NUMBERS)


def test_declines_a_detour_that_moves_elements(misses: Callable[..., None]) -> None:
    body = """
        a = Reshape(k, flat) b = Transpose<perm = [0, 2, 1]>(a) y = Reshape(b, back)"""
    numbers = {**NUMBERS, "flat": np.array([-1, 4, 10]), "back": np.array([2, 4, 8, 5])}
    misses(NAME, model(body), "do not stay the last two", opset=23, **numbers)


def clip_like(mask: str) -> str:
    """Batch and heads are merged for the products and apart for the mask."""
    return f"""
    g (float[6, 4, 8] q, float[6, 5, 8] k, float[6, 5, 8] v, float[{mask}] m, int64 a, int64 b,
       {DECLARED}) => (float y) {{
        t = Transpose<perm = [0, 2, 1]>(k) p = MatMul(q, t) z = Reshape(p, a) n = Add(z, m)
        c = Reshape(n, b) w = Softmax<axis = -1>(c) y = MatMul(w, v)
    }}"""


APART = {"a": np.array([2, 3, 4, 5]), "b": np.array([6, 4, 5])}


@pytest.mark.parametrize(("mask", "wanted"), [
    ("4, 5", (1, 1, 4, 5)), ("1, 1, 4, 5", (1, 1, 4, 5)), ("2, 1, 1, 5", (6, 1, 4, 5)),
    ("1, 3, 4, 5", (6, 1, 4, 5)),
])  # fmt: skip
def test_mask_added_where_heads_are_apart(
    fires: Callable[..., Graph], mask: str, wanted: tuple[int, ...]
) -> None:
    graph = fires(NAME, clip_like(mask), "mask-detour", "attention", opset=23, **NUMBERS, **APART)
    (node,) = [n for n in graph if n.op_type == "Attention"]
    found = node.input(3)
    assert found is not None
    assert found.shape == wanted


def test_constant_mask_is_repeated_ahead_of_time(fires: Callable[..., Graph]) -> None:
    text = clip_like("2, 1, 1, 5").replace("float[2, 1, 1, 5] m", "float m")
    mask = np.float32([[0, 0, -50, 0, 0], [0, 0, 0, 0, -50]]).reshape(2, 1, 1, 5)
    graph = fires(NAME, text, "mask-detour", "attention", opset=23, m=mask, **NUMBERS, **APART)
    (node,) = [n for n in graph if n.op_type == "Attention"]
    assert [n.op_type for n in graph if n.op_type == "Reshape"] == []
    assert node.input(3) is not None


def test_other_axes_may_be_apart(fires: Callable[..., Graph]) -> None:
    numbers = {**NUMBERS, **APART, "a": np.array([3, 2, 4, 5])}
    fires(NAME, clip_like("3, 1, 1, 5"), "mask-detour", "attention", opset=23, **numbers)


@pytest.mark.parametrize(("apart", "mask"), [((2, 3, 5, 4), "5, 4"), ((3, 8, 5), "8, 5")])
def test_declines_a_detour_that_mixes_axes(
    misses: Callable[..., None], apart: tuple[int, ...], mask: str
) -> None:
    numbers = {**NUMBERS, **APART, "a": np.array(apart)}
    misses(NAME, clip_like(mask), "axes are not only merged and split", opset=23, **numbers)


def test_declines_a_detour_that_does_not_come_back(misses: Callable[..., None]) -> None:
    text = clip_like("4, 5").replace("float[6, 5, 8] v", "float[6, 4, 8] v")
    numbers = {**NUMBERS, **APART, "b": np.array([6, 5, 4])}
    misses(NAME, text, "do not come back", opset=23, **numbers)


def test_declines_a_detour_whose_mask_widens(misses: Callable[..., None]) -> None:
    text = clip_like("2, 6, 4, 5").replace("float[6, 5, 8] v", "float[12, 5, 8] v")
    numbers = {**NUMBERS, "a": np.array([1, 6, 4, 5]), "b": np.array([12, 4, 5])}
    misses(NAME, text, "do not come back", opset=23, **numbers)


def test_a_scale_with_more_axes_than_the_queries_stays(misses: Callable[..., None]) -> None:
    numbers = NUMBERS | {"s": np.full((1,) * 5, 0.35, np.float32)}
    text = model(f"{T} p = MatMul(q, t) c = Mul(p, s) {TAIL}")
    misses(NAME, text, "more axes than the queries", opset=23, **numbers)
