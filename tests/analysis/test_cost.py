"""Operations of single operators, counted by hand."""

from __future__ import annotations

import pytest

from burnish.analysis.cost import kernel_flops, node_flops
from burnish.optimization import infer
from burnish.passes.fusion.activations import RecogniseActivations
from burnish.pipeline import PassContext, run_pass
from burnish.target import resolve
from burnish.testing import graph

CASES = {
    "product": ("float[2, 5, 7] x, float[7, 3] w", "MatMul(x, w)", 2 * 2 * 5 * 7 * 3),
    "gemm": ("float[7, 5] x, float[7, 3] w", "Gemm<transA=1>(x, w)", 2 * 5 * 7 * 3),
    "convolution": (
        "float[1, 4, 8, 8] x, float[6, 4, 3, 3] w", "Conv(x, w)", 2 * 6 * 6 * 6 * 4 * 9,
    ),
    "grouped convolution": (
        "float[1, 4, 8, 8] x, float[4, 1, 3, 3] w", "Conv<group=4>(x, w)", 2 * 4 * 6 * 6 * 9,
    ),
    "transposed convolution": (
        "float[1, 4, 8, 8] x, float[4, 6, 2, 2] w", "ConvTranspose<strides=[2, 2]>(x, w)",
        2 * 4 * 8 * 8 * 6 * 4,
    ),
    "elementwise": ("float[3, 4] x, float[4] w", "Add(x, w)", 12),
    "polynomial": ("float[3, 4] x, float[4] w", "Swish(x)", 12 * 18),
    "softmax": ("float[3, 4] x, float[4] w", "Softmax(x)", 12 * (16 + 3)),
    "attention": (
        "float[1, 2, 5, 8] x, float[1, 2, 7, 8] w", "Attention(x, w, w)",
        2 * 5 * 7 * (2 * 8 + 2 * 8 + 16 + 2),
    ),
    "reduction": ("float[3, 4] x, int64[1] w", "ReduceMean<keepdims=0>(x)", 12),
    "movement": ("float[3, 4] x, float[4] w", "Transpose(x)", 0),
    "recurrence": (
        "float[5, 2, 3] x, float[1, 16, 3] w, float[1, 16, 4] r", "LSTM<hidden_size=4>(x, w, r)",
        2 * 5 * 2 * 4 * 4 * (3 + 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_operator(case: str) -> None:
    inputs, call, expected = CASES[case]
    model = infer(graph(f"g ({inputs}) => (float y) {{ y = {call} }}", opset=24))
    (node,) = model
    assert node_flops(node) == expected


def test_open_sizes_are_not_guessed() -> None:
    model = graph('g (float["N", 4] x) => (float["N", 4] y) { y = Neg(x) }')
    (node,) = model
    assert node_flops(node) is None


def test_a_region_counts_as_its_operator_for_a_kernel() -> None:
    model = infer(graph("g (float[3, 4] x) => (float y) { s = Sigmoid(x) y = Mul(x, s) }"))
    run_pass(model, RecogniseActivations(), PassContext(resolve("cpu")))
    (node,) = (node for node in model if node.is_region)
    assert node.op_type == "Swish"
    assert (node_flops(node), kernel_flops(node)) == (0, 12 * 18)
