"""Rules for Gather with known indices, and for Expand and Tile of what was repeated before."""

from __future__ import annotations

import numpy as np

from burnish.ir import Array, VariableNode
from burnish.passes.cleanup.remove_no_ops import can_stand_in
from burnish.passes.cleanup.windows import Cuts, as_cut, split_axis, write_slice
from burnish.passes.fusion.constants import integers
from burnish.rewrite import Any, Const, Match, Miss, Op, Rewriter, Rule

LARGEST = 1 << 16
"""Indices that are looked at; lists of more are data rather than a choice of places."""

UNKNOWN = "the size of the axis is not known: give --input-shape"


def _axis(match: Match) -> int | None:
    rank = match["x"].rank
    return None if not rank else int(match.root.attribute("axis", 0)) % rank


def _indices(match: Match, size: int) -> Array:
    """The indices counted from the front."""
    given = match.constant("indices").numpy().astype(np.int64)
    return np.where(given < 0, given + size, given)


def _progression(match: Match) -> Cuts | Miss:
    """The slice that takes what indices in steps of the same size pick."""
    axis, constant = _axis(match), match.constant("indices")
    maker = match["x"].producer
    if maker is not None and maker.is_op("Shape"):
        return Miss("it picks sizes, which are followed by name", match.root)
    size = None if axis is None else (match["x"].shape or ())[axis]
    if len(constant.shape) != 1 or not 0 < constant.size <= LARGEST:
        return Miss("its indices are no short list", match.root)
    if axis is None or not isinstance(size, int):
        return Miss(UNKNOWN, match.root)
    found = _indices(match, size)
    step = int(found[1] - found[0]) if found.size > 1 else 1
    taken = range(int(found[0]), int(found[0]) + step * found.size, step or 1)
    if step < 1 or not np.array_equal(found, np.array(taken)):
        return Miss("its indices are not in steps of one size", match.root)
    if match.root.graph is not None and match.root.graph.opset < 10 and step > 1:
        return Miss("needs opset 10, which has steps: use --opset", match.root)
    return {axis: as_cut(taken, size)}


def _slice(rewriter: Rewriter, match: Match, cuts: Cuts) -> None:
    old = match.root.output
    rewriter.replace(old, write_slice(rewriter, match["x"], cuts, old))


def _all_in_order(match: Match) -> tuple[int, ...] | Miss:
    """The shape in which a Gather leaves all elements in order."""
    axis, shape = _axis(match), match["x"].static_shape
    constant, result = match.constant("indices"), match.root.output.static_shape
    if axis is None or shape is None or result is None:
        return Miss("its shapes are not known: give --input-shape", match.root)
    if constant.size != shape[axis] or constant.size > LARGEST:
        return Miss("it picks some elements only", match.root)
    if not np.array_equal(_indices(match, shape[axis]).reshape(-1), np.arange(shape[axis])):
        return Miss("it picks elements in another order", match.root)
    return result


def _all_in_order_nd(match: Match) -> tuple[int, ...] | Miss:
    """The shape in which a GatherND leaves all elements in order."""
    shape, result = match["x"].static_shape, match.root.output.static_shape
    constant, batch = match.constant("indices"), match.root.attribute("batch_dims", 0)
    if shape is None or result is None or not constant.shape or batch:
        return Miss("its shapes are not known, or it has batches", match.root)
    depth = constant.shape[-1]
    sizes = shape[:depth]
    count = int(np.prod(sizes, dtype=np.int64))
    if not 0 < depth <= len(shape) or constant.size != count * depth or not count:
        return Miss("it picks some elements only", match.root)
    rows = constant.numpy().reshape(-1, depth)
    flat = np.ravel_multi_index(tuple(rows.T), sizes, mode="wrap")
    if not np.array_equal(flat, np.arange(count)):
        return Miss("it picks elements in another order", match.root)
    return result


def _reshape(rewriter: Rewriter, match: Match, target: tuple[int, ...]) -> None:
    old = match.root.output
    if match["x"].static_shape == target and can_stand_in(match["x"], old):
        rewriter.replace(old, match["x"])
        return
    attributes = {"allowzero": 1} if 0 in target else None
    shape = rewriter.constant(np.array(target, np.int64))
    rewriter.replace(old, rewriter.op("Reshape", [match["x"], shape], attributes, like=old))


