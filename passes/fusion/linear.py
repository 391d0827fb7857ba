"""Linear operators with constant weights, and how scales and shifts go into those weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.ir import Array, Constant, DType, OperatorNode
from burnish.passes.fusion.constants import Vector, along, per_channel, rounded
from burnish.rewrite import Miss

TYPES = ("Conv", "ConvTranspose", "Gemm", "MatMul")
OVERFLOW = "the folded weights would not fit into {}"
MAX_SHARED = 1 << 20
"""Bytes of weights that are copied for one of several readers."""


@dataclass(frozen=True)
class Linear:
    """A linear operator: where its weights are and where those count channels.

    Weights are not loaded until ``load`` is called.
    """

    node: OperatorNode
    weight: Constant
    slot: int = 1
    """Input that holds the weights."""
    groups: int = 1
    out_axis: int = 0
    """Axis of the weights that counts output channels (of one group, for ConvTranspose)."""
    in_axis: int = 1
    """Axis of the weights that counts input channels (of one group, for Conv)."""
    data_axis: int = 1
    """Axis of the data that counts channels."""
    result_axis: int = 1
    """Axis of the result that counts channels."""

    @property
    def output_channels(self) -> int:
        """Channels of the result."""
        size = self.weight.shape[self.out_axis]
        return size * self.groups if self.node.op_type == "ConvTranspose" else size

    @property
    def input_channels(self) -> int:
        """Channels of the data."""
        size = self.weight.shape[self.in_axis]
        return size * self.groups if self.node.op_type == "Conv" else size

    @property
    def has_matrix(self) -> bool:
        """Whether there is one matrix of weights for all of the data."""
        return self.node.op_type != "MatMul" or len(self.weight.shape) == 2

    def load(self) -> Array:
        """The weights, float64, times the alpha of Gemm."""
        alpha = self.node.attribute("alpha", 1.0) if self.node.op_type == "Gemm" else 1.0
        return self.weight.numpy().astype(np.float64) * alpha

    def bias(self) -> Vector | Miss | None:
        """What is added to the output channels, None if there is nothing."""
        value = self.node.input(2)
        if value is None:
            return None
        if value.constant is None:
            return Miss(f"the bias of {self.node.op_type} is computed", self.node)
        if self.node.op_type != "Gemm":
            return np.asarray(value.constant.numpy(), dtype=np.float64)
        found = per_channel(value, -1, 2, self.output_channels)
        if found is None:
            return Miss("the bias of Gemm is not one number per column", self.node)
        return found * float(self.node.attribute("beta", 1.0))

    def scale_outputs(self, weights: Array, scale: Vector) -> Array:
        """``weights`` after multiplying every output channel."""
        if self.node.op_type == "ConvTranspose":
            # Inputs of all groups are on axis 0, outputs of one group on axis 1.
            return self._by_group(weights, scale)
        return weights * along(scale, self.out_axis, weights.ndim)

    def scale_inputs(self, weights: Array, scale: Vector) -> Array:
        """``weights`` after multiplying every input channel."""
        if self.node.op_type == "Conv":
            # Outputs of all groups are on axis 0, inputs of one group on axis 1.
            return self._by_group(weights, scale)
        return weights * along(scale, self.in_axis, weights.ndim)

    def _by_group(self, weights: Array, scale: Vector) -> Array:
        outer, channels, *kernel = weights.shape
        split = weights.reshape(self.groups, outer // self.groups, channels, *kernel)
        factors = scale.reshape(self.groups, 1, channels, *(1 for _ in kernel))
        return (split * factors).reshape(weights.shape)

    def response(self, weights: Array, shift: Vector) -> Vector:
        """What adding ``shift`` to the input channels adds to the output channels."""
        moved = self.scale_inputs(weights, shift)
        out = self.out_axis % moved.ndim
        others = tuple(axis for axis in range(moved.ndim) if axis != out)
        return np.asarray(moved.sum(axis=others), dtype=np.float64)


def read_linear(node: OperatorNode) -> Linear | Miss | None:
    """``node`` as a linear operator; None if its weights are computed."""
    if not node.is_op(*TYPES):
        return None
    slot = 1 if node.constant_input(1) is not None or node.op_type != "MatMul" else 0
    weight, value = node.constant_input(slot), node.input(slot)
    if weight is None or value is None or not weight.shape:
        return None
    if not weight.dtype.is_floating:
        return Miss(f"the weights of {node.op_type} are {weight.dtype}", node)
    if len(value.uses) > 1 and weight.nbytes > MAX_SHARED:
        return Miss(f"the weights of {node.op_type} are shared: folding would copy them", node)
    if node.op_type == "MatMul":
        return _read_matmul(node, weight, slot)
    if node.op_type == "Gemm":
        out_axis = 0 if node.attribute("transB", 0) else 1
        data_axis = 0 if node.attribute("transA", 0) else 1
        return Linear(node, weight, 1, 1, out_axis, 1 - out_axis, data_axis, 1)
    groups = node.attribute("group", 1)
    if node.op_type == "Conv":
        return Linear(node, weight, 1, groups)
    return Linear(node, weight, 1, groups, out_axis=1, in_axis=0)


def _read_matmul(node: OperatorNode, weight: Constant, slot: int) -> Linear | Miss:
    if len(weight.shape) < 2:
        return Miss("the weights of MatMul are not a matrix", node)
    if slot == 1:
        return Linear(node, weight, 1, 1, -1, -2, -1, -1)
    data = node.inputs[1]
    if data is None or data.rank is None or data.rank < 2:
        return Miss("what the weights of MatMul multiply is no matrix", node)
    return Linear(node, weight, 0, 1, -2, -1, -2, -2)


def pads(node: OperatorNode) -> bool:
    """Whether a convolution or pooling sees zeros around its data."""
    if node.attribute("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
        return True
    return any(node.attribute("pads") or ())


def stored(array: Array, dtype: DType, node: OperatorNode) -> Constant | Miss:
    """``array`` in ``dtype``, if its numbers fit: none overflows, and not all of them fade."""
    result = rounded(array, dtype)
    if result is None or not np.isfinite(array).all():
        return Miss(OVERFLOW.format(dtype), node)
    largest = np.abs(array).max(initial=0.0)
    if largest and np.abs(result.astype(np.float64) - array).max() > largest * 2**-7:
        return Miss(OVERFLOW.format(dtype), node)
    return Constant.of(result)
