"""Paths: how a value comes from another one by operators that are linear in it.

A path is a list of steps, each an operator with one data input: products with weights, scales,
shifts, and views, which move elements without changing them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from burnish.ir import Graph, OperatorNode, VariableNode
from burnish.passes.fusion.constants import integers

LONGEST = 24
"""Steps that a path has at most."""


class Kind(Enum):
    """What a step does to its data."""

    PRODUCT = "product"
    SCALE = "scale"
    SHIFT = "shift"
    VIEW = "view"
    """Other places for the same elements, or the same elements in another type."""
    NOTHING = "nothing"


@dataclass(frozen=True, eq=False)
class Step:
    """One operator of a path."""

    kind: Kind
    node: OperatorNode
    source: VariableNode
    """The data that it reads."""
    factor: VariableNode | None = None
    """The weight, scale or shift."""

    @property
    def result(self) -> VariableNode:
        """What it makes of its data."""
        return self.node.output


Reader = Callable[[OperatorNode], Step | None]


def trace(value: VariableNode, graph: Graph | None) -> tuple[Step, ...]:
    """The steps that lead to ``value`` within ``graph``, the last one first."""
    steps: list[Step] = []
    while len(steps) < LONGEST and (step := step_to(value, graph)) is not None:
        steps.append(step)
        value = step.source
    return tuple(steps)


def step_to(value: VariableNode, graph: Graph | None) -> Step | None:
    """The last step to ``value``, None if what makes it is no step."""
    node = value.producer
    if node is None or node.graph is not graph or node.domain or node.output is not value:
        return None
    reader = READERS.get(node.op_type)
    return None if reader is None else reader(node)


def _data(node: OperatorNode, index: int = 0) -> VariableNode | None:
    """Input ``index``, if it is computed or given when the model runs."""
    value = node.input(index)
    return None if value is None or value.is_constant else value


def is_weight(value: VariableNode | None, rank: int | None = None) -> bool:
    """Whether ``value`` is a floating constant, or a matrix that the model takes as an input."""
    if value is None or not value.dtype.is_floating or (rank and value.rank != rank):
        return False
    return value.is_constant or (value.producer is None and value.static_shape is not None)


def _matmul(node: OperatorNode) -> Step | None:
    data, weight = _data(node), node.input(1)
    if data is None or weight is None or not is_weight(weight, 2):
        return None
    return Step(Kind.PRODUCT, node, data, weight)


def _gemm(node: OperatorNode) -> Step | None:
    bias = node.input(2)
    if node.attribute("transA", 0) or not (bias is None or bias.is_constant):
        return None
    rows = bias is not None and bias.rank == 2 and bias.static_shape is not None
    if rows and bias is not None and bias.static_shape and bias.static_shape[0] != 1:
        return None  # a bias that differs between rows is no shift of channels
    return _matmul(node)


def _conv(node: OperatorNode) -> Step | None:
    data, weight, bias = _data(node), node.input(1), node.input(2)
    if data is None or weight is None or not weight.is_constant:
        return None
    if not (bias is None or bias.is_constant):
        return None
    return Step(Kind.PRODUCT, node, data, weight)


def _gather(node: OperatorNode) -> Step | None:
    """Rows of a table are its product with ones at the indices."""
    table, indices = node.input(0), _data(node, 1)
    if table is None or indices is None or node.attribute("axis", 0) or table.rank != 2:
        return None
    return Step(Kind.PRODUCT, node, indices, table) if table.is_constant else None


def _with_constant(kind: Kind, node: OperatorNode, *, either: bool) -> Step | None:
    for data, factor in ((0, 1), (1, 0)) if either else ((0, 1),):
        source, constant = _data(node, data), node.input(factor)
        if source is not None and constant is not None and constant.is_constant:
            return Step(kind, node, source, constant) if constant.dtype.is_floating else None
    return None


def _scale(node: OperatorNode) -> Step | None:
    return _with_constant(Kind.SCALE, node, either=node.op_type == "Mul")


def _shift(node: OperatorNode) -> Step | None:
    return _with_constant(Kind.SHIFT, node, either=node.op_type == "Add")


def _nothing(node: OperatorNode) -> Step | None:
    data = _data(node)
    return None if data is None else Step(Kind.NOTHING, node, data)


def _dropout(node: OperatorNode) -> Step | None:
    training = node.constant_input(2)
    if node.input(2) is not None and (training is None or bool(np.any(training.numpy()))):
        return None
    return None if any(value.uses for value in node.outputs[1:]) else _nothing(node)


def _cast(node: OperatorNode) -> Step | None:
    data = _data(node)
    if data is None or not (data.dtype.is_floating and node.output.dtype.is_floating):
        return None
    return Step(Kind.VIEW, node, data)


def _reshape(node: OperatorNode) -> Step | None:
    """Only where the last axis stays as long as it is, and rows therefore stay rows."""
    data = _data(node)
    if data is None or not data.shape or not node.output.shape:
        return None
    width = data.shape[-1]
    if not isinstance(width, int) or width != node.output.shape[-1]:
        return None
    return Step(Kind.VIEW, node, data)


def _transpose(node: OperatorNode) -> Step | None:
    data = _data(node)
    known = data is not None and (data.rank is not None or "perm" in node.attributes)
    return Step(Kind.VIEW, node, data) if known and data is not None else None


def _squeeze(node: OperatorNode) -> Step | None:
    """A Reshape by another name."""
    return _reshape(node) if integers(node.input(1)) is not None else None


READERS: dict[str, Reader] = {
    "Add": _shift,
    "Cast": _cast,
    "Conv": _conv,
    "Div": _scale,
    "Dropout": _dropout,
    "Gather": _gather,
    "Gemm": _gemm,
    "Identity": _nothing,
    "MatMul": _matmul,
    "Mul": _scale,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Sub": _shift,
    "Transpose": _transpose,
    "Unsqueeze": _squeeze,
}
"""How each operator is read as a step."""
