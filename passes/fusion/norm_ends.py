"""How normalizations take affine maps into their own scale, shift and epsilon."""

from __future__ import annotations

from typing import Any

import numpy as np

from burnish.ir import Constant, OperatorNode
from burnish.passes.fusion.affine import NOT_PER_CHANNEL, Affine, vector
from burnish.passes.fusion.ends import Edit, End, rounded_edit
from burnish.rewrite import Miss

LAST_AXES = frozenset({"LayerNormalization", "RMSNormalization"})
PER_CHANNEL = frozenset({"BatchNormalization", "GroupNormalization", "InstanceNormalization"})
WRITERS = LAST_AXES | PER_CHANNEL
GROUPS_SINCE = 21
"""Opset from which GroupNormalization has a scale per channel, not per group."""
TINY, HUGE = 1e-30, 1e30
"""Bounds of an epsilon that single precision holds."""


def norm_writer(node: OperatorNode, affine: Affine) -> End | Miss | None:
    """A normalization whose result is mapped."""
    if not node.is_op(*WRITERS):
        return None
    scale, bias = node.constant_input(1), node.constant_input(2)
    if scale is None or (bias is None and node.input(2) is not None):
        return Miss(f"the scale or shift of {node.op_type} is computed", node)
    if affine.shift is not None and node.op_type == "RMSNormalization":
        return Miss("RMSNormalization has no shift", node)
    if node.op_type == "BatchNormalization" and node.attribute("training_mode", 0):
        return Miss("BatchNormalization is in training mode", node)
    if node.op_type == "GroupNormalization" and _opset(node) < GROUPS_SINCE:
        return Miss(f"GroupNormalization scales groups before opset {GROUPS_SINCE}", node)
    trimmed = _trimmed(node, affine, scale)
    if isinstance(trimmed, Miss):
        return trimmed

    def fold() -> Edit | Miss:
        results = {1: trimmed.scaling.applied(scale.numpy())}
        if bias is not None or trimmed.shift is not None:
            old = np.zeros(scale.shape) if bias is None else bias.numpy()
            shifted = trimmed.applied(old)
            shape = np.broadcast_shapes(shifted.shape, results[1].shape)
            results = {1: np.broadcast_to(results[1], shape), 2: np.broadcast_to(shifted, shape)}
        return rounded_edit(node, results, scale.dtype)

    return End(node, frozenset({1, 2}), fold)


def _opset(node: OperatorNode) -> int:
    return 1 if node.graph is None else node.graph.opset


def _trimmed(node: OperatorNode, affine: Affine, scale: Constant) -> Affine | Miss:
    """The map with the axes of the scale of ``node`` only."""
    rank = affine.arrays[0].ndim
    if node.op_type in LAST_AXES:
        axis = node.attribute("axis", -1) % rank
        if affine.varies(range(axis)):
            return Miss(f"the constant differs along axes that {node.op_type} repeats", node)
        return affine.mapped(lambda array: array.reshape(array.shape[axis:]))
    channels = scale.shape[0]
    if any(vector(array, 1, channels) is None for array in affine.arrays):
        return Miss(NOT_PER_CHANNEL.format(node.op_type), node)
    return affine.mapped(lambda array: array.reshape(-1))


def norm_reader(node: OperatorNode, index: int, affine: Affine) -> End | Miss | None:
    """A normalization whose data is mapped."""
    if index == 0 and node.op_type == "BatchNormalization":
        return _batch_norm_reader(node, affine)
    blind = _blind_axes(node, affine.arrays[0].ndim)
    if index != 0 or blind is None:
        return None
    if any(value.uses for value in node.outputs[1:]):
        return Miss(f"{node.op_type} also returns its statistics", node)
    if affine.shift is not None and node.op_type in ("RMSNormalization", "LpNormalization"):
        return Miss(f"{node.op_type} does not take the mean away", node)
    if affine.scale is not None and (not affine.scaling.is_uniform or affine.scale.min() <= 0):
        return Miss(f"{node.op_type} only takes away one positive factor for all channels", node)
    if affine.varies(blind):
        return Miss(f"{node.op_type} mixes elements that the shift tells apart", node)
    attributes = _epsilon(node, affine)
    if isinstance(attributes, Miss):
        return attributes
    return End(node, frozenset({0}), lambda: Edit(node, {}, attributes))


def _blind_axes(node: OperatorNode, rank: int) -> range | None:
    """Axes along which ``node`` takes away what its data has in common; None for others."""
    if node.op_type in LAST_AXES:
        return range(node.attribute("axis", -1) % rank, rank)
    if node.op_type == "InstanceNormalization":
        return range(2, rank)
    if node.op_type == "GroupNormalization":
        return range(1, rank)
    if node.op_type == "LpNormalization":
        axis = node.attribute("axis", -1) % rank
        return range(axis, axis + 1)
    return None


def _epsilon(node: OperatorNode, affine: Affine) -> dict[str, Any] | Miss:
    """What epsilon becomes when the data is no longer multiplied by a number."""
    if affine.scale is None or node.op_type == "LpNormalization":
        return {}
    epsilon = node.attribute("epsilon", 1e-5) / float(affine.scale.reshape(())) ** 2
    if not TINY < epsilon < HUGE:
        return Miss(f"the epsilon of {node.op_type} would not fit into float32", node)
    return {"epsilon": epsilon}


def _batch_norm_reader(node: OperatorNode, affine: Affine) -> End | Miss:
    constants = [node.constant_input(slot) for slot in range(1, 5)]
    known = [constant for constant in constants if constant is not None]
    if len(known) != 4 or node.attribute("training_mode", 0):
        return Miss("BatchNormalization is in training mode or its statistics are computed", node)
    channels = known[0].shape[0]
    if any(vector(array, 1, channels) is None for array in affine.arrays):
        return Miss(NOT_PER_CHANNEL.format(node.op_type), node)

    def fold() -> Edit | Miss:
        gamma, beta, mean, variance = (c.numpy().astype(np.float64) for c in known)
        flat = affine.mapped(lambda array: array.reshape(-1))
        deviation = np.sqrt(variance + node.attribute("epsilon", 1e-5))
        scale = flat.scaling.applied(gamma)
        offset = -mean if flat.shift is None else flat.shift - mean
        results = {1: scale, 2: beta + gamma * offset / deviation, 3: np.zeros_like(mean)}
        return rounded_edit(node, results, known[0].dtype)

    return End(node, frozenset({1, 2, 3}), fold)
