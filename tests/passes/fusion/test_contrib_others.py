"""standardise-contrib-ops: operators that became standard, and those for other devices."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from burnish import testing
from burnish.ir import Graph
from burnish.ir.verify import verify
from burnish.oracle import Oracle
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass

NAME = "standardise-contrib-ops"
RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def op(call: str) -> str:
    return call.replace("ms.", "com.microsoft.")


def kinds(graph: Graph) -> list[str]:
    assert not any(node.domain for node in graph)
    return [node.op_type for node in graph]


A8 = np.array([[3, 0, 255, 7], [128, 1, 2, 60], [9, 8, 7, 6]], np.uint8)
B8 = RNG.integers(-128, 127, (4, 5)).astype(np.int8)
B_SCALE, B_ZERO = RNG.random(5).astype(np.float32), RNG.integers(-9, 9, 5).astype(np.int8)


@pytest.mark.parametrize(("call", "wanted"), [
    ("ms.MatMulIntegerToFloat(x, w, s, t)", ["Mul", "MatMulInteger", "Cast", "Mul"]),
    ("ms.MatMulIntegerToFloat(x, w, s, t, z)", ["Mul", "MatMulInteger", "Cast", "Mul"]),
    ("ms.MatMulIntegerToFloat(x, w, s, t, z, o, b)",
     ["Mul", "MatMulInteger", "Cast", "Mul", "Add"]),
    ("ms.MatMulIntegerToFloat(x, w, s, t, , o)", ["Mul", "MatMulInteger", "Cast", "Mul"]),
])  # fmt: skip
def test_integer_product(fires: Callable[..., Graph], call: str, wanted: list[str]) -> None:
    text = f"""
    g (uint8[3, 4] x, int8 w, float s, float t, uint8 z, int8 o, float b) => (float y) {{
        y = {op(call)} }}"""
    graph = fires(
        NAME, text, "contrib-MatMulIntegerToFloat", inputs={"x": A8}, w=B8, s=np.float32(0.1),
        t=B_SCALE, z=np.uint8(7), o=B_ZERO, b=normal(5),
    )  # fmt: skip
    assert kinds(graph) == wanted


@pytest.mark.parametrize("extra", ["", ", o", ", o, b", ", , b"])
def test_dynamically_quantized_product(fires: Callable[..., Graph], extra: str) -> None:
    text = f"""
    g (float[2, 3, 4] x, int8 w, float t, int8 o, float b) => (float y) {{
        y = {op(f"ms.DynamicQuantizeMatMul(x, w, t{extra})")} }}"""
    graph = fires(
        NAME, text, "contrib-DynamicQuantizeMatMul", w=B8, t=B_SCALE, o=B_ZERO, b=normal(5)
    )
    assert kinds(graph)[:3] == ["DynamicQuantizeLinear", "Mul", "MatMulInteger"]


@pytest.mark.parametrize(("inputs", "call", "wanted", "constants"), [
    ("float[3, 4] x, float[5, 4] z", "ms.TransposeMatMul<transB = 1>(x, z)",
     ["Transpose", "MatMul"], {}),
    ("float[3, 4] x, int64 k", "ms.Trilu<upper = 0>(x, k)", ["Trilu"], {"k": np.int64(1)}),
    ("float[3, 4] x, int32 k", "ms.GatherND(x, k)", ["Cast", "GatherND"],
     {"k": np.array([[0], [2]], np.int32)}),
    ("float[3, 4] x, int64 k", "ms.GatherND(x, k)", ["GatherND"], {"k": np.array([[0], [2]])}),
    ("float[3, 4] x, int32 k", "ms.ExpandDims(x, k)", ["Unsqueeze"], {"k": np.int32(-2)}),
    ("float x, float k", "ms.Range(x, k)", ["Range"], {"k": np.float32(9.5)}),
    ("float x, float k, float d", "ms.Range(x, k, d)", ["Range"],
     {"k": np.float32(9.5), "d": np.float32(2)}),
    ("float[3, 4] x, int64 k", "ms.Pad(x, k)", ["Pad"], {"k": np.array([0, 1, 2, 0])}),
    ("float[3, 4] x, float s, uint8 z", "ms.QuantizeLinear(x, s, z)", ["QuantizeLinear"],
     {"s": np.float32(0.1), "z": np.uint8(100)}),
    ("uint8[3, 4] x, float s, uint8 z", "ms.DequantizeLinear<axis = 0>(x, s, z)",
     ["DequantizeLinear"], {"s": np.float32([0.1, 2, 3]), "z": np.uint8([1, 2, 3])}),
    ("float[3, 4] x, float w, float b", 'ms.FusedGemm<activation = "Softsign">(x, w, b)',
     ["Gemm", "Softsign"], {"w": normal(4, 5), "b": normal(5)}),
])  # fmt: skip
def test_what_became_standard(
    fires: Callable[..., Graph], inputs: str, call: str, wanted: list[str],
    constants: dict[str, np.ndarray],
) -> None:  # fmt: skip
    rule = f"contrib-{call[3:].partition('(')[0].partition('<')[0]}"
    dtype = {"Quan": "uint8"}.get(call[3:7], "float")
    text = f"g ({inputs}) => ({dtype} y) {{ y = {op(call)} }}"
    feeds = {"x": np.array(1, np.float32)} if "Range" in call else None
    assert kinds(fires(NAME, text, rule, inputs=feeds, **constants)) == wanted


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def groups(x: np.ndarray, count: int) -> np.ndarray:
    """Normalized over positions and the channels of each group; [N, H, W, C]."""
    parts = x.reshape(*x.shape[:3], count, -1)
    centered = parts - parts.mean((1, 2, 4), keepdims=True)
    variance = (centered**2).mean((1, 2, 4), keepdims=True)
    return (centered / np.sqrt(variance + 1e-5)).reshape(x.shape)


X4, S4, C4 = normal(2, 3, 5, 4), normal(2, 3, 5, 4), normal(4)
WEIGHT = normal(6, 1, 1, 4)
ONLY_ON_GPU: dict[str, tuple[str, str, Callable[[], np.ndarray]]] = {
    "split gelu": (
        "ms.BiasSplitGelu(x, c)", "BiasSplitGelu",
        lambda: (X4 + C4)[..., :2] * gelu((X4 + C4)[..., 2:]),
    ),
    "bias and skip": ("ms.BiasAdd(x, c, s)", "BiasAdd", lambda: X4 + C4 + S4),
    "softmax of a sum": (
        "ms.BiasSoftmax<axis = 3, is_inner_broadcast = 0>(x, s)", "BiasSoftmax",
        lambda: np.exp(X4 + S4) / np.exp(X4 + S4).sum(-1, keepdims=True),
    ),
    "groups": (
        "ms.GroupNorm<groups = 2, activation = 0>(x, c, c)", "GroupNorm",
        lambda: groups(X4, 2) * C4 + C4,
    ),
    "groups and silu": (
        "ms.GroupNorm<groups = 2, activation = 1, channels_last = 1>(x, c, c)", "GroupNorm",
        lambda: (lambda y: y * sigmoid(y))(groups(X4, 2) * C4 + C4),
    ),
    "groups of a sum": (
        "ms.SkipGroupNorm<groups = 4, activation = 0>(x, c, c, s, c)", "SkipGroupNorm",
        lambda: groups(X4 + S4 + C4, 4) * C4 + C4,
    ),
    "channels last": (
        "ms.NhwcConv<kernel_shape = [1, 1]>(x, w)", "NhwcConv",
        lambda: X4 @ WEIGHT.reshape(6, 4).T,
    ),
    "product": (
        "ms.GemmFastGelu(x, v)", "GemmFastGelu", lambda: tanh_gelu(X4 @ WEIGHT.reshape(6, 4).T),
    ),
}  # fmt: skip


def tanh_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("case", ONLY_ON_GPU)
def test_operators_without_a_kernel_here(case: str) -> None:
    call, kind, wanted = ONLY_ON_GPU[case]
    text = f"""
    g (float[2, 3, 5, 4] x, float[2, 3, 5, 4] s, float[4] c, float[6, 1, 1, 4] w, float[4, 6] v)
    => (float y) {{ y = {op(call)} }}"""
    graph = graph_of(text, 21)
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    report = run_pass(graph, get_pass(NAME), PassContext())
    assert [firing.rule for firing in report.fired] == [f"contrib-{kind}"]
    assert not any(node.domain for node in graph)
    verify(graph)
    feeds = {"x": X4, "s": S4, "c": C4, "w": WEIGHT, "v": WEIGHT.reshape(6, 4).T.copy()}
    found = Oracle(graph).run(feeds)
    np.testing.assert_allclose(found["y"], wanted(), rtol=1e-4, atol=1e-5)


def graph_of(text: str, opset: int) -> Graph:
    return testing.graph(text, opset=opset, domains=("com.microsoft",))


@pytest.mark.parametrize(("inputs", "call", "reason"), [
    ("float[3, 5] x", "ms.BiasSplitGelu(x, x)", "no two halves"),
    ("float[3, N] x", "ms.BiasSplitGelu(x, x)", "give --input-shape"),
    ("float[2, 3, 5] x", "ms.BiasSoftmax<axis = 1>(x, x)", "over several axes"),
    ("float[2, 3, 5] x, float[5] s", "ms.BiasSoftmax<axis = 2>(x, s)", "fewer axes"),
    ("float[2, 3, 5, 4] x, float[4] c, float[2, 4] s",
     "ms.SkipGroupNorm<groups = 2, activation = 0>(x, c, c, s)", "fewer axes than the data"),
    ("float[3, 4] x, int32 k", "ms.ExpandDims(x, k)", "new axis is computed"),
    ("float[3, 4] x, int64[1, 4] k", "ms.Pad(x, k)", "another number of axes than 1"),
    ("float[1] x, float[1] k", "ms.Range(x, k)", "another number of axes than 0"),
    ("float16[3, 4] x, float16 s", "ms.QuantizeLinear(x, s)", "not quantized from float32"),
    ("int16[3, 4] x, float s", "ms.DequantizeLinear(x, s)", "not quantized from float32"),
    ("float[3, 4] x, uint8[4, 8, 8] w, float[32] s",
     "ms.MatMulNBits<K = 4, N = 8, bits = 4, block_size = 16>(x, w, s)", "only ONNX Runtime reads"),
    ("float[3, 3] x", "ms.Inverse(x)", "no inverse"),
    ("uint8[3, 4] x, float s, uint8 z", "ms.QLinearSigmoid(x, s, z, s, z)", "QDQ"),
    ("float[1, 4, 5, 5] x, float[4, 4, 1, 1] w",
     'ms.FusedConv<activation = "HardSwish">(x, w)', "needs opset 14"),
])  # fmt: skip
def test_declines_the_rest(
    misses: Callable[..., None], inputs: str, call: str, reason: str
) -> None:
    text = f"g ({inputs}) => (float y) {{ y = {op(call)} }}"
    misses(NAME, text, reason, opset=13 if "HardSwish" in call else 21)


def test_declines_data_of_unknown_type(misses: Callable[..., None]) -> None:
    text = f"""g (float[2, 3] x) => (float y) {{
        t = {op("ms.CDist(x, x)")} z = {op("ms.QuickGelu(t)")} y = Identity(z) }}"""
    misses(NAME, text, "the type of the data is unknown")


def test_declines_scales_of_two_types(misses: Callable[..., None]) -> None:
    text = """g (float16[2, 8] x, float[8] g) => (float16 y) {
        y = SimplifiedLayerNormalization(x, g) }"""
    misses(NAME, text, "differ in type", opset=23)
