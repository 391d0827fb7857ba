"""Products and convolutions with constant weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from burnish.ir import Constant, DType, Graph, OperatorNode, VariableNode

VIEWS = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that pass numbers on as they are; where they are no more than a view, in place."""


@dataclass(frozen=True)
class Site:
    """A product or convolution: its result, seen as a matrix, is rows by columns."""

    node: OperatorNode
    data: VariableNode
    """Its first input."""
    weights: Constant
    """Its second one."""
    rows: int
    depth: int
    """Products that each number of the result is a sum of."""
    channels: int
    """Adjacent ones among them: input channels of a group."""
    columns: int
    """Of a group."""

    @property
    def source(self) -> VariableNode:
        """What its data is a view of."""
        return source_of(self.data)


def source_of(value: VariableNode) -> VariableNode:
    """What ``value`` is a view of."""
    while value.producer is not None and value.producer.is_op(*VIEWS):
        before = value.producer.input(0)
        if before is None or before.is_constant:
            break
        value = before
    return value


def sites(graph: Graph) -> Iterator[Site]:
    """Those of the main graph whose sizes are known, in order, computed in float32."""
    for node in graph:
        found = site_of(node)
        if found is not None:
            yield found


def site_of(node: OperatorNode) -> Site | None:
    """What ``node`` is as a product or convolution, None if it is none of these."""
    if not node.is_op("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return None
    data, weights, shape = node.input(0), node.constant_input(1), node.output.static_shape
    if data is None or data.is_constant or weights is None or shape is None:
        return None
    if weights.dtype is not DType.FLOAT or data.dtype is not DType.FLOAT or weights.size == 0:
        return None
    if node.op_type in ("Conv", "ConvTranspose"):
        return _convolution(node, data, weights, shape)
    turned = node.op_type == "Gemm" and bool(node.attribute("transB", 0))
    if len(weights.shape) != 2 or not shape:
        return None
    if node.op_type == "Gemm" and node.attribute("alpha", 1.0) != 1.0:
        # The factor goes into the weights, which it would round again.
        return None
    depth, columns = reversed(weights.shape) if turned else weights.shape
    return Site(node, data, weights, math.prod(shape) // columns, depth, depth, columns)


def _convolution(
    node: OperatorNode, data: VariableNode, weights: Constant, shape: tuple[int, ...]
) -> Site | None:
    groups = int(node.attribute("group", 1))
    first, second, *kernel = weights.shape
    is_forward = node.op_type == "Conv"
    channels, columns = (second, first // groups) if is_forward else (first // groups, second)
    positions = math.prod(shape) // (groups * columns)
    depth = channels * math.prod(kernel)
    return Site(node, data, weights, positions, depth, channels, columns)
