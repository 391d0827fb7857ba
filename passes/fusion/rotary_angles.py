"""Cosines and sines of rotary embeddings, for half the channels: the other half repeats them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from burnish.ir import Array, DType, OperatorNode, VariableNode
from burnish.passes.fusion.constants import integers, is_number
from burnish.rewrite import Rewriter

Recipe: TypeAlias = Callable[[Rewriter], VariableNode]
"""Writes what makes a value and returns it."""

UNARY = frozenset({"Cast", "Cos", "Identity", "Neg", "Sin"})
SCALED = frozenset({"Mul", "Div", "Add", "Sub"})
REACH = 16
"""Operators to look back through."""


def halved(value: VariableNode, *, interleaved: bool, reach: int = REACH) -> Recipe | None:
    """How to make the first half of ``value`` along its last axis, if the second is the same.

    With ``interleaved``, every other element, if the ones between are the same.
    """
    if reach == 0 or value.shape is None or not isinstance(value.shape[-1], int):
        return None
    if value.constant is not None:
        return _of_constant(value, interleaved=interleaved)
    node = value.producer
    if node is None or node.domain or node.inputs[0] is None:
        return None
    source = node.inputs[0]
    if interleaved and node.op_type == "Reshape":
        return _once(node)
    if node.op_type == "Concat" and not interleaved:
        twice = len(node.inputs) == 2 and node.inputs[1] is source
        last = node.attribute("axis") in (-1, len(value.shape) - 1)
        return (lambda rw: source) if twice and last else None
    if node.op_type == "Gather" and (node.attribute("axis", 0) != 0 or (source.rank or 0) < 2):
        return None
    if not _keeps_halves(node):
        return None
    position = 1 if node.op_type in SCALED and is_number(source) else 0
    operand = node.inputs[position]
    if operand is None:
        return None
    inner = halved(operand, interleaved=interleaved, reach=reach - 1)
    return None if inner is None else _again(node, position, inner)


def _again(node: OperatorNode, position: int, inner: Recipe) -> Recipe:
    """``node`` over another operand, with half the channels."""

    def write(rw: Rewriter) -> VariableNode:
        inputs = list(node.inputs)
        inputs[position] = inner(rw)
        result = rw.op(node.op_type, inputs, node.attributes, like=node.output)
        shape = node.output.shape
        assert shape is not None
        assert isinstance(shape[-1], int)
        result.shape = (*shape[:-1], shape[-1] // 2)
        return result

    return write


def _of_constant(value: VariableNode, *, interleaved: bool) -> Recipe | None:
    assert value.constant is not None
    array = value.constant.numpy()
    if array.ndim == 0 or array.shape[-1] % 2:
        return None
    count = array.shape[-1] // 2
    parts = (array[..., ::2], array[..., 1::2]) if interleaved else np.split(array, [count], -1)
    if not np.array_equal(parts[0], parts[1]):
        return None
    kept: Array = np.ascontiguousarray(parts[0])
    return lambda rw: rw.constant(kept)


def _once(node: OperatorNode) -> Recipe | None:
    """[..., n] of which each element stands twice in the result: [..., n, 1] is spread to 2."""
    spread = node.inputs[0].producer if node.inputs[0] is not None else None
    if spread is None or spread.op_type not in ("Expand", "Tile") or spread.inputs[0] is None:
        return None
    source, wide, merged = spread.inputs[0], spread.output.shape, node.output.shape
    if source.shape is None or wide is None or merged is None or None in (*wide, *source.shape):
        return None
    if (*source.shape[:-1], 2) != wide or source.shape[-1] != 1 or len(merged) != len(wide) - 1:
        return None
    if merged[:-1] != wide[:-2]:
        return None
    shape = source.shape[:-1]

    def write(rw: Rewriter) -> VariableNode:
        result = rw.op("Squeeze", [source, rw.constant(np.array([-1]))], like=source)
        result.shape = shape
        return result

    return write


def _keeps_halves(node: OperatorNode) -> bool:
    """Whether the node does the same to every element along the last axis."""
    kind, rank = node.op_type, node.output.rank
    if kind in UNARY or kind == "Gather":
        return True
    if kind in SCALED:
        return any(value is not None and is_number(value) for value in node.inputs)
    if kind in ("Unsqueeze", "Squeeze") and rank is not None and node.inputs[0] is not None:
        axes = integers(node.input(1))
        last = max(rank, node.inputs[0].rank or 0) - 1
        return axes is not None and not {-1, last} & set(axes)
    if kind == "Slice" and rank is not None:
        axes = integers(node.input(3))
        return axes is not None and not {-1, rank - 1} & set(axes)
    return False


def per_position(rw: Rewriter, value: VariableNode, heads: int) -> VariableNode:
    """``value``, as it broadcasts to data with four axes, as [batch or 1, positions, channels]."""
    shape = value.shape
    assert shape is not None
    if len(shape) == 3 and heads == 1:
        return value
    wide = (1,) * (4 - len(shape)) + shape
    result = (wide[0], wide[3 - heads], wide[3])
    if len(shape) == 2:
        added = rw.op("Unsqueeze", [value, rw.constant(np.array([0]))], like=value)
        added.shape = result
        return added
    if len(shape) == 3:
        value = rw.op("Unsqueeze", [value, rw.constant(np.array([0]))], like=value)
        value.shape = wide
    squeezed = rw.op("Squeeze", [value, rw.constant(np.array([heads]))], like=value)
    squeezed.shape = result
    return squeezed


def _size(rw: Rewriter, x: VariableNode) -> VariableNode:
    """The size of the first axis of ``x``, from an input of the graph that has it as well.

    So it is computed once for all that is rotated.
    """
    assert rw.anchor is not None
    assert rw.anchor.graph is not None
    assert x.shape is not None
    for value in rw.anchor.graph.inputs:
        if isinstance(x.shape[0], str) and x.shape[0] in (value.shape or ()):
            axis = (value.shape or ()).index(x.shape[0])
            return rw.op("Shape", [value], {"start": axis, "end": axis + 1})
    return rw.op("Shape", [x], {"start": 0, "end": 1})


def for_batch(rw: Rewriter, angles: VariableNode, x: VariableNode) -> VariableNode:
    """``angles`` [batch or 1, positions, channels] for every entry of the batch of ``x``."""
    assert angles.shape is not None
    assert x.shape is not None
    batch = x.shape[0]
    if angles.shape[0] == batch:
        return angles
    if isinstance(batch, int):
        sizes = rw.constant(np.array([batch, 1, 1]))
    else:
        count = _size(rw, x)
        count.dtype, count.shape = DType.INT64, (1,)
        sizes = rw.op("Concat", [count, rw.constant(np.array([1, 1]))], {"axis": 0})
        sizes.dtype, sizes.shape = DType.INT64, (3,)
    result = rw.op("Expand", [angles, sizes], like=angles)
    result.shape = (batch, *angles.shape[1:])
    return result
