"""Relu, Clip, and Max and Min with a number: all of them keep values between two bounds."""

from __future__ import annotations

import numpy as np

from burnish.ir import DType, OperatorNode, VariableNode
from burnish.passes.cleanup.no_op_arithmetic import bounds, extremes, keeps_shape
from burnish.passes.fusion.constants import number
from burnish.rewrite import Match, Miss, Rewriter

Bounds = tuple[float, float]

CLIP_TAKES_INPUTS = 11


def clamped_by(node: OperatorNode) -> tuple[VariableNode, Bounds] | Miss:
    """What ``node`` clamps and between which numbers."""
    first = node.inputs[0]
    if node.op_type in ("Relu", "Clip"):
        limits = bounds(node)
        if limits is None or first is None:
            return Miss("its bounds are not constant", node)
        return first, limits
    if len(node.inputs) != 2:
        return Miss("it compares more than two values", node)
    for index in (0, 1):
        value, bound = node.inputs[1 - index], number(node.inputs[index])
        if bound is None or value is None or np.isnan(bound):
            continue
        if not keeps_shape(value, node.inputs[index], node.output):
            return Miss("the bound has more axes than the value", node)
        return value, ((bound, np.inf) if node.op_type == "Max" else (-np.inf, bound))
    return Miss("what it compares with is not one constant number", node)


def both(match: Match) -> tuple[VariableNode, Bounds] | Miss:
    """What two clamps in a row clamp, and between which numbers they do together."""
    root, inner = match.root, match.node("inner")
    outer, first = clamped_by(root), clamped_by(inner)
    if isinstance(outer, Miss) or isinstance(first, Miss):
        return outer if isinstance(outer, Miss) else first
    value, (low, high) = first
    if low > high or outer[1][0] > outer[1][1]:
        return Miss("the lower bound is above the upper one", root)
    if not value.dtype or value.dtype is DType.BFLOAT16:
        return Miss("the element type is not known, or has no Clip in most engines", root)
    found = tuple(min(max(bound, outer[1][0]), outer[1][1]) for bound in (low, high))
    integers = not value.dtype.is_floating
    open_ends = (*extremes(value), -np.inf, np.inf)
    if integers and any(abs(bound) > 2**53 and bound not in open_ends for bound in found):
        return Miss("the bounds are too large to compare", root)
    return value, (found[0], found[1])


def write(rewriter: Rewriter, match: Match, facts: tuple[VariableNode, Bounds]) -> None:
    """One operator with the bounds; those at the end of what the type holds are left out."""
    value, (low, high) = facts
    old = match.root.output
    if (low, high) == (0.0, np.inf) and value.dtype.is_floating:
        rewriter.replace(old, rewriter.op("Relu", [value], like=old))
        return
    lowest, highest = extremes(value)
    needed = [
        None if bound in unbounded else bound
        for bound, unbounded in ((low, _open(value, lowest)), (high, _open(value, highest)))
    ]
    if rewriter.graph.opset < CLIP_TAKES_INPUTS:
        given = {n: float(b) for n, b in zip(("min", "max"), needed, strict=True) if b is not None}
        rewriter.replace(old, rewriter.op("Clip", [value], given, like=old))
        return
    inputs: list[VariableNode | None] = [value]
    for bound in needed:
        kind = value.dtype.numpy
        inputs.append(None if bound is None else rewriter.constant(np.array(bound, kind)))
    while inputs[-1] is None:
        inputs.pop()
    rewriter.replace(old, rewriter.op("Clip", inputs, like=old))


def _open(value: VariableNode, extreme: float) -> tuple[float, ...]:
    """Bounds that Clip assumes when none is given: integers do not reach infinity."""
    if value.dtype.is_floating:
        return (extreme,)
    return (extreme, float(np.sign(extreme)) * np.inf, -np.inf if extreme == 0 else extreme)
