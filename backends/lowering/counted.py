"""Values of which only running tells how much there is, in memory for the most there can be.

Some operators find out as they run how large their result is: NonMaxSuppression, NonZero,
Compress. Their kernels write it to the start of a buffer that has room for all it could be, fill
the rest with zeros, and say in a counter how much it is. One axis of the result is *counted*.

Operators that work on each position of the counted axis by itself then run on the whole buffer,
and what they make is counted by the same counter; results for positions beyond it are never looked
at. Where another operator reads a counted value (it sums over the axis, or needs its size), the
one that counts runs on the host with all that follows from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from burnish.analysis.shape_inference import Inference
from burnish.analysis.value_type import ValueType
from burnish.backends.lowering.counting_rules import COUNTS, FOLLOWS, Declined, counts
from burnish.backends.lowering.elementwise import numpy_name
from burnish.backends.program import item_bytes
from burnish.ir import Graph, OperatorNode, VariableNode
from burnish.ir.clone import values_read

MOST_BYTES = 64 << 20
"""Of all values that one operator counts."""
FEW_BYTES = 1 << 20
"""That are never too many."""
MOST_GROWTH = 4
"""Times the memory that the operator itself handles: more would be computed for nothing."""

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Counted:
    """Which axis of a value is counted, and by which operator."""

    axis: int
    source: OperatorNode


@dataclass
class Counts:
    """The counted values of a graph."""

    axes: dict[VariableNode, Counted] = field(default_factory=dict)
    shapes: dict[VariableNode, Shape] = field(default_factory=dict)
    """The most that each of them can be."""
    nodes: dict[OperatorNode, OperatorNode] = field(default_factory=dict)
    """Operators that make or read them, with the one that counts."""
    refusals: dict[OperatorNode, str] = field(default_factory=dict)
    """Operators that could count, with the reason why they cannot here."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the values the shapes that their memory has, for as long as this lasts."""
        before = {value: value.shape for value in self.shapes}
        try:
            for value, shape in self.shapes.items():
                value.shape = shape
            yield
        finally:
            for value, kept in before.items():
                value.shape = kept


def find_counts(graph: Graph, refused: Mapping[OperatorNode, str]) -> Counts:
    """Find what kernels can count in ``graph``.

    Args:
        graph: a main graph.
        refused: nodes that have no kernel, with the reason.
    """
    refusals: dict[OperatorNode, str] = {}
    if not any(counts(node) for node in graph):
        return Counts()
    while True:
        search = _Search(graph, {**refused, **refusals})
        try:
            for node in graph:
                search.visit(node)
            search.weigh()
        except Declined as reason:
            refusals[search.blamed] = f"{search.blamed.op_type} {reason}"
            continue
        search.counts.refusals = refusals
        return search.counts


class _Search:
    """One walk over a graph; ends with ``Declined`` at the first that cannot be, and its cause."""

    def __init__(self, graph: Graph, refused: Mapping[OperatorNode, str]) -> None:
        self.counts = Counts()
        self.blamed = next(node for node in graph if counts(node))
        self._inference = Inference(graph)
        self._refused = refused

    def visit(self, node: OperatorNode) -> None:
        read = [v for v in values_read(node) if v in self.counts.axes]
        if read:
            self._follow(node, read)
        elif counts(node) and node not in self._refused:
            self.blamed = node
            bound = COUNTS[node.op_type](node)
            self._learn(node, node, node.output, bound.shape, bound.axis)

    def _follow(self, node: OperatorNode, read: list[VariableNode]) -> None:
        source = self.blamed = self.counts.axes[read[0]].source
        result = f"counts its results as it runs, and {node.op_type}"
        if node in self._refused:
            raise Declined(f"{result}, which reads them, has no kernel: {self._refused[node]}")
        rule = FOLLOWS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None or node.subgraphs:
            raise Declined(f"{result} does not work on each of them by itself")
        if any(self.counts.axes[value].source is not source for value in read):
            raise Declined(f"{result} reads those of another operator with them")
        self._inference.visit(node)
        shapes = [self._inference.type_of(v).static_shape for v in node.outputs]
        axes = {value: self.counts.axes[value].axis for value in read}
        try:
            axis = rule(node, axes, [self._shape(value) for value in node.inputs], shapes)
        except Declined as reason:
            raise Declined(f"{result} {reason}") from None
        size = self.counts.shapes[read[0]][axes[read[0]]]
        for value, shape in zip(node.outputs, shapes, strict=True):
            if shape is None or not axis < len(shape) or shape[axis] != size:
                raise Declined(f"{result} gives {shape}")
            self._learn(node, source, value, shape, axis)

    def _shape(self, value: VariableNode | None) -> Shape | None:
        return None if value is None else self._inference.type_of(value).static_shape

    def _learn(
        self, node: OperatorNode, source: OperatorNode, value: VariableNode, shape: Shape, axis: int
    ) -> None:
        self._inference.types[value] = ValueType(value.dtype, shape)
        self.counts.axes[value] = Counted(axis, source)
        self.counts.shapes[value] = shape
        self.counts.nodes[node] = source

    def weigh(self) -> None:
        """Make sure that no operator counts values whose memory is out of proportion."""
        total: dict[OperatorNode, int] = {}
        for value, counted in self.counts.axes.items():
            size = math.prod(self.counts.shapes[value]) * item_bytes(numpy_name(value.dtype))
            total[counted.source] = total.get(counted.source, 0) + size
        for source, size in total.items():
            self.blamed = source
            handled = [v for v in (*source.inputs, source.output) if v is not None]
            own = sum(
                math.prod(self._shape(v) or (0,)) * item_bytes(numpy_name(v.dtype)) for v in handled
            )
            if size > min(MOST_BYTES, max(FEW_BYTES, MOST_GROWTH * own)):
                raise Declined(f"may give so much that kernels would need {size >> 20} MiB for it")
