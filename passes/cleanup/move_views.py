"""Moves reshapes to where they cancel or merge."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from burnish.analysis.sizes import from_dim, product, to_dim
from burnish.ir import Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.leading_axes import (
    LARGEST,
    Dims,
    Form,
    form_of,
    reshape_target,
)
from burnish.passes.cleanup.remove_no_ops import can_stand_in
from burnish.passes.cleanup.view_moves import rewrite
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, NearMiss, Rewriter, RewriteResult

VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
SINCE = 13
"""First opset in which every operator that is moved past counts axes from the end."""
MAX_READERS = 64
"""What more read is no part of a chain; it is left alone so that time stays linear."""


@dataclass(frozen=True)
class MoveViews(Pass):
    """Let operators on rows work on other leading axes where that saves reshapes.

    Everything between reshapes that works on the last axes alone is looked at together, and done
    with the leading axes that leave the fewest operators. With one leading axis, a product and its
    bias are one Gemm. Not for code generation, where a reshape costs nothing.

    Before:
        y = Reshape(Gelu(Reshape(Gemm(x, w), [2, 3, 8])), [6, 8])

    After:
        y = Gelu(Gemm(x, w))
    """

    name: ClassVar[str] = "move-views"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Look around every reshape, and every product of rows with its bias."""
        result = RewriteResult()
        if context.target is not None or graph.opset < SINCE:
            return result
        rewriter = Rewriter(graph)
        while True:
            fired = len(result.fired)
            result.missed.clear()
            for body in list(graph.graphs()):
                if body.owner is None or not body.owner.is_region:
                    _Search(body, rewriter, result).run()
            # Each move leaves fewer operators, so that this ends.
            if len(result.fired) == fired:
                break
        result.edits = rewriter.edits
        return result


@dataclass(eq=False)
class Island:
    """Operators that can all work on other leading axes, with the values that they share."""

    old: Dims
    new: Dims
    forms: dict[OperatorNode, Form] = field(default_factory=dict)
    values: set[VariableNode] = field(default_factory=set)
    """What has the leading axes, inside and at the edge."""

    def sides(self) -> Iterator[VariableNode]:
        """What the operators read besides values with the leading axes."""
        for node, form in self.forms.items():
            for index, value in enumerate(node.inputs):
                if value is not None and index not in form.data:
                    yield value

    def reads(self, node: OperatorNode, value: VariableNode) -> bool:
        """Whether ``node`` is part of this and reads ``value`` with its leading axes."""
        form = self.forms.get(node)
        return form is not None and any(node.inputs[index] is value for index in form.data)

    def shape(self, value: VariableNode) -> Dims:
        """The shape of ``value`` with the new leading axes."""
        assert value.shape is not None
        return (*self.new, *value.shape[len(self.old) :])


@dataclass(eq=False)
class _Search:
    graph: Graph
    rewriter: Rewriter
    result: RewriteResult
    seen: set[tuple[VariableNode, Dims, Dims]] = field(default_factory=set)

    def run(self) -> None:
        """Try every place where the leading axes change, or could be one."""
        for node in list(self.graph):
            if node.graph is not self.graph:
                continue
            for value, old, new in _seeds(node):
                if node.graph is self.graph and (value, old, new) not in self.seen:
                    self._try(node, value, old, new)

    def _try(self, node: OperatorNode, value: VariableNode, old: Dims, new: Dims) -> None:
        island = self._grown(value, old, new)
        if not island.forms or any(v in island.values for v in island.sides()):
            return
        peel(island)
        if _gain(island) <= 0:
            reason = "moving it past what follows or comes before would leave no fewer operators"
            self.result.missed.append(NearMiss(MoveViews.name, reason, node.provenance))
            return
        names = (name for each in (node, *island.forms) for name in each.provenance)
        self.result.fired.append(Firing(MoveViews.name, tuple(dict.fromkeys(names))))
        rewrite(self.graph, self.rewriter, island.forms, island.values, island.shape)

    def _grown(self, value: VariableNode, old: Dims, new: Dims) -> Island:
        """Everything connected with ``value`` that works on any leading axes."""
        island = Island(old, new, values={value})
        pending = deque([value])
        while pending:
            value = pending.popleft()
            self.seen.add((value, old, new))
            if value.is_constant or len(value.uses) > MAX_READERS:
                continue
            around = value.consumers if value.producer is None else [
                value.producer, *value.consumers
            ]  # fmt: skip
            for node in around:
                if node in island.forms or node.graph is not self.graph:
                    continue
                form = form_of(node, old)
                mine = _touched(node, form)
                if form is None or (value not in mine):
                    continue
                island.forms[node] = form
                pending += [v for v in mine if v not in island.values]
                island.values |= set(mine)
        return island


