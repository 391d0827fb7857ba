"""Which rows of a tensor an operator multiplies its weights with.

A product takes the vectors along one axis; a convolution what lies under its kernel at each
position (im2col), which is taken at some positions only, for there are far more than are needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from burnish.calibration.collectors import as_floats
from burnish.ir import Array, OperatorNode, VariableNode


class Geometry(Protocol):
    """How rows are taken from a tensor."""

    def positions(self, shape: tuple[int, ...]) -> int:
        """How many rows a tensor of ``shape`` has."""

    def rows(self, array: Array, at: Array) -> Array:
        """The rows at the positions ``at``: float ``[groups, len(at), size]``."""


@dataclass(frozen=True)
class Contraction:
    """Vectors along one axis, as MatMul, Gemm and ConvTranspose take them."""

    axis: int = -1
    groups: int = 1

    def positions(self, shape: tuple[int, ...]) -> int:
        """How many vectors a tensor of ``shape`` has."""
        return math.prod(shape) // max(1, shape[self.axis])

    def rows(self, array: Array, at: Array) -> Array:
        """The vectors at the positions ``at``, counted over the other axes in order."""
        moved = np.moveaxis(array, self.axis, -1)
        if len(at) == self.positions(array.shape):
            found = moved.reshape(-1, moved.shape[-1])
        else:
            found = moved[np.unravel_index(at, moved.shape[:-1])]
        size = array.shape[self.axis] // self.groups
        return as_floats(found.reshape(len(at), self.groups, size).transpose(1, 0, 2))


@dataclass(frozen=True)
class Windows:
    """What lies under a kernel, channels first, with zeros beyond the borders.

    A row has the elements of one output channel's weights in their order: input channels of the
    group, then the axes of the kernel.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...] | str
    """Zeros before each axis, then behind each; or SAME_UPPER, SAME_LOWER."""
    dilations: tuple[int, ...]
    groups: int = 1

    def positions(self, shape: tuple[int, ...]) -> int:
        """How many outputs of one channel an input of ``shape`` has."""
        return shape[0] * math.prod(self._outputs(shape))

    def rows(self, array: Array, at: Array) -> Array:
        """The windows of the outputs ``at``, counted over batch and space in order."""
        batch, *places = np.unravel_index(at, (array.shape[0], *self._outputs(array.shape)))
        rank = len(self.kernel)
        inside = np.ones((len(at), *self.kernel), bool)
        index: list[Array] = [batch.reshape(-1, *[1] * rank)]
        for axis, place in enumerate(places):
            steps = np.arange(self.kernel[axis]) * self.dilations[axis]
            where = place[:, None] * self.strides[axis] - self._before(array.shape)[axis] + steps
            sizes = [1] * rank
            sizes[axis] = self.kernel[axis]
            where = where.reshape(-1, *sizes)
            size = array.shape[2 + axis]
            inside &= (where >= 0) & (where < size)
            index.append(np.clip(where, 0, size - 1))
        where_all: tuple[Any, ...] = (index[0], slice(None), *index[1:])
        found = as_floats(array[where_all])
        # The axis of the channels is last where others are indexed by arrays.
        found = np.moveaxis(np.where(inside[..., None], found, 0), -1, 1)
        size = found.shape[1] // self.groups * math.prod(self.kernel)
        return found.reshape(len(at), self.groups, size).transpose(1, 0, 2)

    def _outputs(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        sizes = []
        for axis, size in enumerate(shape[2:]):
            stride, span = self.strides[axis], (self.kernel[axis] - 1) * self.dilations[axis] + 1
            if isinstance(self.pads, str):
                sizes.append(-(-size // stride))
            else:
                padded = size + self.pads[axis] + self.pads[axis + len(self.kernel)]
                sizes.append(max(0, (padded - span) // stride + 1))
        return tuple(sizes)

    def _before(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Zeros before each axis."""
        if not isinstance(self.pads, str):
            return self.pads[: len(self.kernel)]
        found = []
        for axis, (size, outputs) in enumerate(zip(shape[2:], self._outputs(shape), strict=True)):
            span = (self.kernel[axis] - 1) * self.dilations[axis] + 1
            total = max(0, (outputs - 1) * self.strides[axis] + span - size)
            found.append((total + (self.pads == "SAME_LOWER")) // 2)
        return tuple(found)


def geometry_of(node: OperatorNode, value: VariableNode) -> Geometry | None:
    """How ``node`` takes rows of ``value``, one of its inputs; None if it is no such operator."""
    if node.domain != "" or value not in node.inputs:
        return None
    index = node.inputs.index(value)
    rule = {
        "MatMul": _of_product, "Gemm": _of_gemm, "Conv": _of_convolution,
        "ConvTranspose": _of_transposed,
    }.get(node.op_type)  # fmt: skip
    return None if rule is None else rule(node, index)


def _of_product(node: OperatorNode, index: int) -> Geometry:
    value = node.inputs[1]
    is_vector = value is not None and value.rank == 1
    return Contraction(-1 if index == 0 or is_vector else -2)


def _of_gemm(node: OperatorNode, index: int) -> Geometry | None:
    if index > 1:
        return None
    turned = bool(node.attribute("transB" if index else "transA", 0))
    return Contraction(int(turned != (index == 0)))


def _of_transposed(node: OperatorNode, index: int) -> Geometry | None:
    return None if index else Contraction(1, node.attribute("group", 1))


def _of_convolution(node: OperatorNode, index: int) -> Geometry | None:
    weights = node.inputs[1]
    shape = None if weights is None else weights.static_shape
    kernel = node.attribute("kernel_shape") or (None if shape is None else shape[2:])
    if index or not kernel:
        return None
    rank = len(kernel)
    policy = node.attribute("auto_pad", "NOTSET")
    policy = policy.decode() if isinstance(policy, bytes) else policy
    pads: tuple[int, ...] | str = (0,) * (2 * rank)
    if policy in ("SAME_UPPER", "SAME_LOWER"):
        pads = policy
    elif policy != "VALID":
        pads = tuple(node.attribute("pads") or (0,) * (2 * rank))
    return Windows(
        tuple(kernel), tuple(node.attribute("strides") or (1,) * rank), pads,
        tuple(node.attribute("dilations") or (1,) * rank), node.attribute("group", 1),
    )  # fmt: skip
