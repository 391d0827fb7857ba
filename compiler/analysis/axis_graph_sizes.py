"""What has to be rewritten in nodes that state how many channels there are, when some go."""

from __future__ import annotations

import numpy as np

from burnish.analysis.axis_graph import ChannelGroup
from burnish.analysis.axis_graph_sites import Site
from burnish.analysis.axis_graph_views import integers
from burnish.ir import Array, OperatorNode
from burnish.rewrite import Rewriter

STATED = {"Reshape": 1, "Expand": 1}
"""Operators with a shape among their inputs, and where."""


def cannot_delete(group: ChannelGroup) -> str | None:
    """Why channels of ``group`` cannot be deleted, None if they can."""
    if group.fixed is not None:
        return f"the channels cannot be moved: {group.fixed.reason}"
    if group.labels.any():
        return "the channels belong to heads or groups of equal size"
    if any(site.axis is None for site in group.sites):
        return "the channels are spread over several axes"
    for node, source, target in group.resized:
        reason = _stuck(node, source, target)
        if reason is not None:
            return reason
    return None


def _stuck(node: OperatorNode, source: Site, target: Site | None) -> str | None:
    """Why what ``node`` says about the number of channels cannot be changed."""
    axis = source.axes[0]
    if target is None:
        return None if _looks_away(node, axis) else f"{node.op_type} measures the channels"
    if node.op_type in STATED:
        stated = integers(node, STATED[node.op_type])
        if stated is None:
            return f"{node.op_type} computes the number of channels"
        if node.op_type == "Reshape" and 0 in stated:
            return "Reshape copies sizes by their place"
    if node.op_type == "Split" and "split" not in node.attributes and node.input(1) is None:
        return "Split cuts channels into equal parts"
    if node.op_type == "Split" and node.input(1) is not None and node.constant_input(1) is None:
        return "Split computes the number of channels"
    if node.op_type in ("Slice", "Gather"):
        return f"{node.op_type} chooses channels by number"
    if node.op_type in ("Resize", "Upsample") and node.input(3) is not None:
        return f"{node.op_type} states the number of channels"
    return None


def _looks_away(node: OperatorNode, axis: int) -> bool:
    """Whether Shape leaves ``axis`` out, or all that read its result choose other axes."""
    if node.op_type != "Shape":
        return False
    rank = node.inputs[0].rank if node.inputs[0] is not None else None
    if rank is None:
        return False
    start, end, _ = slice(node.attribute("start", 0), node.attribute("end")).indices(rank)
    if not start <= axis < end:
        return True
    for use in node.output.uses:
        user = use.user
        if not isinstance(user, OperatorNode) or user.op_type != "Gather":
            return False
        chosen = integers(user, 1)
        if chosen is None or any(start + i % (end - start) == axis for i in chosen):
            return False
    return True


def resize(rw: Rewriter, group: ChannelGroup, kept: Array) -> None:
    """Let the nodes of ``group`` state how many channels are left of it."""
    split: set[OperatorNode] = set()
    for node, source, target in group.resized:
        if target is None:
            continue
        if node.op_type in STATED:
            _state(rw, node, target, group, kept)
        elif node.op_type == "Conv":
            count = int(kept[group.channels_of(source)].sum())
            rw.set_attribute(node, "group", count)
        elif node.op_type == "Split" and node not in split:
            split.add(node)
            _split(rw, node, group, kept)


def _state(
    rw: Rewriter, node: OperatorNode, target: Site, group: ChannelGroup, kept: Array
) -> None:
    stated = integers(node, STATED[node.op_type])
    assert stated is not None
    # The shape to expand to may have more axes or fewer than the result.
    rank = target.value.rank or len(stated)
    axis = target.axes[0] - (rank - len(stated))
    if axis >= 0 and stated[axis] > 1:
        stated[axis] = int(kept[group.channels_of(target)].sum())
        rw.set_input(node, STATED[node.op_type], rw.constant(np.array(stated, np.int64)))


def _split(rw: Rewriter, node: OperatorNode, group: ChannelGroup, kept: Array) -> None:
    sizes = []
    places = {t.value: t for n, _, t in group.resized if n is node and t is not None}
    for value in node.outputs:
        sizes.append(int(kept[group.channels_of(places[value])].sum()))
    if "split" in node.attributes:
        rw.set_attribute(node, "split", tuple(sizes))
    else:
        rw.set_input(node, 1, rw.constant(np.array(sizes, np.int64)))
