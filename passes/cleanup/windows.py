"""Windows: what a Slice, or one result of a Split, takes from a value along each axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from burnish.ir import Attribute, Dim, OperatorNode, VariableNode
from burnish.passes.cleanup.no_op_moves import OPEN_END, parameter
from burnish.passes.fusion.constants import integers
from burnish.rewrite import Rewriter

Cut = tuple[int, int, int]
"""Start, end and step of a Slice along one axis, as they are written."""
Cuts = Mapping[int, Cut]
"""Cuts by axis, counted from the front."""

INPUTS_SINCE = 10
"""First opset in which a Slice gets starts, ends, axes and steps as inputs."""


@dataclass(frozen=True)
class Piece:
    """Elements ``start`` to ``stop`` of ``source`` along one axis."""

    source: VariableNode
    start: int
    stop: int

    @property
    def count(self) -> int:
        """Elements along the axis."""
        return self.stop - self.start


def read_cuts(node: OperatorNode) -> Cuts | None:
    """What a Slice cuts, by axis; None where that is known only when it runs."""
    starts, ends = parameter(node, 1, "starts"), parameter(node, 2, "ends")
    source = node.inputs[0]
    if starts is None or ends is None or source is None:
        return None
    axes, steps = parameter(node, 3, "axes"), integers(node.input(4))
    if (axes is None and node.input(3) is not None) or (steps is None and node.input(4)):
        return None
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if source.rank is not None:
        axes = tuple(axis % source.rank for axis in axes)
    if min(axes, default=0) < 0 or len(set(axes)) < len(axes):
        return None
    return dict(zip(axes, zip(starts, ends, steps, strict=True), strict=True))


def positions(cut: Cut, size: Dim) -> range | None:
    """The positions that ``cut`` takes from an axis of ``size``; None if that depends on it."""
    start, end, step = cut
    if isinstance(size, int):
        if step < 0 and end < -size:
            return range(*slice(start, None, step).indices(size))
        return range(*slice(start, end, step).indices(size))
    return None


def as_cut(taken: range, size: int) -> Cut:
    """``taken`` from an axis of ``size`` as a Slice writes it."""
    return taken.start, taken.stop if taken.stop >= 0 else -size - 1, taken.step


def write_slice(
    rewriter: Rewriter, source: VariableNode, cuts: Cuts, like: VariableNode
) -> VariableNode:
    """A Slice of ``source``, whose result is typed like ``like``."""
    axes = sorted(cuts)
    columns = [[cuts[axis][part] for axis in axes] for part in range(3)]
    if rewriter.graph.opset < INPUTS_SINCE:
        attributes: dict[str, Attribute] = {
            "axes": tuple(axes), "starts": tuple(columns[0]), "ends": tuple(columns[1])
        }  # fmt: skip
        return rewriter.op("Slice", [source], attributes, like=like)
    lists = [columns[0], columns[1], axes]
    if set(columns[2]) != {1}:
        lists.append(columns[2])
    parameters = [rewriter.constant(np.array(items, np.int64)) for items in lists]
    return rewriter.op("Slice", [source, *parameters], like=like)


def split_axis(node: OperatorNode) -> int | None:
    """The axis of a Split or Concat, counted from the front; None if the rank is not known."""
    value = node.output if node.is_op("Concat") else node.inputs[0]
    rank = node.output.rank if value is None or value.rank is None else value.rank
    return int(node.attribute("axis", 0)) % rank if rank else None


def sizes_along(values: tuple[VariableNode | None, ...], axis: int) -> tuple[int, ...] | None:
    """Elements of each of ``values`` along ``axis``; None if one is not known."""
    sizes = []
    for value in values:
        size = None if value is None or value.shape is None else value.shape[axis]
        if not isinstance(size, int):
            return None
        sizes.append(size)
    return tuple(sizes)


def bounds_of(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """Where each of consecutive parts of ``sizes`` starts and stops."""
    return list(pairwise((0, *accumulate(sizes))))


def piece_of(value: VariableNode | None, axis: int) -> Piece | None:
    """What ``value`` is a piece of along ``axis``, if a Slice or Split cut it out there alone."""
    node = None if value is None else value.producer
    if node is None or value is None or node.domain or node.inputs[0] is None:
        return None
    source = node.inputs[0]
    if node.op_type == "Slice":
        cuts = read_cuts(node)
        if cuts is None or set(cuts) != {axis} or source.shape is None:
            return None
        taken = positions(cuts[axis], source.shape[axis])
        fits = taken is not None and taken.step == 1 and len(taken) > 0
        return Piece(source, taken.start, taken.stop) if taken is not None and fits else None
    if node.op_type == "Split" and split_axis(node) == axis:
        sizes = sizes_along(node.outputs, axis)
        if sizes is not None:
            start, stop = bounds_of(sizes)[node.outputs.index(value)]
            return Piece(source, start, stop)
    return None


def merged(first: Cut, second: Cut, size: Dim) -> Cut | None:
    """The cut that does what ``first``, of an axis of ``size``, and then ``second`` do."""
    if isinstance(size, int):
        inner = positions(first, size)
        outer = None if inner is None else positions(second, len(inner))
        if inner is None or outer is None or not outer:
            return None
        step = inner.step * outer.step
        start = inner.start + outer.start * inner.step
        return as_cut(range(start, start + len(outer) * step, step), size)
    (start, end, step), (start_again, end_again, step_again) = first, second
    if (step, step_again) != (1, 1) or min(start, start_again) < 0:
        return None
    if end_again >= OPEN_END:
        return start + start_again, end, 1
    if end >= OPEN_END:
        return start + start_again, end_again + (start if end_again >= 0 else 0), 1
    if end >= 0 and end_again >= 0:
        return start + start_again, min(end, start + end_again), 1
    return None


def is_whole(cut: Cut, size: Dim) -> bool:
    """Whether ``cut`` keeps all of an axis of ``size`` in order."""
    taken = positions(cut, size)
    return taken is not None and isinstance(size, int) and taken == range(size)


def credit(rewriter: Rewriter, *nodes: OperatorNode | None) -> None:
    """Let what is written from now on stand for ``nodes`` as well."""
    names = (name for node in nodes if node is not None for name in node.provenance)
    rewriter.provenance = tuple(dict.fromkeys((*rewriter.provenance, *names)))
