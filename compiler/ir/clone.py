"""Deep copies of graphs; constants are immutable and stay shared."""

from __future__ import annotations

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
    return _Cloner(graph, made).graph(graph), made


def clone_into(graph: Graph, made: CloneMap) -> Graph:
    """Copy ``graph`` with the values in ``made`` standing for those of the original."""
    return _Cloner(graph, made).graph(graph)


class _Cloner:
    def __init__(self, root: Graph, made: CloneMap) -> None:
        self._made = made
        self._inside = set(root.variables())
        for inner in root.graphs():
            self._inside -= _captured(root, inner)

    def graph(self, graph: Graph) -> Graph:
        copy = Graph(
            graph.name, dict(graph.opsets), dict(graph.metadata), graph.doc,
            header=dict(graph.header),
        )  # fmt: skip
        copy.inputs = [self._value(value) for value in graph.inputs]
        for node in graph:
            copy.append(self._node(node))
        copy.outputs = [self._value(value) for value in graph.outputs]
        copy.output_names = graph.output_names
        return copy

    def _node(self, node: OperatorNode) -> OperatorNode:
        copy = OperatorNode(
            node.op_type,
            [None if value is None else self._value(value) for value in node.inputs],
            [self._value(value) for value in node.outputs],
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

    def _value(self, value: VariableNode) -> VariableNode:
        if value in self._made.values:
            return self._made.values[value]
        if value not in self._inside:
            return value
        copy = VariableNode(value.name, value.dtype, value.shape, value.constant)
        copy.onnx_type = value.onnx_type
        self._made.values[value] = copy
        if value.quantization:
            copy.quantization = {
                key: self._value(parameter) for key, parameter in value.quantization.items()
            }
        return copy


def _captured(root: Graph, inner: Graph) -> set[VariableNode]:
    """Values that ``inner`` reads and that neither ``root`` nor a graph below it makes."""
    own_inputs = {value for graph in root.graphs() for value in graph.inputs}
    read = {v for node in inner for v in node.inputs if v is not None} | set(inner.outputs)
    return {
        value
        for value in read
        if not value.is_constant
        and value not in own_inputs
        and (value.producer is None or not root.contains(value.producer))
    }
