"""Lets reductions and pools write the shape that is wanted of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.ir import OperatorNode, Shape
from burnish.numerics import Numerics
from burnish.passes.fusion.forms import reduced_axes
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, Op, Rewriter, Rule

VIEWS = "Flatten|Reshape|Squeeze|Unsqueeze"
REDUCTIONS = "|".join(
    f"Reduce{kind}"
    for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum",
                 "SumSquare")
)  # fmt: skip
POOLS = {
    "AveragePool": "ReduceMean", "GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax",
    "MaxPool": "ReduceMax",
}  # fmt: skip
AXES_ARE_INPUT = 18
"""The first opset where every reduction has its axes as an input."""


@dataclass(frozen=True)
class FuseReduceViews(RulePass):
    """Let a reduction drop or keep the axes that a reshape behind it drops or adds.

    Before:
        y = Squeeze(ReduceMax[axes=[2], keepdims=1](x))      z = Flatten(GlobalAveragePool(x))

    After:
        y = ReduceMax[axes=[2], keepdims=0](x)               z = ReduceMean[axes=[2, 3]](x)

    Pools stay when compiling, where a reshape costs nothing.
    """

    name: ClassVar[str] = "fuse-reduce-views"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Reductions, and pools unless compiling."""
        return RULES if context.target is None else RULES[:-1]


def _is(shape: Shape, wanted: Shape) -> bool:
    """Whether two shapes are known to be the same."""
    return shape is not None and None not in shape and shape == wanted


def _kept(node: OperatorNode, axes: Sequence[int], keepdims: int) -> Shape:
    """The shape of the result if the reduced axes are kept or dropped."""
    source = node.inputs[0]
    if source is None or source.shape is None:
        return None
    along = {axis % len(source.shape) for axis in axes}
    sizes = [1 if axis in along else size for axis, size in enumerate(source.shape)]
    return tuple(size for axis, size in enumerate(sizes) if keepdims or axis not in along)


def _other_way(match: Match) -> int | Miss:
    """The ``keepdims`` with which the result has the shape that is wanted."""
    node = match.node("reduction")
    axes = reduced_axes(node)
    if not axes:
        return Miss("the axes that it reduces are not known", node)
    other = 1 - int(node.attribute("keepdims", 1))
    if not _is(match.root.output.shape, _kept(node, axes, other)):
        return Miss("the reshape does more than drop or add the reduced axes", match.root)
    return other


def _write(rw: Rewriter, match: Match, keepdims: int) -> None:
    node, old = match.node("reduction"), match.root.output
    attributes = {**node.attributes, "keepdims": keepdims}
    rw.replace(old, rw.op(node.op_type, node.inputs, attributes, like=old))


def _index(match: Match) -> int | Miss:
    node = match.node("reduction")
    other = 1 - int(node.attribute("keepdims", 1))
    axes = (node.attribute("axis", 0),)
    if not _is(match.root.output.shape, _kept(node, axes, other)):
        return Miss("the reshape does more than drop or add the reduced axis", match.root)
    return other


def _pools_all(node: OperatorNode) -> bool:
    """Whether the window of a pool is all that there is."""
    source = node.inputs[0]
    if node.op_type in ("GlobalAveragePool", "GlobalMaxPool"):
        return True
    if any(node.attribute("pads", ())) or node.attribute("auto_pad", "NOTSET") != "NOTSET":
        return False
    window = tuple(node.attribute("kernel_shape", ()))
    plain = set(node.attribute("dilations", ())) <= {1} and len(node.outputs) == 1
    return source is not None and source.shape is not None and plain and source.shape[2:] == window


def _pooled(match: Match) -> tuple[int, ...] | Miss:
    node, x = match.node("pool"), match["x"]
    if not _pools_all(node):
        return Miss("its window is not all that there is", node)
    if x.shape is None or len(x.shape) < 3 or not x.dtype.is_floating:
        return Miss("the shape of what is pooled is not known", node)
    if not _is(match.root.output.shape, x.shape[:2]):
        return Miss("the reshape does more than drop the pooled axes", match.root)
    return tuple(range(2, len(x.shape)))


def _reduce(rw: Rewriter, match: Match, axes: tuple[int, ...]) -> None:
    old, x = match.root.output, match["x"]
    kind = POOLS[match.node("pool").op_type]
    if rw.graph.opset >= AXES_ARE_INPUT:
        inputs = [x, rw.constant(np.array(axes, np.int64))]
        y = rw.op(kind, inputs, {"keepdims": 0}, like=old)
    else:
        y = rw.op(kind, [x], {"axes": axes, "keepdims": 0}, like=old)
    rw.replace(old, y)


RULES = (
    Rule("reduce-and-reshape", Op(VIEWS, Op(REDUCTIONS, name="reduction"), open_ended=True),
         _write, _other_way),
    Rule("index-and-reshape", Op(VIEWS, Op("ArgMax|ArgMin", name="reduction"), open_ended=True),
         _write, _index),
    Rule("pool-and-reshape",
         Op(VIEWS, Op("|".join(POOLS), Any("x"), name="pool"), open_ended=True), _reduce, _pooled),
)  # fmt: skip
