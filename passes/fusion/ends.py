"""Where affine maps end: operators that can take one into their constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from burnish.ir import Array, Constant, DType, OperatorNode
from burnish.passes.fusion.affine import NOT_PER_CHANNEL, Affine, vector
from burnish.passes.fusion.constants import Vector, per_channel
from burnish.passes.fusion.linear import Linear, pads, read_linear, stored
from burnish.rewrite import Miss


@dataclass(frozen=True)
class Edit:
    """How a node changes: constants by input, attributes, and what is added to its result."""

    node: OperatorNode
    inputs: Mapping[int, Constant]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """None removes one."""
    offset: Constant | None = None


@dataclass(frozen=True)
class End:
    """A node that takes a map in; what it becomes is only computed once that is decided."""

    node: OperatorNode
    slots: frozenset[int]
    """Inputs that change."""
    fold: Callable[[], Edit | Miss]
    added: int = 0
    """Operators that have to be added."""


def rounded_edit(node: OperatorNode, arrays: Mapping[int, Array], dtype: DType) -> Edit | Miss:
    """New constants of ``node`` by input, if the numbers of all of them fit into ``dtype``."""
    inputs: dict[int, Constant] = {}
    for slot, array in arrays.items():
        constant = stored(array, dtype, node)
        if isinstance(constant, Miss):
            return constant
        inputs[slot] = constant
    return Edit(node, inputs)


def constant_end(node: OperatorNode, slot: int, affine: Affine) -> End | Miss:
    """An operand of ``node`` that is constant itself."""
    constant = node.constant_input(slot)
    assert constant is not None
    shape = _widened(constant.shape, affine)
    if shape is None:
        return Miss(f"the constant of {node.op_type} would grow", node)

    def fold() -> Edit | Miss:
        assert constant is not None
        array = constant.numpy()
        mapped = affine.applied(array)
        mapped = mapped.reshape(mapped.shape[max(mapped.ndim - len(shape), 0) :])
        result = stored(np.broadcast_to(mapped, shape), constant.dtype, node)
        return result if isinstance(result, Miss) else Edit(node, {slot: result})

    return End(node, frozenset({slot}), fold)


def _widened(shape: tuple[int, ...], affine: Affine) -> tuple[int, ...] | None:
    """The shape of a constant after ``affine``; None if it is larger than what goes into it."""
    trimmed = [tuple(a.shape[axis] for axis in range(a.ndim)) for a in affine.arrays]
    while trimmed and all(len(t) > len(shape) and t[0] == 1 for t in trimmed):
        trimmed = [t[1:] for t in trimmed]
    result = np.broadcast_shapes(shape, *trimmed)
    largest = max(np.prod(s, dtype=np.int64) for s in (shape, *trimmed))
    return result if np.prod(result, dtype=np.int64) <= largest else None


def linear_writer(node: OperatorNode, affine: Affine) -> End | Miss | None:
    """A linear operator whose result is mapped."""
    linear = read_linear(node)
    if linear is None or isinstance(linear, Miss):
        return linear
    vectors = _vectors(affine, linear.result_axis, linear.output_channels, node)
    if isinstance(vectors, Miss):
        return vectors
    scale, shift = vectors
    needs_add = node.op_type == "MatMul" and shift is not None
    slots = {linear.slot} if scale is not None else set()
    if node.op_type != "MatMul":
        slots.add(2)

    def fold() -> Edit | Miss:
        bias = linear.bias() if node.op_type != "MatMul" else None
        if isinstance(bias, Miss):
            return bias
        weights = None if scale is None else linear.scale_outputs(linear.load(), scale)
        if bias is not None and scale is not None:
            bias = bias * scale
        if shift is not None:
            bias = shift if bias is None else bias + shift
        return _edit(linear, weights, bias)

    return End(node, frozenset(slots), fold, int(needs_add))


def _vectors(
    affine: Affine, axis: int, channels: int, node: OperatorNode
) -> tuple[Vector | None, Vector | None] | Miss:
    """Scale and shift [channels] of a map that differs along ``axis`` at most."""
    found = []
    for array in (affine.scale, affine.shift):
        part = None if array is None else vector(array, axis, channels)
        if array is not None and part is None:
            return Miss(NOT_PER_CHANNEL.format(node.op_type), node)
        found.append(part)
    return found[0], found[1]


def _edit(linear: Linear, weights: Array | None, bias: Vector | None) -> Edit | Miss:
    """``linear`` with other weights (None: the same) and bias (None: as it is)."""
    node, dtype = linear.node, linear.weight.dtype
    inputs: dict[int, Constant] = {}
    attributes: dict[str, Any] = {}
    if weights is not None:
        new = stored(weights, dtype, node)
        if isinstance(new, Miss):
            return new
        inputs[linear.slot] = new
        attributes["alpha"] = None
    if bias is None:
        return Edit(node, inputs, attributes)
    added = stored(bias, dtype, node)
    if isinstance(added, Miss):
        return added
    if node.op_type == "MatMul":
        column = added if linear.slot == 1 else Constant.of(added.numpy().reshape(-1, 1))
        return Edit(node, inputs, attributes, column)
    return Edit(node, {**inputs, 2: added}, {**attributes, "beta": None})


def linear_reader(node: OperatorNode, index: int, affine: Affine) -> End | Miss | None:
    """A linear operator whose data is mapped."""
    linear = read_linear(node)
    if linear is None or isinstance(linear, Miss):
        return linear
    if index != 1 - linear.slot:
        return Miss(f"{node.op_type} reads the value as a parameter", node)
    vectors = _vectors(affine, linear.data_axis, linear.input_channels, node)
    if isinstance(vectors, Miss):
        return vectors
    scale, shift = vectors
    if shift is not None:
        problem = _border(linear)
        if problem is not None:
            return problem
    slots = {linear.slot} if scale is not None else set()
    if shift is not None and node.op_type != "MatMul":
        slots.add(2)

    def fold() -> Edit | Miss:
        weights = linear.load()
        scaled = None if scale is None else linear.scale_inputs(weights, scale)
        if shift is None:
            return _edit(linear, scaled, None)
        bias = linear.bias() if node.op_type != "MatMul" else None
        if isinstance(bias, Miss):
            return bias
        moved = linear.response(weights, shift)
        return _edit(linear, scaled, moved if bias is None else bias + moved)

    return End(node, frozenset(slots), fold, int(node.op_type == "MatMul" and shift is not None))


def _border(linear: Linear) -> Miss | None:
    """Why a shift of the data is not one number per channel of the result."""
    node = linear.node
    if node.op_type == "ConvTranspose":
        return Miss("a shift before ConvTranspose differs at the border", node)
    if node.op_type == "Conv" and pads(node):
        return Miss("what is added before a Conv that pads differs at the border", node)
    if not linear.has_matrix:
        return Miss("the weights of MatMul are not a matrix", node)
    return None


def response_end(product: OperatorNode, add: OperatorNode, slot: int, affine: Affine) -> End | Miss:
    """The bias ``slot`` that ``add`` adds to ``product``, whose data is mapped."""
    linear = read_linear(product)
    assert isinstance(linear, Linear)
    bias = add.inputs[slot]
    assert bias is not None
    vectors = _vectors(affine, linear.data_axis, linear.input_channels, product)
    if isinstance(vectors, Miss):
        return vectors
    shift, old = vectors[1], per_channel(bias, -1, max(bias.rank or 0, 1), linear.output_channels)
    if old is None or linear.slot == 0 or not linear.has_matrix:
        return Miss("what is added to MatMul is not one number per column", add)

    def fold() -> Edit | Miss:
        assert shift is not None
        moved = old + linear.response(linear.load(), shift)
        result = stored(moved, bias.dtype, add)
        return result if isinstance(result, Miss) else Edit(add, {slot: result})

    return End(add, frozenset({slot}), fold)


def recurrent_reader(node: OperatorNode, index: int, affine: Affine) -> End | Miss | None:
    """A recurrent layer whose data is mapped: the same for every step."""
    if not node.is_op("RNN", "GRU", "LSTM"):
        return None
    weight, recurrent, bias = (node.constant_input(slot) for slot in (1, 2, 3))
    if index != 0 or weight is None or recurrent is None or (bias is None and node.input(3)):
        return Miss(f"the weights of {node.op_type} are computed", node)
    directions, gates, features = weight.shape
    vectors = _vectors(affine, -1, features, node)
    if isinstance(vectors, Miss):
        return vectors
    scale, shift = vectors

    def fold() -> Edit | Miss:
        old = weight.numpy().astype(np.float64)
        arrays: dict[int, Array] = {} if scale is None else {1: old * scale}
        if shift is not None:
            offset = np.zeros((directions, 2 * gates)) if bias is None else bias.numpy()
            moved = np.concatenate([old @ shift, np.zeros((directions, gates))], axis=1)
            arrays[3] = offset.astype(np.float64) + moved
        return rounded_edit(node, arrays, weight.dtype)

    return End(node, frozenset({1, 3}), fold)
