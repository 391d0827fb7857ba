"""standardise-contrib-ops: ONNX Runtime's own kernels are the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from burnish import testing
from burnish.ir import Graph
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass

NAME = "standardise-contrib-ops"
RNG = np.random.default_rng(5)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def op(call: str) -> str:
    return call.replace("ms.", "com.microsoft.")


def kinds(graph: Graph) -> list[str]:
    assert not any(node.domain for node in graph)
    return [node.op_type for node in graph]


@pytest.mark.parametrize(("call", "rule", "wanted"), [
    ("ms.Gelu(x)", "contrib-Gelu", ["Gelu"]),
    ("ms.BiasGelu(x, b)", "contrib-BiasGelu", ["Add", "Gelu"]),
    ("ms.FastGelu(x)", "contrib-FastGelu", ["Gelu"]),
    ("ms.FastGelu(x, b)", "contrib-FastGelu", ["Add", "Gelu"]),
    ("ms.QuickGelu<alpha = 1.5>(x)", "contrib-QuickGelu", ["Mul", "Sigmoid", "Mul"]),
])  # fmt: skip
def test_gelu(fires: Callable[..., Graph], call: str, rule: str, wanted: list[str]) -> None:
    text = f"g (float[2, 3, 8] x, float b) => (float y) {{ y = {op(call)} }}"
    assert kinds(fires(NAME, text, rule, b=normal(8))) == wanted


def test_skip_layer_norm_with_its_sum(fires: Callable[..., Graph]) -> None:
    call = op("y, , , t = ms.SkipLayerNormalization<epsilon = 0.001>(x, z, g, b, c)")
    text = f"""
    g (float[2, 3, 8] x, float[2, 3, 8] z, float g, float b, float c) => (float y, float t) {{
        {call} }}"""
    graph = fires(
        NAME, text, "contrib-SkipLayerNormalization", g=normal(8), b=normal(8), c=normal(8)
    )
    assert kinds(graph) == ["Add", "Add", "LayerNormalization"]


def test_skip_rms_norm(fires: Callable[..., Graph]) -> None:
    text = f"""
    g (float[2, 3, 8] x, float[2, 3, 8] z, float g) => (float y) {{
        {op("y = ms.SkipSimplifiedLayerNormalization<epsilon = 0.001>(x, z, g)")} }}"""
    graph = fires(NAME, text, "contrib-SkipSimplifiedLayerNormalization", opset=23, g=normal(8))
    assert kinds(graph) == ["Add", "RMSNormalization"]


@pytest.mark.parametrize("positions", ["", ", , p"])
def test_embedding(fires: Callable[..., Graph], positions: str) -> None:
    call = op(f"y, i = ms.EmbedLayerNormalization(a, s, w, q, t, g, b{positions})")
    text = f"""
    g (int32[2, 3] a, int32[2, 3] s, float w, float q, float t, float g, float b, int32 p)
    => (float y) {{ {call} }}"""
    inputs = {
        "a": RNG.integers(0, 10, (2, 3)).astype(np.int32),
        "s": RNG.integers(0, 2, (2, 3)).astype(np.int32),
    }
    graph = fires(
        NAME, text, "contrib-EmbedLayerNormalization", inputs=inputs, w=normal(10, 8),
        q=normal(6, 8), t=normal(2, 8), g=normal(8), b=normal(8),
        p=np.array([[3, 4, 5], [0, 1, 2]], np.int32),
    )  # fmt: skip
    assert kinds(graph) == ["Gather", "Gather", "Gather", "Add", "Add", "LayerNormalization"]


@pytest.mark.parametrize(("options", "inputs", "wanted"), [
    ('activation = "Relu"', "x, w", ["Conv", "Relu"]),
    ('activation = "LeakyRelu", activation_params = [0.3], pads = [1, 1, 1, 1]', "x, w, b",
     ["Conv", "LeakyRelu"]),
    ('activation = "Clip", activation_params = [-0.5, 0.5]', "x, w, b", ["Conv", "Clip"]),
    ('activation = "HardSigmoid", activation_params = [0.3, 0.4]', "x, w", ["Conv", "HardSigmoid"]),
    ('activation = "Relu", pads = [1, 1, 1, 1]', "x, w, b, x", ["Conv", "Add", "Relu"]),
])  # fmt: skip
def test_fused_conv(
    fires: Callable[..., Graph], options: str, inputs: str, wanted: list[str]
) -> None:
    text = f"""
    g (float[1, 4, 5, 5] x, float w, float b) => (float y) {{
        y = {op(f"ms.FusedConv<{options}>({inputs})")} }}"""
    graph = fires(NAME, text, "contrib-FusedConv", w=normal(4, 4, 3, 3), b=normal(4))
    assert kinds(graph) == wanted


@pytest.mark.parametrize(("options", "shapes", "wanted"), [
    ("alpha = 1.0", ("2, 3, 4", "2, 4, 5"), ["MatMul"]),
    ("alpha = 0.5", ("2, 3, 4", "2, 4, 5"), ["MatMul", "Mul"]),
    ("transA = 1", ("2, 4, 3", "2, 4, 5"), ["Transpose", "MatMul"]),
    ("transB = 1, alpha = 2.0", ("2, 3, 4", "2, 5, 4"), ["Transpose", "MatMul", "Mul"]),
])  # fmt: skip
def test_fused_matmul(
    fires: Callable[..., Graph], options: str, shapes: tuple[str, str], wanted: list[str]
) -> None:
    text = f"""
    g (float[{shapes[0]}] x, float[{shapes[1]}] w) => (float y) {{
        y = {op(f"ms.FusedMatMul<{options}>(x, w)")} }}"""
    assert kinds(fires(NAME, text, "contrib-FusedMatMul")) == wanted


def test_fused_gemm(fires: Callable[..., Graph]) -> None:
    call = op('ms.FusedGemm<activation = "LeakyRelu", activation_alpha = 0.2, transB = 1>(x, w, b)')
    text = f"g (float[3, 4] x, float w, float b) => (float y) {{ y = {call} }}"
    graph = fires(NAME, text, "contrib-FusedGemm", w=normal(5, 4), b=normal(5))
    assert kinds(graph) == ["Gemm", "LeakyRelu"]


MASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("", {}),
    "keys": (", m", {"m": np.array([[1, 1, 0], [1, 1, 1]], np.int32)}),
    "pairs": (", m", {"m": np.tril(np.ones((2, 3, 3), np.int32))}),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("options", ["", ", unidirectional = 1", ", scale = 0.7"])
def test_packed_attention(fires: Callable[..., Graph], mask: str, options: str) -> None:
    extra, values = MASKS[mask]
    call = op(f"ms.Attention<num_heads = 2{options}>(x, w, b{extra})")
    text = f"g (float[2, 3, 8] x, float w, float b, int32 m) => (float y) {{ y = {call} }}"
    values = values or {"m": np.int32(0)}
    graph = fires(
        NAME, text, "contrib-Attention", opset=23, w=normal(8, 24), b=normal(24), **values
    )
    assert "Attention" in kinds(graph)


@pytest.mark.parametrize("extra", ["", ", b", ", b, m", ", , , e", ", b, m, e"])
def test_separate_attention(fires: Callable[..., Graph], extra: str) -> None:
    call = op(f"ms.MultiHeadAttention<num_heads = 2>(q, k, v{extra})")
    text = f"""
    g (float[2, 3, 8] q, float[2, 5, 8] k, float[2, 5, 12] v, float b, int32 m, float e)
    => (float y) {{ y = {call} }}"""
    graph = fires(
        NAME, text, "contrib-MultiHeadAttention", opset=23, b=normal(28), e=normal(1, 2, 3, 5),
        m=np.array([[1, 1, 0, 1, 1], [1, 1, 1, 1, 1]], np.int32),
    )  # fmt: skip
    assert "Attention" in kinds(graph)


def test_embedding_that_counts_its_mask(fires: Callable[..., Graph]) -> None:
    call = op("y, i = ms.EmbedLayerNormalization(a, , w, q, , g, b, m)")
    text = f"""
    g (int32[2, 3] a, int32[2, 3] m, float w, float q, float g, float b)
    => (float y, int32 i) {{ {call} }}"""
    inputs = {
        "a": RNG.integers(0, 10, (2, 3)).astype(np.int32),
        "m": np.array([[1, 1, 0], [1, 2, 1]], np.int32),
    }
    graph = fires(
        NAME, text, "contrib-EmbedLayerNormalization", inputs=inputs, w=normal(10, 8),
        q=normal(6, 8), g=normal(8), b=normal(8),
    )  # fmt: skip
    assert "ReduceSum" in kinds(graph)


def test_rms_norm_of_the_standard_domain(fires: Callable[..., Graph]) -> None:
    call = "y = SimplifiedLayerNormalization<axis = -1, epsilon = 0.001, stash_type = 1>(x, g)"
    text = f"g (float[2, 3, 8] x, float g) => (float y) {{ {call} }}"
    graph = fires(NAME, text, "contrib-SimplifiedLayerNormalization", opset=23, g=normal(8))
    assert kinds(graph) == ["RMSNormalization"]


@pytest.mark.parametrize("kind", ["SimplifiedLayerNormalization", "LayerNormalization"])
def test_what_onnx_runtime_puts_into_old_opsets_is_read(kind: str) -> None:
    text = f"g (float[2, 8] x, float[8] s) => (float y) {{ y = {kind}(x, s) }}"
    model = testing.graph(text, opset=11)
    assert kinds(model) == [kind]
    run_pass(model, get_pass("infer-shapes"), PassContext())
    assert model.outputs[0].shape == (2, 8)


DECLINED = {
    "gelu before its opset": ("float[2, 8] x", "ms.Gelu(x)", 19, "needs opset 20"),
    "norm before its opset": (
        "float[2, 8] x, float[2, 8] z, float[8] g", "ms.SkipLayerNormalization(x, z, g)", 16,
        "needs opset 17",
    ),
    "attention before its opset": (
        "float[2, 3, 8] x", "ms.MultiHeadAttention<num_heads = 2>(x, x, x)", 22, "needs opset 23",
    ),
    "batch transposed": (
        "float[2, 3, 4] x, float[3, 4, 5] w", "ms.FusedMatMul<transBatchA = 1>(x, w)", 21,
        "batch axes are transposed",
    ),
    "unknown activation": (
        "float[1, 4, 5, 5] x, float[4, 4, 1, 1] w", 'ms.FusedConv<activation = "Erf">(x, w)', 21,
        "activation Erf is unknown",
    ),
    "unknown length": (
        "int32[N, S] a, float[9, 8] w, float[9, 8] q, float[8] g",
        "ms.EmbedLayerNormalization(a, , w, q, , g, g)", 21, "give --input-shape",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DECLINED)
def test_declines(misses: Callable[..., None], case: str) -> None:
    inputs, call, opset, reason = DECLINED[case]
    text = f"g ({inputs}) => (float y) {{ y = {op(call)} }}"
    misses(NAME, text, reason, opset=opset)


@pytest.mark.parametrize(("inputs", "call", "reason"), [
    ("float[2, 3, 8] x, float[8] g", "y, t = ms.SkipLayerNormalization(x, x, g)", "output 1 of"),
    ("float[2, 3, 8] x", "y, t, u = ms.MultiHeadAttention<num_heads = 2>(x, x, x)",
     "returns its keys"),
])  # fmt: skip
def test_declines_further_results(
    misses: Callable[..., None], inputs: str, call: str, reason: str
) -> None:
    text = f"g ({inputs}) => (float y, float t) {{ {op(call)} }}"
    misses(NAME, text, reason, opset=23)
