"""Linear maps between channels as kernels, which can be composed and added.

A product with a matrix is a convolution over no axes: one representation serves both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from burnish.ir import Array, Constant, DType, OperatorNode, VariableNode
from burnish.passes.fusion.affine import read_affine, vector
from burnish.passes.fusion.constants import Vector
from burnish.passes.fusion.linear import pads, read_linear, stored
from burnish.rewrite import Miss, Rewriter

Sizes: TypeAlias = tuple[int, ...]
AFFINE = frozenset({"Add", "BatchNormalization", "Div", "Mul", "Sub"})


@dataclass(frozen=True)
class Kernel:
    """A linear map of channels, the same everywhere but for zeros around the data.

    Sizes, strides and pads have one number per spatial axis; there are none for a matrix.
    """

    weight: Array
    """[output channels, input channels / groups, *size], float64."""
    bias: Vector | None = None
    groups: int = 1
    strides: Sizes = ()
    dilations: Sizes = ()
    before: Sizes = ()
    """Zeros in front of the data."""
    after: Sizes = ()
    """Zeros behind it."""

    @property
    def size(self) -> Sizes:
        """Extent in taps."""
        return self.weight.shape[2:]

    @property
    def outputs(self) -> int:
        """Channels of the result."""
        return int(self.weight.shape[0])

    @property
    def inputs(self) -> int:
        """Channels of the data."""
        return int(self.weight.shape[1]) * self.groups

    @property
    def is_pointwise(self) -> bool:
        """Whether every element of the result comes from one place of the data."""
        return math.prod(self.size) == 1 and not any(self.before) and not any(self.after)

    def widened(self, groups: int) -> Array:
        """The weights with only ``groups`` groups, a divisor of those there are."""
        if groups == self.groups:
            return self.weight
        together = self.groups // groups
        outputs, inputs = self.outputs // self.groups, self.weight.shape[1]
        wide = np.zeros((self.outputs, inputs * together, *self.size))
        for group in range(self.groups):
            rows = slice(group * outputs, (group + 1) * outputs)
            start = group % together * inputs
            wide[rows, start : start + inputs] = self.weight[rows]
        return wide


def diagonal(scale: Vector, bias: Vector | None, axes: int) -> Kernel:
    """The map that multiplies every channel by its own number."""
    ones, zeros = (1,) * axes, (0,) * axes
    weight = np.asarray(scale, np.float64).reshape(-1, 1, *ones)
    return Kernel(weight, bias, len(weight), ones, ones, zeros, zeros)


def read_kernel(node: OperatorNode, axes: int) -> Kernel | Miss | None:
    """What ``node`` does to its data, None if it is no such map.

    ``axes`` is the number of spatial axes behind the channels, 0 where the channels come last.
    """
    if node.domain:
        return None
    if node.op_type in AFFINE:
        return _read_affine(node, axes)
    if node.op_type == "AveragePool":
        return _read_average(node) if axes else None
    linear = read_linear(node)
    if linear is None or isinstance(linear, Miss):
        return linear
    if node.op_type == "ConvTranspose" or (node.op_type == "Conv") != (axes > 0):
        return None
    if node.op_type == "MatMul" and (not linear.has_matrix or linear.slot == 0):
        return Miss("the weights of MatMul are not a matrix on the right", node)
    if node.op_type == "Gemm" and node.attribute("transA", 0):
        return Miss("Gemm reads the data transposed", node)
    bias = None if node.op_type == "MatMul" else linear.bias()
    if isinstance(bias, Miss):
        return bias
    weight = linear.load()
    if axes:
        return _placed(node, weight, bias, linear.groups)
    return Kernel(weight.T if linear.out_axis % 2 else weight, bias)


def _placed(node: OperatorNode, weight: Array, bias: Vector | None, groups: int) -> Kernel | Miss:
    """A kernel with the strides, dilations and pads of ``node``."""
    axes = weight.ndim - 2
    if node.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return Miss(f"{node.op_type} sizes its own padding (auto_pad)", node)
    around = tuple(node.attribute("pads") or (0,) * (2 * axes))
    ones = (1,) * axes
    return Kernel(
        weight, bias, groups, tuple(node.attribute("strides") or ones),
        tuple(node.attribute("dilations") or ones), around[:axes], around[axes:],
    )  # fmt: skip


def channels_of(value: VariableNode, axes: int) -> int | None:
    """Channels of ``value``, which has ``axes`` spatial axes behind them, if that is known."""
    if value.rank is None or (axes and value.rank != axes + 2) or not value.rank or not value.shape:
        return None
    size = value.shape[1 if axes else -1]
    return size if isinstance(size, int) else None


def _read_affine(node: OperatorNode, axes: int) -> Kernel | Miss | None:
    if not any(node.constant_input(slot) for slot in (0, 1)):
        return None
    reading = read_affine(node)
    if isinstance(reading, Miss):
        return reading
    source, affine = reading
    channels = channels_of(source, axes)
    if channels is None:
        return Miss("the channels of the data are unknown", node)
    parts = []
    for array in (affine.scale, affine.shift):
        part = None if array is None else vector(array, 1 if axes else -1, channels)
        if array is not None and part is None:
            return Miss(f"the constant of {node.op_type} is not one number per channel", node)
        parts.append(part)
    return diagonal(np.ones(channels) if parts[0] is None else parts[0], parts[1], axes)


def _read_average(node: OperatorNode) -> Kernel | Miss | None:
    """AveragePool as a convolution of every channel."""
    size = tuple(node.attribute("kernel_shape", ()))
    channels = channels_of(node.output, len(size))
    if channels is None:
        return Miss("the channels of the data are unknown", node)
    if node.attribute("ceil_mode", 0):
        return Miss("AveragePool rounds its size up", node)
    if pads(node) and not node.attribute("count_include_pad", 0):
        return Miss("AveragePool does not count what it pads", node)
    weight = np.full((channels, 1, *size), 1 / math.prod(size))
    return _placed(node, weight, None, channels)


def composed(first: Kernel, second: Kernel) -> Kernel | None:
    """What ``second`` makes of the result of ``first``; None if that is no kernel.

    One of the two has to be pointwise, so that no border is padded in between.
    """
    if not (first.is_pointwise or second.is_pointwise):
        return None
    if first.is_pointwise and any(stride != 1 for stride in first.strides):
        return None
    groups = math.gcd(first.groups, second.groups)
    left, right = first.widened(groups), second.widened(groups)
    weight = _contracted(left, right, groups)
    bias = second.bias
    if first.bias is not None and first.bias.any():
        if any(second.before) or any(second.after):
            return None
        moved = _response(right, first.bias, groups)
        bias = moved if bias is None else bias + moved
    place = second if first.is_pointwise else first
    strides = tuple(a * b for a, b in zip(first.strides, second.strides, strict=True))
    return replace(place, weight=weight, bias=bias, groups=groups, strides=strides)


def _contracted(left: Array, right: Array, groups: int) -> Array:
    """Weights of the composition, group by group; one of the two has a single tap."""
    size = left.shape[2:] if math.prod(left.shape[2:]) > 1 else right.shape[2:]
    middle, inputs = left.shape[0] // groups, left.shape[1]
    outputs = right.shape[0] // groups
    a = left.reshape(groups, middle, inputs, -1)
    b = right.reshape(groups, outputs, middle, -1)
    product: Array = np.einsum("gmis,gomt->goist", a, b, optimize=True)
    shape = (groups * outputs, inputs, *size)
    return np.asarray(product.reshape(shape))


def _response(weight: Array, shift: Vector, groups: int) -> Vector:
    """What a shift of the data adds to the result, where there are no zeros around."""
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    taps = weight.reshape(groups, outputs, inputs, -1).sum(axis=3)
    moved = np.einsum("goi,gi->go", taps, shift.reshape(groups, inputs))
    return np.asarray(moved.reshape(-1), np.float64)


@dataclass(frozen=True)
class Frame:
    """The taps that the sum of some kernels has."""

    groups: int
    before: Sizes
    after: Sizes
    dilations: Sizes
    size: Sizes

    def cost(self, kernel: Kernel) -> int:
        """Multiplications for one place of the result, with the channels of ``kernel``."""
        return kernel.outputs * kernel.inputs // self.groups * math.prod(self.size)


def frame(kernels: Sequence[Kernel]) -> Frame | str:
    """Where the taps of all ``kernels`` lie, or why they cannot be added."""
    if len({(k.strides, k.outputs, k.inputs) for k in kernels}) != 1:
        return "the branches differ in stride or channels"
    axes = []
    for axis in range(len(kernels[0].size)):
        found = _axis_frame(
            [(k.size[axis], k.dilations[axis], k.before[axis], k.after[axis]) for k in kernels]
        )
        if isinstance(found, str):
            return found
        axes.append(found)
    before, after, dilations, size = zip(*axes, strict=True) if axes else ((), (), (), ())
    return Frame(math.gcd(*(k.groups for k in kernels)), before, after, dilations, size)


def _axis_frame(taps: Sequence[tuple[int, int, int, int]]) -> tuple[int, int, int, int] | str:
    """Zeros before and after, dilation and size along one axis."""
    steps = {dilation for size, dilation, _, _ in taps if size > 1} or {1}
    rests = {before + after - dilation * (size - 1) for size, dilation, before, after in taps}
    if len(steps) != 1 or len(rests) != 1:
        return "the branches differ in dilation or in the size of their result"
    step, rest = steps.pop(), rests.pop()
    start = max(before for _, _, before, _ in taps)
    end = max(dilation * (size - 1) - before for size, dilation, before, _ in taps)
    if any((start - before) % step for _, _, before, _ in taps):
        return "the taps of the branches lie between each other"
    size = (start + end) // step + 1
    after = rest + step * (size - 1) - start
    return (start, after, step, size) if after >= 0 else "a branch would need negative padding"


def added(kernels: Sequence[Kernel], into: Frame) -> Kernel:
    """The sum of ``kernels``, whose taps lie in ``into``."""
    first = kernels[0]
    total = np.zeros((first.outputs, first.inputs // into.groups, *into.size))
    bias: Vector | None = None
    for kernel in kernels:
        place = [slice(None), slice(None)]
        axes = zip(into.before, kernel.before, into.dilations, kernel.size, strict=True)
        for start, before, step, size in axes:
            position = (start - before) // step
            place.append(slice(position, position + size))
        total[tuple(place)] += kernel.widened(into.groups)
        if kernel.bias is not None:
            bias = kernel.bias if bias is None else bias + kernel.bias
    return Kernel(total, bias, into.groups, first.strides, into.dilations, into.before, into.after)


@dataclass(frozen=True)
class Stored:
    """A kernel in the type of the model, ready to be written."""

    kernel: Kernel
    weight: Constant
    bias: Constant | None


def settle(kernel: Kernel, dtype: DType, node: OperatorNode) -> Stored | Miss:
    """``kernel`` in ``dtype``, if its numbers fit."""
    weight = stored(kernel.weight, dtype, node)
    if isinstance(weight, Miss) or kernel.bias is None:
        return weight if isinstance(weight, Miss) else Stored(kernel, weight, None)
    bias = stored(kernel.bias, dtype, node)
    return bias if isinstance(bias, Miss) else Stored(kernel, weight, bias)


def write_kernel(
    rw: Rewriter, stored: Stored, source: VariableNode, like: VariableNode, *, gemm: bool
) -> VariableNode:
    """Conv, or Gemm (``gemm``), or MatMul with the addition of its bias."""
    kernel = stored.kernel
    bias = [] if stored.bias is None else [VariableNode.of(stored.bias)]
    if kernel.size:
        attributes = {
            "group": kernel.groups, "strides": kernel.strides, "dilations": kernel.dilations,
            "pads": (*kernel.before, *kernel.after), "kernel_shape": kernel.size,
        }  # fmt: skip
        return rw.op("Conv", [source, VariableNode.of(stored.weight), *bias], attributes, like=like)
    matrix = rw.constant(np.ascontiguousarray(stored.weight.numpy().T))
    if gemm:
        return rw.op("Gemm", [source, matrix, *bias], like=like)
    product = rw.op("MatMul", [source, matrix], like=like)
    return rw.op("Add", [product, *bias], like=like) if bias else product