def _touched(node: OperatorNode, form: Form | None) -> list[VariableNode]:
    """The values of ``node`` that have the leading axes."""
    if form is None:
        return []
    given = [node.inputs[index] for index in form.data]
    return [*(v for v in given if v is not None), *(v for v in node.outputs if v.uses)]


def _seeds(node: OperatorNode) -> Iterator[tuple[VariableNode, Dims, Dims]]:
    """Values, their leading axes, and what those could be instead."""
    x = node.inputs[0] if node.inputs else None
    if x is None or x.shape is None or node.output.shape is None:
        return
    before, after = x.shape, node.output.shape
    if None in before or None in after or 0 in before:
        return
    if node.is_op(*VIEWS) and not x.is_constant:
        same = 0
        while same < min(len(before), len(after)) and before[-1 - same] == after[-1 - same]:
            same += 1
        old, new = before[: len(before) - same], after[: len(after) - same]
        yield node.output, new, old
        yield x, old, new
    elif node.is_op("MatMul") and len(before) > 2 and biased(node):
        rows = to_dim(product(map(from_dim, before[:-1])))
        if rows is not None:
            yield x, before[:-1], (rows,)


def biased(node: OperatorNode) -> bool:
    """Whether ``node`` multiplies rows with a matrix, and a bias is all that is done with them."""
    w, readers = node.inputs[1], list(node.output.uses)
    if w is None or w.rank != 2 or len(readers) != 1 or not w.dtype.is_floating:
        return False
    add = readers[0].user
    if not isinstance(add, OperatorNode) or not add.is_op("Add"):
        return False
    bias = add.constant_input(1 - readers[0].index)
    return bias is not None and bias.shape == (w.shape or ())[1:]


def peel(island: Island) -> None:
    """Take operators at the edges away from ``island`` that gain nothing by being in it."""
    pending = deque(island.forms)
    while pending:
        node = pending.popleft()
        form = island.forms.get(node)
        if form is None:
            continue
        values = _touched(node, form)
        before = _gain_at(island, node, values)
        del island.forms[node]
        if _gain_at(island, node, values) < before:
            island.forms[node] = form
            continue
        around = (n for v in values for n in (v.producer, *v.consumers))
        pending.extend(n for n in around if n is not None and n in island.forms)
    island.values = {v for node, form in island.forms.items() for v in _touched(node, form)}


def _gain(island: Island) -> int:
    """How many operators fewer there would be."""
    products = sum(_merged(island, node) for node in island.forms if node.is_op("MatMul"))
    return products + sum(_gain_of(island, value) for value in island.values)


def _gain_at(island: Island, node: OperatorNode, values: list[VariableNode]) -> int:
    """That part of the gain that depends on whether ``node`` is part of ``island``."""
    makers = (value.producer for value in values)
    products = dict.fromkeys(n for n in (node, *makers) if n is not None and n.is_op("MatMul"))
    return sum(_merged(island, n) for n in products) + sum(
        _gain_of(island, value) for value in dict.fromkeys(values)
    )


def _merged(island: Island, node: OperatorNode) -> int:
    """1 for a product that becomes one operator with its bias, -1 for one that no longer is."""
    inside = island.forms
    if node not in inside or not biased(node) or node.output.consumers[0] not in inside:
        return 0
    return (len(island.new) == 1) - (len(island.old) == 1)


def _gain_of(island: Island, value: VariableNode) -> int:
    """How many operators fewer there would be around ``value``."""
    if value.producer is not None and value.producer in island.forms:
        return -_leaving(island, value)
    if any(island.reads(node, value) for node in value.consumers):
        return -_entering(island, value)
    return 0


UNFIT = 1 << 20
"""What stands for a reshape that cannot be written."""


def _entering(island: Island, value: VariableNode) -> int:
    """Operators that it takes more to give ``value`` to the island."""
    if value.constant is not None:
        alone = all(use.user in island.forms for use in value.uses)
        return 0 if alone or value.constant.size <= LARGEST else UNFIT
    if reshape_target(island.shape(value)) is None:
        return UNFIT
    view = value.producer
    is_view = view is not None and view.is_op(*VIEWS)
    gone = is_view and all(use.user in island.forms for use in value.uses)
    source = view.inputs[0] if is_view and view is not None else None
    needed = source is None or source.shape != island.shape(value)
    return int(needed) - int(gone)


def _leaving(island: Island, value: VariableNode) -> int:
    """Operators that it takes more to read ``value`` from the island."""
    cost, back = 0, False
    for use in value.uses:
        user = use.user
        if user in island.forms:
            continue
        if not isinstance(user, OperatorNode) or not user.is_op(*VIEWS) or use.index:
            back = True
            continue
        shape = user.output.shape
        if shape is None or reshape_target(shape) is None:
            return UNFIT
        # It gives way to the value itself, which has the name of a result to take over then.
        cost -= shape == island.shape(value) and can_stand_in(value, user.output)
    if back and reshape_target(value.shape or (0,)) is None:
        return UNFIT
    return cost + back
