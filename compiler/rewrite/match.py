"""The matcher: finds a pattern at a node and says why it stopped where it did not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations

from burnish.ir import Constant, OperatorNode, VariableNode
from burnish.rewrite.pattern import COMMUTATIVE, Any, Const, Missing, OneOf, Op, Pattern, Scalar


@dataclass(frozen=True, slots=True)
class Miss:
    """Why a rule did not apply, and at which node."""

    reason: str
    at: OperatorNode | None = None


@dataclass(frozen=True)
class Match:
    """Where a pattern was found: the node at its root, captured values and nodes."""

    root: OperatorNode
    values: dict[str, VariableNode] = field(default_factory=dict)
    named: dict[str, OperatorNode] = field(default_factory=dict)
    nodes: tuple[OperatorNode, ...] = ()
    """Every matched node, the root first."""
    shared: frozenset[OperatorNode] = frozenset()
    """Matched nodes whose results may be read outside the match."""

    def __getitem__(self, name: str) -> VariableNode:
        """The value captured under ``name``."""
        return self.values[name]

    def node(self, name: str) -> OperatorNode:
        """The node matched by the operator pattern called ``name``."""
        return self.named[name]

    def constant(self, name: str) -> Constant:
        """The constant captured under ``name``."""
        constant = self.values[name].constant
        if constant is None:
            raise KeyError(f"{name} is not constant")
        return constant

    @property
    def provenance(self) -> tuple[str, ...]:
        """Source nodes of everything matched."""
        return tuple(dict.fromkeys(name for node in self.nodes for name in node.provenance))


def match(pattern: Pattern, root: OperatorNode) -> Match | None:
    """The first way in which ``pattern`` fits at ``root``, else None."""
    return next(_match_node(pattern, root, Match(root)), None)


def _match_node(pattern: Pattern, node: OperatorNode, found: Match) -> Iterator[Match]:
    if isinstance(pattern, OneOf):
        for choice in pattern.choices:
            yield from _match_node(choice, node, found)
        return
    if not isinstance(pattern, Op) or (node.domain, node.op_type) not in pattern.types:
        return
    if pattern.accept is not None and not pattern.accept(node):
        return
    if pattern.name and found.named.get(pattern.name, node) is not node:
        return
    named = {**found.named, pattern.name: node} if pattern.name else found.named
    shared = found.shared | {node} if pattern.shared else found.shared
    nodes = found.nodes if node in found.nodes else (*found.nodes, node)
    here = Match(found.root, found.values, named, nodes, shared)
    for order in _orders(pattern, node):
        yield from _match_inputs(order, node, 0, here)


def _orders(pattern: Op, node: OperatorNode) -> Iterator[tuple[Pattern, ...]]:
    if not pattern.open_ended and len(pattern.inputs) < len(node.inputs):
        if any(value is not None for value in node.inputs[len(pattern.inputs) :]):
            return
    if len(pattern.inputs) == 2 and node.op_type in COMMUTATIVE:
        yield from permutations(pattern.inputs)
    else:
        yield pattern.inputs


def _match_inputs(
    order: tuple[Pattern, ...], node: OperatorNode, index: int, found: Match
) -> Iterator[Match]:
    if index == len(order):
        yield found
        return
    for extended in _match_value(order[index], node.input(index), found):
        yield from _match_inputs(order, node, index + 1, extended)


def _match_value(pattern: Pattern, value: VariableNode | None, found: Match) -> Iterator[Match]:
    if isinstance(pattern, OneOf):
        for choice in pattern.choices:
            yield from _match_value(choice, value, found)
    elif isinstance(pattern, Missing):
        if value is None:
            yield found
    elif value is None:
        return
    elif isinstance(pattern, Any):
        yield from _capture(pattern.name, value, found)
    elif isinstance(pattern, Const):
        if value.is_constant and (pattern.accept is None or pattern.accept(value)):
            yield from _capture(pattern.name, value, found)
    elif isinstance(pattern, Scalar):
        if pattern.accepts(value):
            yield found
    elif value.producer is not None and value.producer.outputs[pattern.output] is value:
        yield from _match_node(pattern, value.producer, found)


def _capture(name: str, value: VariableNode, found: Match) -> Iterator[Match]:
    if not name:
        yield found
    elif name not in found.values:
        yield Match(
            found.root, {**found.values, name: value}, found.named, found.nodes, found.shared
        )
    elif found.values[name] is value:
        yield found


def closest(pattern: Pattern, root: OperatorNode) -> Miss | None:
    """How far the pattern got at ``root`` and what stopped it, where it got past the root."""
    if not isinstance(pattern, Op) or (root.domain, root.op_type) not in pattern.types:
        return None
    for index, wanted in enumerate(pattern.inputs):
        value = root.input(index)
        if not isinstance(wanted, Op) or value is None or value.producer is None:
            continue
        deeper = closest(wanted, value.producer)
        if deeper is not None:
            return deeper
    kinds = ", ".join(_describe(wanted) for wanted in pattern.inputs)
    return Miss(f"inputs of {root.op_type} do not have the form ({kinds})", root)


def _describe(pattern: Pattern) -> str:
    if isinstance(pattern, Op):
        return "|".join(sorted(kind for _, kind in pattern.types))
    if isinstance(pattern, OneOf):
        return " or ".join(_describe(choice) for choice in pattern.choices)
    if isinstance(pattern, Scalar):
        return f"{pattern.value:g}"
    return {Any: "any value", Const: "a constant", Missing: "nothing"}[type(pattern)]
