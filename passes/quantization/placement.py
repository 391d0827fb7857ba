"""Where values are quantized: what products read, and what lies between them.

Readers are asked from the end of the graph to its beginning, so that all that read a value have
been asked before what makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from burnish.ir import DType, Graph, OperatorNode, VariableNode
from burnish.passes.quantization.operators import (
    computed_inputs,
    is_average,
    is_elementwise,
    moved,
)
from burnish.passes.quantization.weighted import Weighted

ARITHMETIC = ("Add", "Mul", "Sub")
"""What adds, subtracts or gates values between products."""


@dataclass
class Placement:
    """Values to quantize, and which of them share a scale."""

    values: dict[VariableNode, None] = field(default_factory=dict)
    """In the order of the graph."""
    readers: dict[VariableNode, set[OperatorNode]] = field(default_factory=dict)
    """Nodes that compute with integers, or move them, by what they read."""
    _parent: dict[VariableNode, VariableNode] = field(default_factory=dict)
    _contained: set[VariableNode] = field(default_factory=set)

    def tie(self, part: VariableNode, whole: VariableNode) -> None:
        """Give both the same scale; ``part`` holds no numbers but those of ``whole``."""
        self._parent[self._root(part)] = self._root(whole)
        self._contained.add(part)

    def _root(self, value: VariableNode) -> VariableNode:
        while self._parent.get(value, value) is not value:
            value = self._parent[value]
        return value

    def groups(self) -> list[list[VariableNode]]:
        """Values that share a scale, for each group in order."""
        found: dict[VariableNode, list[VariableNode]] = {}
        for value in self.values:
            found.setdefault(self._root(value), []).append(value)
        return list(found.values())

    def observed(self, group: list[VariableNode]) -> list[VariableNode]:
        """Those of ``group`` that hold all of its numbers together."""
        return [value for value in group if value not in self._contained]


def place(graph: Graph, sites: Mapping[OperatorNode, Weighted], *, all_results: bool) -> Placement:
    """Find the values of ``graph`` to quantize.

    Args:
        graph: the main graph.
        sites: products and convolutions that are to multiply integers.
        all_results: quantize whatever convolutions give, and all that sums add. Engines that join
            a convolution with its neighbours as ONNX Runtime does need that; others add in
            registers what nothing else reads.
    """
    finder = _Finder(graph, sites, all_results)
    for node in graph.reversed():
        finder.visit(node)
    finder.found.values = {value: None for value in finder.order if value in finder.wanted}
    return finder.found


class _Finder:
    def __init__(
        self, graph: Graph, sites: Mapping[OperatorNode, Weighted], all_results: bool
    ) -> None:
        self._sites, self._all_results = sites, all_results
        values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
        self.order = {value: place for place, value in enumerate(values)}
        self.wanted: set[VariableNode] = set()
        self.found = Placement()
        self._reached: set[VariableNode] = set()
        """Values that are read on the way to one that is quantized, by functions alone."""
        self._sources: dict[VariableNode, VariableNode] = {}
        self._products: set[VariableNode] = set()
        """Results of products, moved, averaged, added up and passed through functions."""
        for node in graph:
            self._trace(node)

    def _trace(self, node: OperatorNode) -> None:
        """Note what the results of ``node`` are made of."""
        inputs = moved(node)
        if is_elementwise(node):
            inputs = computed_inputs(node)
            sources = {self._source(value) for value in inputs}
            if len(sources) == 1:
                # A function of that, number by number.
                self._sources[node.output] = sources.pop()
            elif not node.is_op(*ARITHMETIC):
                return
        elif is_average(node):
            inputs = computed_inputs(node)[:1]
        if node in self._sites or (inputs and self._products.issuperset(inputs)):
            self._products.update(node.outputs)

    def _source(self, value: VariableNode) -> VariableNode:
        return self._sources.get(value, value)

    def visit(self, node: OperatorNode) -> None:
        """Ask for what ``node`` reads; what reads its results has been asked."""
        if node in self._sites:
            if self._all_results and node.is_op("Conv") and not _has_rectifier(node):
                self._want(node.output, *node.output.consumers)
            self._want(self._sites[node].data, node)
            return
        quantized = [value for value in node.outputs if value in self.wanted]
        inputs = moved(node)
        for value in inputs:
            for result in quantized:
                self._want(value, node)
                if node.op_type == "Concat":
                    self.found.tie(value, result)
                else:
                    self.found.tie(result, value)
        if inputs or not (quantized or node.output in self._reached):
            return
        if is_average(node):
            self._want(computed_inputs(node)[0], node)
        elif is_elementwise(node):
            self._function(node)

    def _function(self, node: OperatorNode) -> None:
        inputs = computed_inputs(node)
        if len({self._source(value) for value in inputs}) == 1:
            # Of one value, as x * Sigmoid(x) is: nothing is stored on the way.
            for value in inputs:
                self._reach(value, node)
        elif node.is_op(*ARITHMETIC):
            kept = None if self._all_results else self._in_registers(node, inputs)
            for value in inputs:
                if value is kept:
                    self._reach(value, node)
                elif value not in self._products:
                    # What norms and the like compute stays in floats, if nothing else wants it.
                    self.found.readers.setdefault(value, set()).add(node)
                elif self._all_results or not _is_spread(value, node.output):
                    self._want(value, node)

    def _reach(self, value: VariableNode, reader: OperatorNode) -> None:
        if all(use.user is reader for use in value.uses):
            self._reached.add(value)

    def _want(self, value: VariableNode, *readers: OperatorNode) -> None:
        if not value.is_constant and value.dtype is DType.FLOAT and value in self.order:
            self.wanted.add(value)
            self.found.readers.setdefault(value, set()).update(readers)

    def _in_registers(
        self, reader: OperatorNode, inputs: list[VariableNode]
    ) -> VariableNode | None:
        """The operand that a product computes last and that nothing else reads."""
        ends = [
            value for value in inputs
            if self._source(value).producer in self._sites
            and all(use.user is reader for use in value.uses)
            and not _is_spread(value, reader.output)
        ]  # fmt: skip
        return max(ends, key=lambda value: self.order[self._source(value)], default=None)


def _has_rectifier(node: OperatorNode) -> bool:
    """Whether a ReLU or Clip is all that reads the result of ``node``, or nothing does."""
    readers = node.output.consumers
    if not readers:
        return True
    return len(node.output.uses) == 1 and readers[0].is_op("Relu", "Clip")


def _is_spread(value: VariableNode, result: VariableNode) -> bool:
    """Whether ``value`` has to be broadcast to the shape of ``result``, as far as is known."""
    if value.shape is None or result.shape is None:
        return False
    missing = len(result.shape) - len(value.shape)
    shape = (1,) * missing + value.shape
    return any(size == 1 != whole for size, whole in zip(shape, result.shape, strict=True))
