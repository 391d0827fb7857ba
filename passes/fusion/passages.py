"""How an affine map passes through operators that have one data input.

Each function gets a node and the map on one side of it, and gives the map on the other side that
comes to the same: of the input for a map of the result (``backward``), else of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np

from burnish.ir import Array, OperatorNode, VariableNode
from burnish.passes.fusion.affine import Affine
from burnish.passes.fusion.constants import integers, number
from burnish.passes.fusion.forms import reduced_axes
from burnish.passes.fusion.pad import padding_sizes
from burnish.passes.fusion.regroup import regroup
from burnish.rewrite import Miss

Passage: TypeAlias = Callable[[OperatorNode, Affine, bool], Affine | Miss]

WEIGHTED_MODES = frozenset({"nearest", "linear", "cubic"})
"""Interpolations that give a weighted mean of what is there."""


def _sides(node: OperatorNode, backward: bool) -> tuple[VariableNode, VariableNode]:
    """Where the map comes from and where it goes to."""
    source = node.inputs[0]
    assert source is not None
    return (node.output, source) if backward else (source, node.output)


def _unchanged(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    return affine


def _negation(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    return Affine(affine.scale, None if affine.shift is None else -affine.shift)


def _positive(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    """What only looks at signs: a factor that is not negative goes through."""
    if affine.shift is not None:
        return Miss(f"a shift does not go through {node.op_type}", node)
    return _ordered(node, affine, backward)


def _ordered(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    if affine.scale is not None and affine.scale.min() < 0:
        return Miss(f"a negative factor does not go through {node.op_type}", node)
    return affine


def _transpose(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    rank = node.output.rank
    perm = node.attribute("perm") or (() if rank is None else tuple(reversed(range(rank))))
    if not perm:
        return Miss("the rank of the data is unknown", node)
    order = np.argsort(perm) if backward else perm
    return affine.mapped(lambda array: array.transpose(order))


def _reshape(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    source, target = (side.shape for side in _sides(node, backward))
    if source is None or target is None:
        return Miss(f"the shape around {node.op_type} is unknown", node)
    parts = [regroup(array, source, target) for array in affine.arrays]
    if any(part is None for part in parts):
        return Miss(f"{node.op_type} mixes the channels with other axes", node)
    moved = iter(parts)
    scale = None if affine.scale is None else next(moved)
    return Affine.of(scale, None if affine.shift is None else next(moved))


def _along(node: OperatorNode, affine: Affine, axes: Iterable[int]) -> Miss | None:
    """A Miss if the map differs along axes that ``node`` works on."""
    if affine.varies(axes):
        return Miss(f"the constant differs along an axis that {node.op_type} works on", node)
    return None


def _spatial(affine: Affine) -> range:
    return range(2, affine.arrays[0].ndim if affine.arrays else 0)


def _max_pool(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    if any(value.uses for value in node.outputs[1:]):
        return Miss("MaxPool also returns indices", node)
    return _along(node, affine, _spatial(affine)) or _ordered(node, affine, backward)


def _average_pool(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    if affine.shift is not None and node.attribute("count_include_pad", 0):
        sized = node.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        if sized or node.attribute("ceil_mode", 0) or any(node.attribute("pads") or ()):
            return Miss("a shift does not reach the zeros that AveragePool pads with", node)
    return _along(node, affine, _spatial(affine)) or affine


def _global(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    problem = _along(node, affine, _spatial(affine))
    if problem is not None or node.op_type == "GlobalAveragePool":
        return problem or affine
    return _ordered(node, affine, backward)


def _reduction(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    axes = reduced_axes(node)
    if axes is None:
        return Miss(f"the axes of {node.op_type} are unknown", node)
    keeps = node.attribute("keepdims", 1)
    if backward and not keeps:
        affine = affine.mapped(lambda array: np.expand_dims(array, axes))
    problem = _along(node, affine, axes)
    if problem is not None:
        return problem
    if affine.shift is not None and node.op_type == "ReduceSum":
        return Miss("ReduceSum adds a shift up", node)
    if node.op_type in ("ReduceMax", "ReduceMin"):
        ordered = _ordered(node, affine, backward)
        if isinstance(ordered, Miss):
            return ordered
    if backward or keeps:
        return affine
    return affine.mapped(lambda array: array.squeeze(axes))


def _pad(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    sizes = padding_sizes(node, node.output.rank)
    if sizes is None:
        return Miss("the sizes of the padding are unknown", node)
    if node.attribute("mode", "constant") == "constant":
        given = node.input(2)
        value = number(given) if given is not None else node.attribute("value", 0.0)
        if affine.shift is not None or value != 0:
            return Miss("what Pad adds would have to change as well", node)
    rank = len(sizes) // 2
    return _along(node, affine, (i for i in range(rank) if sizes[i] or sizes[i + rank])) or affine


def _resize(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    extrapolates = node.attribute("coordinate_transformation_mode") == "tf_crop_and_resize"
    if node.attribute("mode", "nearest") not in WEIGHTED_MODES or extrapolates:
        return Miss("Resize gives more than weighted means of the data", node)
    source, result = node.inputs[0], node.output
    assert source is not None
    if source.rank is None or result.shape is None or source.shape is None:
        return Miss("the rank of the data is unknown", node)
    before, after = source.shape, result.shape
    scales = node.constant_input(2)
    factors = None if scales is None or not scales.size else scales.numpy()
    resized = [
        axis
        for axis in range(source.rank)
        if not isinstance(before[axis], int)
        or before[axis] != after[axis]
        or (factors is not None and len(factors) == source.rank and factors[axis] != 1)
    ]
    return _along(node, affine, resized) or affine


def _expand(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    source, result = node.inputs[0], node.output
    assert source is not None
    if source.shape is None or result.shape is None:
        return Miss("the shape around Expand is unknown", node)
    added = len(result.shape) - len(source.shape)
    if not backward:
        return affine.mapped(lambda array: array.reshape((1,) * added + array.shape))
    wide = (1,) * added + source.shape
    repeated = (i for i, size in enumerate(wide) if not isinstance(size, int) or size == 1)
    problem = _along(node, affine, repeated)
    return problem or affine.mapped(lambda array: array.reshape(array.shape[added:]))


def _rearrangement(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    """What moves elements about in its own way: one factor for all of them goes through."""
    if not affine.is_uniform:
        return Miss(f"{node.op_type} mixes the channels with other axes", node)
    target = _sides(node, backward)[1]
    if target.rank is None:
        return Miss("the rank of the data is unknown", node)
    ones = (1,) * target.rank
    return affine.mapped(lambda array: array.reshape(ones))


def _shuffle(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    """Blocks of channels that become places, or the other way round."""
    many = node.inputs[0] if node.op_type == "DepthToSpace" else node.output
    into_many = (node.op_type == "DepthToSpace") == backward
    problem = _along(node, affine, (0, 2, 3))
    if problem is not None or affine.is_uniform:
        return problem or affine
    if not into_many or many is None or many.shape is None or not isinstance(many.shape[1], int):
        return Miss(f"{node.op_type} makes one channel of several", node)
    block = node.attribute("blocksize") ** 2
    repeat = np.repeat if node.attribute("mode", "DCR") == "CRD" else _tiled
    return affine.mapped(lambda array: array if array.size == 1 else repeat(array, block, axis=1))


def _tiled(array: Array, times: int, axis: int) -> Array:
    return np.concatenate([array] * times, axis)


def _slice(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    if affine.is_uniform:
        return affine
    axes, starts = node.attribute("axes") or integers(node.input(3)), node.input(1)
    rank, given = node.output.rank, node.input(3) is not None
    if axes is None and not given and starts is not None and starts.constant is not None:
        axes = tuple(range(starts.constant.size))
    if axes is None or rank is None:
        return Miss("the axes of Slice are unknown", node)
    return _along(node, affine, (axis % rank for axis in axes)) or affine


def _gather(node: OperatorNode, affine: Affine, backward: bool) -> Affine | Miss:
    data, indices = node.inputs[:2]
    if data is None or indices is None or data.rank is None or indices.rank is None:
        return Miss("the rank of the data is unknown", node)
    axis = node.attribute("axis", 0) % data.rank
    taken = range(axis, axis + indices.rank) if backward else (axis,)
    given = 1 if backward else indices.rank
    kept = len(taken)
    return _along(node, affine, taken) or affine.mapped(
        lambda array: array.reshape(array.shape[:axis] + (1,) * given + array.shape[axis + kept :])
    )


PASSAGES: dict[str, Passage] = {
    **dict.fromkeys(("Abs", "LeakyRelu", "PRelu", "Relu"), _positive),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _global),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), _reduction),
    **dict.fromkeys(("GatherND", "Tile"), _rearrangement),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _shuffle),
    "AveragePool": _average_pool,
    "Expand": _expand,
    "Gather": _gather,
    "Identity": _unchanged,
    "MaxPool": _max_pool,
    "Neg": _negation,
    "Pad": _pad,
    "Resize": _resize,
    "Slice": _slice,
    "Transpose": _transpose,
}
"""By operator type; the data is input 0."""
