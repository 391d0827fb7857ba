"""Linear operators with constant weights, and how an affine map goes into those weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.ir import Array, Constant, DType, OperatorNode, VariableNode
from burnish.passes.fusion.affine import Affine
from burnish.passes.fusion.constants import Vector, along, per_channel, rounded
from burnish.rewrite import Const, Miss, Missing, OneOf, Op, Pattern, Rewriter

OVERFLOW = "the folded weights would not fit into {}"


def linear(source: Pattern, types: str = "Conv|ConvTranspose|Gemm|MatMul") -> Op:
    """A linear operator named ``linear`` with constant weights that reads ``source``."""
    bias = OneOf(Missing(), Const("bias"))
    return Op(types, source, Const("weight"), bias, name="linear")


@dataclass(frozen=True)
class Weights:
    """Weights and bias of a linear operator, float64, with where their channels are."""

    node: OperatorNode
    weight: Array
    bias: Vector | None
    """[output channels]."""
    groups: int = 1
    out_axis: int = 0
    """Axis of ``weight`` that counts output channels (of one group, for ConvTranspose)."""
    in_axis: int = 1
    """Axis of ``weight`` that counts input channels (of one group, for Conv)."""

    @property
    def output_channels(self) -> int:
        """Channels of the result."""
        size: int = self.weight.shape[self.out_axis]
        return size * self.groups if self.node.op_type == "ConvTranspose" else size

    @property
    def input_channels(self) -> int:
        """Channels of the data input."""
        size: int = self.weight.shape[self.in_axis]
        return size * self.groups if self.node.op_type == "Conv" else size

    @property
    def channel_axis(self) -> int:
        """Axis of input and result that counts channels."""
        return 1 if self.node.op_type in ("Conv", "ConvTranspose") else -1

    def scaled_outputs(self, scale: Vector) -> Array:
        """The weight after multiplying every output channel."""
        if self.node.op_type == "ConvTranspose":
            return self._grouped_inputs_first(scale)
        return self.weight * along(scale, self.out_axis, self.weight.ndim)

    def scaled_inputs(self, scale: Vector) -> Array:
        """The weight after multiplying every input channel."""
        if self.node.op_type == "Conv":
            return self._grouped_outputs_first(scale)
        return self.weight * along(scale, self.in_axis, self.weight.ndim)

    def _grouped_inputs_first(self, scale: Vector) -> Array:
        """ConvTranspose: inputs of all groups are on axis 0, outputs of one group on axis 1."""
        inputs, outputs, *kernel = self.weight.shape
        split = self.weight.reshape(self.groups, inputs // self.groups, outputs, *kernel)
        factors = scale.reshape(self.groups, 1, outputs, *(1 for _ in kernel))
        return (split * factors).reshape(self.weight.shape)

    def _grouped_outputs_first(self, scale: Vector) -> Array:
        """Conv: outputs of all groups are on axis 0, inputs of one group on axis 1."""
        outputs, inputs, *kernel = self.weight.shape
        split = self.weight.reshape(self.groups, outputs // self.groups, inputs, *kernel)
        factors = scale.reshape(self.groups, 1, inputs, *(1 for _ in kernel))
        return (split * factors).reshape(self.weight.shape)

    def response(self, shift: Vector) -> Vector:
        """What adding ``shift`` to the input channels adds to the output channels."""
        moved = self.scaled_inputs(shift)
        others = tuple(axis for axis in range(moved.ndim) if axis != self.out_axis)
        return np.asarray(moved.sum(axis=others), dtype=np.float64)


def read_weights(node: OperatorNode) -> Weights | Miss:
    """Weights of a node that ``linear`` matched."""
    constant, bias = node.constant_input(1), node.input(2)
    assert constant is not None
    if not constant.dtype.is_floating:
        return Miss(f"the weights of {node.op_type} are {constant.dtype}", node)
    weight = constant.numpy().astype(np.float64)
    if node.op_type == "MatMul":
        if weight.ndim != 2:
            return Miss("the weights of MatMul are not a matrix", node)
        return Weights(node, weight, None, out_axis=1, in_axis=0)
    if node.op_type == "Gemm":
        return _read_gemm(node, weight, bias)
    offset = None
    if bias is not None and bias.constant is not None:
        offset = bias.constant.numpy().astype(np.float64)
    groups = node.attribute("group", 1)
    if node.op_type == "Conv":
        return Weights(node, weight, offset, groups)
    return Weights(node, weight, offset, groups, out_axis=1, in_axis=0)


def _read_gemm(node: OperatorNode, weight: Array, bias: VariableNode | None) -> Weights | Miss:
    out_axis = 0 if node.attribute("transB", 0) else 1
    offset = None
    if bias is not None:
        offset = per_channel(bias, -1, 2, weight.shape[out_axis])
        if offset is None:
            return Miss("the bias of Gemm is not one number per column", node)
        offset = offset * node.attribute("beta", 1.0)
    alpha = node.attribute("alpha", 1.0)
    return Weights(node, weight * alpha, offset, out_axis=out_axis, in_axis=1 - out_axis)


@dataclass(frozen=True)
class Folded:
    """Weights and bias to be written, in the type of the model."""

    weight: Constant
    bias: Constant | None


def fold_output(weights: Weights, affine: Affine) -> Folded | Miss:
    """``affine`` applied to the result of a linear operator."""
    weight = weights.weight if affine.scale is None else weights.scaled_outputs(affine.scale)
    bias = weights.bias
    if bias is not None and affine.scale is not None:
        bias = bias * affine.scale
    if affine.shift is not None:
        bias = affine.shift if bias is None else bias + affine.shift
    return _folded(weights, weight, bias)


def fold_input(weights: Weights, affine: Affine) -> Folded | Miss:
    """``affine`` applied to the data input of a linear operator without padding."""
    weight = weights.weight if affine.scale is None else weights.scaled_inputs(affine.scale)
    bias = weights.bias
    if affine.shift is not None:
        moved = weights.response(affine.shift)
        bias = moved if bias is None else bias + moved
    return _folded(weights, weight, bias)


def _folded(weights: Weights, weight: Array, bias: Vector | None) -> Folded | Miss:
    original = weights.node.constant_input(1)
    assert original is not None
    dtype: DType = original.dtype
    new_weight = rounded(weight, dtype)
    new_bias = None if bias is None else rounded(bias, dtype)
    if new_weight is None or (bias is not None and new_bias is None):
        return Miss(OVERFLOW.format(dtype), weights.node)
    kept = original if np.array_equal(weight, original.numpy()) else Constant.of(new_weight)
    return Folded(kept, None if new_bias is None else Constant.of(new_bias))


def write(
    rw: Rewriter, node: OperatorNode, source: VariableNode, folded: Folded, like: VariableNode
) -> VariableNode:
    """A node like ``node`` that reads ``source`` with other weights; the bias added to MatMul."""
    same = folded.weight is node.constant_input(1)
    weight = node.input(1) if same else VariableNode.of(folded.weight)
    bias = None if folded.bias is None else VariableNode.of(folded.bias)
    attributes = {k: v for k, v in node.attributes.items() if k not in ("alpha", "beta")}
    if node.op_type == "MatMul":
        product = rw.op("MatMul", [source, weight], like=like)
        return product if bias is None else rw.op("Add", [product, bias], like=like)
    inputs = [source, weight] if bias is None else [source, weight, bias]
    return rw.op(node.op_type, inputs, attributes, like=like)
