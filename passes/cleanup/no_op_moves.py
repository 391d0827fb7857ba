"""Which operators that move, cut or repeat elements give back an input, and which one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from burnish.ir import Array, DType, OperatorNode, VariableNode
from burnish.passes.fusion.constants import integers
from burnish.passes.fusion.forms import reduced_axes

Judge: TypeAlias = Callable[[OperatorNode], "int | str"]
"""The index of the input that a node gives back, or why it does not."""

OPEN_END = 2**31 - 1
"""From here on, the end of a Slice means the end of the axis."""

UNKNOWN_SHAPES = "its shapes are not known: give --input-shape"


def first(node: OperatorNode) -> int | str:
    """Always the first input."""
    return 0


def single(node: OperatorNode) -> int | str:
    """An operator of several values that is given one."""
    return 0 if len(node.inputs) == 1 else "it has several inputs"


def same_shape(node: OperatorNode) -> int | str:
    """An operator that keeps all elements in order if it keeps the shape."""
    source = node.inputs[0]
    assert source is not None
    if source.shape is None or node.output.shape is None or None in source.shape:
        return UNKNOWN_SHAPES
    return 0 if source.shape == node.output.shape else "it changes the shape"


def _source(node: OperatorNode) -> VariableNode:
    source = node.inputs[0]
    assert source is not None
    return source


def parameter(node: OperatorNode, index: int, name: str) -> tuple[int, ...] | None:
    """A list of integers that is input ``index``, or attribute ``name`` in older opsets."""
    given = node.attribute(name)
    if given is not None:
        return tuple(given) if isinstance(given, tuple | list) else (int(given),)
    return integers(node.input(index))


def _whole(node: OperatorNode) -> int | str:
    return 0 if len(node.outputs) == 1 else "it has several outputs"


def _same_type(node: OperatorNode) -> int | str:
    target = DType(node.attribute("to", node.output.dtype))
    if not _source(node).dtype or not target:
        return "its types are not known"
    return 0 if _source(node).dtype is target else "it changes the type"


def _reshape(node: OperatorNode) -> int | str:
    """Also of unknown sizes: those may be copied, or given by the Shape of what is reshaped."""
    found = same_shape(node)
    if found == 0 or len(node.inputs) < 2:
        return found
    target = node.inputs[1]
    maker = None if target is None else target.producer
    if maker is not None and maker.is_op("Shape") and maker.inputs[0] is node.inputs[0]:
        trimmed = maker.attribute("start", 0) or maker.attribute("end") is not None
        return found if trimmed else 0
    sizes, shape = integers(target), _source(node).shape
    if sizes is None or shape is None or len(sizes) != len(shape) or sizes.count(-1) > 1:
        return found
    if 0 in sizes and node.attribute("allowzero", 0):
        return found
    kept = all(size in (0, -1) or size == dim for size, dim in zip(sizes, shape, strict=True))
    return 0 if kept else found


def _expand(node: OperatorNode) -> int | str:
    found = same_shape(node)
    target, rank = integers(node.input(1)), _source(node).rank
    if found == 0 or target is None or rank is None or len(target) > rank:
        return found
    return 0 if set(target) <= {1} else found


def _tile(node: OperatorNode) -> int | str:
    repeats = integers(node.input(1))
    if repeats is not None and len(node.inputs) == 2:
        return 0 if set(repeats) <= {1} else "it repeats"
    return same_shape(node)


def _slice(node: OperatorNode) -> int | str:
    steps = node.input(4)
    if steps is not None and not all(step > 0 for step in integers(steps) or (0,)):
        return "it may reverse an axis"
    starts, ends = parameter(node, 1, "starts"), parameter(node, 2, "ends")
    if starts is not None and ends is not None and not any(starts):
        ones = steps is None or set(integers(steps) or ()) == {1}
        if ones and all(end >= OPEN_END for end in ends):
            return 0
    return same_shape(node)


def _pad(node: OperatorNode) -> int | str:
    pads = parameter(node, 1, "pads")
    if pads is None:
        return "its pads are not constant"
    return "it pads" if any(pads) else 0


def _transpose(node: OperatorNode) -> int | str:
    perm, rank = node.attribute("perm"), _source(node).rank
    if perm is None:
        return 0 if rank in (0, 1) else "it reverses the axes"
    return 0 if tuple(perm) == tuple(range(len(perm))) else "it moves axes"


def _resize(node: OperatorNode) -> int | str:
    mode = node.attribute("coordinate_transformation_mode", "half_pixel")
    if mode in ("tf_crop_and_resize", b"tf_crop_and_resize"):
        return "it crops"
    # Before opset 11, and in Upsample, scales come second.
    scales = node.constant_input(2 if len(node.inputs) > 2 else 1)
    given = node.attribute("scales") or (None if scales is None else scales.numpy().tolist())
    if given and any(scale != 1.0 for scale in given):
        return "its scale is not 1"
    return same_shape(node)


def _gather(node: OperatorNode) -> int | str:
    """A Gather of every element along an axis, in order."""
    indices, shape = node.constant_input(1), _source(node).shape
    if indices is None or shape is None or not shape:
        return "its indices are not constant"
    axis = node.attribute("axis", 0)
    if len(indices.shape) != 1 or indices.shape != (shape[axis],):
        return "it picks some elements only"
    return 0 if _in_order(indices.numpy(), indices.size) else "it picks elements in another order"


def _scatter_nd(node: OperatorNode) -> int | str:
    """A ScatterND that overwrites all there is with its updates, in order."""
    shape, updates = _source(node).static_shape, node.inputs[2]
    indices = node.constant_input(1)
    if node.attribute("reduction", "none") not in ("none", b"none"):
        return "it adds to what is there"
    if shape is None or indices is None or updates is None:
        return "its indices are not constant"
    depth = indices.shape[-1] if indices.shape else 0
    if not 0 < depth <= len(shape) or updates.static_shape != shape:
        return "it keeps some of the data"
    rows = indices.numpy().reshape(-1, depth)
    count = int(np.prod(shape[:depth], dtype=np.int64))
    if len(rows) != count or not count:
        return "it keeps some of the data"
    flat = np.asarray(np.ravel_multi_index(tuple(rows.T), shape[:depth], mode="wrap"))
    return 2 if _in_order(flat, count) else "it moves elements"


def _in_order(indices: Array, size: int) -> bool:
    """Whether ``indices`` are all that there are, in order."""
    flat = indices.reshape(-1)
    counted = np.where(flat < 0, flat + size, flat)
    return flat.size == size and bool(np.array_equal(counted, np.arange(size)))


def _reduction(node: OperatorNode) -> int | str:
    """A reduction over no axis, or over axes of size 1 that stay."""
    if node.attribute("noop_with_empty_axes", 0):
        axes = node.attribute("axes") or (() if node.input(1) is None else integers(node.input(1)))
        if axes == ():
            return 0
    along, shape = reduced_axes(node), _source(node).shape
    if along is None or shape is None:
        return "the axes that it reduces are not known"
    if any(shape[axis] != 1 for axis in along):
        return "it reduces several elements"
    return 0 if node.attribute("keepdims", 1) or not along else "it removes axes"


def _cumulative(node: OperatorNode) -> int | str:
    axis, shape = integers(node.input(1)), _source(node).shape
    if node.attribute("exclusive", 0):
        return "it leaves the last element out"
    if axis is None or shape is None:
        return "its axis is not known"
    return 0 if shape[axis[0]] == 1 else "it adds several elements"


def _pool(node: OperatorNode) -> int | str:
    if len(node.outputs) > 1:
        return "it has several outputs"
    moves = (*node.attribute("kernel_shape", (0,)), *node.attribute("strides", (1,)))
    return "its window is larger than 1" if set(moves) != {1} else same_shape(node)


def _global_pool(node: OperatorNode) -> int | str:
    shape = _source(node).shape
    if shape is None:
        return UNKNOWN_SHAPES
    return 0 if set(shape[2:]) <= {1} else "it reduces several elements"


def _einsum(node: OperatorNode) -> int | str:
    equation = node.attribute("equation", "")
    equation = equation.decode() if isinstance(equation, bytes) else equation
    given, _, result = equation.replace(" ", "").partition("->")
    if len(node.inputs) > 1 or given != result:
        return "it computes something"
    letters = given.replace("...", ".")
    return 0 if len(set(letters)) == len(letters) else "it reads a diagonal"


MOVES: dict[str, Judge] = {
    "AveragePool": _pool,
    "Cast": _same_type,
    "CastLike": _same_type,
    "Concat": single,
    "CumSum": _cumulative,
    "Einsum": _einsum,
    "Expand": _expand,
    "Flatten": same_shape,
    "Gather": _gather,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "Identity": first,
    "MaxPool": _pool,
    "Pad": _pad,
    "ReduceMax": _reduction,
    "ReduceMean": _reduction,
    "ReduceMin": _reduction,
    "ReduceProd": _reduction,
    "ReduceSum": _reduction,
    "Reshape": _reshape,
    "Resize": _resize,
    "ScatterND": _scatter_nd,
    "Slice": _slice,
    "Split": _whole,
    "Squeeze": same_shape,
    "Tile": _tile,
    "Transpose": _transpose,
    "Upsample": _resize,
}
"""Standard operators that move, cut, repeat or gather elements, and may do none of that."""
