"""Moves transposes to where they cancel."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from burnish.ir import Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.permuted import (
    Form,
    Perm,
    compose,
    form_of,
    inverse,
    is_identity,
    perm_of,
)
from burnish.passes.cleanup.permuting import permute
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, NearMiss, Rewriter, RewriteResult

MAX_ROUNDS = 8
"""What was moved may meet what was not in reach before; real models need two rounds."""

Cost: TypeAlias = tuple[int, int]
"""Transposes, and elements that they move."""


MAX_READERS = 256
"""A value that more operators read stays as it is: all of them would be weighed for each."""


@dataclass(frozen=True)
class MoveTransposes(Pass):
    """Let operators work in another order of axes where that makes transposes cancel.

    Everything around a transpose that can work in the other order is looked at together; operators
    at its edges for which that would not save anything stay as they are. Done where fewer
    transposes are left, or as many that move less.

    Before:
        y = Transpose[perm=(0, 2, 3, 1)](Conv(Transpose[perm=(0, 3, 1, 2)](Relu(
                Transpose[perm=(0, 2, 3, 1)](Conv(x, w)) + bias)), v))

    After:
        y = Transpose[perm=(0, 2, 3, 1)](Conv(Relu(Conv(x, w) + Reshape(bias)), v))
    """

    name: ClassVar[str] = "move-transposes"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Look around every transpose until none can be saved."""
        result = RewriteResult()
        rewriter = Rewriter(graph)
        for _ in range(MAX_ROUNDS):
            fired = len(result.fired)
            result.missed.clear()
            for body in list(graph.graphs()):
                if body.owner is None or not body.owner.is_region:
                    _Round(body, rewriter, result, swaps=context.target is None).run()
            if len(result.fired) == fired:
                break
        result.edits = rewriter.edits
        return result


@dataclass(eq=False)
class Region:
    """Operators that can all work on permuted values, and the order of each of these values."""

    forms: dict[OperatorNode, Form] = field(default_factory=dict)
    perms: dict[VariableNode, Perm] = field(default_factory=dict)


@dataclass(eq=False)
class _Round:
    """One look around every transpose of a graph."""

    graph: Graph
    rewriter: Rewriter
    result: RewriteResult
    swaps: bool
    seen: set[tuple[VariableNode, Perm]] = field(default_factory=set)
    """Values and orders that a region was made of already."""
    position: dict[OperatorNode, int] = field(default_factory=dict)
    """Where in the graph a node is, or the one that it took the place of."""

    def run(self) -> None:
        """Move what is worth moving."""
        nodes = list(self.graph)
        self.position = {node: index for index, node in enumerate(nodes)}
        for node in nodes:
            if node.graph is not self.graph or not node.is_op("Transpose"):
                continue
            perm, x = perm_of(node), node.inputs[0]
            if perm is None or x is None or x.is_constant or is_identity(perm):
                continue
            for value, order in ((node.output, inverse(perm)), (x, perm)):
                if node.graph is self.graph and (value, order) not in self.seen:
                    self._try(node, value, order)

    def _try(self, node: OperatorNode, value: VariableNode, order: Perm) -> None:
        region = self._grown(value, order)
        chosen = cheapest(region)
        if chosen is None:
            if region.forms:
                reason = f"moving it past {_names(region.forms)} would leave no fewer transposes"
                self.result.missed.append(NearMiss(MoveTransposes.name, reason, node.provenance))
            return
        names = (name for each in (node, *chosen) for name in each.provenance)
        self.result.fired.append(Firing(MoveTransposes.name, tuple(dict.fromkeys(names))))
        permute(self.rewriter, chosen, self.position)

    def _grown(self, value: VariableNode, order: Perm) -> Region:
        """Everything around ``value`` that can work if it is in ``order``."""
        region = Region(perms={value: order})
        pending = deque([value] if len(value.uses) <= MAX_READERS else ())
        opset = self.graph.opset
        while pending:
            value = pending.popleft()
            perm = region.perms[value]
            self.seen.add((value, perm))
            for node, port in _around(value):
                if node in region.forms or node.graph is not self.graph:
                    continue
                form = form_of(node, perm, opset, port=port, swaps=self.swaps)
                if form is None:
                    continue
                mine = dict(_values(node, form))
                if any(region.perms.get(v, p) != p for v, p in mine.items()):
                    continue
                if any(len(v.uses) > MAX_READERS or 0 in (v.shape or ()) for v in mine):
                    continue
                region.forms[node] = form
                pending += [v for v in mine if v not in region.perms and not v.is_constant]
                region.perms |= mine
        return region


