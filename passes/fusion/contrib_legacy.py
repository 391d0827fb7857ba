"""ONNX Runtime's own operators that became standard ones, or that have no standard form."""

from __future__ import annotations

import numpy as np

from burnish.ir import DType, OperatorNode, VariableNode
from burnish.passes.fusion.constants import number
from burnish.passes.fusion.contrib_writing import (
    MS,
    Guard,
    Write,
    every,
    given,
    integers,
    left,
    ranked,
    rule,
)
from burnish.rewrite import Match, Miss, Rewriter

EIGHT_BITS = (DType.INT8, DType.UINT8)


def _renamed(op_type: str) -> Write:
    """The standard operator of the same inputs and attributes."""

    def write(rw: Rewriter, node: OperatorNode) -> VariableNode:
        return rw.op(op_type, node.inputs, node.attributes, like=node.output)

    return write


def _gather(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """The standard operator wants int64 indices."""
    data, indices = given(node, 0, 1)
    if indices.dtype is not DType.INT64:
        indices = rw.op("Cast", [indices], {"to": DType.INT64.value}, like=indices)
        indices.dtype = DType.INT64
    return rw.op("GatherND", [data, indices], like=node.output)


def _expand(rw: Rewriter, node: OperatorNode) -> VariableNode:
    axis = number(node.input(1))
    assert axis is not None
    return rw.op("Unsqueeze", [node.inputs[0], integers(rw, int(axis))], like=node.output)


def _known_axis(match: Match) -> Miss | None:
    known = number(match.root.input(1)) is not None
    return None if known else Miss("the new axis is computed", match.root)


def _range(rw: Rewriter, node: OperatorNode) -> VariableNode:
    """Steps are one if they are left out."""
    start, limit, *step = given(node, 0, 1, 2)
    step = step or [rw.constant(np.ones((), start.dtype.numpy))]
    return rw.op("Range", [start, limit, *step], like=node.output)


def _of_rank(rank: int, *indices: int) -> Guard:
    def guard(match: Match) -> Miss | None:
        if any(value.rank != rank for value in given(match.root, *indices)):
            return Miss(f"its parameters have another number of axes than {rank}", match.root)
        return None

    return guard


def _plain_quantization(match: Match) -> Miss | None:
    """16 bits, half precision and blocks came to the standard later, some in another form."""
    data, scale = given(match.root, 0, 1)
    zero = match.root.input(2)
    small = zero.dtype if zero is not None else DType.UINT8
    if match.root.op_type == "DequantizeLinear":
        small = data.dtype
    if scale.dtype is not DType.FLOAT or small not in EIGHT_BITS:
        return Miss("the values are not quantized from float32 to 8 bits", match.root)
    known = scale.rank is not None and scale.rank <= 1
    return None if known else Miss("the scale has more than one axis", match.root)


PACKED = "its weights are packed in a form that only ONNX Runtime reads"
GENERATION = "it generates a whole text by itself; export the model of one step"
QUANTIZED = "it computes on integers; quantize with --quant_format QDQ instead"
MACHINE = "it is in the layout of one machine; save the model at ORT_ENABLE_EXTENDED instead"

LEFT = {
    PACKED: ("MatMulNBits", "MatMulBnb4", "MatMulFpQ4", "GatherBlockQuantized", "MoE", "QMoE"),
    GENERATION: ("BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"),
    QUANTIZED: (
        "QAttention", "QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearConcat", "QLinearConv",
        "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMul", "QLinearReduceMean",
        "QLinearSigmoid", "QLinearSoftmax", "QLinearWhere", "QEmbedLayerNormalization",
    ),
    "the standard has no inverse of a matrix": ("Inverse",),
}  # fmt: skip
"""Why operators stay as they are; compiled models hand them to ONNX Runtime."""

RULES = (
    rule(f"{MS}Trilu", _renamed("Trilu"), 14),
    rule(f"{MS}GatherND", _gather, 11),
    rule(f"{MS}ExpandDims", _expand, 13, _known_axis),
    rule(f"{MS}Range", _range, 11, _of_rank(0, 0, 1, 2)),
    rule(f"{MS}Pad", _renamed("Pad"), 11, every(ranked(1), _of_rank(1, 1))),
    rule(f"{MS}QuantizeLinear", _renamed("QuantizeLinear"), 13, _plain_quantization),
    rule(f"{MS}DequantizeLinear", _renamed("DequantizeLinear"), 13, _plain_quantization),
    *(left(MS + kind, reason) for reason, kinds in LEFT.items() for kind in kinds),
    left("com.microsoft.nchwc:Conv", MACHINE),
)
