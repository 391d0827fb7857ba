"""recognise-attention, what it simplifies before opset 23: guards, open masks, two scales."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "recognise-attention"
INF, LOW = np.float32(-np.inf), np.float32(np.finfo(np.float32).min)
Q, K = "float[2, 4, 3, 8] q", "float[2, 4, 8, 5] k"
ZERO = "float zero"
GUARD = "w = Softmax<axis = -1>(c) i = IsNaN(w) y = Where(i, zero, w)"
TRIL = np.tril(np.ones((3, 5), bool))


def model(body: str, extra: str = "") -> str:
    return f"g ({Q}, {K}, {extra}{ZERO}) => (float y) {{ {body} }}"


def masked(mask: str, extra: str = "") -> str:
    return model(f"s = MatMul(q, k) {mask} c = Add(s, m) {GUARD}", extra)


PROVEN = {
    "no mask": (model(f"c = MatMul(q, k) {GUARD}"), {}),
    "a scale": (
        model(f"s = MatMul(q, k) c = Div(s, d) {GUARD}", "float d, "), {"d": np.float32(3)}),
    "causal": (masked("m = Identity(n)", "float n, "), {"n": np.where(TRIL, 0, INF)}),
    "causal by choice": (
        masked("m = Where(b, zero, inf)", "bool b, float inf, "), {"b": TRIL, "inf": INF}),
    "causal by triangle": (
        masked("o = ConstantOfShape<value = float[1] {1}>(n) u = Trilu<upper = 0>(o) "
               "b = Cast<to = 9>(u) m = Where(b, zero, inf)", "int64 n, float inf, "),
        {"n": np.array([3, 5]), "inf": INF}),
    "a finite fill": (
        masked("m = Where(b, zero, low)", "bool[3, 5] b, float low, "), {"low": LOW}),
    "biased": (
        masked("m = Add(e, n)", "float e, float n, "),
        {"e": np.float32([[[1]], [[2]], [[3]], [[4]]]), "n": np.where(TRIL, 0, INF)}),
    "chosen by the scores": (
        model(f"s = MatMul(q, k) c = Where(b, inf, s) {GUARD}", "bool b, float inf, "),
        {"b": ~TRIL, "inf": INF}),
}  # fmt: skip


@pytest.mark.parametrize("case", PROVEN)
def test_guard_that_is_not_needed(fires: Callable[..., Graph], case: str) -> None:
    text, numbers = PROVEN[case]
    graph = fires(NAME, text, "nan-guard", opset=18, zero=np.float32(0), **numbers)
    assert "IsNaN" not in [n.op_type for n in graph]


NEEDED = {
    "a mask from outside": masked("m = Identity(x)", "float[3, 5] x, "),
    "a choice from outside": masked("m = Where(b, zero, inf)", "bool[3, 5] b, float inf, "),
    "a row without keys": masked("m = Where(e, zero, inf)", "bool e, float inf, "),
    "keys from the second on": masked(
        "o = ConstantOfShape<value = float[1] {1}>(n) u = Trilu<upper = 0>(o, minus) "
        "b = Cast<to = 9>(u) m = Where(b, zero, inf)", "int64 n, int64 minus, float inf, "),
    "two lowest numbers": masked(
        "a = Where(b, zero, low) m = Add(a, a)", "bool[3, 5] b, float low, "),
    "two masks": masked("m = Add(p, p)", "float p, "),
    "a column": masked("m = Unsqueeze(r, axes)", "float r, int64 axes, "),
    "logarithms": masked("l = Log(zero) m = Identity(l)"),
}  # fmt: skip
NUMBERS = {
    "inf": INF, "low": LOW, "n": np.array([3, 5]), "minus": np.int64(-1), "axes": np.array([1]),
    "r": np.float32([0, INF, 0]), "e": np.eye(3, 5, -1).astype(bool),
    "p": np.float32([[0], [INF], [0]]), "zero": np.float32(0),
}  # fmt: skip


@pytest.mark.parametrize("case", NEEDED)
def test_guard_that_may_be_needed(misses: Callable[..., None], case: str) -> None:
    text = NEEDED[case]
    numbers = {name: array for name, array in NUMBERS.items() if f" {name}, " in text}
    misses(NAME, text, "masked altogether", opset=18, **numbers | {"zero": np.float32(0)})


def test_guard_over_another_axis(misses: Callable[..., None]) -> None:
    text = model(f"c = MatMul(q, k) {GUARD}".replace("axis = -1", "axis = 2"))
    misses(NAME, text, "not go over the last axis", opset=18, zero=np.float32(0))


@pytest.mark.parametrize("fill", [1.0, np.nan])
def test_another_number_than_zero_is_no_guard(misses: Callable[..., None], fill: float) -> None:
    misses(NAME, model(f"c = MatMul(q, k) {GUARD}"), None, opset=18, zero=np.float32(fill))


def test_mask_that_hides_nothing(fires: Callable[..., Graph]) -> None:
    text = f"""g ({Q}, {K}, int64 size, bool yes, float inf, {ZERO}) => (float y) {{
        s = MatMul(q, k) b = Expand(yes, size) m = Where(b, zero, inf) c = Add(s, m)
        y = Softmax<axis = -1>(c) }}"""
    numbers = {"size": np.array([2, 1, 3, 5]), "yes": np.ones((1, 1), bool), "inf": INF}
    graph = fires(NAME, text, "open-mask", opset=18, zero=np.float32(0), **numbers)
    assert "Add" not in [n.op_type for n in graph]


@pytest.mark.parametrize(("yes", "size", "reason"), [
    (False, (3, 5), None), (True, (2, 2, 4, 3, 5), "unknown whether"),
    (True, (7, 4, 3, 5), "widens"),
])  # fmt: skip
def test_mask_that_does_something(
    misses: Callable[..., None], yes: bool, size: tuple[int, ...], reason: str | None
) -> None:
    text = f"""g ({Q}, {K}, int64 size, bool yes, float inf, {ZERO}) => (float y) {{
        s = MatMul(q, k) b = Expand(yes, size) m = Where(b, zero, inf) c = Add(s, m)
        y = Softmax<axis = -1>(c) }}"""
    if size[0] == 7:
        text = text.replace("2, 4,", "1, 4,")
    numbers = {"size": np.array(size), "yes": np.array(yes), "inf": INF, "zero": np.float32(0)}
    misses(NAME, text, reason, opset=18, **numbers)


BOTH = "a = Add(s, m) c = Add(a, n) y = Softmax<axis = -1>(c)"


@pytest.mark.parametrize("scores", ["s = MatMul(q, k)", "p = MatMul(q, k) s = Mul(p, half)"])
@pytest.mark.parametrize(("m", "n"), [("3, 5", "1, 1, 5"), ("4, 1, 5", "2, 1, 3, 1"), ("5", "1")])
def test_masks_meet(fires: Callable[..., Graph], scores: str, m: str, n: str) -> None:
    text = model(f"{scores} {BOTH}", f"float[{m}] m, float[{n}] n, float half, ")
    numbers = {"half": np.float32(0.5), "zero": np.float32(0)}
    graph = fires(NAME, text, "two-masks", opset=18, **numbers)
    total, masked = (node for node in graph if node.op_type == "Add")
    assert total.output in masked.inputs


@pytest.mark.parametrize(("extra", "body", "reason"), [
    ("float[7, 2, 4, 3, 5] m, float[5] n, ", BOTH, "has more axes"),
    ("float[2, 4, 3, 5] m, float[7, 2, 4, 3, 5] n, ", BOTH, "has more axes"),
    ("float[N, 5] m, float[5] n, ", BOTH, "widens"),
    ("float[3, 5] m, float[5] n, ", BOTH.replace("a = Add", "a = Sub"), None),
    ("float[3, 5] m, float[5] n, ", BOTH.replace("Softmax<axis = -1>", "Relu"), None),
])  # fmt: skip
def test_masks_that_stay_apart(
    misses: Callable[..., None], extra: str, body: str, reason: str | None
) -> None:
    text = model(f"s = MatMul(q, k) {body}", extra)
    misses(NAME, text, reason, opset=18, zero=np.float32(0))


def test_products_that_are_added_up_are_no_masks(misses: Callable[..., None]) -> None:
    body = "s = MatMul(q, k) p = MatMul(q, r) a = Add(s, p) c = Add(a, m) y = Softmax<axis = -1>(c)"
    text = model(body, f"{K.replace(' k', ' r')}, float[3, 5] m, ")
    misses(NAME, text, "which is the mask", opset=18, zero=np.float32(0))


@pytest.mark.parametrize("keys", [
    "b = Mul(k, r) y = MatMul(a, b)",
    "b = Mul(r, k) t = Transpose<perm = [0, 1, 3, 2]>(b) y = MatMul(a, t)",
    "b = Div(k, r) y = MatMul(a, b)",
])  # fmt: skip
def test_scales_become_one(fires: Callable[..., Graph], keys: str) -> None:
    text = model(f"a = Mul(q, r) {keys}", "float r, ")
    if "Transpose" in keys:
        text = text.replace("8, 5] k", "5, 8] k")
    graph = fires(NAME, text, "two-scales", opset=18, r=np.float32(0.6), zero=np.float32(0))
    assert [n.op_type for n in graph].count("Mul") == 1


@pytest.mark.parametrize(("body", "scale", "reason"), [
    ("a = Mul(q, r) b = Mul(k, zero) y = MatMul(a, b)", 1, "multiply to nothing"),
    ("a = Mul(q, r) b = Mul(k, r) y = MatMul(a, b)", np.ones((1,) * 5), "more axes"),
    ("a = Mul(q, r) y = MatMul(a, k)", 1, None),
    ("a = Mul(q, r) b = Mul(k, r) c = MatMul(a, b) y = Add(c, z) z = ReduceSum<keepdims=0>(b)", 1,
     None),
])  # fmt: skip
def test_scales_that_stay(
    misses: Callable[..., None], body: str, scale: object, reason: str | None
) -> None:
    if "ReduceSum" in body:
        body = body.replace("c = MatMul", "z = ReduceSum<keepdims=0>(b) c = MatMul")
        body = body.removesuffix(" z = ReduceSum<keepdims=0>(b)")
        reason = "also read by"
    numbers = {"r": np.asarray(scale, np.float32), "zero": np.float32(0)}
    misses(NAME, model(body, "float r, "), reason, opset=18, **numbers)


RESULT = "a = Attention(q, q, q, m) i = IsNaN(a) y = Where(i, zero, a)"


def test_result_of_our_kernels_needs_no_guard(fires: Callable[..., Graph]) -> None:
    text = model(RESULT, "float[3, 3] m, ")
    graph = fires(NAME, text, "safe-result", opset=23, target=True, zero=np.float32(0))
    assert [n.op_type for n in graph] == ["Attention"]


@pytest.mark.parametrize(("old", "new", "target"), [
    ("", "", False), ("Where(i, zero, a)", "Where(i, a, zero)", True),
    ("IsNaN(a)", "IsNaN(q)", True),
])  # fmt: skip
def test_result_of_other_engines_keeps_it(
    misses: Callable[..., None], old: str, new: str, target: bool
) -> None:
    text = model(RESULT.replace(old, new) if old else RESULT, "float[3, 3] m, ")
    misses(NAME, text, None, opset=23, target=target, zero=np.float32(0))
