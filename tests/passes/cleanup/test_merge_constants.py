"""merge-constants: one constant in place of several, where none overflows and none rounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "merge-constants"
Fires = Callable[..., Graph]
Misses = Callable[..., None]

CHANNELS = np.float32([2, 3, -4]).reshape(3, 1, 1)


def model(body: str, inputs: str = "float[2, 3, 4, 5] x", outputs: str = "float y") -> str:
    return f"g ({inputs}) => ({outputs}) {{ {body} }}"


def f(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def constants(graph: Graph) -> list[list[float]]:
    return [
        np.asarray(value.constant.numpy()).reshape(-1).tolist()
        for node in graph for value in node.inputs if value is not None and value.constant
    ]  # fmt: skip


SUM, PRODUCT = "sum-of-sum", "product-of-product"
BETWEEN, AROUND = "product-of-sum-of-product", "sum-of-product-of-sum"


@pytest.mark.parametrize(
    ("body", "rule", "expected", "result"),
    [
        ("p = Add(x, a) y = Add(p, b)", SUM, "Add", 10),
        ("p = Add(a, x) y = Add(b, p)", SUM, "Add", 10),
        ("p = Sub(x, a) y = Add(p, b)", SUM, "Add", -6),
        ("p = Add(x, a) y = Sub(p, b)", SUM, "Add", 6),
        ("p = Sub(a, x) y = Sub(b, p)", SUM, "Add", -6),
        ("p = Sub(a, x) y = Add(p, b)", SUM, "Sub", 10),
        ("p = Sub(x, a) y = Sub(b, p)", SUM, "Sub", 10),
        ("p = Mul(x, a) y = Mul(b, p)", PRODUCT, "Mul", 16),
        ("p = Div(x, a) y = Mul(p, b)", PRODUCT, "Mul", 0.25),
        ("p = Mul(x, a) y = Div(p, b)", PRODUCT, "Mul", 4),
        ("p = Div(x, a) y = Div(p, b)", PRODUCT, "Mul", 1 / 16),
        ("p = Div(a, x) y = Mul(p, b)", PRODUCT, "Div", 16),
        ("p = Mul(x, a) y = Div(b, p)", PRODUCT, "Div", 0.25),
        ("p = Div(x, a) y = Div(b, p)", PRODUCT, "Div", 16),
        ("p = Div(a, x) y = Div(b, p)", PRODUCT, "Mul", 0.25),
        ("p = Reciprocal(x) y = Mul(p, a)", PRODUCT, "Div", 8),
        ("p = Mul(x, a) y = Reciprocal(p)", PRODUCT, "Div", 0.125),
        ("p = Neg(x) y = Div(a, p)", PRODUCT, "Div", -8),
    ],
)  # fmt: skip
def test_two(fires: Fires, body: str, rule: str, expected: str, result: float) -> None:
    used = {name: f(value) for name, value in (("a", 8), ("b", 2)) if f"{name}," in body
            or f"{name})" in body}  # fmt: skip
    after = fires(NAME, model(body), rule, **used)
    assert [node.op_type for node in after] == [expected]
    assert constants(after) == [[result]]


def test_channels(fires: Fires) -> None:
    after = fires(NAME, model("p = Mul(x, a) y = Div(p, b)"), PRODUCT, a=CHANNELS, b=f(2))
    assert constants(after) == [[1, 1.5, -2]]


def test_nothing_is_left(fires: Fires) -> None:
    after = fires(NAME, model("e = Exp(x) p = Add(e, a) y = Sub(p, a)"), SUM, a=f(2))
    assert [node.op_type for node in after] == ["Exp"]
    after = fires(NAME, model("e = Exp(x) p = Div(e, a) y = Mul(p, a)"), PRODUCT, a=f(4))
    assert [node.op_type for node in after] == ["Exp"]
    after = fires(NAME, model("p = Sub(a, x) y = Sub(p, a)"), SUM, a=f(2))
    assert [node.op_type for node in after] == ["Neg"]
    after = fires(NAME, model("p = Mul(x, a) y = Div(a, p)"), PRODUCT, a=f(2))
    assert [node.op_type for node in after] == ["Reciprocal"]


def test_a_long_chain(fires: Fires) -> None:
    text = model("p = Add(x, a) q = Add(p, a) r = Sub(q, b) s = Mul(r, a) y = Mul(s, b)")
    after = fires(NAME, text, SUM, SUM, PRODUCT, a=f(2), b=f(3))
    assert [node.op_type for node in after] == ["Add", "Mul"]


def test_preprocessing(fires: Fires) -> None:
    text = model("p = Div(x, k) q = Sub(p, m) y = Div(q, s)")
    after = fires(NAME, text, BETWEEN, k=f(255), m=CHANNELS / 4, s=CHANNELS / 8)
    assert [node.op_type for node in after] == ["Mul", "Add"]


def test_a_product_between_sums(fires: Fires) -> None:
    text = model("p = Sub(m, x) q = Mul(p, s) y = Add(q, k)")
    after = fires(NAME, text, AROUND, k=f(3), m=CHANNELS, s=f(-2))
    assert [node.op_type for node in after] == ["Mul", "Add"]


def test_integers_wrap(fires: Fires) -> None:
    text = model("p = Add(x, a) q = Add(p, b) y = Cast<to = 7>(q)", "int32[4] x", "int64 y")
    after = fires(NAME, text, SUM, a=np.int32(2**31 - 1), b=np.int32(7))
    assert constants(after) == [[-(2**31) + 6]]
    text = model("p = Sub(a, x) q = Sub(b, p) y = Cast<to = 7>(q)", "uint8[4] x", "int64 y")
    after = fires(NAME, text, SUM, a=np.uint8(5), b=np.uint8(3))
    assert constants(after) == [[254]]


@pytest.mark.parametrize(
    ("body", "reason", "values"),
    [
        ("p = Add(x, a) y = Mul(p, a)", None, {"a": f(2)}),
        ("p = Add(x, a) q = Exp(p) y = Add(q, p)", None, {"a": f(2)}),
        ("p = Add(x, a) q = Add(p, b) y = Add(q, p)", "also read", {"a": f(2), "b": f(2)}),
        ("p = Add(x, x) y = Add(p, a)", "no constant", {"a": f(2)}),
        ("p = Add(x, a) y = Add(p, b)", "larger than both",
         {"a": np.ones((3, 1, 1), np.float32), "b": np.ones(5, np.float32)}),
        # Adding and taking away 1.5 * 2^23 rounds to integers.
        ("p = Add(x, a) y = Sub(p, a)", "rounds", {"a": f(12582912)}),
        ("p = Mul(x, a) y = Mul(p, a)", "would not fit", {"a": f(1e30)}),
        ("p = Mul(x, a) y = Mul(p, a)", "too small", {"a": f(1e-30)}),
        ("p = Div(x, a) y = Mul(p, b)", "would not fit", {"a": f(0), "b": f(1)}),
        ("p = Mul(x, a) y = Div(b, p)", "would not fit", {"a": f(0), "b": f(1)}),
        ("p = Mul(x, a) y = Div(b, p)", "divides zero", {"a": f(3), "b": f(0)}),
        ("p = Add(x, a) y = Sub(p, a)", "its own name", {"a": f(2)}),
        ("p = Mul(x, a) q = Add(p, x) y = Mul(q, a)", "no constant", {"a": f(2)}),
        ("p = Mul(x, a) q = Add(p, b) y = Div(a, q)", "divides by what", {"a": f(2), "b": f(1)}),
        ("p = Add(x, a) q = Mul(p, b) y = Sub(q, a)", "which rounds",
         {"a": f(12582912), "b": f(1)}),
        ("p = Add(x, a) q = Div(b, p) y = Add(q, a)", "divides by what", {"a": f(2), "b": f(1)}),
    ],
)  # fmt: skip
def test_stays(misses: Misses, body: str, reason: str | None, values: dict[str, Any]) -> None:
    misses(NAME, model(body), reason, **values)


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        ("p = Add(x, a) y = Sub(b, p)", "uint8", "no negative numbers"),
        ("p = Mul(x, a) q = Add(p, b) y = Mul(q, a)", "int32", "divided with rounding"),
    ],
)
def test_integers_stay(misses: Misses, body: str, kind: str, reason: str) -> None:
    text = model(body, f"{kind}[4] x", f"{kind} y")
    misses(NAME, text, reason, a=np.array(3, kind), b=np.array(7, kind))


def test_integers_are_not_divided(misses: Misses) -> None:
    text = model("p = Div(x, a) y = Div(p, a)", "int64[4] x", "int64 y")
    misses(NAME, text, "with rounding", a=np.int64(2))
