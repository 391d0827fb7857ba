"""The matcher: finds every way in which a pattern fits at a node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations

from burnish.ir import Constant, OperatorNode, VariableNode
from burnish.rewrite.pattern import COMMUTATIVE, Any, Const, Missing, OneOf, Op, Pattern, Scalar
from burnish.rewrite.provenance import merged


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

    def __contains__(self, name: str) -> bool:
        """Whether a value or node was captured under ``name``."""
        return name in self.values or name in self.named

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
        """Source nodes of everything matched; of very many the first."""
        return merged(node.provenance for node in self.nodes)

    def leak(self) -> Miss | None:
        """Why the matched nodes cannot be replaced as one: somebody else reads in the middle.

        A read by a graph output or from inside a subgraph counts as well.
        """
        inside = set(self.nodes)
        for node in self.nodes[1:]:
            if node in self.shared:
                continue
            for use in (use for value in node.outputs for use in value.uses):
                if use.user in inside:
                    continue
                reader = use.user.op_type if isinstance(use.user, OperatorNode) else "graph output"
                return Miss(f"the result of {node.op_type} is also read by another {reader}", node)
        return None


def may_match(pattern: Pattern, root: OperatorNode) -> bool:
    """Whether ``pattern`` is worth trying at ``root``, by the types of the nodes right before it.

    Most rules do not apply at most nodes, and this finds out without making anything.
    """
    if isinstance(pattern, OneOf):
        return any(may_match(choice, root) for choice in pattern.choices)
    if not isinstance(pattern, Op) or (root.domain, root.op_type) not in pattern.types:
        return False
    first = pattern.inputs
    if all(_may_be(wanted, root.input(index)) for index, wanted in enumerate(first)):
        return True
    if len(first) != 2 or root.domain or root.op_type not in COMMUTATIVE:
        return False
    return _may_be(first[0], root.input(1)) and _may_be(first[1], root.input(0))


def _may_be(pattern: Pattern, value: VariableNode | None) -> bool:
    """Whether ``value`` is what ``pattern`` wants as far as one can see from here."""
    if isinstance(pattern, Op):
        node = None if value is None else value.producer
        return node is not None and (node.domain, node.op_type) in pattern.types
    if isinstance(pattern, OneOf):
        return any(_may_be(choice, value) for choice in pattern.choices)
    if isinstance(pattern, Any):
        return value is not None
    if isinstance(pattern, Missing):
        return value is None
    return value is not None and value.constant is not None


def match(pattern: Pattern, root: OperatorNode) -> Match | None:
    """The first way in which ``pattern`` fits at ``root``, else None."""
    return next(matches(pattern, root), None)


def matches(pattern: Pattern, root: OperatorNode) -> Iterator[Match]:
    """Every way in which ``pattern`` fits at ``root``, in order of the alternatives."""
    return _match_node(pattern, root, Match(root))


def _match_node(pattern: Pattern, node: OperatorNode, found: Match) -> Iterator[Match]:
    if isinstance(pattern, OneOf):
        for choice in pattern.choices:
            yield from _match_node(choice, node, found)
        return
    if not isinstance(pattern, Op) or not fits(pattern, node):
        return
    if pattern.name and found.named.get(pattern.name, node) is not node:
        return
    named = {**found.named, pattern.name: node} if pattern.name else found.named
    shared = found.shared | {node} if pattern.shared else found.shared
    nodes = found.nodes if node in found.nodes else (*found.nodes, node)
    here = Match(found.root, found.values, named, nodes, shared)
    for order in orders(pattern, node):
        yield from _match_inputs(order, node, 0, here)


def fits(pattern: Op, node: OperatorNode) -> bool:
    """Whether ``node`` itself is what ``pattern`` wants, whatever its inputs are."""
    if (node.domain, node.op_type) not in pattern.types:
        return False
    if not pattern.open_ended and any(v is not None for v in node.inputs[len(pattern.inputs) :]):
        return False
    return pattern.accept is None or pattern.accept(node)


def orders(pattern: Op, node: OperatorNode) -> Iterator[tuple[Pattern, ...]]:
    """The input patterns in every order that means the same to ``node``."""
    if len(pattern.inputs) == 2 and node.domain == "" and node.op_type in COMMUTATIVE:
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
    elif isinstance(pattern, Op):
        if value is not None and produces(pattern, value, found.root):
            assert value.producer is not None
            yield from _match_node(pattern, value.producer, found)
    elif accepts(pattern, value):
        if value is None or isinstance(pattern, (Missing, Scalar)):
            yield found
        else:
            yield from _capture(pattern.name, value, found)


def accepts(leaf: Any | Const | Scalar | Missing, value: VariableNode | None) -> bool:
    """Whether ``leaf`` allows ``value``, apart from what its name is bound to already."""
    if value is None or isinstance(leaf, Missing):
        return value is None and isinstance(leaf, Missing)
    if isinstance(leaf, Const):
        return value.is_constant and (leaf.accept is None or leaf.accept(value))
    return isinstance(leaf, Any) or leaf.accepts(value)


def produces(pattern: Op, value: VariableNode, root: OperatorNode) -> bool:
    """Whether ``value`` is the right output of a node in the graph of ``root``.

    A match never reaches out of a subgraph: what is computed once outside must not be recomputed
    by every iteration inside.
    """
    node = value.producer
    if node is None or node.graph is not root.graph:
        return False
    return pattern.output < len(node.outputs) and node.outputs[pattern.output] is value


def _capture(name: str, value: VariableNode, found: Match) -> Iterator[Match]:
    if not name:
        yield found
    elif name not in found.values:
        yield Match(
            found.root, {**found.values, name: value}, found.named, found.nodes, found.shared
        )
    elif found.values[name] is value:
        yield found
