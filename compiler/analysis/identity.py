"""Identity: keys that are equal exactly where constants, nodes or subgraphs are the same thing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from onnx import helper

from burnish.analysis.effects import is_random
from burnish.analysis.schema_inference import schema_of
from burnish.ir import Attribute, Constant, Graph, OperatorNode, VariableNode

ORDERLESS = frozenset(
    {"Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Equal", "Mul", "Or", "Xor"}
)
"""Operators whose two operands may be exchanged without changing a bit."""

MIRRORED = {"Greater": "Less", "GreaterOrEqual": "LessOrEqual"}
"""Operators that are another one with its operands exchanged."""

SAMPLES = 16
"""Elements that are compared before all are."""

Locals = Mapping[VariableNode, int]
"""Values of a subgraph by number, in the order in which it defines them."""


@dataclass(eq=False)
class Identities:
    """Keys of what one graph holds; they are good as long as this lives."""

    _known: dict[int, tuple[Constant, Constant]] = field(default_factory=dict)
    _alike: dict[Hashable, Constant | dict[Hashable, Constant | dict[bytes, Constant]]] = field(
        default_factory=dict
    )

    def constant(self, constant: Constant) -> Constant:
        """The first constant seen that is equal to ``constant``, bit for bit.

        Elements are read only where type and shape are those of another constant, all of them only
        where samples agree too.
        """
        known = self._known.get(id(constant))
        if known is None:
            # The constant is kept as well: an id is only good while its object lives.
            known = self._known[id(constant)] = (constant, self._first(constant))
        return known[1]

    def _first(self, constant: Constant) -> Constant:
        kind = (constant.dtype, constant.shape)
        found = self._alike.setdefault(kind, constant)
        if isinstance(found, Constant):
            if found is constant:
                return constant
            found = self._alike[kind] = {_sample(found): found}
        sample = _sample(constant)
        same = found.setdefault(sample, constant)
        if isinstance(same, Constant):
            if same is constant:
                return constant
            same = found[sample] = {same.fingerprint(): same}
        return same.setdefault(constant.fingerprint(), constant)

    def node(self, node: OperatorNode, local: Locals | None = None) -> Hashable | None:
        """What ``node`` computes: equal for two nodes that give the same results.

        None if it may give other results each time. ``local`` are values that count by their number
        instead of being themselves.
        """
        if is_random(node):
            return None
        inputs = [self._value(value, local or {}) for value in node.inputs]
        while inputs and inputs[-1] == ("none", 0):
            inputs.pop()
        op_type = node.op_type
        if node.domain == "" and op_type in ORDERLESS:
            inputs.sort()
        elif node.domain == "" and op_type in MIRRORED:
            op_type, inputs = MIRRORED[op_type], inputs[::-1]
        bodies = []
        for name in sorted(node.subgraphs):
            bodies.append((name, self.body(node.subgraphs[name], local)))
        return (
            (node.domain, op_type, node.overload), len(node.outputs), tuple(inputs),
            self._attributes(node), tuple(bodies),
        )  # fmt: skip

    def body(self, body: Graph, outer: Locals | None = None) -> Hashable | None:
        """What a subgraph computes; None if something in it is random."""
        local = dict(outer or {})
        for value in body.inputs:
            local[value] = len(local)
        types = tuple((value.dtype, value.shape) for value in body.inputs)
        nodes = []
        for node in body:
            key = self.node(node, local)
            if key is None:
                return None
            nodes.append(key)
            for value in node.outputs:
                local[value] = len(local)
        returned = tuple(self._value(value, local) for value in body.outputs)
        return types, tuple(nodes), returned

    def _value(self, value: VariableNode | None, local: Locals) -> tuple[str, int]:
        if value is None:
            return "none", 0
        if value in local:
            return "local", local[value]
        if value.constant is not None:
            return "constant", id(self.constant(value.constant))
        return "value", id(value)

    def _attributes(self, node: OperatorNode) -> Hashable:
        if not node.attributes:
            return ()
        graph = node.graph
        version = 1 if graph is None else graph.root.opsets.get(node.domain, 1)
        defaults = _defaults(node.op_type, node.domain, version)
        return tuple(
            (name, self._attribute(value))
            for name, value in sorted(node.attributes.items())
            if name not in defaults or defaults[name] != self._attribute(value)
        )

    def _attribute(self, value: Attribute) -> str | int:
        if isinstance(value, Constant):
            return id(self.constant(value))
        return _written(value)


def _written(value: Attribute) -> str:
    """A text that is the same for equal attributes only."""
    if hasattr(value, "SerializeToString"):
        return repr(value.SerializeToString(deterministic=True))
    return repr(value)


@lru_cache(maxsize=4096)
def _defaults(op_type: str, domain: str, version: int) -> dict[str, str]:
    """Attributes that mean the same as leaving them out, as ``_written`` writes them."""
    schema = schema_of(op_type, domain, version)
    if schema is None:
        return {}
    found = {}
    for name, attribute in schema.attributes.items():
        if attribute.default_value.type:
            value = helper.get_attribute_value(attribute.default_value)
            value = value.decode() if isinstance(value, bytes) else value
            found[name] = _written(tuple(value) if isinstance(value, list) else value)
    return found


def _sample(constant: Constant) -> Hashable:
    """Some elements of ``constant``, as something to compare."""
    flat = constant.numpy().reshape(-1)
    chosen = flat[:: max(1, flat.size // SAMPLES)]
    return tuple(chosen.tolist()) if chosen.dtype.kind == "O" else chosen.tobytes()
