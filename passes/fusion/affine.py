"""Affine maps ``y = scale * x + shift``, read from operators that compute one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from burnish.ir import Array, Constant, OperatorNode, VariableNode
from burnish.passes.fusion.constants import Vector, along
from burnish.rewrite import Miss

ARITHMETIC = "Add|Sub|Mul|Div"
MAX_ELEMENTS = 1 << 22
"""Larger constants are data of their own, not parameters of a channel."""
WIDENS = "the constant of {} widens the data, or the sizes of the data are unknown"
NOT_PER_CHANNEL = "the constant is not one number per channel of {}"


@dataclass(frozen=True)
class Affine:
    """``scale`` and ``shift`` of a value; None stands for ones and for zeros.

    Both are float64 and have the axes of the value, each of its size or of size 1 where the map is
    the same all along.
    """

    scale: Array | None
    shift: Array | None

    @classmethod
    def of(cls, scale: Array | None, shift: Array | None) -> Affine:
        """The map in its smallest form."""
        if scale is not None:
            scale = None if (scale == 1).all() else _compact(scale)
        if shift is not None:
            shift = _compact(shift) if shift.any() else None
        return cls(scale, shift)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """What of scale and shift there is."""
        return tuple(a for a in (self.scale, self.shift) if a is not None)

    @property
    def is_identity(self) -> bool:
        """Whether nothing happens."""
        return not self.arrays

    @property
    def is_uniform(self) -> bool:
        """Whether every element is treated the same."""
        return all(array.size == 1 for array in self.arrays)

    def varies(self, axes: Iterable[int]) -> bool:
        """Whether the map differs along one of ``axes``."""
        return any(a.shape[axis] != 1 for axis in axes for a in self.arrays)

    def mapped(self, change: Callable[[Array], Array]) -> Affine:
        """``change`` applied to scale and shift."""
        return Affine(
            None if self.scale is None else change(self.scale),
            None if self.shift is None else change(self.shift),
        )

    def same_as(self, other: Affine) -> bool:
        """Whether both do the same."""
        pairs = ((self.scale, other.scale), (self.shift, other.shift))
        return all(
            a is b or (a is not None and b is not None and np.array_equal(a, b)) for a, b in pairs
        )

    @property
    def scaling(self) -> Affine:
        """The map without its shift."""
        return Affine(self.scale, None)

    def applied(self, array: Array) -> Array:
        """What becomes of the values ``array``, in float64."""
        result = array.astype(np.float64)
        result = result if self.scale is None else result * self.scale
        return result if self.shift is None else result + self.shift


def _compact(array: Array) -> Array:
    """``array`` with size 1 along every axis that it is the same along."""
    for axis, size in enumerate(array.shape):
        first = array.take([0], axis) if size > 1 else array
        if size > 1 and (array == first).all():
            array = first
    return array


def vector(array: Array, axis: int, size: int) -> Vector | None:
    """``array`` [size] if it differs along ``axis`` only."""
    axis %= array.ndim
    if any(n != 1 for i, n in enumerate(array.shape) if i != axis):
        return None
    if array.shape[axis] not in (1, size):
        return None
    return np.broadcast_to(array.reshape(-1), (size,))


Reading: TypeAlias = tuple[VariableNode, Affine]
"""The value that a node reads, and the map that it applies to it."""


def read_affine(node: OperatorNode) -> Reading | Miss:
    """The map that ``node`` computes: arithmetic with a constant, Neg or BatchNormalization."""
    if node.op_type == "BatchNormalization":
        return _read_batch_norm(node)
    if node.op_type == "Neg":
        return _read_sign(node)
    operands = node.inputs[:2]
    known = [i for i, value in enumerate(operands) if value is not None and value.is_constant]
    if len(known) != 1:
        return Miss(f"no operand of {node.op_type} is constant", node)
    source, factor = operands[1 - known[0]], operands[known[0]]
    assert source is not None
    assert factor is not None
    constant = factor.constant
    assert constant is not None
    if not constant.dtype.is_floating:
        return Miss(f"{node.op_type} computes with {constant.dtype}", node)
    if not _fits(constant, source):
        return Miss(WIDENS.format(node.op_type), node)
    rank = len(source.shape or ())
    array = constant.numpy().astype(np.float64)
    array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    if not np.isfinite(array).all():
        return Miss(f"the constant of {node.op_type} is not finite", node)
    found = _arithmetic(node, array, constant_first=known[0] == 0)
    return found if isinstance(found, Miss) else (source, found)


def _read_sign(node: OperatorNode) -> Reading | Miss:
    source = node.inputs[0]
    assert source is not None
    if source.rank is None or not source.dtype.is_floating:
        return Miss("the rank of the data is unknown, or it is no number", node)
    return source, Affine(np.full((1,) * source.rank, -1.0), None)


def _fits(constant: Constant, source: VariableNode) -> bool:
    """Whether arithmetic with ``constant`` keeps the shape of ``source``."""
    if source.shape is None or len(constant.shape) > len(source.shape):
        return False
    if constant.size > MAX_ELEMENTS:
        return False
    sizes = source.shape[len(source.shape) - len(constant.shape) :]
    return all(n in (1, size) for n, size in zip(constant.shape, sizes, strict=True))


def _arithmetic(node: OperatorNode, factor: Array, *, constant_first: bool) -> Affine | Miss:
    kind = node.op_type
    if kind == "Mul":
        return Affine.of(factor, None)
    if kind == "Add":
        return Affine.of(None, factor)
    if kind == "Sub":
        return (
            Affine.of(-np.ones_like(factor), factor) if constant_first else Affine.of(None, -factor)
        )
    if constant_first:
        return Miss("Div divides by the data", node)
    if not factor.all():
        return Miss("a channel is divided by zero", node)
    return Affine.of(1 / factor, None)


def _read_batch_norm(node: OperatorNode) -> Reading | Miss:
    source, constants = node.input(0), [node.constant_input(i) for i in range(1, 5)]
    assert source is not None
    if any(constant is None for constant in constants):
        return Miss("the statistics of BatchNormalization are computed", node)
    if node.attribute("training_mode", 0) or any(value.uses for value in node.outputs[1:]):
        return Miss("BatchNormalization is in training mode", node)
    if source.rank is None or source.rank < 2:
        return Miss("the rank of the data is unknown", node)
    parts = [c.numpy().astype(np.float64).reshape(-1) for c in constants if c is not None]
    gamma, beta, mean, variance = parts
    if len({part.shape for part in parts}) != 1:
        return Miss("the statistics of BatchNormalization differ in size", node)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = gamma / np.sqrt(variance + node.attribute("epsilon", 1e-5))
        shift = beta - mean * scale
    if not np.isfinite(scale).all() or not np.isfinite(shift).all():
        return Miss("the statistics of BatchNormalization are not finite", node)
    return source, Affine.of(*(along(part, 1, source.rank) for part in (scale, shift)))
