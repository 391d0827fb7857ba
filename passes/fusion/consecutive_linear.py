"""Merges a linear operator with the one whose result it reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.fusion.forms import reduced_axes
from burnish.passes.fusion.kernels import (
    Kernel,
    Stored,
    composed,
    read_kernel,
    settle,
    write_kernel,
)
from burnish.passes.fusion.linear import Linear, read_linear
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, Miss, Missing, OneOf, Op, Pattern, Rewriter, Rule


@dataclass(frozen=True)
class FuseConsecutiveLinear(RulePass):
    """Merge products and convolutions that follow one another, and sums over their channels.

    Before:
        y = MatMul(MatMul(x, a) + b, c)                     z = Conv[1x1](Conv[3x3](x))

    After:
        y = MatMul(x, a c) + b c                            z = Conv[3x3](x)

    Only where the merged weights are no larger than the two together: a product of low rank, such
    as that of an adapter or a truncated factorisation, stays in two.
    """

    name: ClassVar[str] = "fuse-consecutive-linear"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Two operators at a time; longer chains take several rounds."""
        return RULES


@dataclass(frozen=True)
class Joined:
    """The operator that takes the place of two."""

    stored: Stored
    gemm: bool


def _joined(match: Match) -> Joined | Miss:
    first, second = match.node("first"), match.node("second")
    axes = _axes(first)
    if axes is None or axes != _axes(second):
        return Miss(f"{first.op_type} and {second.op_type} work on different axes", second)
    problem = _growth(first, second)
    if problem is not None:
        return problem
    kernel = _chained([*_until_middle(match), second], axes)
    if isinstance(kernel, Miss):
        return kernel
    weight = first.inputs[1]
    assert weight is not None
    found = settle(kernel, weight.dtype, second)
    return (
        found
        if isinstance(found, Miss)
        else Joined(found, "Gemm" in (first.op_type, second.op_type))
    )


def _until_middle(match: Match) -> list[OperatorNode]:
    """The first linear operator and what scales or shifts its result, if anything does."""
    return [match.node("first"), *([match.node("middle")] if "middle" in match else [])]


def _chained(nodes: Sequence[OperatorNode], axes: int) -> Kernel | Miss:
    """What ``nodes`` make of their data one after the other."""
    kernel: Kernel | None = None
    for node in nodes:
        part = read_kernel(node, axes)
        if part is None or isinstance(part, Miss):
            return part or Miss(f"{node.op_type} is no map of channels", node)
        kernel = part if kernel is None else composed(kernel, part)
        if kernel is None:
            return Miss("zeros are padded in between, or both have windows", node)
    assert kernel is not None
    return kernel


def _axes(node: OperatorNode) -> int | None:
    """Spatial axes of a convolution, 0 for a product with a matrix."""
    weight = node.constant_input(1)
    if weight is None or not weight.dtype.is_floating:
        return None
    if node.op_type == "Conv":
        return len(weight.shape) - 2
    return 0 if len(weight.shape) == 2 else None


def _growth(first: OperatorNode, second: OperatorNode) -> Miss | None:
    """A Miss if the merged weights are larger than the two, found without loading them."""
    left, right = read_linear(first), read_linear(second)
    for linear in (left, right):
        if linear is None or isinstance(linear, Miss):
            return linear or Miss("the weights are computed", second)
    assert isinstance(left, Linear)
    assert isinstance(right, Linear)
    taps = max(math.prod(linear.weight.shape[2:]) for linear in (left, right))
    groups = math.gcd(left.groups, right.groups)
    merged = right.output_channels * left.input_channels // groups * taps
    if merged > left.weight.size + right.weight.size:
        return Miss(f"the merged weights would be larger: {merged} numbers", second)
    if any(b + a > d * (s - 1) for b, a, d, s in _windows(second)):
        return Miss(
            f"{second.op_type} pads more than its window, so the merged one has more to do", second
        )
    return None


def _windows(node: OperatorNode) -> list[tuple[int, int, int, int]]:
    """Zeros before and after, dilation and size, for every spatial axis."""
    weight = node.constant_input(1)
    if node.op_type != "Conv" or weight is None:
        return []
    size = weight.shape[2:]
    around = tuple(node.attribute("pads") or (0,) * (2 * len(size)))
    steps = node.attribute("dilations") or (1,) * len(size)
    return list(zip(around, around[len(size) :], steps, size, strict=False))


def _write(rw: Rewriter, match: Match, joined: Joined) -> None:
    output = match.root.output
    rw.replace(output, write_kernel(rw, joined.stored, match["data"], output, gemm=joined.gemm))


@dataclass(frozen=True)
class Summed:
    """A linear operator with one channel, and the axis that nobody wants to keep."""

    joined: Joined
    squeezed: int | None


def _summed(match: Match) -> Summed | Miss:
    first, reduction = match.node("first"), match.root
    axes, spatial = reduced_axes(reduction), _axes(first)
    rank = first.output.rank
    if axes is None or spatial is None or rank is None:
        return Miss(
            f"the axes of {reduction.op_type} or the rank of its data are unknown", reduction
        )
    axis = 1 if first.op_type == "Conv" else rank - 1
    if axes != (axis,):
        return Miss(f"{reduction.op_type} does not go over the channels alone", reduction)
    kernel = _chained(_until_middle(match), spatial)
    if isinstance(kernel, Miss):
        return kernel
    factor = 1 / kernel.outputs if reduction.op_type == "ReduceMean" else 1.0
    ones = (1,) * spatial
    row = np.full((1, kernel.outputs, *ones), factor)
    total = composed(kernel, Kernel(row, None, 1, ones, ones, (0,) * spatial, (0,) * spatial))
    assert total is not None
    weight = first.inputs[1]
    assert weight is not None
    found = settle(total, weight.dtype, reduction)
    if isinstance(found, Miss):
        return found
    keeps = reduction.attribute("keepdims", 1)
    return Summed(Joined(found, first.op_type == "Gemm"), None if keeps else axis)


def _write_summed(rw: Rewriter, match: Match, summed: Summed) -> None:
    output, joined = match.root.output, summed.joined
    wide = VariableNode("", output.dtype, output.shape if summed.squeezed is None else None)
    result = write_kernel(rw, joined.stored, match["data"], wide, gemm=joined.gemm)
    if summed.squeezed is not None:
        axes = rw.constant(np.array([summed.squeezed], np.int64))
        result = rw.op("Squeeze", [result, axes], like=output)
    rw.replace(output, result)


def _linear(source: Pattern, name: str) -> Op:
    bias = OneOf(Missing(), Const(f"{name}_bias"))
    return Op("Conv|Gemm|MatMul", source, Const(f"{name}_weight"), bias, name=name)


FIRST = _linear(Any("data"), "first")
MAPPED = OneOf(
    Op("Add|Mul", FIRST, Const(), name="middle"),
    Op("Div|Sub", FIRST, Const(), name="middle"),
    Op("BatchNormalization", FIRST, name="middle", open_ended=True),
)
BETWEEN = OneOf(FIRST, MAPPED)

RULES = (
    Rule("consecutive-linear", _linear(BETWEEN, "second"), _write, _joined),
    Rule(
        "channel-sum", Op("ReduceMean|ReduceSum", BETWEEN, open_ended=True), _write_summed, _summed,
        since=13,
    ),
)  # fmt: skip
