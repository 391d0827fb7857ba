"""lower-quantized: conversions that kernels do not know, as arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "lower-quantized"
U8 = np.array([[0, 1, 127, 3], [128, 200, 255, 9]], np.uint8)


@pytest.mark.parametrize("zero", [0, 3, 255])
def test_dequantized_blocks(fires: Callable[..., Graph], zero: int) -> None:
    graph = fires(
        NAME, "g (uint8[2, 4] x, float s, uint8 z) => (float[2, 4] y) "
        "{ y = DequantizeLinear<block_size = 2>(x, s, z) }",
        "lower-dequantizelinear", inputs={"x": U8}, s=np.float32([[0.1, 2], [3, 0.5]]),
        z=np.full((2, 2), zero, np.uint8),
    )  # fmt: skip
    kinds = [node.op_type for node in graph]
    assert kinds == (["Cast", "Sub", "Cast", "Mul"] if zero else ["Cast", "Cast", "Mul"])


@pytest.mark.parametrize("zero", [0, 3, 255])
@pytest.mark.parametrize("scale", [0.25, 1.0])
def test_quantized_blocks(fires: Callable[..., Graph], zero: int, scale: float) -> None:
    x = np.array([[-1e9, -0.125, 0.125, 1], [0.375, 12.5, 1e9, 0]], np.float32)
    graph = fires(
        NAME, "g (float[2, 4] x, float s, uint8 z) => (uint8[2, 4] y) "
        "{ y = QuantizeLinear<block_size = 4>(x, s, z) }",
        "lower-quantizelinear", inputs={"x": x}, s=np.full((2, 1), scale, np.float32),
        z=np.full((2, 1), zero, np.uint8),
    )  # fmt: skip
    assert ("Div" in {node.op_type for node in graph}) == (scale != 1)


def test_constants_are_computed_at_once(fires: Callable[..., Graph]) -> None:
    graph = fires(
        NAME, "g (float[2, 4] x, uint8 w, float s) => (float[2, 4] y) { "
        "f = DequantizeLinear(w, s) y = Add(x, f) }",
        "lower-dequantizelinear", w=U8, s=np.float32(0.1),
    )  # fmt: skip
    assert [node.op_type for node in graph] == ["Add"]


@pytest.mark.parametrize(("text", "reason"), [
    ("(float[4] x, float s) => (uint8[4] y) { y = QuantizeLinear(x, s) }", "as it is"),
    ("(uint8[2, 4] x, float[4] s, uint8[4] z) => (float[2, 4] y) { y = DequantizeLinear(x, s, z) }",
     "as it is"),
    ('(float["n"] x, float s) => (uint8["n"] y) { y = QuantizeLinear(x, s) }', "not known"),
    ("(float16[4] x, float16 s) => (uint8[4] y) { y = QuantizeLinear(x, s) }", "half precision"),
    ("(float[4] x, float s, float8e4m3fn z) => (float8e4m3fn[4] y) { y = QuantizeLinear(x, s, z) }",
     "no arithmetic"),
    ("(float8e4m3fn[4] x, float s) => (float[4] y) { y = DequantizeLinear(x, s) }",
     "no arithmetic"),
    ("(uint8[4] x, float16 s) => (float16[4] y) { y = DequantizeLinear(x, s) }", "no arithmetic"),
])  # fmt: skip
def test_stays(misses: Callable[..., None], text: str, reason: str) -> None:
    misses(NAME, f"g {text}", reason)
