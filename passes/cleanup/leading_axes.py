"""Operators that work on the last axes alone, whatever the axes before them are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from burnish.ir import Attribute, Dim, OperatorNode, VariableNode
from burnish.passes.cleanup.windows import read_cuts

LARGEST = 1 << 16
"""Elements of a constant that is kept a second time in another shape."""

ELEMENTWISE = frozenset({
    "Abs", "Add", "And", "Cast", "Ceil", "Celu", "Clip", "Cos", "Div", "Elu", "Equal", "Erf", "Exp",
    "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "IsInf", "IsNaN",
    "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg",
    "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign",
    "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tanh", "ThresholdedRelu", "Where", "Xor",
})  # fmt: skip
ROW_WISE = frozenset({
    "Concat", "LayerNormalization", "LogSoftmax", "RMSNormalization", "Softmax", "Split",
})  # fmt: skip
"""Operators along one axis, which may be counted from the end."""

Dims = tuple[Dim, ...]


@dataclass(frozen=True)
class Form:
    """How a node works on other leading axes."""

    data: tuple[int, ...]
    """Inputs that have the leading axes."""
    attributes: Mapping[str, Attribute]
    sides: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """Constant inputs that have to lose axes of one element: their new shapes."""
    parameters: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """Lists of integers to be given in place of inputs."""


def begins_with(value: VariableNode, lead: Dims) -> bool:
    """Whether the sizes of ``value`` are known and begin with ``lead``."""
    shape = value.shape
    return shape is not None and None not in shape and shape[: len(lead)] == lead


def form_of(node: OperatorNode, lead: Dims) -> Form | None:
    """How ``node`` works once ``lead`` is replaced in all its values; None if it cannot."""
    used = [value for value in node.outputs if value.uses]
    if node.domain or node.subgraphs or not all(begins_with(value, lead) for value in used):
        return None
    if node.op_type in ELEMENTWISE:
        return _elementwise(node, lead)
    if node.op_type == "MatMul":
        return _product(node, lead)
    if node.op_type == "Slice":
        return _slice(node, lead)
    return _row_wise(node, lead) if node.op_type in ROW_WISE else None


def _elementwise(node: OperatorNode, lead: Dims) -> Form | None:
    rank = len(node.output.shape or ())
    tail = rank - len(lead)
    data, sides = [], {}
    for index, value in enumerate(node.inputs):
        if value is None:
            continue
        shape = value.shape
        if shape is not None and len(shape) == rank and begins_with(value, lead):
            data.append(index)
        elif shape is None:
            return None
        elif len(shape) > tail:
            extra = len(shape) - tail
            if value.constant is None or value.constant.size > LARGEST or len(shape) > rank:
                return None
            if set(shape[:extra]) != {1}:
                return None
            sides[index] = value.constant.shape[extra:]
    return Form(tuple(data), node.attributes, sides) if data else None


def _product(node: OperatorNode, lead: Dims) -> Form | None:
    """A product of rows with one matrix."""
    x, w = node.inputs
    assert x is not None and w is not None
    if w.rank != 2 or x.rank != len(lead) + 1 or not begins_with(x, lead):
        return None
    return Form((0,), node.attributes)


def _row_wise(node: OperatorNode, lead: Dims) -> Form | None:
    x = node.inputs[0]
    rank = None if x is None else x.rank
    axis = node.attribute("axis", 0 if node.op_type == "Split" else -1)
    joins = node.op_type == "Concat"
    values = node.inputs if joins else node.inputs[:1]
    if not rank or axis % rank < len(lead):
        return None
    if not all(v is not None and v.rank == rank and begins_with(v, lead) for v in values):
        return None
    attributes = {**node.attributes, "axis": axis % rank - rank}
    return Form(tuple(range(len(values))), attributes)


def _slice(node: OperatorNode, lead: Dims) -> Form | None:
    x, cuts = node.inputs[0], read_cuts(node)
    if x is None or x.rank is None or cuts is None or not begins_with(x, lead):
        return None
    if min(cuts, default=0) < len(lead) or len(node.inputs) < 3:
        return None
    return Form((0,), node.attributes, parameters={3: tuple(axis - x.rank for axis in cuts)})


def reshape_target(shape: Dims) -> np.ndarray | None:
    """What a Reshape to ``shape`` is told; None if several sizes are open."""
    if sum(not isinstance(dim, int) for dim in shape) > 1 or 0 in shape:
        return None
    return np.array([dim if isinstance(dim, int) else -1 for dim in shape], np.int64)
