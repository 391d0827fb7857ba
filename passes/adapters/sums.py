"""Sums of branches from one value: a product with large weights, and adapters beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from burnish.ir import Graph, OperatorNode, VariableNode
from burnish.passes.adapters.paths import Kind, Step, trace

MOST = 6
"""Addends that are looked at together."""


@dataclass(frozen=True, eq=False)
class Addend:
    """A value that is added, with the steps that lead to it, the last one first."""

    value: VariableNode
    steps: tuple[Step, ...]
    parent: OperatorNode
    """The Add that reads it."""

    @property
    def other(self) -> VariableNode:
        """What its parent adds it to."""
        first, second = self.parent.inputs[:2]
        result = second if first is self.value else first
        assert result is not None
        return result


@dataclass(frozen=True, eq=False)
class Pair:
    """Two addends that come from one value, each with its steps from there, the first one first."""

    source: VariableNode
    base: tuple[Step, ...]
    branch: tuple[Step, ...]
    into: Addend
    """The addend that ``base`` makes."""
    gone: Addend
    """The addend that ``branch`` makes."""
    between: tuple[OperatorNode, ...]
    """The Adds below the root that are part of the sum."""
    root: OperatorNode

    @property
    def nodes(self) -> tuple[OperatorNode, ...]:
        """Every operator of the sum that the pair has a part in."""
        steps = (step.node for step in (*self.base, *self.branch))
        return tuple(dict.fromkeys((self.root, *self.between, *steps)))

    def leak(self) -> tuple[OperatorNode, str] | None:
        """An operator whose result is read outside of the sum, and who reads it."""
        inside = set(self.nodes)
        for node in self.nodes[1:]:
            for use in (use for value in node.outputs for use in value.uses):
                if use.user not in inside:
                    reader = use.user
                    name = reader.op_type if isinstance(reader, OperatorNode) else "graph output"
                    return node, name
        return None


def products(steps: Sequence[Step]) -> int:
    """How many products there are among ``steps``."""
    return sum(step.kind is Kind.PRODUCT for step in steps)


def pairs(root: OperatorNode, graph: Graph) -> Iterator[Pair]:
    """Every pair below the Add ``root`` with a base of at most one product."""
    addends, between = _addends(root, graph)
    branches = [addend for addend in addends if products(addend.steps)]
    for into in addends if branches else ():
        for gone in branches:
            if into is not gone:
                yield from _pairs_of(into, gone, between, root)


def _pairs_of(
    into: Addend, gone: Addend, between: tuple[OperatorNode, ...], root: OperatorNode
) -> Iterator[Pair]:
    """The ways to see ``gone`` as a branch beside ``into``, from the nearest common value on."""
    places = {step.source: index for index, step in enumerate(gone.steps)}
    candidates = [(into.value, 0), *((s.source, i + 1) for i, s in enumerate(into.steps))]
    for source, length in candidates:
        base = into.steps[:length]
        if products(base) > 1:
            return
        if source in places:
            branch = gone.steps[: places[source] + 1]
            if products(branch):
                yield Pair(source, base[::-1], branch[::-1], into, gone, between, root)


def _addends(root: OperatorNode, graph: Graph) -> tuple[list[Addend], tuple[OperatorNode, ...]]:
    """What ``root`` adds up, seen through Adds that nobody else reads; and those Adds."""
    found: list[Addend] = []
    between: list[OperatorNode] = []
    pending = [root]
    while pending and len(found) + len(pending) < MOST:
        node = pending.pop(0)
        if node is not root:
            between.append(node)
        for value in dict.fromkeys(node.inputs):
            if value is None or value.is_constant:
                continue
            inner = value.producer
            if inner is not None and is_sum(inner) and inner.graph is graph and _is_single(value):
                pending.append(inner)
            else:
                found.append(Addend(value, trace(value, graph), node))
    found += [Addend(node.output, trace(node.output, graph), root) for node in pending]
    return found, tuple(between)


def is_sum(node: OperatorNode) -> bool:
    """Whether ``node`` adds two values that are not constant."""
    return node.is_op("Add") and not any(v is None or v.is_constant for v in node.inputs)


def _is_single(value: VariableNode) -> bool:
    return len(value.uses) == 1 and not value.is_graph_output
