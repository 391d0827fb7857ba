"""What operators cost: floating point operations, from static shapes.

A multiplication with an addition counts as two. Moving data counts as nothing; functions that are
computed by polynomials count what these take at the accuracy that kernels keep to, a division as
one; every other operator counts one operation for each element that it writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from burnish.ir import OperatorNode

MOVES_DATA = frozenset(
    {
        "Cast", "Compress", "Concat", "Constant", "ConstantOfShape", "DepthToSpace", "Expand",
        "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad", "Reshape", "Scatter",
        "ScatterElements", "ScatterND", "Shape", "Size", "Slice", "SpaceToDepth", "Split",
        "SplitToSequence", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
REDUCTIONS = ("Reduce", "Arg", "GlobalAverage", "GlobalMax", "GlobalLp")

FUNCTIONS = {
    "Atan": 14, "Celu": 22, "Cos": 17, "Cosh": 25, "Elu": 21, "Erf": 23, "Exp": 20, "Gelu": 22,
    "HardSigmoid": 2, "HardSwish": 3, "Log": 29, "Mish": 25, "QuickGelu": 19, "Selu": 23,
    "Sigmoid": 18, "Sin": 17, "Sinh": 36, "Softplus": 47, "Softsign": 2, "Swish": 18, "Tanh": 17,
}  # fmt: skip
"""Operations for each element, without comparisons and moves of bits."""
EXPONENTIAL = 16
"""Operations of an exponential of differences from the largest, as in softmax."""


def node_flops(node: OperatorNode) -> int | None:
    """Operations of ``node`` without its subgraphs, None if a shape that matters is not known."""
    if node.is_region or node.subgraphs:
        return 0
    if node.domain not in ("", "com.microsoft"):
        return None
    return _operations(node)


def kernel_flops(node: OperatorNode) -> int | None:
    """Operations of ``node`` for a kernel: a region counts as the operator whose name it has."""
    return _operations(node) if node.is_region else node_flops(node)


def _operations(node: OperatorNode) -> int | None:
    if node.op_type in MOVES_DATA:
        return 0
    count = COUNTERS.get(node.op_type)
    if count is not None:
        return count(node)
    if node.op_type.startswith(REDUCTIONS):
        return _elements(node, 0, of_input=True)
    elements = _elements(node, 0)
    return None if elements is None else elements * FUNCTIONS.get(node.op_type, 1)


def _shape(node: OperatorNode, index: int, *, of_input: bool = False) -> tuple[int, ...] | None:
    values = node.inputs if of_input else node.outputs
    value = values[index] if index < len(values) else None
    return None if value is None else value.static_shape


def _elements(node: OperatorNode, index: int, *, of_input: bool = False) -> int | None:
    shape = _shape(node, index, of_input=of_input)
    return None if shape is None else math.prod(shape)


def _convolution(node: OperatorNode, weight_index: int = 1) -> int | None:
    out, weight = _shape(node, 0), _shape(node, weight_index, of_input=True)
    if out is None or weight is None or not weight[0]:
        return None
    return 2 * math.prod(out) * math.prod(weight[1:])


def _transposed_convolution(node: OperatorNode) -> int | None:
    data, weight = _shape(node, 0, of_input=True), _shape(node, 1, of_input=True)
    if data is None or weight is None:
        return None
    return 2 * math.prod(data) * math.prod(weight[1:])


def _product(node: OperatorNode) -> int | None:
    out, left = _shape(node, 0), _shape(node, 0, of_input=True)
    if out is None or not left:
        return None
    return 2 * math.prod(out) * left[-1]


def _gemm(node: OperatorNode) -> int | None:
    out, left = _shape(node, 0), _shape(node, 0, of_input=True)
    if out is None or left is None:
        return None
    return 2 * math.prod(out) * left[0 if node.attribute("transA", 0) else 1]


def _recurrent(node: OperatorNode) -> int | None:
    data, weight = _shape(node, 0, of_input=True), _shape(node, 1, of_input=True)
    hidden: int | None = node.attribute("hidden_size")
    if data is None or weight is None or not hidden:
        return None
    directions, steps, inputs = weight[0], data[0] * data[1], data[2]
    return 2 * directions * steps * GATES[node.op_type] * hidden * (inputs + hidden)


def _attention(node: OperatorNode) -> int | None:
    """Both products of scaled dot-product attention, scores and their use, and the softmax."""
    query, key = _shape(node, 0, of_input=True), _shape(node, 1, of_input=True)
    out = _shape(node, 0)
    if query is None or key is None or out is None:
        return None
    # The difference from the largest score, its exponential, the sum.
    softmax = (EXPONENTIAL + 2) * math.prod(query[:-1])
    return (2 * (math.prod(query) + math.prod(out)) + softmax) * key[-2]


def _softmax(node: OperatorNode) -> int | None:
    """Also its logarithm: differences from the largest, exponentials, their sum, the quotients."""
    elements = _elements(node, 0)
    return None if elements is None else (EXPONENTIAL + 3) * elements


COUNTERS: dict[str, Callable[[OperatorNode], int | None]] = {
    "Attention": _attention,
    "Conv": _convolution,
    "ConvInteger": _convolution,
    "ConvTranspose": _transposed_convolution,
    "ConvTransposeInteger": _transposed_convolution,
    "FusedConv": _convolution,
    "FusedMatMul": _product,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "LogSoftmax": _softmax,
    "MatMul": _product,
    "MatMulInteger": _product,
    "QLinearConv": partial(_convolution, weight_index=3),
    "QLinearMatMul": _product,
    "RNN": _recurrent,
    "Softmax": _softmax,
}
