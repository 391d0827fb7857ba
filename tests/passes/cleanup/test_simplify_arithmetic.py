"""simplify-arithmetic: the same on real numbers, in fewer operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "simplify-arithmetic"
Fires = Callable[..., Graph]
Misses = Callable[..., None]


def model(
    body: str, inputs: str = "float[2, 3, 4] x, float[2, 3, 4] b", result: str = "float"
) -> str:
    return f"g ({inputs}) => ({result} y) {{ {body} }}"


def f(value: float) -> np.ndarray:
    return np.array(value, np.float32)


ONE, TWO, SIX, LAST = f(1), f(2), f(6), np.array([-1])


@pytest.mark.parametrize(
    ("body", "rule", "expected", "constants"),
    [
        ("e = Exp(x) y = Add(e, c)", "add-zero", "Exp", {"c": f(0)}),
        ("e = Exp(x) y = Add(c, e)", "add-zero", "Exp", {"c": np.zeros((2, 3, 4), np.float32)}),
        ("e = Exp(x) y = Sub(e, c)", "add-zero", "Exp", {"c": f(-0.0)}),
        ("y = Sub(c, x)", "zero-minus", "Neg", {"c": f(0)}),
        ("d = Sub(x, b) y = Neg(d)", "negated-difference", "Sub", {}),
        ("e = Exp(x) i = Reciprocal(e) y = Mul(i, b)", "product-with-inverse", "Exp Div", {}),
        ("e = Exp(x) i = Div(c, e) y = Mul(b, i)", "product-with-inverse", "Exp Div", {"c": ONE}),
        ("e = Exp(x) i = Div(c, e) y = Div(b, i)", "quotient-by-inverse", "Exp Mul", {"c": ONE}),
        ("s = ReduceSum(x, a) y = Div(s, c)", "sum-to-mean", "ReduceMean", {"a": LAST, "c": f(4)}),
        ("s = ReduceSum<keepdims = 0>(x, a) y = Mul(c, s)", "sum-to-mean", "ReduceMean",
         {"a": np.array([0, 1]), "c": f(1 / 6)}),
        ("m = Max(x, l) y = Min(m, h)", "clamp-once", "Clip", {"l": f(-0.5), "h": f(0.5)}),
        ("m = Min(h, x) y = Max(l, m)", "clamp-once", "Clip", {"l": f(0), "h": f(0.5)}),
        ("m = Relu(x) y = Min(m, h)", "clamp-once", "Clip", {"h": f(0.5)}),
        ("m = Max(x, l) y = Max(m, h)", "clamp-once", "Clip", {"l": f(-0.5), "h": f(0.5)}),
        ("m = Max(x, l) y = Relu(m)", "clamp-once", "Relu", {"l": f(-0.5)}),
        ("y = Pow(x, c)", "small-power", "Mul", {"c": TWO}),
        ("e = Exp(x) y = Pow(e, c)", "small-power", "Exp Sqrt", {"c": f(0.5)}),
        ("e = Exp(x) y = Pow(e, c)", "small-power", "Exp Reciprocal", {"c": np.float32([-1])}),
    ],
)  # fmt: skip
def test_shorter(
    fires: Fires, body: str, rule: str, expected: str, constants: dict[str, Any]
) -> None:
    after = fires(NAME, model(body), rule, **constants)
    assert [node.op_type for node in after] == expected.split()


@pytest.mark.parametrize(
    "body",
    [
        "s = Softmax(x) y = ArgMax<axis = -1>(s)",
        "s = LogSoftmax<axis = 1>(x) y = ArgMin<axis = 1, keepdims = 0>(s)",
        "s = Sigmoid(x) y = ArgMax(s)",
    ],
)
def test_choices(fires: Fires, body: str) -> None:
    after = fires(NAME, model(body, "float[2, 3, 4] x", "int64"), "monotone-before-choice")
    assert len(after) == 1


@pytest.mark.parametrize(("kind", "value"), [("Softmax", 1.0), ("LogSoftmax", 0.0)])
def test_one_class(fires: Fires, kind: str, value: float) -> None:
    text = model(f"s = {kind}(x) y = Mul(s, x)", "float[3, 1] x")
    after = fires(NAME, text, "softmax-of-one")
    assert after.first is not None
    constant = after.first.constant_input(0)
    assert constant is not None
    assert constant.numpy().tolist() == [[value]] * 3


@pytest.mark.parametrize(
    ("body", "inputs", "reason", "constants"),
    [
        ("y = Add(x, c)", "float[4] x", "its own name", {"c": f(0)}),
        ("e = Exp(x) y = Add(e, c)", "float[1] x", "broadcast", {"c": np.zeros(4, np.float32)}),
        ("e = Exp(x) y = Add(e, c)", "float[4] x", "not known to be zero", {"c": f(1e-30)}),
        ("y = Sub(c, x)", "float[1] x", "broadcast", {"c": np.zeros(4, np.float32)}),
        ("y = Sub(c, x)", "float[4] x", "not taken away", {"c": f(1)}),
        ("r = Reciprocal(x) y = Mul(r, b)", "float[4, 1] x, float[4, 9] b", "every element", {}),
        ("r = Div(c, x) y = Mul(r, b)", "float[4] x, float[4] b", None, {"c": f(1.001)}),
        ("r = Reciprocal(x) p = Mul(r, b) y = Add(p, r)", "float[4] x, float[4] b", "also read",
         {}),
        ("s = ReduceSum(x, a) y = Div(s, c)", "float[2, 4] x", "another number",
         {"a": LAST, "c": f(5)}),
        ("s = ReduceSum(x, a) y = Div(s, c)", 'float[2, "n"] x', "not known",
         {"a": LAST, "c": f(4)}),
        ("s = ReduceSum<keepdims = 0>(x, a) y = Div(s, c)", "float[2, 4] x", "another shape",
         {"a": LAST, "c": np.full((1, 1, 1), 4, np.float32)}),
        ("m = Clip(x, l, h) y = Min(m, h)", "float[4] x", "above the upper",
         {"l": f(2), "h": f(1)}),
        ("m = Max(x, l) y = Min(m, h)", "float[4] x", "not one constant",
         {"l": f(np.nan), "h": f(1)}),
        ("m = Max(x, l) y = Min(m, h)", "float[4] x", None,
         {"l": np.float32([1, 2, 3, 4]), "h": f(9)}),
        ("m = Max(x, b) y = Min(m, h)", "float[4] x, float[4] b", "not one constant", {"h": f(9)}),
        ("m = Max(x, l) y = Min(m, h)", "float[4] x", "more axes",
         {"l": np.float32([[1]]), "h": f(9)}),
        ("s = Softmax<axis = 0>(x) k = ArgMax<axis = 1>(s) y = Cast<to = 1>(k)", "float[2, 4] x",
         "different axes", {}),
        ("s = Softmax(x) k = ArgMax<axis = 1>(s) j = Cast<to = 1>(k) y = Add(j, s)",
         "float[2, 4] x", "also read", {}),
        ("s = Abs(x) k = ArgMax<axis = 1>(s) y = Cast<to = 1>(k)", "float[2, 4] x", None, {}),
        ("y = Softmax(x)", "float[2, 4] x", "several elements", {}),
        ("y = Softmax(x)", 'float["n", 1] x', "not known", {}),
        ("y = Pow(x, c)", "float[2, 4] x", "no operator", {"c": f(3)}),
        ("y = Pow(x, c)", "float[4] x", "broadcasts", {"c": np.float32([[2]])}),
        ("d = Sub(x, b) n = Neg(d) y = Add(n, d)", "float[4] x, float[4] b", "also read", {}),
        ("d = Sub(c, x) y = Cast<to = 1>(d)", "uint8[4] x", "has no sign", {"c": np.uint8(0)}),
        ("i = Div(c, x) p = Mul(b, i) y = Cast<to = 1>(p)", "int32[4] x, int32[4] b",
         "with rounding", {"c": np.int32(1)}),
        ("m = Max(x, l, b) y = Min(m, h)", "float[4] x, float[4] b", "more than two",
         {"l": f(-1), "h": f(1)}),
        ("m = Clip(x, l, h) y = Clip(m, h, l)", "float[4] x", "above the upper",
         {"l": f(-1), "h": f(1)}),
        ("m = Max(x, l) n = Min(m, h) y = Cast<to = 1>(n)", "int64[4] x", "too large",
         {"l": np.int64(-(2**60) - 1), "h": np.int64(1)}),
        ("m = Max(x, l) n = Min(m, h) y = Cast<to = 1>(n)", "int64[4] x", "too large",
         {"l": np.int64(1), "h": np.int64(2**60 + 1)}),
        ("s = Erf(x) k = ArgMax<axis = 1>(s) y = Cast<to = 1>(k)", "int32[2, 4] x",
         "works on integers", {}),
    ],
)  # fmt: skip
def test_stays(
    misses: Misses, body: str, inputs: str, reason: str | None, constants: dict[str, Any]
) -> None:
    misses(NAME, model(body, inputs), reason, **constants)


@pytest.mark.parametrize(
    ("body", "inputs", "reason"),
    [
        # Softmax went over all axes from the given one on.
        ("y = Softmax(x)", "float[2, 3, 1] x", "its axis is not known"),
        ("s = Softmax<axis = 2>(x) k = ArgMax<axis = 2>(s) y = Cast<to = 1>(k)",
         "float[2, 3, 4] x", "not known to be the same"),
    ],
)  # fmt: skip
def test_old_axes(misses: Misses, body: str, inputs: str, reason: str) -> None:
    misses(NAME, model(body, inputs), reason, opset=11)


def test_axes_as_attributes(misses: Misses) -> None:
    text = model("s = ReduceSum(x, a) y = Div(s, c)", "float[2, 4] x")
    misses(NAME, text, "needs opset 18", opset=17, a=LAST, c=f(4))


def test_a_variance_keeps_its_power(misses: Callable[..., None]) -> None:
    text = "g (float[2, 3] x, float c) => (float y) { q = Pow(x, c) y = ReduceMean(q) }"
    misses(NAME, text, "engines know a variance by its power", c=TWO)
