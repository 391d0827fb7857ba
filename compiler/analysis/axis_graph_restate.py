"""Lets nodes state the new sizes of axes of which channels have been deleted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from burnish.analysis.axis_graph import ChannelGroup
from burnish.analysis.axis_graph_sites import Site
from burnish.analysis.axis_graph_sizes import (
    HEADS,
    STATED,
    by_head,
    changed,
    cuts,
    left_of,
    shrunk,
)
from burnish.analysis.axis_graph_views import integers
from burnish.ir import Array, OperatorNode
from burnish.rewrite import Rewriter


def restate(rw: Rewriter, left: Mapping[ChannelGroup, Array]) -> None:
    """Let nodes state how many channels are ``left``, bool [size], of each group."""
    # Several groups look at how many heads there were: that changes last.
    heads: dict[tuple[OperatorNode, str], int] = {}
    for group, kept in left.items():
        for node, source, target in group.resized:
            if not changed(group, source, kept):
                continue
            if node.op_type in HEADS:
                _note_heads(rw, heads, node, source, kept[group.channels_of(source)])
            elif target is not None:
                _restate(rw, group, kept, node, source, target)
    for (node, name), count in heads.items():
        rw.set_attribute(node, name, count)


def _restate(
    rw: Rewriter, group: ChannelGroup, kept: Array, node: OperatorNode, source: Site, target: Site
) -> None:
    if node.op_type in STATED:
        _state(rw, node, source, target, left_of(group, target, kept))
    elif node.op_type == "Conv":
        rw.set_attribute(node, "group", left_of(group, source, kept)[0])
    elif node.op_type == "Slice":
        _slice(rw, node, cuts(group, kept, node, source) or {})
    elif node.op_type == "Split":
        _split(rw, node, group, kept)


def _note_heads(
    rw: Rewriter,
    heads: dict[tuple[OperatorNode, str], int],
    node: OperatorNode,
    source: Site,
    kept: Array,
) -> None:
    """How many heads are left; what logits are multiplied by stays what it was."""
    mask = by_head(node, source, kept)
    sizes = shrunk(mask)
    assert sizes is not None
    queries = node.inputs[0] is source.value
    if node.op_type == "Attention" and queries and sizes[-1] != mask.shape[-1]:
        if "scale" not in node.attributes:
            rw.set_attribute(node, "scale", float(1 / np.sqrt(mask.shape[-1])))
    # One value may be several inputs; the heads of values are those of keys.
    for name, value in zip(HEADS[node.op_type], node.inputs, strict=False):
        if value is source.value and name in node.attributes:
            heads[node, name] = sizes[0]


def _state(
    rw: Rewriter, node: OperatorNode, source: Site, target: Site, sizes: tuple[int, ...]
) -> None:
    stated = integers(node, STATED[node.op_type])
    assert stated is not None
    shape = target.value.shape or ()
    # The shape to expand to may have more axes or fewer than the result.
    shift = len(shape) - len(stated)
    for axis in source.axes:
        # A zero copies a size by its place, which now may be another's.
        if node.op_type == "Reshape" and axis < len(stated) and not stated[axis]:
            size = shape[axis]
            assert isinstance(size, int)
            stated[axis] = size
    for axis, size in zip(target.axes, sizes, strict=True):
        if axis >= shift and stated[axis - shift] not in (-1, 1):
            stated[axis - shift] = size
    rw.set_input(node, STATED[node.op_type], rw.constant(np.array(stated, np.int64)))


def _slice(rw: Rewriter, node: OperatorNode, found: dict[int, tuple[int, int]]) -> None:
    starts, ends = integers(node, 1), integers(node, 2)
    given = node.input(1)
    if starts is None or ends is None or given is None or not found:
        return
    for index, (start, end) in found.items():
        starts[index], ends[index] = start, end
    # All that says where to cut is of one type.
    rw.set_input(node, 1, rw.constant(np.array(starts, given.dtype.numpy)))
    rw.set_input(node, 2, rw.constant(np.array(ends, given.dtype.numpy)))


def _split(rw: Rewriter, node: OperatorNode, group: ChannelGroup, kept: Array) -> None:
    """State all sizes of the results, unless that axis stays as it is."""
    sizes = []
    places = {t.value: t for n, _, t in group.resized if n is node and t is not None}
    for value in node.outputs:
        target = places[value]
        axis = int(node.attribute("axis", 0)) % (value.rank or 1)
        sizes.append(left_of(group, target, kept)[target.axes.index(axis)])
    if sizes == [value.shape[node.attribute("axis", 0)] for value in node.outputs if value.shape]:
        return
    assert node.graph is not None
    rw.set_attribute(node, "num_outputs", None)
    if node.graph.opset < 13:
        rw.set_attribute(node, "split", tuple(sizes))
    else:
        rw.set_input(node, 1, rw.constant(np.array(sizes, np.int64)))
