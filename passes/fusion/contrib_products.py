"""ONNX Runtime's own products and convolutions as standard operators."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.ir import DType, OperatorNode, VariableNode
from burnish.passes.fusion.contrib_writing import (
    MS,
    Guard,
    channels_first,
    channels_last,
    every,
    given,
    like,
    ranked,
    rule,
    scalar,
    transposed,
)
from burnish.rewrite import Match, Miss, Rewriter

ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "HardSwish": (),
    "Clip": ("min", "max"),
    "Selu": ("alpha", "gamma"),
    "Softplus": (),
    "Softsign": (),
    "ThresholdedRelu": ("alpha",),
}
"""Activations of fused operators with the names of their parameters."""


def _fused_conv(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Inputs: data, weights, bias, and a sum that is added before the activation."""
    result = _conv(rw, node, node.input(0), node.input(1), node.output)
    if node.input(3) is not None:
        result = like(rw, "Add", result, node.input(3))
    return _activated(rw, result, node)


def _conv(
    rw: Rewriter, node: OperatorNode, data: VariableNode | None, weights: VariableNode | None,
    output: VariableNode | None,
) -> VariableNode:  # fmt: skip
    skipped = ("activation", "activation_params")
    attributes = {k: v for k, v in node.attributes.items() if k not in skipped}
    inputs = [data, weights, node.input(2)]
    while inputs[-1] is None:
        inputs.pop()
    return rw.op("Conv", inputs, attributes, like=output)


def _nhwc_conv(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Inputs: data, weights, bias, sum; channels last in data, sum and result.

    NhwcConv has channels last in its weights, too.
    """
    data, weights = given(node, 0, 1)
    assert data.rank is not None
    moved = transposed(rw, data, channels_first(data.rank))
    if node.op_type == "NhwcConv":
        weights = transposed(rw, weights, channels_first(data.rank))
    result = _conv(rw, node, moved, weights, None)
    result.dtype = data.dtype
    shape = node.output.shape
    if shape is not None and len(shape) == data.rank:
        result.shape = tuple(shape[axis] for axis in channels_first(data.rank))
    result = transposed(rw, result, channels_last(data.rank))
    if node.input(3) is not None:
        result = like(rw, "Add", result, node.input(3))
    return _activated(rw, result, node)


def _fused_gemm(rw: Rewriter, node: OperatorNode) -> VariableNode:
    kept = ("alpha", "beta", "transA", "transB")
    attributes = {k: v for k, v in node.attributes.items() if k in kept}
    return _activated(rw, rw.op("Gemm", node.inputs, attributes, like=node.output), node)


def _activated(rw: Rewriter, value: VariableNode, node: OperatorNode) -> VariableNode:
    """``value`` after the activation that an attribute of ``node`` names, if one does."""
    activation = node.attribute("activation")
    if not activation:
        return value
    parameters = _parameters(node)
    if activation == "Clip":
        return like(rw, "Clip", value, *(scalar(rw, p, value) for p in parameters))
    names = ACTIVATIONS[activation]
    return like(rw, activation, value, **dict(zip(names, parameters, strict=False)))


def _parameters(node: OperatorNode) -> Sequence[float]:
    """Convolutions have a list of parameters, products one attribute for each."""
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    single = [node.attribute(name) for name in names if node.attribute(name) is not None]
    return list(node.attribute("activation_params") or single)


def _known_activation(match: Match) -> Miss | None:
    activation = match.root.attribute("activation")
    if activation and activation not in ACTIVATIONS:
        return Miss(f"the activation {activation} is unknown", match.root)
    if activation == "HardSwish" and match.root.graph is not None and match.root.graph.opset < 14:
        return Miss("needs opset 14 for HardSwish: use --opset", match.root)
    return None


def _fused_matmul(rw: Rewriter, node: OperatorNode) -> VariableNode:
    operands = []
    for index, name in ((0, "transA"), (1, "transB")):
        value = given(node, index)[0]
        if node.attribute(name, 0):
            assert value.rank is not None
            order = range(value.rank)
            value = transposed(rw, value, (*order[:-2], order[-1], order[-2]))
        operands.append(value)
    product = rw.op("MatMul", operands, like=node.output)
    product.dtype = operands[0].dtype
    alpha = node.attribute("alpha", 1.0)
    return product if alpha == 1.0 else like(rw, "Mul", product, scalar(rw, alpha, product))


def _plain_transposes(match: Match) -> Miss | None:
    node = match.root
    if node.attribute("transBatchA", 0) or node.attribute("transBatchB", 0):
        return Miss("batch axes are transposed", node)
    ranks = [value.rank for value in given(node, 0, 1)]
    if None in ranks or min(rank or 0 for rank in ranks) < 2:
        return Miss("the number of axes is unknown or below two", node)
    return None


def _integer_product(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Inputs: A, B, their scales, their zero points, bias."""
    a, b, a_scale, b_scale = given(node, 0, 1, 2, 3)
    scales = like(rw, "Mul", b_scale, a_scale)
    return _dequantized(rw, node, (a, b, node.input(4), node.input(5)), scales, node.input(6))


def _dynamic_product(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Inputs: A, which is quantized here, B, its scale, its zero point, bias."""
    a, b, b_scale = given(node, 0, 1, 2)
    quantized = rw.op("DynamicQuantizeLinear", [a], like=a, outputs=3)
    assert quantized.producer is not None
    _, scale, zero = quantized.producer.outputs
    quantized.dtype = zero.dtype = DType.UINT8
    scale.dtype, scale.shape, zero.shape = a.dtype, (), ()
    scales = like(rw, "Mul", b_scale, scale)
    return _dequantized(rw, node, (quantized, b, zero, node.input(3)), scales, node.input(4))


def _dequantized(
    rw: Rewriter, node: OperatorNode, operands: Sequence[VariableNode | None],
    scales: VariableNode, bias: VariableNode | None,
) -> VariableNode:  # fmt: skip
    inputs = list(operands)
    while inputs[-1] is None:
        inputs.pop()
    product = rw.op("MatMulInteger", inputs, like=node.output)
    product.dtype = DType.INT32
    number = rw.op("Cast", [product], {"to": scales.dtype.value}, like=node.output)
    number.dtype = scales.dtype
    result = like(rw, "Mul", number, scales)
    return result if bias is None else like(rw, "Add", result, bias)


def _one_zero_point(*indices: int) -> Guard:
    """A guard: the scale and zero point at ``indices`` are numbers, or vectors along columns."""

    def guard(match: Match) -> Miss | None:
        for value in given(match.root, *indices):
            if value.rank is None or value.rank > 1:
                return Miss("scales and zero points differ by more than columns", match.root)
        return None

    return guard


RULES = (
    rule(f"{MS}FusedConv", _fused_conv, 11, _known_activation),
    rule(f"{MS}NhwcConv", _nhwc_conv, 11, ranked(0)),
    rule(f"{MS}NhwcFusedConv", _nhwc_conv, 11, every(ranked(0), _known_activation)),
    rule(f"{MS}FusedGemm", _fused_gemm, 11, _known_activation),
    rule(f"{MS}FusedMatMul", _fused_matmul, 7, _plain_transposes),
    rule(f"{MS}TransposeMatMul", _fused_matmul, 7, _plain_transposes),
    rule(f"{MS}MatMulIntegerToFloat", _integer_product, 11, _one_zero_point(2, 3, 4, 5)),
    rule(f"{MS}DynamicQuantizeMatMul", _dynamic_product, 11, _one_zero_point(2, 3)),
)