def _names(nodes: Iterable[OperatorNode]) -> str:
    kinds = sorted({node.op_type for node in nodes})
    return ", ".join(kinds[:4]) + (" and others" if len(kinds) > 4 else "")


def _around(value: VariableNode) -> Iterator[tuple[OperatorNode, int | None]]:
    """The nodes at ``value``, and through which input; None for the one that makes it."""
    if value.producer is not None and value.producer.outputs[0] is value:
        yield value.producer, None
    for use in list(value.uses):
        if isinstance(use.user, OperatorNode):
            yield use.user, use.index


def _values(node: OperatorNode, form: Form) -> Iterator[tuple[VariableNode, Perm]]:
    """What ``node`` reads and makes in another order than now."""
    for index, perm in form.inputs.items():
        value = node.inputs[index]
        if value is not None and not value.is_constant and not is_identity(perm):
            yield value, perm
    for index, perm in form.outputs.items():
        if not is_identity(perm):
            yield node.outputs[index], perm


def cheapest(region: Region) -> dict[OperatorNode, Form] | None:
    """The operators of ``region`` that should change, None if none should.

    All of them to begin with; then those at the edges go that save nothing.
    """
    if not region.forms:
        return None
    nothing: dict[OperatorNode, Form] = {}
    before = {value: cost(value, region.perms, nothing) for value in region.perms}
    chosen = dict(region.forms)
    costs = {value: cost(value, region.perms, chosen) for value in region.perms}
    pending = deque(chosen)
    waiting = set(chosen)
    while pending:
        node = pending.popleft()
        waiting.discard(node)
        if node not in chosen:
            continue
        form = chosen.pop(node)
        near = _near(node, form, region)
        with_it = _total(costs[value] for value in near)
        without_it = {value: cost(value, region.perms, chosen) for value in near}
        if _total(without_it.values()) > with_it:
            chosen[node] = form
            continue
        costs |= without_it
        for value in near:
            for other, _ in _around(value):
                if other in chosen and other not in waiting:
                    waiting.add(other)
                    pending.append(other)
    was, becomes = _total(before.values()), _total(costs.values())
    better = becomes[0] < was[0] or (becomes[0] == was[0] and becomes[1] < was[1])
    return chosen if chosen and better and becomes[1] <= was[1] else None


def _near(node: OperatorNode, form: Form, region: Region) -> list[VariableNode]:
    """The values whose transposes depend on whether ``node`` changes."""
    near = dict(_values(node, form))
    for value in list(near):
        near |= {v: p for v in _transposed_from(value) if (p := region.perms.get(v)) is not None}
    return list(near)


def _transposed_from(value: VariableNode) -> Iterator[VariableNode]:
    for node in value.consumers:
        if node.is_op("Transpose"):
            yield node.output


def cost(
    value: VariableNode, perms: dict[VariableNode, Perm], chosen: dict[OperatorNode, Form]
) -> Cost:
    """Transposes that it takes to have ``value`` in every order that its readers want.

    Args:
        value: in ``perms``.
        perms: the other order of each value in question.
        chosen: operators that work in the other order.
    """
    perm, same = perms[value], tuple(range(len(perms[value])))
    wanted = set()
    for use in value.uses:
        node = use.user
        if not isinstance(node, OperatorNode):
            wanted.add(same)
        elif node in chosen:
            wanted.add(chosen[node].inputs.get(use.index, same))
        elif not node.is_op("Transpose"):
            wanted.add(same)
        elif node.output not in perms:
            # Otherwise it is counted there.
            wanted.add(perm_of(node) or same)
    stored = stored_as(value, perm, chosen)
    source = value.producer
    if source is not None and source.is_op("Transpose") and source.inputs[0] is not None:
        origin = source.inputs[0]
        made = perm_of(source) or same
        given = same if origin not in perms else stored_as(origin, perms[origin], chosen)
        stored = compose(inverse(made), given)
    missing = len(wanted - {stored})
    return missing, missing * _elements(value)


def stored_as(value: VariableNode, perm: Perm, chosen: dict[OperatorNode, Form]) -> Perm:
    """The order of axes in which ``value`` is made."""
    source = value.producer
    if source is None or source not in chosen:
        return tuple(range(len(perm)))
    index = source.outputs.index(value)
    return chosen[source].outputs.get(index, tuple(range(len(perm))))


def _total(costs: Iterable[Cost]) -> Cost:
    counts, elements = 0, 0
    for count, moved in costs:
        counts, elements = counts + count, elements + moved
    return counts, elements


def _elements(value: VariableNode) -> int:
    """How many elements there are, with sizes that are not known taken as one."""
    return math.prod(dim for dim in value.shape or () if isinstance(dim, int))
