"""Deep copies of graphs; constants are immutable and stay shared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from burnish.ir.graph import Graph, OperatorNode, VariableNode


@dataclass(slots=True, eq=False)
class CloneMap:
    """What became of every value and node of the original."""

    values: dict[VariableNode, VariableNode] = field(default_factory=dict)
    nodes: dict[OperatorNode, OperatorNode] = field(default_factory=dict)


def clone(graph: Graph) -> tuple[Graph, CloneMap]:
    """Copy ``graph`` with its subgraphs.

    Values that a subgraph captures from outside ``graph`` are used by the copy as they are.
    """
    made = CloneMap()
    return _Cloner(made).graph(graph), made


def extract(nodes: Sequence[OperatorNode]) -> tuple[Graph, CloneMap]:
    """Copy ``nodes``, given in order, into a graph of their own.

    Values that come from elsewhere become inputs, constants stay constants. The new graph returns
    nothing yet.
    """
    made = CloneMap()
    result = Graph("extract")
    if nodes and nodes[0].graph is not None:
        result.opsets = dict(nodes[0].graph.root.opsets)
    inside = {value for node in nodes for value in node.outputs}
    read = dict.fromkeys(value for node in nodes for value in values_read(node))
    cloner = _Cloner(made)
    outside = [value for value in read if value not in inside and not value.is_constant]
    result.inputs = cloner.define(outside)
    for node in nodes:
        result.append(cloner.node(node))
    return result, made


def values_read(node: OperatorNode) -> list[VariableNode]:
    """Values that ``node`` needs, each once, in order; captures of its subgraphs are among them."""
    made: set[VariableNode] = set()
    read = list(node.inputs)
    for body in node.subgraphs.values():
        for graph in body.graphs():
            made.update(graph.inputs)
            for inner in graph:
                made.update(inner.outputs)
                read += inner.inputs
            read += graph.outputs
    return list(dict.fromkeys(v for v in read if v is not None and v not in made))


class _Cloner:
    """Copies nodes in order; a value it has not met is captured from outside and used as it is."""

    def __init__(self, made: CloneMap) -> None:
        self._made = made

    def graph(self, graph: Graph) -> Graph:
        """A copy of ``graph``."""
        copy = Graph(
            graph.name, dict(graph.opsets), dict(graph.metadata), graph.doc,
            header=dict(graph.header), defaults=graph.defaults,
        )  # fmt: skip
        copy.inputs = self.define(graph.inputs)
        for node in graph:
            copy.append(self.node(node))
        copy.outputs = [self._read(value) for value in graph.outputs]
        copy.output_names = graph.output_names
        return copy

    def node(self, node: OperatorNode) -> OperatorNode:
        """A copy of ``node`` that no graph holds yet."""
        copy = OperatorNode(
            node.op_type,
            [None if value is None else self._read(value) for value in node.inputs],
            (),
            node.attributes,
            domain=node.domain,
            name=node.name,
            provenance=node.provenance,
        )
        copy.overload = node.overload
        for key, body in node.subgraphs.items():
            copy.add_subgraph(key, self.graph(body))
        copy.outputs = self.define(node.outputs)
        self._made.nodes[node] = copy
        return copy

    def define(self, values: Iterable[VariableNode]) -> list[VariableNode]:
        """Copies of ``values``, which are defined here."""
        return [self._copy(value) for value in values]

    def _read(self, value: VariableNode) -> VariableNode:
        if value in self._made.values:
            return self._made.values[value]
        return self._copy(value) if value.is_constant else value

    def _copy(self, value: VariableNode) -> VariableNode:
        copy = VariableNode(value.name, value.dtype, value.shape, value.constant)
        copy.onnx_type = value.onnx_type
        self._made.values[value] = copy
        if value.quantization:
            copy.quantization = {key: self._read(v) for key, v in value.quantization.items()}
        return copy
