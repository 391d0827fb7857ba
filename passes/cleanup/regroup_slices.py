"""Take pieces of a value with as few operators as there are for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.ir import Array, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.slice_rules import write_split
from burnish.passes.cleanup.windows import (
    credit,
    piece_of,
    positions,
    read_cuts,
    split_axis,
)
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, Op, Rewriter, Rule

BLOCK = 8
"""Neighbouring elements that a Gather should move at a time to be no slower than slices."""

LARGEST = 1 << 16
"""Indices that a Gather is given at most."""

MAX_READERS = 64
"""Readers of a value that are searched for slices, each time one is found; keeps time linear."""


@dataclass(frozen=True)
class RegroupSlices(RulePass):
    """Write slices as one Split, and slices of one element or in another order as a Gather.

    Not for code generation: there a Slice becomes part of the kernel that reads it.

    Before:
        a = x[:, :4]   b = x[:, 4:]      q = Squeeze(x[0:1], 0)      r = Concat(x[3:], x[:3])

    After:
        a, b = Split(x, axis=1)          q = Gather(x, 0)            r = Gather(x, [3, 4, 0, 1, 2])
    """

    name: ClassVar[str] = "regroup-slices"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """None for code generation."""
        return RULES if context.target is None else ()


def _drops(view: OperatorNode, axis: int) -> bool:
    """Whether ``view`` does nothing but remove ``axis``."""
    before, after = view.inputs[0], view.output.shape
    if before is None or before.shape is None or after is None or before.shape[axis] != 1:
        return False
    wanted = (*before.shape[:axis], *before.shape[axis + 1 :])
    return wanted == after and None not in after


def _one(match: Match) -> tuple[int, int] | Miss:
    """Axis and position of the one element that is sliced out."""
    node, root, shape = match.node("slice"), match.root, match["x"].shape
    cuts = read_cuts(node)
    if cuts is None or shape is None or len(cuts) != 1:
        return Miss("it cuts along several axes, or where is known only when it runs", node)
    ((axis, cut),) = cuts.items()
    taken = positions(cut, shape[axis])
    if taken is None and cut[2] == 1 and cut[1] - cut[0] == 1 and cut[1] != 0 and cut[0] >= 0:
        taken = range(cut[0], cut[1])
    if taken is None or len(taken) != 1:
        return Miss("it takes several elements, or the size of the axis is not known", node)
    if not _drops(root, axis):
        return Miss("the axis that it cuts is not removed", root)
    return axis, taken[0]


def _pick(rewriter: Rewriter, match: Match, facts: tuple[int, int]) -> None:
    axis, position = facts
    old = match.root.output
    index = rewriter.constant(np.array(position, np.int64))
    rewriter.replace(old, rewriter.op("Gather", [match["x"], index], {"axis": axis}, like=old))


@dataclass(frozen=True)
class _Partition:
    axis: int
    slices: tuple[OperatorNode, ...]
    """In order along the axis, which they cover."""


def _cut(node: OperatorNode) -> tuple[int, range] | None:
    """Axis and positions of a Slice along one axis without steps."""
    cuts, source = read_cuts(node), node.inputs[0]
    if cuts is None or len(cuts) != 1 or source is None or source.shape is None:
        return None
    ((axis, cut),) = cuts.items()
    taken = positions(cut, source.shape[axis])
    return (axis, taken) if taken and taken.step == 1 else None


def _partition(match: Match) -> _Partition | Miss:
    root, x = match.root, match["x"]
    own = _cut(root)
    if own is None:
        return Miss("it cuts along several axes, in steps, or at an unknown place", root)
    axis, taken = own
    size = (x.shape or ())[axis]
    if taken.start or taken.stop == size:
        return Miss("it is not the first of several slices", root)
    if len(x.uses) > MAX_READERS:
        return Miss("too many operators read what it cuts for all to be looked at", root)
    by_start: dict[int, list[tuple[int, OperatorNode]]] = {}
    for node in x.consumers:
        cut = _cut(node) if node.is_op("Slice") and node.inputs[0] is x else None
        if cut is not None and cut[0] == axis and node.graph is root.graph:
            by_start.setdefault(cut[1].start, []).append((cut[1].stop, node))
    found, position = [], 0
    while position != size:
        next_ones = by_start.get(position, [])
        if len(next_ones) != 1:
            return Miss("the slices of what it cuts leave gaps or overlap", root)
        position, node = next_ones[0]
        found.append(node)
    return _Partition(axis, tuple(found))


def _split(rewriter: Rewriter, match: Match, partition: _Partition) -> None:
    x, graph = match["x"], match.root.graph
    assert graph is not None
    inside = x.producer is not None and x.producer.graph is graph
    # The first of the slices along the axis need not be the first in the graph.
    rewriter.anchor = x.producer.next if inside and x.producer is not None else graph.first
    credit(rewriter, *partition.slices)
    olds = [node.output for node in partition.slices]
    for old, new in zip(olds, write_split(rewriter, x, olds, partition.axis), strict=True):
        rewriter.replace(old, new)
    rewriter.erase_unused(partition.slices)


def _taken(value: VariableNode | None, axis: int) -> range | None:
    """The positions along ``axis`` that a Slice or Split took from its input to make ``value``."""
    node = None if value is None else value.producer
    if node is None or node.domain or node.inputs[0] is None or node.inputs[0].shape is None:
        return None
    if node.op_type == "Slice":
        cuts = read_cuts(node)
        if cuts is None or set(cuts) != {axis}:
            return None
        return positions(cuts[axis], node.inputs[0].shape[axis])
    piece = piece_of(value, axis)
    return None if piece is None else range(piece.start, piece.stop)


def _reordered(match: Match) -> tuple[VariableNode, int, Array] | Miss:
    """What pieces of one value that are joined take from it, as indices."""
    root = match.root
    axis = split_axis(root)
    makers = [None if value is None else value.producer for value in root.inputs]
    cutters = [node for node in makers if node is not None and node.is_op("Slice", "Split")]
    sources = {node.inputs[0] for node in cutters}
    if axis is None or len(makers) < 2 or len(cutters) < len(makers) or len(sources) > 1:
        return Miss("it joins other things than pieces of one value", root)
    source = sources.pop()
    if source is None or source.shape is None or any(n.graph is not root.graph for n in cutters):
        return Miss("the shape of what is cut is not known", root)
    pieces = (value for node in cutters for value in node.outputs)
    if any(use.user is not root for value in pieces for use in value.uses):
        return Miss("the pieces that it joins are also read as they are", root)
    parts: list[int] = []
    for value in root.inputs:
        taken = _taken(value, axis)
        if taken is None or len(parts) + len(taken) > LARGEST:
            return Miss("the pieces are cut along other axes, or at unknown places", root)
        parts += taken
    block = [dim for dim in source.shape[axis + 1 :] if isinstance(dim, int)]
    if np.prod(block, dtype=np.int64) < BLOCK:
        return Miss("single elements would be gathered, where slices take rows of them", root)
    return source, axis, np.array(parts, np.int64)


def _gather(rewriter: Rewriter, match: Match, facts: tuple[VariableNode, int, Array]) -> None:
    source, axis, indices = facts
    old = match.root.output
    makers = [value.producer for value in match.root.inputs if value is not None]
    cutters = [node for node in dict.fromkeys(makers) if node is not None]
    credit(rewriter, *cutters)
    inputs = [source, rewriter.constant(indices)]
    rewriter.replace(old, rewriter.op("Gather", inputs, {"axis": axis}, like=old))
    rewriter.erase_unused([match.root, *cutters])


def _taken_apart(match: Match) -> int | Miss:
    """The axis along which a Split makes results of one element, which lose the axis."""
    root = match.root
    axis = split_axis(root)
    if axis is None:
        return Miss("its rank is not known", root)
    used = [value for value in root.outputs if value.uses]
    for value in used:
        view = value.consumers[0] if value.consumers else None
        if len(value.uses) > 1 or view is None or value.is_graph_output:
            return Miss("its results are read as they are", root)
        if view.graph is not root.graph or not view.is_op("Squeeze", "Reshape"):
            return Miss("its results are read as they are", root)
        if not _drops(view, axis):
            return Miss("the axis that it cuts is not removed", view)
    return axis


def _pick_each(rewriter: Rewriter, match: Match, axis: int) -> None:
    root = match.root
    views = {value: value.consumers[0] for value in root.outputs if value.uses}
    for position, value in enumerate(root.outputs):
        view = views.get(value)
        if view is None:
            continue
        rewriter.anchor = view
        index = rewriter.constant(np.array(position, np.int64))
        inputs = [root.inputs[0], index]
        names = dict.fromkeys((*root.provenance, *view.provenance))
        rewriter.provenance = tuple(names)
        old = view.output
        rewriter.replace(old, rewriter.op("Gather", inputs, {"axis": axis}, like=old))
    rewriter.erase_unused([root, *views.values()])


X = Any("x")
RULES = (
    Rule("slice-to-gather",
         Op("Squeeze|Reshape", Op("Slice", X, open_ended=True, name="slice"), open_ended=True),
         _pick, _one),
    Rule("pieces-to-gather", Op("Concat"), _gather, _reordered),
    Rule("slices-to-split", Op("Slice", X, open_ended=True), _split, _partition, since=2),
    Rule("split-to-gathers", Op("Split"), _pick_each, _taken_apart),
)  # fmt: skip
