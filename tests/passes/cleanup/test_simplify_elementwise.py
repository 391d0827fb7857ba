"""simplify-elementwise: signs, conditions and bounds cancel, and no bit changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "simplify-elementwise"
Fires = Callable[..., Graph]
Misses = Callable[..., None]

SPECIAL = np.float32([-0.0, 0.0, np.nan, np.inf, -np.inf, 1.5, -7.0, 1e-45])
SPECIALS = {"x": SPECIAL, "b": SPECIAL[::-1].copy()}

ROW = np.float32([3, -5, 1e-3, 7, 2, -1, 9, 11])


def model(body: str, inputs: str = "float[8] x, float[8] b", outputs: str = "float[8] y") -> str:
    return f"g ({inputs}) => ({outputs}) {{ {body} }}"


def kinds(graph: Graph) -> list[str]:
    return [node.op_type for node in graph.walk()]


@pytest.mark.parametrize(
    ("body", "rule", "expected", "constants"),
    [
        ("e = Exp(x) n = Neg(e) y = Neg(n)", "neg-neg", "Exp", {}),
        ("n = Neg(x) y = Abs(n)", "abs-of-neg", "Abs", {}),
        ("n = Neg(x) y = Add(b, n)", "add-negated", "Sub", {}),
        ("n = Neg(x) y = Add(n, b)", "add-negated", "Sub", {}),
        ("n = Neg(x) y = Sub(b, n)", "sub-negated", "Add", {}),
        ("n = Neg(x) m = Neg(b) y = Mul(n, m)", "mul-negated", "Mul", {}),
        ("n = Neg(x) y = Mul(n, c)", "scale-negated", "Mul", {"c": ROW}),
        ("n = Neg(x) y = Mul(c, n)", "scale-negated", "Mul", {"c": ROW}),
        ("n = Neg(x) y = Div(n, c)", "scale-negated", "Div", {"c": ROW}),
        ("n = Neg(x) y = Div(c, n)", "scale-negated", "Div", {"c": ROW}),
        ("p = Mul(x, c) y = Neg(p)", "negate-scaled", "Mul", {"c": ROW}),
        ("p = Div(c, x) y = Neg(p)", "negate-scaled", "Div", {"c": ROW}),
        ("y = Mul(x, c)", "minus-one", "Neg", {"c": np.float32(-1)}),
        ("y = Div(x, c)", "minus-one", "Neg", {"c": np.float32([-1])}),
        ("y = Div(x, c)", "divide-by-power-of-two", "Mul", {"c": np.float32(8)}),
        ("y = Div(x, c)", "divide-by-power-of-two", "Mul",
         {"c": np.float32([1, -2, 0.25, 4, 2, 8, 16, 0.5])}),
        ("y = Sum(x, b)", "add-two", "Add", {}),
        ("r = Relu(x) y = Clip(r, , c)", "clamp-once", "Clip", {"c": np.float32(6)}),
        ("r = Clip(x, , c) y = Relu(r)", "clamp-once", "Clip", {"c": np.float32(6)}),
        ("r = Clip(x, d, c) y = Clip(r, e)", "clamp-once", "Clip",
         {"c": np.float32(6), "d": np.float32(-2), "e": np.float32(-1)}),
        ("r = Clip(x, d) y = Relu(r)", "clamp-once", "Clip", {"d": np.float32(-2)}),
        ("r = Clip(x, , d) y = Clip(r, c)", "clamp-once", "Clip",
         {"c": np.float32(6), "d": np.float32(-2)}),
    ],
)  # fmt: skip
def test_arithmetic(
    fires: Fires, body: str, rule: str, expected: str, constants: dict[str, Any]
) -> None:
    after = fires(NAME, model(body), rule, inputs=SPECIALS, **constants)
    assert kinds(after) == [expected]


LOGIC = "bool[4] c, float[4] a, float[4] b, int64[4] i, int64[4] j"


@pytest.mark.parametrize(
    ("body", "rules", "expected"),
    [
        (
            "g = Greater(a, b) n = Not(g) r = Not(n) y = Where(r, a, b)",
            ["not-not"],
            ["Greater", "Where"],
        ),
        ("n = Not(c) y = Where(n, a, b)", ["where-not"], ["Where"]),
        ("w = Equal(c, f) y = Where(w, a, b)", ["flip-condition", "where-not"], ["Where"]),
        ("w = Xor(t, c) y = Where(w, a, b)", ["flip-condition", "where-not"], ["Where"]),
        (
            "l = Less(i, j) w = Not(l) y = Cast<to = 1>(w)",
            ["not-compared"],
            ["GreaterOrEqual", "Cast"],
        ),
    ],
)
def test_conditions(fires: Fires, body: str, rules: list[str], expected: list[str]) -> None:
    used = {name: np.bool_(value) for name, value in (("t", True), ("f", False))
            if f"{name}," in body or f"{name})" in body}  # fmt: skip
    text = model(body, LOGIC, "float[4] y")
    assert kinds(fires(NAME, text, *rules, **used)) == expected


def test_integers(fires: Fires) -> None:
    text = model("n = Neg(x) y = Mul(n, c)", "int32[2] x", "int32[2] y")
    fires(NAME, text, "scale-negated", c=np.int32([3, -(2**31)]))
    text = model("n = Neg(x) p = BitwiseNot(n) y = BitwiseNot(p)", "int32[2] x", "int32[2] y")
    assert kinds(fires(NAME, text, "bitwise-not-not")) == ["Neg"]
    text = model("p = Clip(x, , c) y = Clip(p, d)", "int32[9] x", "int32[9] y")
    after = fires(NAME, text, "clamp-once", c=np.int32(3), d=np.int32(-2))
    assert kinds(after) == ["Clip"]


def test_old_clips_have_attributes(fires: Fires) -> None:
    text = model("p = Relu(x) y = Clip<max = 6.0>(p)", "float[9] x", "float[9] y")
    after = fires(NAME, text, "clamp-once", opset=9)
    assert after.first is not None
    assert after.first.attributes == {"min": 0.0, "max": 6.0}


def test_quantized_again(fires: Fires) -> None:
    text = model(
        "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) r = QuantizeLinear(d, s, z) "
        "y = DequantizeLinear(r, s, z)", "float[8] x",
    )  # fmt: skip
    after = fires(NAME, text, "quantize-dequantized", s=np.float32(0.1), z=np.uint8(128))
    assert kinds(after) == ["QuantizeLinear", "DequantizeLinear"]


@pytest.mark.parametrize(
    ("body", "inputs", "reason", "constants"),
    [
        ("n = Neg(x) y = Neg(n)", "float[8] x", "its own name", {}),
        ("n = Neg(x) y = MatMul(n, b)", "float[8] x, float[8] b", None, {}),
        ("p = Mul(x, c) m = Neg(p) y = Concat<axis = 0>(m, p)", "float[8] x", "also read",
         {"c": ROW}),
        ("y = Mul(x, c)", "float[8] x", "not -1", {"c": np.float32([-1, 1, 1, 1, 1, 1, 1, 1])}),
        ("y = Mul(x, c)", "float[1] x", "broadcasts", {"c": np.full(8, -1, np.float32)}),
        ("y = Div(c, x)", "float[8] x", None, {"c": np.float32(-1)}),
        ("y = Div(x, c)", "float[8] x", "is rounded", {"c": np.float32(3)}),
        ("y = Div(x, c)", "float[8] x", "is rounded", {"c": np.float32(0)}),
        ("y = Div(x, c)", "float[8] x", "is rounded", {"c": np.float32(2.0**127)}),
        ("y = Div(x, c)", "float[8] x", "is rounded", {"c": np.float32(np.inf)}),
        ("i = Cast<to = 7>(x) d = Div(i, c) y = Cast<to = 1>(d)", "float[8] x", "with rounding",
         {"c": np.int64(2)}),
        ("l = Less(x, b) w = Not(l) y = Cast<to = 1>(w)", "float[8] x, float[8] b", "NaN", {}),
        ("l = Less(x, b) w = Xor(l, t) y = Cast<to = 1>(w)", "float[8] x, float[8] b",
         "turn the condition", {"t": np.bool_(False)}),
        ("l = Less(x, b) w = Equal(l, t) y = Cast<to = 1>(w)", "float[1] x, float[1] b",
         "broadcasts", {"t": np.zeros(8, np.bool_)}),
        ("l = Less(x, b) w = Equal(l, t) y = Cast<to = 1>(w)", "float[8] x, float[8] b",
         "turn the condition", {"t": np.bool_(True)}),
        ("y = Sum(x, b, x)", "float[8] x, float[8] b", None, {}),
        ("r = Clip(x, d, c) y = Relu(r)", "float[8] x", "above the upper",
         {"c": np.float32(-2), "d": np.float32(2)}),
        ("r = Relu(x) y = Clip(r, b)", "float[8] x, float b", "not constant", {}),
        ("r = Relu(x) z = Clip(r, , c) y = Add(z, r)", "float[8] x", "also read",
         {"c": np.float32(1)}),
        ("q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) r = QuantizeLinear(d, t, z) "
         "y = DequantizeLinear(r, t, z)", "float[8] x", "different scales",
         {"s": np.float32(0.1), "t": np.float32(0.2), "z": np.uint8(0)}),
        ("q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) r = QuantizeLinear(d, s, w) "
         "y = DequantizeLinear(r, s, w)", "float[8] x", "another type",
         {"s": np.float32(0.1), "z": np.uint8(0), "w": np.int8(0)}),
        ("q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) r = QuantizeLinear(d, s, z) "
         "e = DequantizeLinear(r, s, z) y = Cast<to = 1>(e)", "float16[8] x", "rounded too much",
         {"s": np.float16(0.1), "z": np.uint8(0)}),
        ("q = QuantizeLinear<axis = 0>(x, s) d = DequantizeLinear<axis = 0>(q, s) "
         "r = QuantizeLinear<axis = 1>(d, s) y = DequantizeLinear<axis = 1>(r, s)",
         "float[2, 2] x", "different axes", {"s": np.float32([0.1, 0.2])}),
        ("n = Neg(x) d = Div(n, c) y = Cast<to = 1>(d)", "int32[8] x", "with rounding",
         {"c": np.int32(2)}),
        ("l = Equal(i, c) y = Cast<to = 1>(l)", "int64[8] i", "other values than conditions",
         {"c": np.int64(0)}),
    ],
)  # fmt: skip
def test_stays(
    misses: Misses, body: str, inputs: str, reason: str | None, constants: dict[str, Any]
) -> None:
    misses(NAME, model(body, inputs, "float y"), reason, **constants)


@pytest.mark.parametrize(
    ("body", "value"), [("n = Neg(x) y = Mul(n, c)", 1), ("y = Mul(x, c)", -1)]
)
def test_large_constants_are_left_alone(misses: Misses, body: str, value: float) -> None:
    text = model(body, "float[300, 300] x", "float y")
    misses(NAME, text, "large", c=np.full((300, 300), value, np.float32))
