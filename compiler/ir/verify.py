"""Invariants of a graph as a list of small checks, run after every pass in tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from burnish.errors import BurnishError
from burnish.ir.graph import Graph, OperatorNode, Use, VariableNode


class InvalidGraph(BurnishError, ValueError):
    """A graph breaks an invariant; whoever changed it last has a defect."""


@dataclass(slots=True, eq=False)
class _Facts:
    """What the checks share: the main graph, all graphs in it, and every use by user."""

    root: Graph
    graphs: list[Graph] = field(default_factory=list)
    reads: dict[VariableNode, list[tuple[OperatorNode | Graph, int]]] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Graph) -> _Facts:
        facts = cls(root, list(root.graphs()))
        for graph in facts.graphs:
            for node in graph:
                for index, value in enumerate(node.inputs):
                    if value is not None:
                        facts.reads.setdefault(value, []).append((node, index))
            for index, value in enumerate(graph.outputs):
                facts.reads.setdefault(value, []).append((graph, index))
        return facts


Check = Callable[[_Facts], Iterator[str]]


def verify(graph: Graph) -> None:
    """Check every invariant of ``graph`` and its subgraphs.

    Raises:
        InvalidGraph: names the first node or value that breaks one.
    """
    facts = _Facts.of(graph)
    for check in CHECKS:
        problem = next(check(facts), None)
        if problem is not None:
            raise InvalidGraph(f"invalid graph {graph.name!r}: {problem}")


def _links(facts: _Facts) -> Iterator[str]:
    """Nodes know their graph and neighbours, subgraphs their owner."""
    for graph in facts.graphs:
        previous, count = None, 0
        for node in graph:
            count += 1
            if node.graph is not graph or node.previous is not previous:
                yield f"{node!r} is linked wrongly"
            previous = node
            for key, body in node.subgraphs.items():
                if body.owner is not node:
                    yield f"subgraph {key!r} of {node!r} has another owner"
        if count != len(graph):
            yield f"graph {graph.name!r} counts {len(graph)} nodes but holds {count}"


def _uses_are_recorded(facts: _Facts) -> Iterator[str]:
    """Every read is in the list of uses, and every use is a read."""
    for value, reads in facts.reads.items():
        recorded = Counter((use.user, use.index) for use in value.uses)
        for user, index in reads:
            if recorded[user, index] != 1:
                yield f"{_where(user)} reads {value!r} but its uses do not say so exactly once"


def _uses_are_real(facts: _Facts) -> Iterator[str]:
    for value in facts.root.variables():
        for use in value.uses:
            if not _reads(use, value):
                yield f"{value!r} lists a use by {_where(use.user)} which does not read it"


def _uses_stay_inside(facts: _Facts) -> Iterator[str]:
    """Nothing outside the graph reads what the graph makes."""
    inside: set[OperatorNode | Graph] = {*facts.graphs}
    inside.update(node for graph in facts.graphs for node in graph)
    for graph in facts.graphs:
        for node in graph:
            for value in node.outputs:
                for use in value.uses:
                    if use.user not in inside:
                        yield f"{value!r} of {node!r} is read by a removed {_where(use.user)}"


def _one_definition(facts: _Facts) -> Iterator[str]:
    """A value is an input, a constant or the result of one node, never two of these."""
    inputs: set[VariableNode] = set()
    made: set[VariableNode] = set()
    for graph in facts.graphs:
        for value in graph.inputs:
            if value in inputs or value.producer is not None or value.is_constant:
                yield f"input {value!r} of graph {graph.name!r} has another definition"
            inputs.add(value)
        for node in graph:
            for value in node.outputs:
                if value.producer is not node or value in made or value.is_constant:
                    yield f"{value!r} is an output of {node!r} but has another definition"
                made.add(value)


def _defined_before_use(facts: _Facts) -> Iterator[str]:
    """A value is defined earlier in the same graph or in an enclosing one."""
    yield from _check_order(facts.root, set())


def _check_order(graph: Graph, outer: set[VariableNode]) -> Iterator[str]:
    visible = outer  # shared with the caller, and restored before returning
    added = [value for value in graph.inputs if value not in visible]
    visible.update(added)
    for node in graph:
        for value in node.inputs:
            if value is not None and not value.is_constant and value not in visible:
                yield f"{node!r} reads {value!r}, which is not defined before it"
        for body in node.subgraphs.values():
            yield from _check_order(body, visible)
        added += node.outputs
        visible.update(node.outputs)
    for value in graph.outputs:
        if not value.is_constant and value not in visible:
            yield f"graph {graph.name!r} returns {value!r}, which it does not define"
    visible.difference_update(added)


def _constants_fit(facts: _Facts) -> Iterator[str]:
    for value in facts.root.constants():
        constant = value.constant
        assert constant is not None
        if value.dtype is not constant.dtype:
            yield f"{value!r} holds a constant of type {constant.dtype}"
        if value.shape != constant.shape:
            yield f"{value!r} holds a constant of shape {constant.shape}"


def _interface(facts: _Facts) -> Iterator[str]:
    """Inputs and outputs of the model have names, each its own."""
    root = facts.root
    if len(root.output_names) != len(root.outputs):
        yield f"{len(root.outputs)} outputs have {len(root.output_names)} names"
        return
    returned = set(zip(root.output_names, root.outputs, strict=True))  # one value twice is fine
    for kind, names in (
        ("input", [value.name for value in root.inputs]),
        ("output", [name for name, _ in returned]),
    ):
        for name, count in Counter(names).items():
            if count > 1 and name:
                yield f"{count} {kind}s are called {name!r}"


CHECKS: tuple[Check, ...] = (
    _links,
    _one_definition,
    _defined_before_use,
    _uses_are_recorded,
    _uses_are_real,
    _uses_stay_inside,
    _constants_fit,
    _interface,
)
"""In the order in which they make sense: later ones assume what earlier ones found."""


def _reads(use: Use, value: VariableNode) -> bool:
    user = use.user
    sources = user.inputs if isinstance(user, OperatorNode) else user.outputs
    return use.index < len(sources) and sources[use.index] is value


def _where(user: OperatorNode | Graph) -> str:
    return f"graph {user.name!r}" if isinstance(user, Graph) else repr(user)
