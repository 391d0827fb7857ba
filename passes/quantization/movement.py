"""How operators that move or choose numbers work on the integers that stand for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from burnish.ir import Array, DType, OperatorNode
from burnish.passes.cleanup.permuted import perm_of
from burnish.passes.fusion.constants import number
from burnish.passes.quantization.parameters import Parameters, limits
from burnish.rewrite import Miss


@dataclass(frozen=True)
class Moved:
    """An operator for integers in place of floats."""

    axis: int | None = None
    """Along which a vector of scales lies afterwards; None where it stays."""
    constants: dict[int, Array] = field(default_factory=dict)
    """New values of inputs."""


def moved(node: OperatorNode, parameters: Parameters, dtype: DType, *, exact: bool) -> Moved | Miss:
    """How ``node`` works on integers of ``dtype`` that stand for the floats of its first input.

    Args:
        node: of a type in ``MOVES``.
        parameters: of the integers.
        dtype: their type.
        exact: whether numbers that the operator adds have to be the same afterwards; else they may
            be rounded as QuantizeLinear rounds them.
    """
    if not parameters.is_single:
        return _along_axis(node, parameters)
    judge = _JUDGES.get(node.op_type)
    return Moved() if judge is None else judge(node, parameters, dtype, exact)


def _along_axis(node: OperatorNode, parameters: Parameters) -> Moved | Miss:
    """The same where every channel has its scale."""
    first = node.input(0)
    if first is None or first.rank is None:
        return Miss("the number of axes is not known", node)
    axis = parameters.axis % first.rank
    if node.op_type == "Identity":
        return Moved(axis)
    if node.op_type == "Transpose":
        perm = perm_of(node)
        assert perm is not None, "the rank is known"
        return Moved(perm.index(axis))
    if node.op_type == "Gather":
        indices, along = node.input(1), node.attribute("axis", 0) % first.rank
        if indices is not None and indices.rank is not None and along != axis:
            return Moved(axis + indices.rank - 1 if along < axis else axis)
    return Miss("every channel has its own scale", node)


Judge = Callable[[OperatorNode, Parameters, DType, bool], Moved | Miss]


def _pad(node: OperatorNode, parameters: Parameters, dtype: DType, exact: bool) -> Moved | Miss:
    """Numbers that are added have to be integers as well."""
    if node.attribute("mode", "constant") != "constant":
        return Moved()
    if not parameters.is_constant:
        return Miss("the scale is computed", node)
    value = 0.0 if node.input(2) is None else number(node.input(2))
    if value is None:
        return Miss("the number that is added is computed", node)
    lowest, highest = limits(dtype)
    scale, zero = np.float32(parameters.scales()), int(parameters.zeros())
    integer = float(np.clip(np.rint(np.float32(value) / scale) + zero, lowest, highest))
    if exact and np.float32(integer - zero) * scale != np.float32(value):
        return Miss(f"no integer stands for {value:g}", node)
    return Moved(constants={2: np.array(integer, dtype.numpy)})


def _nearest(node: OperatorNode, parameters: Parameters, dtype: DType, exact: bool) -> Moved | Miss:
    if node.attribute("mode", "nearest") != "nearest":
        return Miss("it computes new numbers", node)
    if node.attribute("coordinate_transformation_mode") == "tf_crop_and_resize":
        return Miss("it adds numbers outside", node)
    return Moved()


def _largest(node: OperatorNode, parameters: Parameters, dtype: DType, exact: bool) -> Moved | Miss:
    """The largest number is that of the largest integer."""
    if len(node.outputs) > 1:
        return Miss("it also says where the largest numbers are", node)
    if not parameters.is_constant or not parameters.scales() > 0:
        return Miss("the scale is not known to be positive", node)
    return Moved()


_JUDGES: dict[str, Judge] = {"MaxPool": _largest, "Pad": _pad, "Resize": _nearest}
MOVES = (
    "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity",
    "MaxPool", "Pad", "Reshape", "Resize", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile",
    "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that give nothing but numbers of their first input."""
