"""integer-products: sums of products of integers, to what the oracle makes of the floats."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "integer-products"
RNG = np.random.default_rng(3)
X, ROWS = RNG.integers(0, 256, (1, 4, 5, 5), np.uint8), RNG.integers(0, 256, (2, 3, 4), np.uint8)
SIGNED = RNG.integers(-128, 128, (1, 4, 5, 5)).astype(np.int8)
W = RNG.integers(-128, 128, (6, 4, 3, 3)).astype(np.int8)
M = RNG.integers(-128, 128, (4, 5)).astype(np.int8)
SCALES = np.float32([0.5, 0.25, 1, 2, 0.125, 3])


def kinds(graph: Graph) -> list[str]:
    return [node.op_type for node in graph]


def conv(
    attributes: str = "pads = [1, 1, 1, 1]", dtype: str = "uint8", weights: str = "axis = 0",
    inputs: str = "f, v", extra: str = "",
) -> str:  # fmt: skip
    return f"""
    g ({dtype}[1, 4, 5, 5] x, float sx, {dtype} zx, int8 w, float sw, int8 zw{extra})
        => (float y) {{
        f = DequantizeLinear(x, sx, zx) v = DequantizeLinear<{weights}>(w, sw, zw)
        y = Conv<{attributes}>({inputs}) }}"""


ONE = {"sx": np.float32(0.1), "zx": np.uint8(117), "sw": np.float32(0.02), "zw": np.int8(0)}
EACH = ONE | {"sw": SCALES, "zw": np.zeros(6, np.int8)}


@pytest.mark.parametrize(("attributes", "weights"), [
    ("pads = [1, 1, 1, 1]", W),
    ("pads = [0, 1, 2, 0], strides = [2, 2], dilations = [1, 2]", W),
    ('auto_pad = "SAME_UPPER", strides = [2, 1]', W),
    ("group = 2", W[:, :2]),
    ("group = 2, kernel_shape = [1, 1]", W[:, :2, :1, :1]),
])  # fmt: skip
@pytest.mark.parametrize("own", [ONE, EACH], ids=["one scale", "scale by channel"])
def test_convolution(
    fires: Callable[..., Graph], attributes: str, weights: np.ndarray, own: dict[str, np.ndarray]
) -> None:
    graph = fires(NAME, conv(attributes), "integer-convolution", inputs={"x": X}, w=weights, **own)
    assert kinds(graph) == ["ConvInteger", "Cast", "Mul"]


@pytest.mark.parametrize("zero", [-128, 0, 5])
def test_signed_data(fires: Callable[..., Graph], zero: int) -> None:
    own = EACH | {"zx": np.int8(zero)}
    graph = fires(NAME, conv(dtype="int8"), "integer-convolution", inputs={"x": SIGNED}, w=W, **own)
    (node,) = (node for node in graph if node.op_type == "ConvInteger")
    assert (len(node.inputs) == 2) == (zero == 0)


def test_bias_is_added_behind(fires: Callable[..., Graph]) -> None:
    graph = fires(
        NAME, conv(inputs="f, v, b", extra=", float b"), "integer-convolution", inputs={"x": X},
        w=W, b=np.float32([1, -2, 3, 0.5, 0, 9]), **EACH,
    )  # fmt: skip
    assert kinds(graph) == ["ConvInteger", "Cast", "Mul", "Add"]


def test_weights_with_a_zero_point(fires: Callable[..., Graph]) -> None:
    own = EACH | {"zw": np.full(6, 3, np.int8)}
    graph = fires(NAME, conv(), "integer-convolution", inputs={"x": X}, w=W, **own)
    (node,) = (node for node in graph if node.op_type == "ConvInteger")
    assert node.constant_input(3).numpy() == 3  # type: ignore[union-attr]


def test_scale_known_at_run_time(fires: Callable[..., Graph]) -> None:
    text = conv().replace("float sx,", "float[1] sx,")
    own = {name: value for name, value in EACH.items() if name != "sx"}
    graph = fires(
        NAME, text, "integer-convolution", inputs={"x": X, "sx": np.float32([0.3])}, w=W, **own
    )
    assert sorted(kinds(graph)) == ["Cast", "ConvInteger", "Mul", "Mul", "Reshape"]


@pytest.mark.parametrize(("change", "own", "reason"), [
    ({"weights": "axis = 1"}, {"sw": SCALES[:4], "zw": np.zeros(4, np.int8)}, "output channels"),
    ({}, EACH | {"zw": np.arange(6).astype(np.int8)}, "zero point of its own"),
])  # fmt: skip
def test_convolution_stays(
    misses: Callable[..., None], change: dict[str, str], own: dict[str, np.ndarray], reason: str
) -> None:
    misses(NAME, conv(**change), reason, w=W, **(ONE | own))


@pytest.mark.parametrize(("text", "reason"), [
    ("(float[1, 4, 5, 5] f, int8 w, float s) => (float y) { v = DequantizeLinear(w, s)"
     " y = Conv(f, v) }", "a graph input"),
    ("(int16[1, 4, 5, 5] x, int8 w, float s) => (float y) { f = DequantizeLinear(x, s)"
     " v = DequantizeLinear(w, s) y = Conv(f, v) }", "the data are not"),
])  # fmt: skip
def test_other_convolutions_stay(misses: Callable[..., None], text: str, reason: str) -> None:
    misses(NAME, f"g {text}", reason, w=W, s=np.float32(0.1))


def product(op: str = "MatMul(f, v)", weights: str = "axis = 1", extra: str = "") -> str:
    return f"""
    g (uint8[2, 3, 4] x, float sx, uint8 zx, int8 w, float sw, int8 zw{extra}) => (float y) {{
        f = DequantizeLinear(x, sx, zx) v = DequantizeLinear<{weights}>(w, sw, zw)
        y = {op} }}"""


COLUMNS = ONE | {"sw": SCALES[:5], "zw": np.int8([0, 3, -2, 0, 9])}


NEAR = [1, 1 + 3e-6]
"""How a quantizer may round the scale of a bias, relative to the product of two scales."""


@pytest.mark.parametrize("off", NEAR)
@pytest.mark.parametrize("own", [ONE, EACH], ids=["one scale", "scale by channel"])
def test_bias_of_integers(
    fires: Callable[..., Graph], own: dict[str, np.ndarray], off: float
) -> None:
    text = conv(inputs="f, v, c", extra=", int32 b, float sb").replace(
        "y = Conv", "c = DequantizeLinear<axis = 0>(b, sb) y = Conv"
    )
    graph = fires(
        NAME, text, "integer-convolution", inputs={"x": X}, w=W,
        b=np.int32([100, -2000, 3, 0, 9, 99999]),
        sb=np.float32(own["sx"] * own["sw"] * off), **own,
    )  # fmt: skip
    assert [kind for kind in kinds(graph) if kind != "DequantizeLinear"] == [
        "ConvInteger", "Add", "Cast", "Mul",
    ]  # fmt: skip


@pytest.mark.parametrize(("off", "zero"), [(1.001, 0), (2, 0), (1, 5)])
def test_bias_of_other_integers_is_added_behind(
    fires: Callable[..., Graph], off: float, zero: int
) -> None:
    text = conv(inputs="f, v, c", extra=", int32 b, float sb, int32 zb").replace(
        "y = Conv", "c = DequantizeLinear<axis = 0>(b, sb, zb) y = Conv"
    )
    graph = fires(
        NAME, text, "integer-convolution", inputs={"x": X}, w=W,
        b=np.int32([100, -2000, 3, 0, 9, 99999]), zb=np.full(6, zero, np.int32),
        sb=np.float32(EACH["sx"] * EACH["sw"] * off), **EACH,
    )  # fmt: skip
    assert kinds(graph)[-1] == "Add"
    assert "Mul" in kinds(graph)


TRANSPOSED = RNG.integers(-128, 128, (4, 3, 3, 2)).astype(np.int8)


@pytest.mark.parametrize("attributes", [
    "strides = [2, 2]", "pads = [1, 0, 1, 1], strides = [3, 2], output_padding = [1, 0]",
    'auto_pad = "SAME_UPPER", strides = [2, 2]', "group = 2, strides = [2, 1]",
])  # fmt: skip
@pytest.mark.parametrize("own", [
    ONE, ONE | {"sw": SCALES[:3], "zw": np.full(3, 2, np.int8)},
], ids=["one scale", "scale by channel"])  # fmt: skip
def test_transposed_convolution(
    fires: Callable[..., Graph], attributes: str, own: dict[str, np.ndarray]
) -> None:
    text = conv(attributes, weights="axis = 1", inputs="f, v, b", extra=", float b").replace(
        "= Conv<", "= ConvTranspose<"
    )
    outputs = 6 if "group" in attributes else 3
    graph = fires(
        NAME, text, "integer-transposed-convolution", inputs={"x": X}, w=TRANSPOSED,
        b=np.arange(outputs, dtype=np.float32), **own,
    )  # fmt: skip
    assert kinds(graph) == ["ConvTransposeInteger", "Cast", "Mul", "Add"]


@pytest.mark.parametrize(("change", "own", "reason"), [
    ({"weights": "axis = 0"}, {"sw": SCALES[:4], "zw": np.zeros(4, np.int8)}, "output channels"),
    ({"attributes": "strides = [9, 8]"}, {}, "positions in a stride"),
    ({"weights": "axis = 1"}, {"sw": SCALES[:3], "zw": np.arange(3).astype(np.int8)},
     "zero point of its own"),
])  # fmt: skip
def test_transposed_convolution_stays(
    misses: Callable[..., None], change: dict[str, str], own: dict[str, np.ndarray], reason: str
) -> None:
    text = conv(**change).replace("= Conv<", "= ConvTranspose<")
    misses(NAME, text, reason, w=TRANSPOSED, **(ONE | own))


def quantized(body: str, extra: str = "") -> str:
    return f"""
    g (uint8[2, 3, 4] x, float sx, uint8 zx, int8 w, float sw, int8 zw, float sy, uint8 zy{extra})
        => (uint8 y) {{
        f = DequantizeLinear(x, sx, zx) v = DequantizeLinear<axis = 1>(w, sw, zw)
        m = MatMul(f, v) {body} }}"""


RESULT = {"sy": np.float32(4.3), "zy": np.uint8(99)}


@pytest.mark.parametrize("own", [ONE, COLUMNS], ids=["one scale", "scale by column"])
def test_one_factor_for_sums_that_are_quantized(
    fires: Callable[..., Graph], own: dict[str, np.ndarray]
) -> None:
    graph = fires(
        NAME, quantized("y = QuantizeLinear(m, sy, zy)"), "integer-product", "requantize-sums",
        inputs={"x": ROWS}, w=M, **(RESULT | own),
    )  # fmt: skip
    assert kinds(graph) == ["MatMulInteger", "Cast", "Mul", "QuantizeLinear"]
    last = list(graph)[-1]
    assert last.constant_input(1).numpy() == 1  # type: ignore[union-attr]
    product = list(graph)[-2].constant_input(1).numpy()  # type: ignore[union-attr]
    wanted = (own["sx"] * own["sw"]).astype(np.float32) / RESULT["sy"]
    np.testing.assert_array_equal(product, wanted)


def test_one_factor_and_a_bias(fires: Callable[..., Graph]) -> None:
    graph = fires(
        NAME, quantized("a = Add(m, b) y = QuantizeLinear(a, sy, zy)", ", float b"),
        "integer-product", "requantize-biased-sums", inputs={"x": ROWS}, w=M,
        b=np.float32([1, 2, 3, 4, 5]), **(RESULT | COLUMNS),
    )  # fmt: skip
    assert kinds(graph) == ["MatMulInteger", "Cast", "Mul", "Add", "QuantizeLinear"]


@pytest.mark.parametrize(("body", "extra"), [
    ("y = QuantizeLinear(m, sy, zy) u = Neg(m)", ""),
    ("r = Sigmoid(m) y = QuantizeLinear(r, sy, zy)", ""),
    ("y = QuantizeLinear<axis = 2>(m, each, zeros)", ""),
    ("y = QuantizeLinear(m, given, zy)", ", float[] given"),
    ("y = QuantizeLinear(m, tiny, zy)", ""),
])  # fmt: skip
def test_scales_that_stay(fires: Callable[..., Graph], body: str, extra: str) -> None:
    text = quantized(body, f"{extra}, float each, uint8 zeros, float tiny")
    if "u = " in body:
        text = text.replace("(uint8 y)", "(uint8 y, float u)")
    inputs = {"x": ROWS} | ({"given": np.array(3, np.float32)} if extra else {})
    fires(
        NAME, text, "integer-product", inputs=inputs, w=M, each=np.float32([3, 4, 5, 6, 7]),
        zeros=np.zeros(5, np.uint8), tiny=np.float32(1e-45), **(RESULT | COLUMNS),
    )  # fmt: skip


TOTAL = """g (uint8[2, 3, 4] x, {kind}[4] w, float sx, uint8 zx, float sw, {kind} zw, float sy,
    {out} zy, float each) => ({out} y) {{ a = DequantizeLinear(x, sx, zx)
    b = DequantizeLinear(w, sw, zw) s = Add(a, b) {tail} }}"""


def total(
    kind: str = "uint8", out: str = "uint8", tail: str = "y = QuantizeLinear(s, sy, zy)"
) -> str:
    return TOTAL.format(kind=kind, out=out, tail=tail)


@pytest.mark.parametrize(("kind", "zero"), [("uint8", 7), ("int8", -7)])
@pytest.mark.parametrize(("out", "wanted"), [("uint8", 99), ("int8", -3)])
def test_sums_of_dequantized_values(
    fires: Callable[..., Graph], kind: str, zero: int, out: str, wanted: int
) -> None:
    graph = fires(
        NAME, total(kind, out), "requantize-total",
        inputs={"x": ROWS, "w": RNG.integers(0, 100, 4).astype(kind)},
        sx=np.float32(0.11), zx=np.uint8(120), sw=np.float32(0.07), zw=np.dtype(kind).type(zero),
        sy=np.float32(0.19), zy=np.dtype(out).type(wanted), each=np.float32(1),
    )  # fmt: skip
    assert kinds(graph) == ["Cast", "Mul", "Add", "Cast", "Mul", "Add", "QuantizeLinear"]


@pytest.mark.parametrize("tail", [
    "y = QuantizeLinear<axis = 2>(s, each, zeros)",
    "y = QuantizeLinear(s, sy, zy) u = Neg(s)",
    "t = Add(s, a) y = QuantizeLinear(t, sy, zy)",
    "t = Relu(s) y = QuantizeLinear(t, sy, zy)",
])  # fmt: skip
def test_other_sums_stay(misses: Callable[..., None], tail: str) -> None:
    text = total(tail=tail).replace("float each", "float each, uint8 zeros")
    if "u = " in tail:
        text = text.replace("(uint8 y)", "(uint8 y, float u)")
    misses(NAME, text, None, sx=np.float32(0.11), zx=np.uint8(120), sw=np.float32(0.07),
           zw=np.uint8(3), sy=np.float32(0.19), zy=np.uint8(99),
           each=np.float32([1, 2, 3, 4]), zeros=np.zeros(4, np.uint8))  # fmt: skip


@pytest.mark.parametrize("own", [ONE, COLUMNS], ids=["one scale", "scale by column"])
def test_product(fires: Callable[..., Graph], own: dict[str, np.ndarray]) -> None:
    graph = fires(NAME, product(), "integer-product", inputs={"x": ROWS}, w=M, **own)
    assert kinds(graph) == ["MatMulInteger", "Cast", "Mul"]


def test_product_of_two_values(fires: Callable[..., Graph]) -> None:
    text = """
    g (uint8[2, 3, 4] x, int8[2, 4, 5] w, float sx, uint8 zx, float sw, int8 zw) => (float y) {
        f = DequantizeLinear(x, sx, zx) v = DequantizeLinear(w, sw, zw) y = MatMul(f, v) }"""
    fires(NAME, text, "integer-product", **(ONE | {"zw": np.int8(-7)}))


@pytest.mark.parametrize("scale", [np.inf, 0.0])
def test_a_scale_out_of_range_stays_without_a_warning(
    misses: Callable[..., None], scale: float
) -> None:
    """As other quantizers write for masks of minus infinity."""
    odd = {"sx": np.float32(scale), "sy": np.float32(scale)}
    misses(
        NAME, total(), "leaves the range", zx=np.uint8(0), sw=np.float32(0.07), zw=np.uint8(7),
        zy=np.uint8(0), each=np.float32(1), **odd,
    )  # fmt: skip


@pytest.mark.parametrize(("weights", "reason"), [
    ("axis = 0", "what is summed up"),
    ("axis = -2", "what is summed up"),
])  # fmt: skip
def test_product_stays(misses: Callable[..., None], weights: str, reason: str) -> None:
    own = ONE | {"sw": SCALES[:4], "zw": np.zeros(4, np.int8)}
    misses(NAME, product(weights=weights), reason, w=M, **own)


def test_data_by_channel_stay(misses: Callable[..., None]) -> None:
    own = COLUMNS | {"sx": np.float32([1, 2, 3, 4]), "zx": np.zeros(4, np.uint8)}
    text = product().replace("DequantizeLinear(x", "DequantizeLinear<axis = 2>(x")
    misses(NAME, text, "more than one scale", w=M, **own)


def test_blocks_stay(misses: Callable[..., None]) -> None:
    own = ONE | {"sw": np.ones((2, 5), np.float32), "zw": np.zeros((2, 5), np.int8)}
    misses(NAME, product(weights="axis = 0, block_size = 2"), "weights are not", w=M, **own)


def test_products_of_doubles_stay(misses: Callable[..., None]) -> None:
    own = ONE | {"sx": np.float64(0.1), "sw": np.float64(0.1)}
    text = product().replace("float s", "double s").replace("float y", "double y")
    misses(NAME, text, "float32", w=M, opset=23, **own)


def gemm(attributes: str, inputs: str, axis: int, extra: str) -> str:
    return f"""
    g (uint8[3, 4] x, float sx, uint8 zx, int8 w, float sw, int8 zw{extra}) => (float y) {{
        f = DequantizeLinear(x, sx, zx) v = DequantizeLinear<axis = {axis}>(w, sw, zw)
        y = Gemm<{attributes}>({inputs}) }}"""


@pytest.mark.parametrize(("attributes", "inputs", "wanted"), [
    ("alpha = 1.0", "f, v", ["MatMulInteger", "Cast", "Mul"]),
    ("alpha = 0.5", "f, v, b", ["MatMulInteger", "Cast", "Mul", "Add"]),
    ("transB = 1", "f, v, b", ["MatMulInteger", "Cast", "Mul", "Add"]),
    ("beta = 2.0", "f, v, b", ["MatMulInteger", "Cast", "Mul", "Mul", "Add"]),
    ("beta = 0.0", "f, v, b", ["MatMulInteger", "Cast", "Mul"]),
    ("transA = 1", "f, v", ["Transpose", "MatMulInteger", "Cast", "Mul"]),
])  # fmt: skip
def test_gemm(fires: Callable[..., Graph], attributes: str, inputs: str, wanted: list[str]) -> None:
    turned = "transB" in attributes
    has_bias = "b" in inputs.split(", ")
    text = gemm(attributes, inputs, 0 if turned else 1, ", float b" if has_bias else "")
    rows = ROWS[0]
    if "transA" in attributes:
        text, rows = text.replace("uint8[3, 4]", "uint8[4, 3]"), rows.T.copy()
    more = {"b": np.float32([1, 2, 3, 4, 5])} if has_bias else {}
    graph = fires(
        NAME, text, "integer-gemm", inputs={"x": rows}, w=M.T.copy() if turned else M,
        **(COLUMNS | more),
    )  # fmt: skip
    assert kinds(graph) == wanted


def test_gemm_by_row_stays(misses: Callable[..., None]) -> None:
    own = ONE | {"sw": SCALES[:4], "zw": np.zeros(4, np.int8)}
    misses(NAME, gemm("alpha = 1.0", "f, v", 0, ""), "what is summed up", w=M, **own)
