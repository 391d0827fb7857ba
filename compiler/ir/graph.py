"""The graph: operator nodes in order, variable nodes between them, subgraphs inside them.

Identity is the object, never the name. Use-def links are kept by the setters here; a use by a
graph output or by a node of a subgraph (a capture) is a use like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from burnish.ir.nodes import (
    REGION_DOMAIN,
    Attribute,
    Dim,
    OperatorNode,
    Shape,
    Use,
    VariableNode,
)

if TYPE_CHECKING:
    from os import PathLike

    from onnx import ModelProto

__all__ = [
    "REGION_DOMAIN",
    "Attribute",
    "Dim",
    "Graph",
    "OperatorNode",
    "Shape",
    "Use",
    "VariableNode",
]


@dataclass(slots=True, eq=False)
class Graph:
    """Operator nodes in topological order with the values that enter and leave.

    ``owner`` is the operator node that holds this graph as a subgraph, None for the main one.
    """

    name: str = "main"
    opsets: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    doc: str = ""
    owner: OperatorNode | None = None
    inputs: list[VariableNode] = field(default_factory=list)
    header: dict[str, Any] = field(default_factory=dict)
    """Fields of the ONNX model message to carry through (producer, ir_version, model_version)."""
    output_names: tuple[str, ...] = ()
    """Names under which the outputs are returned; they outlive the values that had them first."""
    defaults: tuple[str, ...] = ()
    """Names of inputs for which the loaded model has default values: they became constants."""
    _outputs: tuple[VariableNode, ...] = ()
    _uses: list[Use] = field(default_factory=list)
    _first: OperatorNode | None = None
    _last: OperatorNode | None = None
    _count: int = 0

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return self.root.opsets.get("", 1)

    @property
    def parent(self) -> Graph | None:
        """The graph that holds the owner, None for the main graph."""
        return None if self.owner is None else self.owner.graph

    @property
    def root(self) -> Graph:
        """The main graph."""
        graph = self
        while graph.parent is not None:
            graph = graph.parent
        return graph

    @property
    def outputs(self) -> tuple[VariableNode, ...]:
        """Values returned, in order."""
        return self._outputs

    @outputs.setter
    def outputs(self, values: Iterable[VariableNode]) -> None:
        given = tuple(values)
        for value, use in zip(self._outputs, self._uses, strict=True):
            value.drop_use(use)
        self._outputs = given
        self._uses = [value.add_use(self, index) for index, value in enumerate(given)]
        if len(self.output_names) != len(self._outputs):
            self.output_names = tuple(value.name for value in self._outputs)

    def replace_output(self, index: int, value: VariableNode) -> None:
        """Return ``value`` at ``index`` from now on."""
        self._outputs[index].drop_use(self._uses[index])
        self._outputs = (*self._outputs[:index], value, *self._outputs[index + 1 :])
        self._uses[index] = value.add_use(self, index)

    def __iter__(self) -> Iterator[OperatorNode]:
        """Nodes in order. The one at hand, and any other, may be removed meanwhile."""
        node = self._first
        while node is not None:
            following = node._next
            if node.graph is self:
                yield node
                # Nodes inserted right behind are visited; a removed node keeps its old link.
                following = node._next if node.graph is self else following
            while following is not None and following.graph is not self:
                following = following._next
            node = following

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return True

    @property
    def first(self) -> OperatorNode | None:
        """The first node."""
        return self._first

    def reversed(self) -> Iterator[OperatorNode]:
        """Nodes from last to first; the one at hand may be removed meanwhile."""
        node = self._last
        while node is not None:
            previous = node._previous
            yield node
            node = previous

    def append(self, node: OperatorNode) -> OperatorNode:
        """Put ``node`` last."""
        return self._link(node, self._last, None)

    def insert_before(self, anchor: OperatorNode, node: OperatorNode) -> OperatorNode:
        """Put ``node`` right before ``anchor``."""
        return self._link(node, anchor._previous, anchor)

    def insert_after(self, anchor: OperatorNode | None, node: OperatorNode) -> OperatorNode:
        """Put ``node`` right after ``anchor``, first if that is None."""
        following = self._first if anchor is None else anchor._next
        return self._link(node, anchor, following)

    def _link(
        self, node: OperatorNode, previous: OperatorNode | None, following: OperatorNode | None
    ) -> OperatorNode:
        if node.graph is not None:
            raise ValueError(f"{node!r} is already in a graph")
        node.graph, node._previous, node._next = self, previous, following
        if previous is None:
            self._first = node
        else:
            previous._next = node
        if following is None:
            self._last = node
        else:
            following._previous = node
        self._count += 1
        return node

    def unlink(self, node: OperatorNode) -> OperatorNode:
        """Take ``node`` out, keeping its inputs and outputs, so that it can be put elsewhere."""
        if node.graph is not self:
            raise ValueError(f"{node!r} is not in this graph")
        if node._previous is None:
            self._first = node._next
        else:
            node._previous._next = node._next
        if node._next is None:
            self._last = node._previous
        else:
            node._next._previous = node._previous
        node.graph = None
        self._count -= 1
        return node

    def remove(self, node: OperatorNode) -> None:
        """Delete ``node``, with what its subgraphs capture.

        Raises:
            ValueError: one of its outputs is still read.
        """
        for value in node.outputs:
            if value.uses:
                raise ValueError(f"{value.name!r} of {node!r} is still in use")
        self.unlink(node)
        for body in node.subgraphs.values():
            body.release()
        node.inputs = ()
        node.outputs = ()

    def release(self) -> None:
        """Drop every use that this graph and its nodes make of values outside."""
        self.outputs = ()
        for node in self.reversed():
            node.inputs = ()
            for body in node.subgraphs.values():
                body.release()

    def walk(self) -> Iterator[OperatorNode]:
        """Every node, those of subgraphs right after the node that owns them."""
        for node in self:
            yield node
            for body in tuple(node.subgraphs.values()):
                yield from body.walk()

    def graphs(self) -> Iterator[Graph]:
        """This graph and every subgraph below it."""
        yield self
        for node in self:
            for body in tuple(node.subgraphs.values()):
                yield from body.graphs()

    def variables(self) -> Iterator[VariableNode]:
        """Every value read, made or returned here and in subgraphs, each once."""
        seen: set[VariableNode] = set()
        for graph in self.graphs():
            groups: list[Sequence[VariableNode | None]] = [graph.inputs]
            for node in graph:
                groups += [node.inputs, node.outputs]
            groups.append(graph.outputs)
            for value in (v for group in groups for v in group):
                if value is not None and value not in seen:
                    seen.add(value)
                    yield value

    def constants(self) -> Iterator[VariableNode]:
        """Every constant value that is used here or in subgraphs, each once."""
        return (value for value in self.variables() if value.is_constant)

    def input_named(self, name: str) -> VariableNode | None:
        """The input called ``name``."""
        return next((value for value in self.inputs if value.name == name), None)

    def contains(self, node: OperatorNode) -> bool:
        """Whether ``node`` is here or in a subgraph below."""
        graph = node.graph
        while graph is not None and graph is not self:
            graph = graph.parent
        return graph is self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as flat tables."""
        from burnish.ir import pickling

        return pickling.restore, (pickling.flatten(self),)

    @staticmethod
    def from_onnx(source: str | PathLike[str] | bytes | ModelProto) -> Graph:
        """Load a model from a path, bytes or a message (which is copied).

        Model-local functions are inlined, Constant nodes become constants, initializers that are
        also inputs become constants: such inputs have default values, and are none any more.
        ``defaults`` names them. Weights stay where they are until they are used.

        Raises:
            InvalidInput: the model is missing, malformed, truncated or hostile.
            UnsupportedModel: it is valid, but newer than the onnx package or not representable.
        """
        from burnish.ir import onnx_io

        return onnx_io.from_onnx(source)

    def to_onnx(self) -> ModelProto:
        """The model as one ONNX message, regions expanded.

        Raises:
            UnsupportedModel: it does not fit in one message (2 GB); save it to a file instead.
        """
        from burnish.ir import onnx_io

        return onnx_io.to_onnx(self)

    def save(self, path: str | PathLike[str], *, external: bool | None = None) -> None:
        """Write the model to ``path``; see ``burnish.ir.saver.save``."""
        from burnish.ir import saver

        saver.save(self, path, external=external)

    @staticmethod
    def from_graphsurgeon(source: Any) -> Graph:
        """Take over an ``onnx_graphsurgeon.Graph``, which is left as it is."""
        from burnish.ir import onnx_io

        return onnx_io.from_graphsurgeon(source)

    def to_graphsurgeon(self) -> Any:
        """The graph as an ``onnx_graphsurgeon.Graph`` with lazy weights, regions expanded."""
        from burnish.ir import onnx_io

        return onnx_io.to_graphsurgeon(self)
