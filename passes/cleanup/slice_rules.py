"""Rules for Slice, Split and Pad of what was cut, joined or padded before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.passes.cleanup.no_op_moves import OPEN_END, parameter
from burnish.passes.cleanup.remove_no_ops import can_stand_in
from burnish.passes.cleanup.windows import (
    Cuts,
    as_cut,
    bounds_of,
    credit,
    is_whole,
    merged,
    positions,
    read_cuts,
    sizes_along,
    split_axis,
    write_slice,
)
from burnish.rewrite import Any, Match, Miss, Op, Rewriter, Rule

KEEP_NAME = "a graph output must keep its own name"
NOT_CONSTANT = "where it cuts is known only when it runs"


def _merged_cuts(match: Match) -> Cuts | Miss:
    first, second = read_cuts(match.node("inner")), read_cuts(match.root)
    if first is None or second is None:
        return Miss(NOT_CONSTANT, match.root)
    result = dict(first)
    for axis, cut in second.items():
        if axis not in first:
            result[axis] = cut
            continue
        shape = match["x"].shape
        both = merged(first[axis], cut, None if shape is None else shape[axis])
        if both is None:
            return Miss("the axis that both cut has an unknown size: give --input-shape")
        result[axis] = both
    return result


def _slice(rewriter: Rewriter, match: Match, cuts: Cuts) -> None:
    old = match.root.output
    rewriter.replace(old, write_slice(rewriter, match["x"], cuts, old))


def _part(match: Match) -> tuple[int, Cuts] | Miss:
    """Which input of a Concat a Slice reads, and what of it."""
    joined, cuts = match.node("inner"), read_cuts(match.root)
    axis, shape = split_axis(joined), joined.output.shape
    if cuts is None or axis is None or shape is None:
        return Miss(NOT_CONSTANT, match.root)
    if axis not in cuts:
        return Miss("it cuts along another axis than the one that is joined", match.root)
    start, end, step = cuts[axis]
    taken = positions(cuts[axis], shape[axis])
    if taken is None and step > 0 and 0 <= start <= end < OPEN_END:
        taken = range(start, end, step)
    if not taken:
        return Miss("it is not known which part of what is joined it reads", match.root)
    low, high = min(taken[0], taken[-1]), max(taken[0], taken[-1])
    before = 0
    for index, value in enumerate(joined.inputs):
        size = None if value is None or value.shape is None else value.shape[axis]
        if not isinstance(size, int):
            break
        if before <= low and high < before + size:
            local = range(taken.start - before, taken.stop - before, taken.step)
            return index, {**cuts, axis: as_cut(local, size)}
        before += size
    return Miss("it reads several parts of what is joined, or parts of unknown size", match.root)


def _read_part(rewriter: Rewriter, match: Match, facts: tuple[int, Cuts]) -> None:
    index, cuts = facts
    value, old = match.node("inner").inputs[index], match.root.output
    assert value is not None and value.shape is not None
    if all(is_whole(cut, value.shape[axis]) for axis, cut in cuts.items()):
        if can_stand_in(value, old):
            rewriter.replace(old, value)
            return
    rewriter.replace(old, write_slice(rewriter, value, cuts, old))


def _undone(match: Match) -> list[tuple[VariableNode, ...]] | Miss:
    """For every result of a Split the inputs of the Concat before that it is made of."""
    joined, root = match.node("inner"), match.root
    axis = split_axis(root)
    if axis is None or axis != split_axis(joined):
        return Miss("what is joined along one axis is split along another", root)
    made, given = sizes_along(root.outputs, axis), sizes_along(joined.inputs, axis)
    if made is None or given is None:
        return Miss("the sizes along the axis are not known: give --input-shape", root)
    starts = [start for start, _ in bounds_of(given)]
    groups = []
    for start, stop in bounds_of(made):
        inside = [v for v, at in zip(joined.inputs, starts, strict=True) if start <= at < stop]
        groups.append(tuple(v for v in inside if v is not None))
    fits = [sum(sizes_along(group, axis) or ()) for group in groups] == list(made)
    if not fits or not all(groups):
        return Miss("it is split elsewhere than it is joined", root)
    again = sum(len(group) > 1 for group in groups)
    if again > (len(joined.output.uses) == 1):
        return Miss("more would have to be joined than is joined now", root)
    for group, value in zip(groups, root.outputs, strict=True):
        if len(group) == 1 and value.uses and not can_stand_in(group[0], value):
            return Miss(KEEP_NAME, root)
    return groups


def _undo(rewriter: Rewriter, match: Match, groups: list[tuple[VariableNode, ...]]) -> None:
    for group, value in zip(groups, match.root.outputs, strict=True):
        if not value.uses:
            continue
        part = group[0]
        if len(group) > 1:
            axis = {"axis": match.node("inner").attribute("axis")}
            part = rewriter.op("Concat", group, axis, like=value)
        rewriter.replace(value, part)


def _nested(match: Match) -> OperatorNode | Miss:
    """The Split that made what a Split along the same axis splits further."""
    root = match.root
    value = root.inputs[0]
    outer = None if value is None else value.producer
    assert value is not None
    if outer is None or not outer.is_op("Split") or outer.graph is not root.graph:
        return Miss("what it splits comes from no other Split", root)
    if len(value.uses) > 1:
        return Miss("what it splits is also read whole", root)
    axis = split_axis(root)
    if axis is None or axis != split_axis(outer):
        return Miss("the two split along different axes", root)
    if sizes_along((*outer.outputs, *root.outputs), axis) is None:
        return Miss("the sizes along the axis are not known: give --input-shape", root)
    return outer


def _split_at_once(rewriter: Rewriter, match: Match, outer: OperatorNode) -> None:
    root, axis = match.root, split_axis(match.root)
    assert axis is not None and root.inputs[0] is not None
    at = outer.outputs.index(root.inputs[0])
    results = (*outer.outputs[:at], *root.outputs, *outer.outputs[at + 1 :])
    rewriter.anchor = outer
    credit(rewriter, outer)
    split = write_split(rewriter, outer.inputs[0], results, axis)
    for old, new in zip(results, split, strict=True):
        if old.uses:
            rewriter.replace(old, new)
    rewriter.erase_unused([root, outer])


def write_split(
    rewriter: Rewriter, source: VariableNode | None, like: Sequence[VariableNode], axis: int
) -> tuple[VariableNode, ...]:
    """Split ``source`` along ``axis`` into results of the types and shapes of ``like``."""
    sizes = sizes_along(tuple(like), axis)
    assert sizes is not None
    inputs, attributes = [source], {"axis": axis}
    if rewriter.graph.opset < 13:
        attributes["split"] = sizes  # type: ignore[assignment]
    else:
        inputs.append(rewriter.constant(np.array(sizes, np.int64)))
    first = rewriter.op("Split", inputs, attributes, like=like[0], outputs=len(sizes))
    assert first.producer is not None
    for old, new in zip(like, first.producer.outputs, strict=True):
        new.dtype, new.shape = old.dtype, old.shape
    return first.producer.outputs


def _amounts(node: OperatorNode) -> tuple[int, ...] | Miss:
    """Before and after of a Pad that adds constants along axes in order."""
    pads, mode = parameter(node, 1, "pads"), node.attribute("mode", "constant")
    if pads is None or node.input(3) is not None:
        return Miss("its pads are not constant, or it names axes", node)
    if mode not in ("constant", b"constant") or min(pads, default=0) < 0:
        return Miss("it does more than add a constant", node)
    return pads


def _filling(node: OperatorNode) -> object:
    """What a Pad adds, to compare; the value itself where it is computed."""
    value = node.input(2)
    if value is None:
        return float(node.attribute("value", 0.0))
    constant = value.constant
    return value if constant is None or constant.dtype.bits < 8 else constant.numpy().item()


def _total_pads(match: Match) -> tuple[int, ...] | Miss:
    inner, outer = _amounts(match.node("inner")), _amounts(match.root)
    if isinstance(inner, Miss) or isinstance(outer, Miss):
        return inner if isinstance(inner, Miss) else outer
    if _filling(match.node("inner")) != _filling(match.root):
        return Miss("the two add different values", match.root)
    return tuple(a + b for a, b in zip(inner, outer, strict=True))


def _pad(rewriter: Rewriter, match: Match, pads: tuple[int, ...]) -> None:
    root = match.root
    attributes = dict(root.attributes)
    inputs = [match["x"], *root.inputs[1:]]
    if "pads" in attributes:
        attributes["pads"] = pads
    else:
        inputs[1] = rewriter.constant(np.array(pads, np.int64))
    rewriter.replace(root.output, rewriter.op("Pad", inputs, attributes, like=root.output))


def _cropped(match: Match) -> tuple[int, ...] | Cuts | Miss:
    """The pads that remain after a Slice, or what it takes of the value before the Pad."""
    pads, cuts = _amounts(match.node("inner")), read_cuts(match.root)
    shape, wide = match["x"].static_shape, match.node("inner").output.static_shape
    if isinstance(pads, Miss):
        return pads
    if cuts is None or shape is None or wide is None:
        return Miss(NOT_CONSTANT, match.root)
    rank = len(shape)
    left, inside = list(pads), dict(cuts)
    only_pads = only_inside = True
    for axis, cut in cuts.items():
        taken, before = positions(cut, wide[axis]), pads[axis]
        if not taken:
            return Miss("it keeps nothing", match.root)
        covers = taken.step == 1 and taken.start <= before
        only_pads &= covers and taken.stop >= before + shape[axis]
        left[axis] = before - taken.start
        left[axis + rank] = taken.stop - before - shape[axis]
        low, high = min(taken[0], taken[-1]) - before, max(taken[0], taken[-1]) - before
        only_inside &= low >= 0 and high < shape[axis]
        moved = range(taken.start - before, taken.stop - before, taken.step)
        inside[axis] = as_cut(moved, shape[axis])
    if only_pads:
        return tuple(left)
    untouched = not any(pads[a] + pads[a + rank] for a in range(rank) if a not in cuts)
    if only_inside and untouched:
        return inside
    return Miss("it keeps some of what was added and not all of what was there", match.root)


def _crop(rewriter: Rewriter, match: Match, facts: tuple[int, ...] | Cuts) -> None:
    old = match.root.output
    if isinstance(facts, tuple):
        pad = match.node("inner")
        attributes, inputs = dict(pad.attributes), [match["x"], *pad.inputs[1:]]
        if not any(facts) and can_stand_in(match["x"], old):
            rewriter.replace(old, match["x"])
            return
        if "pads" in attributes:
            attributes["pads"] = facts
        else:
            inputs[1] = rewriter.constant(np.array(facts, np.int64))
        rewriter.replace(old, rewriter.op("Pad", inputs, attributes, like=old))
        return
    rewriter.replace(old, write_slice(rewriter, match["x"], facts, old))


def _inner(kind: str, *, shared: bool = False, x: bool = True) -> Op:
    inputs = (Any("x"),) if x else ()
    return Op(kind, *inputs, name="inner", open_ended=True, shared=shared)


SLICE_RULES = (
    Rule("slice-of-slice", Op("Slice", _inner("Slice", shared=True), open_ended=True),
         _slice, _merged_cuts),
    Rule("slice-of-concat", Op("Slice", _inner("Concat", shared=True, x=False), open_ended=True),
         _read_part, _part),
    Rule("split-of-concat", Op("Split", _inner("Concat", shared=True, x=False), open_ended=True),
         _undo, _undone),
    Rule("split-of-split", Op("Split"), _split_at_once, _nested),
    Rule("pad-of-pad", Op("Pad", _inner("Pad"), open_ended=True), _pad, _total_pads),
    Rule("slice-of-pad", Op("Slice", _inner("Pad"), open_ended=True), _crop, _cropped),
)  # fmt: skip
