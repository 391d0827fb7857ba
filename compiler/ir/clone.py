"""Deep copies of graphs; constants are immutable and stay shared."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Sequence
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
    return _Cloner(set(), made).graph(graph), made


def clone_into(graph: Graph, made: CloneMap) -> Graph:
    """Copy ``graph`` with the values in ``made`` standing for those of the original."""
    return _Cloner(graph, made).graph(graph)


def clone_nodes(nodes: Sequence[OperatorNode], into: Graph) -> CloneMap:
    """Append copies of ``nodes`` to ``into``; what they read from elsewhere becomes free values.

    The map tells which value of the copy stands for which of the original.
    """
    made = CloneMap()
    cloner = _Cloner(into, made)
    for node in nodes:
        cloner.admit(node)
    for node in nodes:
        into.append(cloner.node(node))
    return made


class _Cloner:
    def __init__(self, root: Graph, made: CloneMap) -> None:
        self._made = made
        self._inside = set(root.variables())
        for inner in root.graphs():
            self._inside -= _captured(root, inner)

    def admit(self, node: OperatorNode) -> None:
        """Copy every value that ``node`` and its subgraphs touch, wherever it was made."""
        self._inside |= {v for v in (*node.inputs, *node.outputs) if v is not None}
        for body in node.subgraphs.values():
            self._inside |= set(body.variables())

    def graph(self, graph: Graph) -> Graph:
        """A copy of ``graph``."""
        self._inside.update(graph.inputs)
        self._inside.update(value for node in graph for value in node.outputs)
        copy = Graph(
            graph.name, dict(graph.opsets), dict(graph.metadata), graph.doc,
            header=dict(graph.header),
        )  # fmt: skip
        copy.inputs = [self.value(value) for value in graph.inputs]
        for node in graph:
            copy.append(self.node(node))
        copy.outputs = [self.value(value) for value in graph.outputs]
        copy.output_names = graph.output_names
        return copy

    def node(self, node: OperatorNode) -> OperatorNode:
        """A copy of ``node`` that no graph holds yet."""
        copy = OperatorNode(
            node.op_type,
            [None if value is None else self.value(value) for value in node.inputs],
            [self.value(value) for value in node.outputs],
            node.attributes,
            domain=node.domain,
            name=node.name,
            provenance=node.provenance,
        )
        copy.overload = node.overload
        for key, body in node.subgraphs.items():
            copy.add_subgraph(key, self.graph(body))
        self._made.nodes[node] = copy
        return copy

    def value(self, value: VariableNode) -> VariableNode:
        """The copy of ``value``, or ``value`` itself if it is captured from outside."""
        if value in self._made.values:
            return self._made.values[value]
        if value not in self._inside and not value.is_constant:
            return value
        copy = VariableNode(value.name, value.dtype, value.shape, value.constant)
        copy.onnx_type = value.onnx_type
        self._made.values[value] = copy
        if value.quantization:
            copy.quantization = {
                key: self.value(parameter) for key, parameter in value.quantization.items()
            }
        return copy

