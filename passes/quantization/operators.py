"""What operators do to quantized values: move them, average them, compute as they go."""

from __future__ import annotations

import numpy as np

from burnish.ir import DType, OperatorNode, VariableNode

MOVES = frozenset({
    "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "GlobalMaxPool",
    "Identity", "MaxPool", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile",
    "Transpose", "Unsqueeze",
})  # fmt: skip
"""Operators that choose among the numbers of their first input: integers serve as well."""

UNARY = frozenset({
    "Abs", "Ceil", "Celu", "Clip", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu",
    "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu",
})  # fmt: skip
"""Functions of one number each."""

BINARY = frozenset({"Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub"})
"""Functions of two numbers each, with broadcasting."""

BOUNDS = {"HardSigmoid": (0.0, 1.0), "Sigmoid": (0.0, 1.0), "Softmax": (0.0, 1.0)}
"""What the results of an operator lie between, whatever its input."""


def moved(node: OperatorNode) -> list[VariableNode]:
    """Inputs of which ``node`` only chooses numbers; empty if it does anything else.

    Interpolation counts as well: what lies between numbers of a range is in the range.
    """
    if node.domain != "":
        return []
    if node.op_type == "Concat":
        inputs = list(node.inputs)
    elif node.op_type in MOVES or node.op_type == "Resize" or _pads_with_zeros(node):
        inputs = [node.input(0)]
    else:
        return []
    if node.op_type == "MaxPool" and len(node.outputs) > 1 and node.outputs[1].uses:
        return []
    if node.op_type == "Resize" and _overshoots(node):
        return []
    data = [value for value in inputs if value is not None and not value.is_constant]
    return data if all(value.dtype is DType.FLOAT for value in data) else []


def _pads_with_zeros(node: OperatorNode) -> bool:
    if node.op_type != "Pad":
        return False
    if node.attribute("mode", "constant") not in ("constant", b"constant"):
        return True
    value = node.input(2)
    if value is None:
        return True
    return value.constant is not None and not np.any(value.constant.numpy())


def _overshoots(node: OperatorNode) -> bool:
    """Whether a Resize may give numbers beyond those that it gets."""
    mode = node.attribute("mode", "nearest")
    is_cut = node.attribute("coordinate_transformation_mode", "") == "tf_crop_and_resize"
    return mode in ("cubic", b"cubic") or is_cut


def is_average(node: OperatorNode) -> bool:
    """Whether ``node`` averages over the positions of pictures."""
    if node.is_op("AveragePool", "GlobalAveragePool"):
        return True
    value = node.input(0)
    if not node.is_op("ReduceMean") or value is None or value.rank is None or value.rank < 4:
        return False
    axes = node.attribute("axes")
    constant = node.constant_input(1)
    if constant is not None:
        axes = tuple(int(axis) for axis in constant.numpy().reshape(-1))
    return axes is not None and {axis % value.rank for axis in axes} == set(range(2, value.rank))


def is_elementwise(node: OperatorNode) -> bool:
    """Whether ``node`` is a function of one or two numbers each."""
    return node.domain == "" and (node.op_type in UNARY or node.op_type in BINARY)


def computed_inputs(node: OperatorNode) -> list[VariableNode]:
    """Inputs that are not constant, each once."""
    given = dict.fromkeys(v for v in node.inputs if v is not None and not v.is_constant)
    return list(given)
