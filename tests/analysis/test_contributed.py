"""Types of what ONNX Runtime's own operators make."""

from __future__ import annotations

import pytest

from burnish.analysis import infer
from burnish.ir import DType
from burnish.testing import graph

CALLS = {
    "FusedConv": (
        "float[1, 4, 9, 9] x, float[6, 4, 3, 3] w",
        'FusedConv<activation = "Relu", strides = [2, 2]>(x, w)', (1, 6, 4, 4),
    ),
    "FusedGemm": (
        "float[4, 3] x, float[4, 5] w", 'FusedGemm<transA = 1, activation = "Relu">(x, w)', (3, 5)
    ),
    "FusedMatMul": (
        'float["B", 7, 4, 3] x, float[4, 5] w', "FusedMatMul<transA = 1>(x, w)", ("B", 7, 3, 5)
    ),
    "TransposeMatMul": ("float[3, 4] x, float[5, 4] w", "TransposeMatMul<transB = 1>(x, w)",
                        (3, 5)),
    "FusedMatMul by batch": (
        "float[2, 3, 4] x, float[2, 4, 5] w", "FusedMatMul<transBatchA = 1>(x, w)", None
    ),
    "BiasGelu": ('float["B", 3] x, float[3] w', "BiasGelu(x, w)", ("B", 3)),
    "DynamicQuantizeMatMul": (
        "float[2, 3, 4] x, int8[4, 5] w, float s", "DynamicQuantizeMatMul(x, w, s)", (2, 3, 5)
    ),
    "SkipLayerNormalization": (
        "float[2, 3, 4] x, float[4] w", "SkipLayerNormalization(x, x, w)", (2, 3, 4)
    ),
    "QAttention": (
        'uint8["B", 6, 16] x, int8[16, 48] w, float[48] b, float s, float r',
        "QAttention<num_heads = 4>(x, w, b, s, r)", ("B", 6, 16),
    ),
    "QAttention of unknown length": (
        "uint8 x, int8[16, 48] w, float[48] b, float s, float r",
        "QAttention<num_heads = 4>(x, w, b, s, r)", None,
    ),
    "EmbedLayerNormalization": (
        'int32["B", 7] x, float[9, 8] w, float[8] b',
        "EmbedLayerNormalization(x, , w, w, , b, b)", ("B", 7, 8),
    ),
    "QEmbedLayerNormalization": (
        "int32[2, 7] x, uint8[9, 8] w, uint8[8] b, float s",
        "QEmbedLayerNormalization(x, , w, w, , b, b, , s, s, , s, s)", (2, 7, 8),
    ),
    "MatMulNBits": (
        'float["B", 64] x, uint8[8, 2, 16] w, float[16] s',
        "MatMulNBits<K = 64, N = 8, bits = 4, block_size = 32>(x, w, s)", ("B", 8),
    ),
    "Inverse": ("float[3, 3] x", "Inverse(x)", (3, 3)),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_first_result(case: str) -> None:
    inputs, call, shape = CALLS[case]
    text = f"g ({inputs}) => (float y) {{ t = com.microsoft.{call} y = Identity(t) }}"
    model = graph(text, domains=("com.microsoft",))
    assert model.first is not None
    found = infer(model).type_of(model.first.output)
    assert found.dtype is DType.FLOAT
    assert found.shape == shape


@pytest.mark.parametrize("kind", ["QLinearSoftmax", "QLinearSigmoid", "QLinearLeakyRelu"])
def test_integers_stay_integers(kind: str) -> None:
    text = f"""g (int8[3, 4] x, float s, int8 z) => (int8 y) {{
        t = com.microsoft.{kind}(x, s, z, s, z) y = Identity(t) }}"""
    model = graph(text, domains=("com.microsoft",))
    assert model.first is not None
    found = infer(model).type_of(model.first.output)
    assert (found.dtype, found.shape) == (DType.INT8, (3, 4))


def test_the_sum_before_a_normalization() -> None:
    text = """g (float[2, 3, 4] x, float[4] w) => (float y, float z) {
        y, m, v, z = com.microsoft.SkipLayerNormalization(x, x, w) }"""
    model = graph(text, domains=("com.microsoft",))
    assert model.first is not None
    inference = infer(model)
    shapes = [inference.type_of(value).shape for value in model.first.outputs]
    assert shapes == [(2, 3, 4), None, None, (2, 3, 4)]


def test_integers_become_the_type_of_their_scale() -> None:
    text = """g (uint8[3, 4] x, int8[4, 5] w, float s) => (float y) {
        t = com.microsoft.MatMulIntegerToFloat(x, w, s, s) y = Identity(t) }"""
    model = graph(text, domains=("com.microsoft",))
    assert model.first is not None
    found = infer(model).type_of(model.first.output)
    assert (found.dtype, found.shape) == (DType.FLOAT, (3, 5))


def test_an_unknown_operator_has_an_unknown_result() -> None:
    text = "g (float[3, 4] x) => (float y) { t = com.microsoft.CDist(x, x) y = Identity(t) }"
    model = graph(text, domains=("com.microsoft",))
    assert model.first is not None
    assert infer(model).type_of(model.first.output).shape is None
