"""Which channels can be deleted: what is left must still be a tensor, and nodes must allow it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from burnish.analysis.axis_graph import ChannelGroup, Passage
from burnish.analysis.axis_graph_heads import removal
from burnish.analysis.axis_graph_sites import Member, Site
from burnish.analysis.axis_graph_views import integers
from burnish.ir import Array, OperatorNode

STATED = {"Reshape": 1, "Expand": 1}
"""Operators with a shape among their inputs, and where."""

UNEVEN = "what is left would differ from head to head"


def cannot_delete(group: ChannelGroup, indices: Sequence[int] | Array | None = None) -> str | None:
    """Why channels ``indices`` of ``group`` cannot be deleted, None if they can.

    Without ``indices``: why not any that one likes. Of heads and groups of equal size, whole ones
    can go or as many channels of each, which must be the same places in each where an axis comes
    to lie behind them.
    """
    if indices is None:
        return _cannot_choose(group)
    for other, kept in removal(group, indices).items():
        reason = None if kept.all() else _problem(other, kept)
        if reason is not None:
            return reason
    return None


def _cannot_choose(group: ChannelGroup) -> str | None:
    if group.fixed is not None:
        return f"the channels cannot be moved: {group.fixed.reason}"
    if group.labels.any() or group.ties:
        return "the channels belong to heads or groups of equal size"
    if any(site.axis is None for site in group.sites):
        return "the channels are spread over several axes"
    reasons = (_stuck(node, source, target, source.axes) for node, source, target in group.resized)
    return next((reason for reason in reasons if reason is not None), None)


def _problem(group: ChannelGroup, kept: Array) -> str | None:
    """Why not exactly the channels ``kept``, bool [size], can be left of ``group``."""
    if group.fixed is not None:
        return f"the channels cannot be moved: {group.fixed.reason}"
    places: tuple[Site | Member, ...] = (*group.sites, *group.members)
    for at in places:
        mask = kept[group.channels_of(at)]
        if not mask.any():
            return "no channel would be left"
        if shrunk(mask) is None:
            return UNEVEN
    for part in group.parts:
        if any(_disordered(passage, group, kept) for passage in part.passages):
            return UNEVEN
    for node, source, target in group.resized:
        reason = _stuck(node, source, target, changed(group, source, kept))
        reason = reason or _broken(group, kept, node, source, target)
        if reason is not None:
            return reason
    return None


def shrunk(kept: Array) -> tuple[int, ...] | None:
    """The shape of what is ``kept``, bool, of an array: whole rows, or as much of each row.

    None if it has none. What is left keeps its order, row by row.
    """
    inner = kept[np.ix_(*_rows(kept))]
    counts = inner.sum(axis=-1)
    if not inner.size or (counts != counts.flat[0]).any():
        return None
    return (*inner.shape[:-1], int(counts.flat[0]))


def _rows(kept: Array) -> list[Array]:
    """For each axis, where anything is kept."""
    axes = range(kept.ndim)
    return [np.asarray(kept.any(axis=tuple(a for a in axes if a != axis))) for axis in axes]


def left_of(group: ChannelGroup, at: Site | Member, kept: Array) -> tuple[int, ...]:
    """The new sizes of a site, or of a constant along its axes of channels."""
    shape = shrunk(kept[group.channels_of(at)])
    assert shape is not None
    return shape


def changed(group: ChannelGroup, site: Site, kept: Array) -> tuple[int, ...]:
    """The axes of ``site`` that get shorter."""
    sizes = zip(site.axes, site.numbers.shape, left_of(group, site, kept), strict=True)
    return tuple(axis for axis, before, after in sizes if before != after)


def _stuck(
    node: OperatorNode, source: Site, target: Site | None, axes: tuple[int, ...]
) -> str | None:
    """Why what ``node`` says about the sizes of ``axes`` of its input cannot be changed."""
    if not axes:
        return None
    if target is None:
        looks = node.op_type == "Attention" or all(_looks_away(node, axis) for axis in axes)
        return None if looks else f"{node.op_type} measures the channels"
    if node.op_type in STATED and integers(node, STATED[node.op_type]) is None:
        return f"{node.op_type} computes the number of channels"
    if node.op_type == "Split" and node.input(1) is not None and node.constant_input(1) is None:
        return "Split computes the number of channels"
    if node.op_type == "Gather":
        indices = node.constant_input(1)
        single = indices is not None and len(indices.shape) < 2
        if not single or int(node.attribute("axis", 0)) % _rank(source) in axes:
            return "Gather chooses channels by number"
    if node.op_type == "Slice" and set(axes) & set(_slices(node, _rank(source))):
        steps = integers(node, 4, "steps") or ()
        if node.constant_input(1) is None or any(step != 1 for step in steps):
            return "Slice chooses channels by number"
    if node.op_type in ("Resize", "Upsample") and node.input(3) is not None:
        return f"{node.op_type} states the number of channels"
    return None


def _rank(site: Site) -> int:
    assert site.value.rank is not None
    return site.value.rank


def _slices(node: OperatorNode, rank: int) -> list[int]:
    """The axes that a Slice cuts, in the order in which it says where."""
    axes = integers(node, 3, "axes")
    if axes is None:
        axes = list(range(len(integers(node, 1, "starts") or ())))
    return [axis % rank for axis in axes]


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


def _disordered(passage: Passage, group: ChannelGroup, kept: Array) -> bool:
    """Whether a Transpose puts another axis behind one that is not cut at the same places."""
    if passage.node.op_type != "Transpose":
        return False
    before, after = (kept[group.channels_of(site)] for site in (passage.source, passage.target))
    order = passage.node.attribute("perm") or tuple(reversed(range(_rank(passage.source))))
    places = [order.index(axis) for axis in passage.source.axes]
    return places[-1] != max(places) and not (_is_product(before) and _is_product(after))


def _is_product(kept: Array) -> bool:
    """Whether the same places are kept in all rows that are kept."""
    return bool(kept[np.ix_(*_rows(kept))].all())


def _broken(
    group: ChannelGroup, kept: Array, node: OperatorNode, source: Site, target: Site | None
) -> str | None:
    """Why ``node`` would not make what is left of ``target`` of what is left of ``source``."""
    mask = by_head(node, source, kept[group.channels_of(source)])
    sizes = shrunk(mask)
    if sizes is None or (node.op_type == "Slice" and cuts(group, kept, node, source) is None):
        return UNEVEN
    if node.op_type == "RotaryEmbedding" and sizes[-1] != mask.shape[-1]:
        return "RotaryEmbedding turns pairs of channels by angles"
    if node.is_op("LayerNormalization", "RMSNormalization") and sizes[-1] != mask.shape[-1]:
        return f"{node.op_type} has a scale for each place in heads"
    if target is not None and node.op_type in ("Split", "Slice", "Concat", "Gather"):
        return _torn(group, kept, node, source, target)
    return None


def _torn(
    group: ChannelGroup, kept: Array, node: OperatorNode, source: Site, target: Site
) -> str | None:
    """Why axes along which ``node`` does not cut or join would not be the same on both sides."""
    axis = int(node.attribute("axis", 0)) % _rank(source)
    gone = target.value.rank == _rank(source) - 1
    before = zip(source.numbers.shape, left_of(group, source, kept), strict=True)
    sizes = dict(zip(source.axes, before, strict=True))
    after = zip(target.numbers.shape, left_of(group, target, kept), strict=True)
    for at, (old, new) in zip(target.axes, after, strict=True):
        size, left = sizes.get(at + 1 if gone and at >= axis else at, (None, None))
        if size == old and left != new:
            return UNEVEN
    return None


HEADS = {
    "GroupNormalization": ("num_groups",), "RotaryEmbedding": ("num_heads",),
    "Attention": ("q_num_heads", "kv_num_heads", "kv_num_heads"),
}  # fmt: skip
"""Attributes that say of how many heads or groups of equal size the channels of an input are."""


def by_head(node: OperatorNode, site: Site, channels: Array) -> Array:
    """``channels`` at ``site``, [heads, channels each] if ``node`` takes one axis to be so many."""
    names = HEADS.get(node.op_type)
    if names is None or site.axis is None:
        return channels
    heads = int(node.attribute(names[node.inputs.index(site.value)], 0))
    return channels.reshape(heads or 1, -1)


def cuts(
    group: ChannelGroup, kept: Array, node: OperatorNode, source: Site
) -> dict[int, tuple[int, int]] | None:
    """Index among the axes of a Slice -> where it starts and ends now; None if rows differ."""
    mask = kept[group.channels_of(source)]
    starts, ends = integers(node, 1, "starts"), integers(node, 2, "ends")
    found = {}
    for index, axis in enumerate(_slices(node, _rank(source))):
        if axis not in source.axes or starts is None or ends is None:
            continue
        rows = np.moveaxis(mask, source.axes.index(axis), -1)
        rows = rows.reshape(-1, rows.shape[-1])
        rows = rows[rows.any(axis=1)]
        start, end, _ = slice(starts[index], ends[index]).indices(rows.shape[1])
        before, upto = rows[:, :start].sum(axis=1), rows[:, :end].sum(axis=1)
        if np.ptp(before) or np.ptp(upto):
            return None
        found[index] = int(before[0]), int(upto[0])
    return found


def keep_some(group: ChannelGroup, kept: Array) -> None:
    """Keep a channel of each weight: one of several values that are joined might have none.

    Args:
        group: whose channels go.
        kept: bool [..., channels]; changed in place.
    """
    for member in group.members:
        channels = group.channels_of(member).reshape(-1)
        kept[..., channels[-1]] |= ~kept[..., channels].any(axis=-1)
