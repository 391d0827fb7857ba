"""Rules for Concat of what was joined, cut out or given an axis before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.passes.cleanup.remove_no_ops import can_stand_in
from burnish.passes.cleanup.windows import (
    Piece,
    credit,
    piece_of,
    split_axis,
    write_slice,
)
from burnish.rewrite import Match, Miss, Op, Rewriter, Rule


def _maker(value: VariableNode | None, like: OperatorNode, *kinds: str) -> OperatorNode | None:
    """The node of one of ``kinds`` in the graph of ``like`` that makes ``value``, if any."""
    node = None if value is None else value.producer
    return node if node is not None and node.is_op(*kinds) and node.graph is like.graph else None


def _is_read_by(value: VariableNode | None, node: OperatorNode) -> bool:
    """Whether ``node`` alone reads ``value``."""
    return value is not None and all(use.user is node for use in value.uses)


def _nested(match: Match) -> list[OperatorNode] | Miss:
    """The Concats along the same axis whose results this one alone reads."""
    root = match.root
    axis = split_axis(root)
    makers = [_maker(value, root, "Concat") for value in root.inputs]
    nested = list(dict.fromkeys(node for node in makers if node is not None))
    if not nested:
        return Miss("nothing that it joins was joined before", root)
    if axis is None:
        return Miss("its rank is not known", root)
    along = [node for node in nested if split_axis(node) == axis]
    if not along:
        return Miss("what it joins was joined along another axis", root)
    found = [node for node in along if _is_read_by(node.output, root)]
    return found or Miss("what it joins is also read as it is", along[0])


def _join_at_once(rewriter: Rewriter, match: Match, nested: list[OperatorNode]) -> None:
    root = match.root
    credit(rewriter, *nested)
    flat: list[VariableNode | None] = []
    for value in root.inputs:
        maker = None if value is None else value.producer
        flat += list(maker.inputs) if maker in nested and maker is not None else [value]
    axis = {"axis": root.attribute("axis")}
    rewriter.replace(root.output, rewriter.op("Concat", flat, axis, like=root.output))
    rewriter.erase_unused([root, *nested])


def _filled(match: Match) -> list[VariableNode] | Miss:
    """The inputs that have elements along the axis."""
    root = match.root
    axis = split_axis(root)
    if axis is None:
        return Miss("its rank is not known", root)
    values = [value for value in root.inputs if value is not None]
    kept = [value for value in values if value.shape is None or value.shape[axis] != 0]
    if len(kept) == len(values) or not kept:
        return Miss("nothing that it joins is known to be empty", root)
    if len(kept) == 1 and not can_stand_in(kept[0], root.output):
        return Miss("a graph output must keep its own name", root)
    return kept


def _join_filled(rewriter: Rewriter, match: Match, kept: list[VariableNode]) -> None:
    root = match.root
    result = kept[0]
    if len(kept) > 1:
        like = root.output
        result = rewriter.op("Concat", kept, {"axis": root.attribute("axis")}, like=like)
    rewriter.replace(root.output, result)


@dataclass(frozen=True)
class _Run:
    """Consecutive inputs of a Concat that are one piece of one value, or a single input."""

    inputs: tuple[VariableNode, ...]
    piece: Piece | None

    @property
    def is_whole(self) -> bool:
        """Whether the piece is all of the value."""
        return self.piece is not None and len(self.inputs) > 1 and self.piece.start == 0


def _runs(node: OperatorNode, axis: int) -> list[_Run]:
    runs: list[_Run] = []
    for value in node.inputs:
        assert value is not None
        piece = piece_of(value, axis)
        last = runs[-1].piece if runs else None
        if piece and last and piece.source is last.source and piece.start == last.stop:
            joint = Piece(piece.source, last.start, piece.stop)
            runs[-1] = _Run((*runs[-1].inputs, value), joint)
        else:
            runs.append(_Run((value,), piece))
    return runs


def _adjacent(match: Match) -> list[_Run] | Miss:
    """The inputs in runs, where joining each run again takes no more operators than now."""
    root = match.root
    axis = split_axis(root)
    if axis is None:
        return Miss("its rank is not known", root)
    runs = _runs(root, axis)
    if len(runs) == len(root.inputs):
        return Miss("it joins no neighbouring pieces of one value", root)
    kept: list[_Run] = []
    for run in runs:
        is_free = len(run.inputs) == 1 or _covers(run, axis) or all(
            _maker(value, root, "Slice") and _is_read_by(value, root) for value in run.inputs
        )  # fmt: skip
        kept += [run] if is_free or len(runs) == 1 else [_Run((v,), None) for v in run.inputs]
    if len(kept) == len(root.inputs):
        return Miss("the pieces that it joins are also read by themselves", root)
    first = kept[0].piece
    if len(kept) == 1 and first is not None and _covers(kept[0], axis):
        if not can_stand_in(first.source, root.output):
            return Miss("a graph output must keep its own name", root)
    return kept


def _covers(run: _Run, axis: int) -> bool:
    """Whether ``run`` is all of its value."""
    piece = run.piece
    if piece is None or len(run.inputs) == 1 or piece.source.shape is None:
        return False
    return piece.start == 0 and piece.stop == piece.source.shape[axis]


def _join_runs(rewriter: Rewriter, match: Match, runs: list[_Run]) -> None:
    root = match.root
    axis = split_axis(root)
    assert axis is not None
    makers = [value.producer for run in runs for value in run.inputs if len(run.inputs) > 1]
    credit(rewriter, *makers)
    values = []
    for run in runs:
        piece = run.piece
        if len(run.inputs) == 1 or piece is None:
            values.append(run.inputs[0])
        elif _covers(run, axis):
            values.append(piece.source)
        else:
            shape = piece.source.shape or ()
            sized = VariableNode(dtype=root.output.dtype)
            sized.shape = (*shape[:axis], piece.count, *shape[axis + 1 :])
            cut = {axis: (piece.start, piece.stop, 1)}
            values.append(write_slice(rewriter, piece.source, cut, sized))
    result = values[0]
    if len(values) > 1:
        like = root.output
        result = rewriter.op("Concat", values, {"axis": root.attribute("axis")}, like=like)
    rewriter.replace(root.output, result)
    nodes = dict.fromkeys(node for node in makers if node is not None)
    rewriter.erase_unused([root, *nodes])


def _stacked(match: Match) -> tuple[int, tuple[int, ...]] | Miss:
    """The axis along which values are stacked, and their shape, all the same and known."""
    root = match.root
    axis = split_axis(root)
    sources = [_without_axis(value, root, axis) for value in root.inputs]
    if axis is None or len(sources) < 2 or any(source is None for source in sources):
        return Miss("not everything that it joins was given an axis for that", root)
    shapes = {source.static_shape for source in sources if source is not None}
    shape = shapes.pop()
    if shapes or shape is None:
        return Miss("what it stacks has different or unknown shapes", root)
    if axis >= len(shape):
        return Miss("it stacks along the last axis, where elements have to alternate", root)
    views = [v for v in root.inputs if v is not None and not v.is_constant]
    if sum(_is_read_by(value, root) for value in dict.fromkeys(views)) < 2:
        return Miss("what it joins is also read with the axis", root)
    return axis, shape


def _without_axis(
    value: VariableNode | None, root: OperatorNode, axis: int | None
) -> VariableNode | None:
    """What ``value`` was before it was given ``axis`` of one element."""
    maker = _maker(value, root, "Unsqueeze", "Reshape")
    if value is None or maker is None or axis is None or value.static_shape is None:
        return None
    source, shape = maker.inputs[0], value.static_shape
    assert source is not None
    before = (*shape[:axis], *shape[axis + 1 :])
    return source if shape[axis] == 1 and source.static_shape == before else None


def _stack(rewriter: Rewriter, match: Match, facts: tuple[int, tuple[int, ...]]) -> None:
    root, (axis, shape) = match.root, facts
    makers = [value.producer for value in root.inputs if value is not None]
    credit(rewriter, *makers)
    sources = [node.inputs[0] for node in makers if node is not None]
    joined = VariableNode(dtype=root.output.dtype)
    joined.shape = (*shape[:axis], shape[axis] * len(sources), *shape[axis + 1 :])
    long = rewriter.op("Concat", sources, {"axis": axis}, like=joined)
    target = np.array((*shape[:axis], len(sources), *shape[axis:]), np.int64)
    sizes = rewriter.constant(target)
    result = rewriter.op("Reshape", [long, sizes], like=root.output)
    rewriter.replace(root.output, result)
    rewriter.erase_unused([root, *dict.fromkeys(node for node in makers if node is not None)])


CONCAT_RULES = (
    Rule("concat-of-nothing", Op("Concat"), _join_filled, _filled),
    Rule("concat-of-concat", Op("Concat"), _join_at_once, _nested),
    Rule("concat-of-pieces", Op("Concat"), _join_runs, _adjacent),
    Rule("stack-by-concat", Op("Concat"), _stack, _stacked, since=5),
)
