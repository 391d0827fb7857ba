"""What operators cost: floating point operations, from static shapes.

A multiplication with an addition counts as two. Moving data counts as nothing; functions that are
computed by polynomials count what these take at the accuracy that kernels keep to, a division as
one; every other operator counts one operation for each element that it writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from burnish.ir import OperatorNode, VariableNode

ShapeOf: TypeAlias = Callable[[VariableNode], tuple[Any, ...] | None]
"""The sizes of a value, None if one is not known: numbers, or arrays of numbers that broadcast."""

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


def static_shape(value: VariableNode) -> tuple[int, ...] | None:
    """The shape that the graph states."""
    return value.static_shape


def node_flops(node: OperatorNode) -> int | None:
    """Operations of ``node`` without its subgraphs, None if a shape that matters is not known."""
    count: int | None = shaped_flops(node, static_shape)
    return count


def shaped_flops(node: OperatorNode, shape_of: ShapeOf) -> Any:
    """The same for values of other shapes; an array where sizes that matter are arrays."""
    if node.is_region or node.subgraphs:
        return 0
    if node.domain not in ("", "com.microsoft"):
        return None
    return _operations(node, shape_of)


def kernel_flops(node: OperatorNode) -> int | None:
    """Operations of ``node`` for a kernel: a region counts as the operator whose name it has."""
    count: int | None = _operations(node, static_shape) if node.is_region else node_flops(node)
    return count


def _operations(node: OperatorNode, shape_of: ShapeOf) -> Any:
    if node.op_type in MOVES_DATA:
        return 0
    count = COUNTERS.get(node.op_type)
    if count is not None:
        return count(node, shape_of)
    if node.op_type.startswith(REDUCTIONS):
        return _elements(_input(node, 0, shape_of))
    elements = _elements(_output(node, shape_of))
    return None if elements is None else elements * FUNCTIONS.get(node.op_type, 1)


def _output(node: OperatorNode, shape_of: ShapeOf) -> tuple[Any, ...] | None:
    value = node.outputs[0] if node.outputs else None
    return None if value is None else shape_of(value)


def _input(node: OperatorNode, index: int, shape_of: ShapeOf) -> tuple[Any, ...] | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    return None if value is None else shape_of(value)


def _elements(shape: tuple[Any, ...] | None) -> Any:
    return None if shape is None else math.prod(shape)


def _convolution(node: OperatorNode, shape_of: ShapeOf, weight_index: int = 1) -> Any:
    out, weight = _output(node, shape_of), _input(node, weight_index, shape_of)
    if out is None or weight is None:
        return None
    return 2 * math.prod(out) * math.prod(weight[1:])


def _transposed_convolution(node: OperatorNode, shape_of: ShapeOf) -> Any:
    data, weight = _input(node, 0, shape_of), _input(node, 1, shape_of)
    if data is None or weight is None:
        return None
    return 2 * math.prod(data) * math.prod(weight[1:])


def _product(node: OperatorNode, shape_of: ShapeOf) -> Any:
    out, left = _output(node, shape_of), _input(node, 0, shape_of)
    if out is None or not left:
        return None
    return 2 * math.prod(out) * left[-1]


def _gemm(node: OperatorNode, shape_of: ShapeOf) -> Any:
    out, left = _output(node, shape_of), _input(node, 0, shape_of)
    if out is None or left is None:
        return None
    return 2 * math.prod(out) * left[0 if node.attribute("transA", 0) else 1]


def _recurrent(node: OperatorNode, shape_of: ShapeOf) -> Any:
    data, weight = _input(node, 0, shape_of), _input(node, 1, shape_of)
    hidden: int | None = node.attribute("hidden_size")
    if data is None or weight is None or not hidden:
        return None
    directions, steps, inputs = weight[0], data[0] * data[1], data[2]
    return 2 * directions * steps * GATES[node.op_type] * hidden * (inputs + hidden)


def _attention(node: OperatorNode, shape_of: ShapeOf) -> Any:
    """Both products of scaled dot-product attention, scores and their use, and the softmax."""
    query, key = _input(node, 0, shape_of), _input(node, 1, shape_of)
    out = _output(node, shape_of)
    if query is None or key is None or out is None:
        return None
    # The difference from the largest score, its exponential, the sum.
    softmax = (EXPONENTIAL + 2) * math.prod(query[:-1])
    return (2 * (math.prod(query) + math.prod(out)) + softmax) * key[-2]


def _softmax(node: OperatorNode, shape_of: ShapeOf) -> Any:
    """Also its logarithm: differences from the largest, exponentials, their sum, the quotients."""
    elements = _elements(_output(node, shape_of))
    return None if elements is None else (EXPONENTIAL + 3) * elements


COUNTERS: dict[str, Callable[[OperatorNode, ShapeOf], Any]] = {
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
