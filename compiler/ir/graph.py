"""The graph: operator nodes in order, variable nodes between them, subgraphs inside them.

Identity is the object, never the name. Use-def links are kept by the setters here; a use by a
graph output or by a node of a subgraph (a capture) is a use like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from burnish.ir.constant import Constant
from burnish.ir.dtype import DType

if TYPE_CHECKING:
    from os import PathLike

    from onnx import ModelProto

Dim: TypeAlias = int | str | None
"""A size: known, symbolic by name, or unknown."""
Shape: TypeAlias = tuple[Dim, ...] | None
"""Sizes of every axis, or None where not even the rank is known."""
Attribute: TypeAlias = Any
"""int, float, str, bytes, a tuple of these, a Constant, or an ONNX message kept as it is."""

REGION_DOMAIN = "burnish.region"
"""Domain of operator nodes that stand for the operators of their ``body`` subgraph."""


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """One place that reads a value: input ``index`` of a node, or output ``index`` of a graph."""

    user: OperatorNode | Graph
    index: int


class VariableNode:
    """A value: graph input, constant, or result of an operator node."""

    __slots__ = ("constant", "dtype", "name", "onnx_type", "producer", "quantization", "shape",
                 "uses")  # fmt: skip

    def __init__(
        self,
        name: str = "",
        dtype: DType = DType.UNDEFINED,
        shape: Shape = None,
        constant: Constant | None = None,
    ) -> None:
        """Make a value that nothing produces yet."""
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.constant = constant
        self.producer: OperatorNode | None = None
        self.uses: list[Use] = []
        self.onnx_type: Any = None
        """The ONNX type message of a value that is no tensor (sequence, optional), else None."""
        self.quantization: Any = None

    @classmethod
    def of(cls, constant: Constant, name: str = "") -> VariableNode:
        """A constant value."""
        return cls(name, constant.dtype, constant.shape, constant)

    @property
    def is_constant(self) -> bool:
        """Whether the value is known."""
        return self.constant is not None

    @property
    def rank(self) -> int | None:
        """Number of axes, if known."""
        return None if self.shape is None else len(self.shape)

    @property
    def static_shape(self) -> tuple[int, ...] | None:
        """The shape if every size is a known integer, else None."""
        if self.shape is None:
            return None
        sizes = tuple(d for d in self.shape if isinstance(d, int))
        return sizes if len(sizes) == len(self.shape) else None

    @property
    def consumers(self) -> list[OperatorNode]:
        """Operator nodes that read this value, each once, in order of use."""
        return list(dict.fromkeys(u.user for u in self.uses if isinstance(u.user, OperatorNode)))

    @property
    def is_graph_output(self) -> bool:
        """Whether some graph returns this value."""
        return any(isinstance(use.user, Graph) for use in self.uses)

    def __repr__(self) -> str:
        return f"VariableNode({self.name!r}, {self.dtype}, {self.shape})"


class OperatorNode:
    """One application of an operator.

    ``inputs`` may hold None for an omitted optional input. ``provenance`` names the nodes of the
    user's model that this one stands for.
    """

    __slots__ = ("_inputs", "_next", "_outputs", "_previous", "attributes", "domain", "graph",
                 "name", "op_type", "overload", "provenance", "subgraphs")  # fmt: skip

    def __init__(
        self,
        op_type: str,
        inputs: Iterable[VariableNode | None] = (),
        outputs: Iterable[VariableNode] = (),
        attributes: Mapping[str, Attribute] | None = None,
        *,
        domain: str = "",
        name: str = "",
        subgraphs: Mapping[str, Graph] | None = None,
        provenance: tuple[str, ...] = (),
    ) -> None:
        """Make a node that no graph holds yet; its inputs count as used from now on."""
        self.op_type = op_type
        self.domain = domain
        self.overload = ""
        self.name = name
        self.attributes: dict[str, Attribute] = dict(attributes or {})
        self.subgraphs: dict[str, Graph] = {}
        self.provenance = provenance
        self.graph: Graph | None = None
        self._previous: OperatorNode | None = None
        self._next: OperatorNode | None = None
        self._inputs: tuple[VariableNode | None, ...] = ()
        self._outputs: tuple[VariableNode, ...] = ()
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        for key, body in (subgraphs or {}).items():
            self.add_subgraph(key, body)

    @property
    def inputs(self) -> tuple[VariableNode | None, ...]:
        """Values read, in order; None where an optional input is left out."""
        return self._inputs

    @inputs.setter
    def inputs(self, values: Iterable[VariableNode | None]) -> None:
        for old in dict.fromkeys(v for v in self._inputs if v is not None):
            old.uses[:] = [use for use in old.uses if use.user is not self]
        self._inputs = tuple(values)
        for index, value in enumerate(self._inputs):
            if value is not None:
                value.uses.append(Use(self, index))

    @property
    def outputs(self) -> tuple[VariableNode, ...]:
        """Values produced, in order; one with an empty name and no uses is an omitted output."""
        return self._outputs

    @outputs.setter
    def outputs(self, values: Iterable[VariableNode]) -> None:
        for value in self._outputs:
            value.producer = None
        self._outputs = tuple(values)
        for value in self._outputs:
            if value.producer is not None or value.constant is not None:
                raise ValueError(f"value {value.name!r} already has a definition")
            value.producer = self

    def input(self, index: int) -> VariableNode | None:
        """Input ``index``, or None if it is left out or beyond the end."""
        return self._inputs[index] if index < len(self._inputs) else None

    def constant_input(self, index: int) -> Constant | None:
        """The constant at input ``index``, or None if there is none or it is not constant."""
        value = self.input(index)
        return value.constant if value is not None else None

    @property
    def output(self) -> VariableNode:
        """The first output."""
        return self._outputs[0]

    def replace_input(self, index: int, value: VariableNode | None) -> None:
        """Read ``value`` at ``index`` from now on."""
        inputs = list(self._inputs)
        inputs[index] = value
        self.inputs = tuple(inputs)

    def attribute(self, name: str, default: Attribute = None) -> Attribute:
        """The value of attribute ``name``, or ``default``."""
        return self.attributes.get(name, default)

    def is_op(self, *op_types: str, domain: str = "") -> bool:
        """Whether this is one of ``op_types`` of ``domain`` (the standard one by default)."""
        return self.op_type in op_types and self.domain == domain

    def add_subgraph(self, key: str, body: Graph) -> None:
        """Hang ``body`` off this node under attribute name ``key``."""
        self.subgraphs[key] = body
        body.owner = self

    @property
    def is_region(self) -> bool:
        """Whether this node stands for the operators of its body."""
        return self.domain == REGION_DOMAIN

    @property
    def next(self) -> OperatorNode | None:
        """The node after this one in its graph."""
        return self._next

    @property
    def previous(self) -> OperatorNode | None:
        """The node before this one in its graph."""
        return self._previous

    def __repr__(self) -> str:
        return f"OperatorNode({self.op_type!r}, {self.name!r})"


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
    _outputs: tuple[VariableNode, ...] = ()
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
        for value in dict.fromkeys(self._outputs):
            value.uses[:] = [use for use in value.uses if use.user is not self]
        self._outputs = tuple(values)
        for index, value in enumerate(self._outputs):
            value.uses.append(Use(self, index))
        if len(self.output_names) != len(self._outputs):
            self.output_names = tuple(value.name for value in self._outputs)

    def replace_output(self, index: int, value: VariableNode) -> None:
        """Return ``value`` at ``index`` from now on."""
        outputs = list(self._outputs)
        outputs[index] = value
        self.outputs = tuple(outputs)

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

    @staticmethod
    def from_onnx(source: str | PathLike[str] | bytes | ModelProto) -> Graph:
        """Load a model from a path, bytes or a message (which is copied).

        Model-local functions are inlined, Constant nodes become constants, initializers that are
        also inputs become constants. Weights stay where they are until they are used.

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
