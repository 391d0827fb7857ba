"""Where channels of a value go: the weights that contract them, if all on the way is linear."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.analysis.axis_graph import AxisGraph
from burnish.analysis.axis_graph_sites import Member, Role, Site
from burnish.ir import Array, OperatorNode, VariableNode
from burnish.rewrite import Miss


@dataclass(frozen=True)
class Slot:
    """Where something can be added to each channel of a result: input ``index`` of ``node``."""

    node: OperatorNode
    index: int


@dataclass(frozen=True)
class Reader:
    """A weight that contracts channels which arrive multiplied by ``factor``."""

    member: Member
    factor: float

    @property
    def node(self) -> OperatorNode:
        """The product."""
        return self.member.node

    @property
    def slot(self) -> Slot | None:
        """Where a bias of this product is or, at no cost, can be."""
        return bias_slot(self.node, self.member.index)


MOVES = frozenset({
    "Identity", "Dropout", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Expand",
    "Tile", "Slice", "Split", "Gather", "Cast", "GlobalAveragePool", "ReduceMean",
})  # fmt: skip
"""Operators that every element of a value, or a mean of some, gets through as it is."""

MASK_OPERATORS = 64
"""Values that are looked at to find out what a mask may hold."""


def readers(axes: AxisGraph, value: VariableNode, *, shift: bool) -> list[Reader] | Miss:
    """All weights that contract the channels of ``value``, or why there are others that read it.

    With ``shift``, whatever is added to a channel must arrive at the weights as well: convolutions
    that pad are in the way, and so are averages that do not weigh all they see alike.
    """
    found: list[Reader] = []
    pending: list[tuple[VariableNode, float]] = [(value, 1.0)]
    while pending:
        at, factor = pending.pop()
        sites = axes.sites_of(at)
        if len(sites) != 1:
            return Miss("its channels cannot be told apart", at.producer)
        for use in at.uses:
            if not isinstance(use.user, OperatorNode):
                return Miss("the graph returns it", at.producer)
            step = _step(axes, use.user, use.index, sites[0], factor, shift=shift)
            if isinstance(step, Miss):
                return step
            if isinstance(step, Reader):
                found.append(step)
            else:
                pending += step
    return found


def _step(
    axes: AxisGraph, node: OperatorNode, index: int, site: Site, factor: float, *, shift: bool
) -> Reader | list[tuple[VariableNode, float]] | Miss:
    """What ``node`` does with the channels at its input ``index``."""
    if node.domain or node.graph is not axes.graph_of(site.value):
        return Miss(f"{node.op_type} reads it", node)
    if node.op_type in ("Shape", "Size") and index == 0:
        return []
    for member in axes.members_of.get(node, ()):
        if member.role is Role.READER and member.site is site:
            if shift and member.padded:
                return Miss(f"{node.op_type} pads, and so differs at the border", node)
            return Reader(member, factor)
    onward = axes.passages_from.get(site, ())
    targets = [p.target.value for p in onward if p.node is node and not p.dual]
    number = uniform_factor(node, index)
    if number is not None:
        factor *= number
    elif not (targets and _lets_through(node, index, shift=shift)):
        if node.op_type == "Attention" and index == 2 and targets:
            return Miss("a mask may hide whole rows, whose weights do not sum to one", node)
        if node.op_type == "MatMul" and targets:
            return Miss("the weights of values may not sum to one", node)
        return Miss(f"{node.op_type} reads it, which is no product with constant weights", node)
    return [(target, factor) for target in targets]


def uniform_factor(node: OperatorNode, index: int) -> float | None:
    """The number that ``node`` multiplies input ``index`` by, if that is what it does."""
    if node.op_type not in ("Mul", "Div") or (node.op_type == "Div" and index == 1):
        return None
    other = node.constant_input(1 - index)
    if other is None or other.size != 1 or not other.dtype.is_floating:
        return None
    number = float(np.asarray(other.numpy(), np.float64).reshape(()))
    if node.op_type == "Mul":
        return number
    return 1 / number if number else None


def _lets_through(node: OperatorNode, index: int, *, shift: bool) -> bool:
    """Whether the data input arrives at the output as it is, or averaged."""
    if node.op_type in MOVES:
        return index == 0
    if node.op_type == "Attention":
        return index == 2 and (not shift or attends_fully(node))
    if node.op_type == "MatMul":
        left = node.input(0)
        return index == 1 and left is not None and (not shift or is_distribution(left))
    return False


def attends_fully(node: OperatorNode) -> bool:
    """Whether the weights of each row of an Attention sum to one: no mask hides a whole row."""
    if node.input(6) is not None:
        return False
    mask = node.input(3)
    if mask is None:
        return True
    if mask.dtype.is_floating:
        return is_finite(mask)
    return mask.constant is not None and bool(mask.constant.numpy().any(axis=-1).all())


FINITE = frozenset({
    "Where", "Cast", "Mul", "Add", "Sub", "Neg", "Identity", "Unsqueeze", "Squeeze", "Reshape",
    "Transpose", "Expand", "Slice", "Concat", "Gather", "Tile",
})  # fmt: skip
"""Operators whose result is finite if what they read is, short of an overflow."""


def is_finite(value: VariableNode) -> bool:
    """Whether ``value`` is computed from finite numbers alone: a mask may then hide no row."""
    pending, seen = [value], {value}
    while pending:
        at = pending.pop()
        if not at.dtype.is_floating:
            continue
        if at.constant is not None:
            if not np.isfinite(at.constant.numpy().astype(np.float64)).all():
                return False
            continue
        node = at.producer
        if node is None or node.op_type not in FINITE or node.domain or len(seen) > MASK_OPERATORS:
            return False
        found = [v for v in node.inputs if v is not None and v not in seen]
        seen.update(found)
        pending += found
    return True


def is_distribution(value: VariableNode) -> bool:
    """Whether the last axis of ``value`` sums to one: it comes right from a Softmax."""
    node = value.producer
    while node is not None and node.is_op("Identity", "Dropout", "Cast"):
        source = node.input(0)
        if source is None or not source.dtype.is_floating or not node.output.dtype.is_floating:
            return False
        node = source.producer
    if node is None or not node.is_op("Softmax") or node.output.rank is None:
        return False
    return softmax_axis(node, node.output.rank) == node.output.rank - 1


def softmax_axis(node: OperatorNode, rank: int) -> int:
    """The axis that sums to one after Softmax; the first of several in old opsets."""
    assert node.graph is not None
    return int(node.attribute("axis", -1 if node.graph.opset >= 13 else 1)) % rank


def bias_slot(node: OperatorNode, weight: int = 1) -> Slot | None:
    """Where ``node``, or the Add behind it, takes one number for each output channel."""
    if node.op_type in ("Gemm", "Conv", "ConvTranspose"):
        bias = node.input(2)
        if bias is None:
            return Slot(node, 2)
        fits = bias.constant is not None and _per_channel(
            bias, node, 1, last=node.op_type == "Gemm"
        )
        return Slot(node, 2) if fits else None
    uses = node.output.uses
    if node.op_type != "MatMul" or weight != 1 or len(uses) != 1:
        return None
    use = next(iter(uses))
    add, index = use.user, use.index
    if not isinstance(add, OperatorNode) or not add.is_op("Add"):
        return None
    other = add.input(1 - index)
    if other is None or other.constant is None or add.output.shape != node.output.shape:
        return None
    return Slot(add, 1 - index) if _per_channel(other, node, -1, last=True) else None


def _per_channel(bias: VariableNode, node: OperatorNode, axis: int, *, last: bool) -> bool:
    """Whether ``bias`` has an element of its own for each channel of the result of ``node``."""
    shape = node.output.shape
    assert bias.constant is not None
    sizes = bias.constant.shape
    if shape is None or not sizes:
        return False
    return sizes[-1] == shape[axis] and (last or len(sizes) == 1)


def arriving(axes: AxisGraph, source: Site, vector: Array, target: Member) -> Array | None:
    """One number for each channel of ``source``, as they stand along the axis of ``target``.

    None if two places of ``source`` hold the same channel, or ``target`` has others.
    """
    names = axes.channels(source).reshape(-1)
    order = np.argsort(names, kind="stable")
    known = names[order]
    if (known[1:] == known[:-1]).any():
        return None
    wanted = axes.channels(target).reshape(-1)
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    if not np.array_equal(known[place], wanted):
        return None
    found: Array = np.asarray(vector, np.float64).reshape(-1)[order][place]
    return found
