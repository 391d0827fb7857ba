"""Detours around attention: axes that are merged for an operator and split again after it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from burnish.ir import Dim, OperatorNode, VariableNode
from burnish.rewrite import Any, Match, Miss, Op, Rewriter, Rule


def _read_transpose(match: Match) -> tuple[Dim, ...] | Miss:
    """Shape of the keys before [b, h, n, d] -> [b * h, n, d] -> [b * h, d, n] -> [b, h, d, n]."""
    x, flat, result = match["x"].shape, match.node("flat").output.shape, match.root.output.shape
    if x is None or flat is None or result is None or None in (*flat[1:], *result):
        return Miss("the shape of the data is unknown", match.root)
    if len(result) < 3:
        return Miss("the result has fewer than three axes", match.root)
    if result[-2:] != (flat[2], flat[1]):
        return Miss("the swapped axes do not stay the last two", match.root)
    before = (*result[:-2], result[-1], result[-2])
    if before != x and match.root.output.static_shape is None:
        return Miss("the shape of the data is unknown", match.root)
    return before


def _write_transpose(rw: Rewriter, match: Match, before: tuple[Dim, ...]) -> None:
    source, output, rank = match["x"], match.root.output, len(before)
    if source.shape != before:
        sizes = rw.constant(np.array(before, np.int64))
        source = rw.op("Reshape", [source, sizes], like=output)
        source.shape = before
    perm = (*range(rank - 2), rank - 1, rank - 2)
    rw.replace(output, rw.op("Transpose", [source], {"perm": perm}, like=output))


def groups(split: tuple[int, ...], merged: tuple[int, ...]) -> list[slice] | None:
    """For every axis of ``merged`` the axes of ``split`` that make it up, if there are such.

    Axes of size 1 in ``split`` belong to the group before them.
    """
    edges, position = [0], 0
    for size in merged:
        product = 1
        while position < len(split) and (product < size or split[position] == 1):
            product *= split[position]
            position += 1
        if product != size:
            return None
        edges.append(position)
    return [slice(a, b) for a, b in pairwise(edges)] if position == len(split) else None


def _read_mask(match: Match) -> list[slice] | Miss:
    """Groups of axes that are merged after a mask was added."""
    scores, apart = match["scores"].static_shape, match.node("apart").output.static_shape
    joined, mask = match.node("joined").output.static_shape, match["mask"].static_shape
    if scores is None or apart is None or mask is None or joined != scores:
        return Miss("the shapes of scores and mask are unknown or do not come back", match.root)
    found = groups(apart, scores)
    if found is None or found[-1] != slice(len(apart) - 1, len(apart)):
        return Miss("axes are not only merged and split", match.node("apart"))
    return found


def _write_mask(rw: Rewriter, match: Match, facts: list[slice]) -> None:
    apart, mask = match.node("apart").output.static_shape, match["mask"]
    assert apart is not None
    assert mask.static_shape is not None
    own = (1,) * (len(apart) - len(mask.static_shape)) + mask.static_shape
    spread: list[int] = []
    for group in facts:
        used = any(size != 1 for size in own[group])
        spread += apart[group] if used else own[group]
    merged = [int(np.prod(spread[group])) for group in facts]
    scores = match["scores"]
    added = rw.op("Add", [scores, _spread(rw, mask, spread, merged)], like=scores)
    axis = match.root.attributes
    rw.replace(match.root.output, rw.op("Softmax", [added], axis, like=match.root.output))


def _spread(rw: Rewriter, mask: VariableNode, spread: list[int], merged: list[int]) -> VariableNode:
    """``mask`` repeated to ``spread`` and seen as ``merged``."""
    if mask.constant is not None:
        array = np.broadcast_to(mask.constant.numpy(), spread)
        return rw.constant(np.ascontiguousarray(array).reshape(merged))
    if mask.static_shape != tuple(spread):
        mask = rw.op("Expand", [mask, rw.constant(np.array(spread, np.int64))], like=mask)
        mask.shape = tuple(spread)
    if spread == merged:
        return mask
    result = rw.op("Reshape", [mask, rw.constant(np.array(merged, np.int64))], like=mask)
    result.shape = tuple(merged)
    return result


def _swaps_last(node: OperatorNode) -> bool:
    """Whether the last two of three axes change places: other Transposes are no near misses."""
    return tuple(node.attribute("perm") or ()) == (0, 2, 1)


TRANSPOSE = Op(
    "Reshape",
    Op("Transpose", Op("Reshape", Any("x"), Any(), name="flat"), accept=_swaps_last),
    Any(),
)

MASK = Op(
    "Softmax",
    Op(
        "Reshape",
        Op("Add", Op("Reshape", Any("scores"), Any(), name="apart"), Any("mask")),
        Any(),
        name="joined",
    ),
    accept=lambda node: node.attribute("axis", -1) == -1,
)

DETOURS = (
    Rule("transpose-detour", TRANSPOSE, _write_transpose, _read_transpose),
    Rule("mask-detour", MASK, _write_mask, _read_mask, since=13),
)
