"""Writes pairs of QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from burnish.ir import Array, Constant, DType, Graph, OperatorNode, VariableNode
from burnish.passes.quantization.formats import Scaling
from burnish.passes.quantization.weights import QuantizedWeights
from burnish.rewrite import Rewriter

MAX_BIAS = 2**30
"""Integers of biases stay below, so that sums added to them do not overflow."""


def quantize_value(
    rewriter: Rewriter,
    graph: Graph,
    value: VariableNode,
    scaling: Scaling,
    chosen: Collection[OperatorNode] | None = None,
) -> VariableNode:
    """Let nodes that read ``value`` read it rounded; what a graph returns stays as it is.

    Args:
        rewriter: what edits.
        graph: the main graph.
        value: of it.
        scaling: by which it is rounded.
        chosen: the nodes, by default all that read it.
    """
    readers = [
        use
        for use in value.uses
        if isinstance(use.user, OperatorNode) and (chosen is None or use.user in chosen)
    ]
    maker = value.producer
    rewriter.anchor = graph.first if maker is None else maker.next
    rewriter.provenance = () if maker is None else maker.provenance
    parameters = [rewriter.constant(array) for array in scaling.parameters()]
    like = VariableNode("", scaling.dtype, value.shape)
    integers = rewriter.op("QuantizeLinear", [value, *parameters], like=like)
    rounded = rewriter.op("DequantizeLinear", [integers, *parameters], like=value)
    for use in readers:
        assert isinstance(use.user, OperatorNode)
        rewriter.set_input(use.user, use.index, rounded)
    return rounded


def dequantized_constant(
    rewriter: Rewriter, integers: Array, scales: Array, axis: int, origin: Constant
) -> VariableNode:
    """A constant as integers and what makes floats of them, right before the anchor.

    Args:
        rewriter: with its anchor set.
        integers: int8 or int32.
        scales: float32 [channels].
        axis: of the channels.
        origin: the floats that the integers stand for.
    """
    value = VariableNode.of(Constant(integers.shape, DType.from_numpy(integers.dtype), integers))
    assert value.constant is not None
    value.constant.origin = origin
    zeros = rewriter.constant(np.zeros(scales.shape, integers.dtype))
    like = VariableNode("", DType.FLOAT, integers.shape)
    return rewriter.op(
        "DequantizeLinear", [value, rewriter.constant(scales), zeros], {"axis": axis}, like=like
    )


def quantize_bias(
    rewriter: Rewriter, node: OperatorNode, data: Scaling, weights: QuantizedWeights
) -> None:
    """Write the bias of ``node`` as int32, in units of the products that it is added to.

    ONNX Runtime has kernels for integers only where all three inputs are integers.
    """
    value = node.input(2)
    if value is None or value.constant is None or value.dtype is not DType.FLOAT:
        return
    floats = value.constant.numpy().reshape(-1)
    scales = np.float32(data.scale) * weights.scales
    if floats.size != scales.size:
        return
    integers = np.rint(floats.astype(np.float64) / scales)
    integers = np.clip(integers, -MAX_BIAS, MAX_BIAS).astype(np.int32)
    bias = dequantized_constant(rewriter, integers, scales, 0, value.constant)
    rewriter.set_input(node, 2, bias)


def least_scales(bias: Array | None, data: Scaling) -> Array | None:
    """The least scales of weights with which ``bias`` [channels] fits int32."""
    if bias is None:
        return None
    return np.abs(bias.reshape(-1)) / np.float32(data.scale * MAX_BIAS)
