"""Rules for reductions whose axes of one element are removed, or put back, right after."""

from __future__ import annotations

import numpy as np

from burnish.ir import Attribute, OperatorNode, Shape, VariableNode
from burnish.passes.fusion.forms import reduced_axes
from burnish.rewrite import Any, Match, Miss, Op, Rewriter, Rule

REDUCTIONS = (
    "ReduceL1|ReduceL2|ReduceLogSum|ReduceLogSumExp|ReduceMax|ReduceMean|ReduceMin|ReduceProd|"
    "ReduceSum|ReduceSumSquare"
)
CHOICES = "ArgMax|ArgMin"
VIEWS = "Reshape|Flatten|Squeeze|Unsqueeze"

AXES_AS_INPUT = {"ReduceSum": 13}
"""First opset in which a reduction has its axes as an input."""
AXES_AS_INPUT_SINCE = 18


def axes_of(node: OperatorNode) -> tuple[int, ...] | None:
    """Axes that a reduction or choice goes over, counted from the front; None if unknown."""
    if node.op_type not in CHOICES.split("|"):
        return reduced_axes(node)
    source = node.inputs[0]
    if source is None or not source.rank:
        return None
    return (int(node.attribute("axis", 0)) % source.rank,)


def without(shape: Shape, axes: tuple[int, ...]) -> Shape:
    """``shape`` after ``axes`` are removed."""
    return None if shape is None else tuple(d for i, d in enumerate(shape) if i not in axes)


def write_reduction(
    rewriter: Rewriter, op_type: str, x: VariableNode, axes: tuple[int, ...], keep: bool,
    like: VariableNode,
) -> VariableNode:  # fmt: skip
    """A reduction of ``x`` along ``axes``, which are attributes or an input by opset."""
    attributes: dict[str, Attribute] = {"keepdims": int(keep)}
    inputs = [x]
    if rewriter.graph.opset >= AXES_AS_INPUT.get(op_type, AXES_AS_INPUT_SINCE):
        inputs.append(rewriter.constant(np.array(axes, np.int64)))
    else:
        attributes["axes"] = axes
    return rewriter.op(op_type, inputs, attributes, like=like)


def _changes_keepdims(match: Match) -> bool | Miss:
    """Whether the reduction may keep its axes (True) or drop them (False) in place of the view."""
    node, view = match.node("reduction"), match.root
    axes, source, after = axes_of(node), node.inputs[0], view.output.shape
    if axes is None or source is None or source.shape is None or after is None:
        return Miss("the axes that are reduced, or shapes, are not known", node)
    if None in source.shape and None in after:
        return Miss("sizes that are not known may be different ones: give --input-shape", view)
    kept = tuple(1 if i in axes else dim for i, dim in enumerate(source.shape))
    keeps = bool(node.attribute("keepdims", 1))
    if keeps and after == without(source.shape, axes):
        return False
    if not keeps and after == kept:
        return True
    return Miss("it changes other axes than those that are reduced", view)


def _rewrite(rewriter: Rewriter, match: Match, keep: bool) -> None:
    node, old = match.node("reduction"), match.root.output
    attributes = {**node.attributes, "keepdims": int(keep)}
    rewriter.replace(old, rewriter.op(node.op_type, node.inputs, attributes, like=old))


_REDUCED = Op(f"{REDUCTIONS}|{CHOICES}", Any("x"), open_ended=True, name="reduction")
REDUCTION_RULES = (
    Rule("view-of-reduction", Op(VIEWS, _REDUCED, open_ended=True), _rewrite, _changes_keepdims),
)
