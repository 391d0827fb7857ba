"""Operator nodes and the variable nodes between them, with their use-def links.

Identity is the object, never the name. The setters here keep the links.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from burnish.ir.constant import Constant
from burnish.ir.dtype import DType

if TYPE_CHECKING:
    from burnish.ir.graph import Graph

Dim: TypeAlias = int | str | None
"""A size: known, symbolic by name, or unknown."""
Shape: TypeAlias = tuple[Dim, ...] | None
"""Sizes of every axis, or None where not even the rank is known."""
Attribute: TypeAlias = Any
"""int, float, str, bytes, a tuple of these, a Constant, or an ONNX message kept as it is."""

REGION_DOMAIN = "burnish.region"
"""Domain of operator nodes that stand for the operators of their ``body`` subgraph."""


@dataclass(slots=True, eq=False)
class Use:
    """One place that reads a value: input ``index`` of a node, or output ``index`` of a graph.

    Made anew for every reading and never changed; not frozen, since making it would take longer.
    """

    user: OperatorNode | Graph
    index: int


class VariableNode:
    """A value: graph input, constant, or result of an operator node."""

    __slots__ = ("_returned", "constant", "dtype", "name", "onnx_type", "producer", "quantization",
                 "shape", "uses")  # fmt: skip

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
        self.uses: dict[Use, None] = {}
        """Places that read this value, in order; a dictionary, as one may have very many."""
        self.onnx_type: Any = None
        """The ONNX type message of a value that is no tensor (sequence, optional), else None."""
        self.quantization: Any = None
        self._returned = 0

    def add_use(self, user: OperatorNode | Graph, index: int) -> Use:
        """Note that ``user`` reads this value at ``index``."""
        use = Use(user, index)
        self.uses[use] = None
        if not isinstance(user, OperatorNode):
            self._returned += 1
        return use

    def drop_use(self, use: Use) -> None:
        """Forget what ``add_use`` returned."""
        if self.uses.pop(use, use) is None and not isinstance(use.user, OperatorNode):
            self._returned -= 1

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

    def times_read_by(self, node: OperatorNode) -> int:
        """How many inputs of ``node`` this is; both may have very many others."""
        if len(node.inputs) <= len(self.uses):
            return sum(value is self for value in node.inputs)
        return sum(use.user is node for use in self.uses)

    @property
    def is_graph_output(self) -> bool:
        """Whether some graph returns this value."""
        return self._returned > 0

    def __repr__(self) -> str:
        return f"VariableNode({self.name!r}, {self.dtype}, {self.shape})"


class OperatorNode:
    """One application of an operator.

    ``inputs`` may hold None for an omitted optional input. ``provenance`` names the nodes of the
    user's model that this one stands for.
    """

    __slots__ = ("_inputs", "_inputs_read", "_next", "_outputs", "_previous", "_uses",
                 "attributes", "domain", "graph", "name", "op_type", "overload", "provenance",
                 "subgraphs")  # fmt: skip

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
        self._inputs: list[VariableNode | None] = []
        self._inputs_read: tuple[VariableNode | None, ...] | None = ()
        """``_inputs`` as last handed out; None once they have changed."""
        self._uses: list[Use | None] = []
        """How each input is noted in the value that it is."""
        self._outputs: tuple[VariableNode, ...] = ()
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        for key, body in (subgraphs or {}).items():
            self.add_subgraph(key, body)

    @property
    def inputs(self) -> tuple[VariableNode | None, ...]:
        """Values read, in order; None where an optional input is left out."""
        if self._inputs_read is None:
            self._inputs_read = tuple(self._inputs)
        return self._inputs_read

    @inputs.setter
    def inputs(self, values: Iterable[VariableNode | None]) -> None:
        given = list(values)
        for old, use in zip(self._inputs, self._uses, strict=True):
            if old is not None and use is not None:
                old.drop_use(use)
        self._inputs, self._inputs_read = given, None
        self._uses = [
            None if value is None else value.add_use(self, index)
            for index, value in enumerate(given)
        ]

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
        old, use = self._inputs[index], self._uses[index]
        if old is not None and use is not None:
            old.drop_use(use)
        # Nothing here may depend on the number of inputs: all of them may be replaced in turn.
        self._inputs[index], self._inputs_read = value, None
        self._uses[index] = None if value is None else value.add_use(self, index)

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