def _twice(match: Match) -> Array | Miss:
    """The indices that two Gathers along one axis pick together."""
    inner, root = match.node("inner"), match.root
    rank, picked = match["x"].rank, match.constant("first")
    if len(picked.shape) != 1 or picked.size > LARGEST:
        return Miss("the indices of the first are no short list", inner)
    axes = [int(node.attribute("axis", 0)) for node in (inner, root)]
    if axes[0] != axes[1] and (not rank or axes[0] % rank != axes[1] % rank):
        return Miss("the two go along different axes", root)
    given = match.constant("indices").numpy()
    if given.size > LARGEST:
        return Miss("the indices of the second are no short list", root)
    return np.asarray(picked.numpy()[given])


def _gather(rewriter: Rewriter, match: Match, indices: Array) -> None:
    old = match.root.output
    inputs = [match["x"], rewriter.constant(indices)]
    rewriter.replace(old, rewriter.op("Gather", inputs, match.root.attributes, like=old))


def _from_one(match: Match) -> tuple[VariableNode, Array] | Miss:
    """The input of a Concat that a Gather picks everything from, and the indices there."""
    joined, root = match.node("inner"), match.root
    axis = split_axis(joined)
    shape = joined.output.shape
    if axis is None or int(root.attribute("axis", 0)) % len(shape or (0,)) != axis:
        return Miss("it goes along another axis than the one that is joined", root)
    given = match.constant("indices").numpy()
    size = (shape or ())[axis]
    if given.size == 0 or given.size > LARGEST:
        return Miss("its indices are no short list", root)
    if isinstance(size, int):
        given = np.where(given < 0, given + size, given)
    before = 0
    for value in joined.inputs:
        width = None if value is None or value.shape is None else value.shape[axis]
        if value is None or not isinstance(width, int) or given.min() < 0:
            break
        if before <= given.min() and given.max() < before + width:
            return value, given - before
        before += width
    return Miss("it picks from several parts of what is joined, or of unknown size", root)


def _gather_from(rewriter: Rewriter, match: Match, facts: tuple[VariableNode, Array]) -> None:
    value, indices = facts
    old = match.root.output
    inputs = [value, rewriter.constant(np.asarray(indices))]
    rewriter.replace(old, rewriter.op("Gather", inputs, match.root.attributes, like=old))


def _final_shape(match: Match) -> tuple[int, ...] | Miss:
    shape = match.root.output.static_shape
    return Miss("the size of the result is not known", match.root) if shape is None else shape


def _expand(rewriter: Rewriter, match: Match, shape: tuple[int, ...]) -> None:
    old = match.root.output
    sizes = rewriter.constant(np.array(shape, np.int64))
    rewriter.replace(old, rewriter.op("Expand", [match["x"], sizes], like=old))


def _repeats(match: Match) -> tuple[int, ...] | Miss:
    first, second = (integers(node.input(1)) for node in (match.node("inner"), match.root))
    if first is None or second is None or len(first) != len(second):
        return Miss("how often they repeat is known only when they run", match.root)
    return tuple(a * b for a, b in zip(first, second, strict=True))


def _tile(rewriter: Rewriter, match: Match, repeats: tuple[int, ...]) -> None:
    old = match.root.output
    times = rewriter.constant(np.array(repeats, np.int64))
    rewriter.replace(old, rewriter.op("Tile", [match["x"], times], like=old))


X, INDICES = Any("x"), Const("indices")
GATHER_RULES = (
    Rule("gather-in-order", Op("Gather", X, INDICES), _reshape, _all_in_order, since=14),
    Rule("gather-nd-in-order", Op("GatherND", X, INDICES), _reshape, _all_in_order_nd, since=14),
    Rule("gather-of-steps", Op("Gather", X, INDICES), _slice, _progression),
    Rule("gather-of-gather",
         Op("Gather", Op("Gather", X, Const("first"), name="inner", shared=True), INDICES),
         _gather, _twice),
    Rule("gather-of-concat", Op("Gather", Op("Concat", name="inner", shared=True), INDICES),
         _gather_from, _from_one),
    Rule("expand-of-expand", Op("Expand", Op("Expand", X, Any(), shared=True), Any()),
         _expand, _final_shape),
    Rule("tile-of-tile", Op("Tile", Op("Tile", X, Any(), name="inner"), Any()),
         _tile, _repeats, since=6),
)  # fmt: skip
