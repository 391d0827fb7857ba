"""What is known about rows of scores and masks: how large they get, whether a key always stays.

Scores that are computed from data are taken to be finite: ``PRODUCT`` bounds them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from burnish.ir import DType, OperatorNode, VariableNode
from burnish.passes.fusion.constants import integers, number

PRODUCT = {DType.FLOAT16: 1e3}
"""No product of activations is assumed to get larger than this, or than ``LARGEST``."""
LARGEST = 1e30
REACH = 24
"""Operators to look back through."""

PRODUCTS = frozenset({"MatMul", "Gemm", "Einsum", "Conv"})
SQUASHED = frozenset({"Softmax", "Sigmoid", "Tanh", "Sin", "Cos"})
MOVES = frozenset({
    "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose",
    "Unsqueeze",
})  # fmt: skip
"""Operators whose result has no elements but those of their first input."""


def magnitude(value: VariableNode | None, reach: int = REACH) -> float:
    """A bound for the absolute values in ``value``, infinity where there is none."""
    if value is None or reach == 0:
        return math.inf
    if value.constant is not None:
        return _largest(value)
    node = value.producer
    if node is None or node.domain:
        return math.inf
    result = _of_node(node, lambda operand: magnitude(operand, reach - 1))
    return _rounded(result, value.dtype)


def _largest(value: VariableNode) -> float:
    assert value.constant is not None
    if value.dtype.bits == 0 or value.constant.size == 0:
        return math.inf
    largest = np.abs(value.constant.numpy().astype(np.float64)).max()
    return math.inf if np.isnan(largest) else float(largest)


def _of_node(node: OperatorNode, bound: Callable[[VariableNode | None], float]) -> float:
    kind = node.op_type
    if kind in PRODUCTS:
        return PRODUCT.get(node.output.dtype, LARGEST)
    if kind in SQUASHED:
        return 1.0
    if kind == "Where":
        return max(map(bound, node.inputs[1:]))
    if kind in ("Add", "Sub"):
        return sum(map(bound, node.inputs))
    if kind == "Mul":
        return math.prod(map(bound, node.inputs))
    if kind == "Div":
        divisor = number(node.input(1))
        return bound(node.input(0)) / abs(divisor) if divisor else math.inf
    if kind == "Cast" and node.inputs[0] is not None and node.inputs[0].dtype is DType.BOOL:
        return 1.0
    return bound(node.input(0)) if kind in MOVES or kind in ("Cast", "Neg", "Abs") else math.inf


def _rounded(total: float, dtype: DType) -> float:
    """``total`` as ``dtype`` holds it: the lowest number stays where little is added to it."""
    if not dtype.is_floating:
        return total
    with np.errstate(over="ignore"):
        return float(np.asarray(total).astype(dtype.numpy))


def keeps_a_key(value: VariableNode | None) -> bool:
    """Whether every row of ``value``, along its last axis, has an element above -infinity."""
    return math.isfinite(_depth(value))


def _depth(value: VariableNode | None, reach: int = REACH) -> float:
    """How far below zero the largest element of a row may be, infinity where that is unknown."""
    bound = magnitude(value, reach)
    if math.isfinite(bound) or value is None or reach == 0:
        return bound
    if value.constant is not None:
        array = value.constant.numpy().astype(np.float64)
        return float(np.abs(array.max(-1)).max()) if array.ndim and array.size else math.inf
    node = value.producer
    if node is None or node.domain:
        return math.inf
    if node.op_type == "Add":
        a, b = node.inputs
        total = min(magnitude(x) + _depth(y, reach - 1) for x, y in ((a, b), (b, a)))
        return _rounded(total, value.dtype)
    if node.op_type == "Where":
        condition, kept, hidden = node.inputs
        if math.isfinite(magnitude(kept)):
            return magnitude(kept) if holds_in_rows(condition, wanted=True) else math.inf
        return magnitude(hidden) if holds_in_rows(condition, wanted=False) else math.inf
    return _depth(node.inputs[0], reach - 1) if _keeps_rows(node) else math.inf


def holds_in_rows(value: VariableNode | None, *, wanted: bool, reach: int = REACH) -> bool:
    """Whether every row of a condition, along its last axis, is ``wanted`` somewhere."""
    if value is None or reach == 0:
        return False
    if value.constant is not None:
        array = value.constant.numpy().astype(np.bool_) == wanted
        return bool(array.any(-1).all() if array.ndim else array)
    node = value.producer
    if node is None or node.domain:
        return False
    if node.op_type == "Trilu" and wanted:
        return _starts_rows(node) and always(node.inputs[0]) == 1.0
    if node.op_type == "Not":
        return holds_in_rows(node.inputs[0], wanted=not wanted, reach=reach - 1)
    if node.op_type == "ConstantOfShape":
        filled = always(value)
        return filled is not None and bool(filled) == wanted
    if node.op_type == "Cast" or _keeps_rows(node):
        return holds_in_rows(node.inputs[0], wanted=wanted, reach=reach - 1)
    return False


def always(value: VariableNode | None, reach: int = REACH) -> float | None:
    """The number that all elements of ``value`` are, if that is known."""
    if value is None or reach == 0:
        return None
    if value.constant is not None:
        if value.dtype.bits == 0 or value.constant.size == 0:
            return None
        array = value.constant.numpy().reshape(-1)
        return float(array[0]) if bool((array == array[0]).all()) else None
    node = value.producer
    if node is None or node.domain:
        return None
    if node.op_type == "ConstantOfShape":
        fill = node.attribute("value")
        return 0.0 if fill is None else float(np.asarray(fill.numpy()).reshape(-1)[0])
    if node.op_type == "Where":
        condition = always(node.inputs[0], reach - 1)
        return None if condition is None else always(node.inputs[1 if condition else 2], reach - 1)
    if node.op_type in MOVES:
        return always(node.inputs[0], reach - 1)
    if node.op_type == "Cast" and value.dtype is DType.BOOL:
        found = always(node.inputs[0], reach - 1)
        return None if found is None else float(bool(found))
    return None


def _starts_rows(node: OperatorNode) -> bool:
    """Whether a Trilu keeps the first element of every row."""
    offset = 0.0 if node.input(1) is None else number(node.input(1))
    return not node.attribute("upper", 1) and offset is not None and offset >= 0


def _keeps_rows(node: OperatorNode) -> bool:
    """Whether every row of the result has the elements of a row of the first input."""
    if node.op_type in ("Expand", "Identity"):
        return True
    if node.op_type != "Unsqueeze" or node.output.rank is None:
        return False
    axes = node.attribute("axes") or integers(node.input(1))
    return axes is not None and all(axis not in (-1, node.output.rank - 1) for axis in axes)
