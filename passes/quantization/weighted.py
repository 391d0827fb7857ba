"""Products and convolutions with constant weights, as quantization sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.ir import Constant, DType, OperatorNode, VariableNode

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose second input are weights, if it is constant."""


@dataclass(frozen=True)
class Weighted:
    """A product or convolution."""

    node: OperatorNode
    data: VariableNode
    weights: Constant
    axis: int
    """Of the weights: output channels."""

    @property
    def name(self) -> str:
        """What the model calls it."""
        return layer_name(self.node)


def layer_name(node: OperatorNode) -> str:
    """What the model calls ``node``; what it computes where it has no name."""
    named = node.provenance[0] if node.provenance else node.name
    return named or node.output.name or node.op_type


def weighted(node: OperatorNode) -> Weighted | str | None:
    """``node`` as one of these, or why it cannot be quantized; None if it is none of these."""
    if not node.is_op(*WEIGHTED):
        return None
    data, value, weights = node.input(0), node.input(1), node.constant_input(1)
    if data is None or value is None:
        return None
    if weights is None:
        return "its weights are computed"
    if data.is_constant:
        return "its data are constant"
    if data.dtype is not DType.FLOAT or weights.dtype is not DType.FLOAT:
        return f"it computes in {data.dtype}, only float32 is quantized"
    axis = _output_axis(node, weights)
    if isinstance(axis, str):
        return axis
    if weights.size == 0:
        return "its weights are empty"
    if not np.isfinite(weights.numpy()).all():
        return "its weights are no finite numbers"
    others = [other for other in value.consumers if not _reads_alike(other, value, axis)]
    if others or value.is_graph_output:
        return f"{others[0].op_type if others else 'the model'} needs its weights as well"
    return Weighted(node, data, weights, axis)


def _output_axis(node: OperatorNode, weights: Constant) -> int | str:
    if node.is_op("Conv"):
        return 0
    if node.is_op("ConvTranspose"):
        return 1
    if len(weights.shape) != 2:
        return f"its weights have {len(weights.shape)} axes"
    return 0 if node.is_op("Gemm") and node.attribute("transB", 0) else 1


def _reads_alike(node: OperatorNode, value: VariableNode, axis: int) -> bool:
    """Whether ``node`` reads ``value`` as its weights only, with the same output channels."""
    if not node.is_op(*WEIGHTED) or value.times_read_by(node) != 1 or node.input(1) is not value:
        return False
    assert value.constant is not None
    return _output_axis(node, value.constant) == axis
