"""Which keys a query of Attention may see by its position: causality, windows, lengths."""

from __future__ import annotations

import numpy as np

from burnish.ir import Array, DType, OperatorNode, Shape, VariableNode
from burnish.rewrite import Rewriter

LENGTHS = 6
"""The input that counts the keys of each batch entry that are no padding."""


def visible(
    rw: Rewriter, node: OperatorNode, sizes: tuple[int, int, int, int]
) -> tuple[VariableNode | None, bool]:
    """A mask, true where the position lets a query see a key, and whether to stay causal beside.

    Query i stands at i + offset among the keys: it follows those from a cache within the operator,
    and ends with the last counted key of a cache outside of it. Both results are as the operator
    takes them when it knows no cache.

    Args:
        rw: inserts what has to be computed.
        node: the Attention.
        sizes: queries, keys with those from a cache, keys from a cache, entries of the batch.
    """
    queries, keys, past, batch = sizes
    causal = bool(node.attribute("is_causal", 0))
    left, right = (node.attribute(f"{side}_window_size", -1) for side in ("left", "right"))
    lengths = node.input(LENGTHS)
    if causal:
        # Nothing ahead is seen, however far a window reaches.
        causal = not past and lengths is None
        right = -1 if causal else 0
    if lengths is None:
        return _fixed(rw, (queries, keys), past, (left, right)), causal
    counted = _column(rw, lengths, batch)
    shape = (batch, 1, queries, keys)
    # One row for each query: ONNX Runtime does not repeat one.
    positions = _constant(rw, np.tile(np.arange(keys), (queries, 1)))
    bounds = [_compare(rw, "Less", positions, counted, shape)]
    first = np.arange(queries)[:, None] - queries
    if right >= 0:
        last = _sum(rw, counted, first + right, (batch, 1, queries, 1))
        bounds.append(_compare(rw, "LessOrEqual", positions, last, shape))
    if left >= 0:
        low = _sum(rw, counted, first - left, (batch, 1, queries, 1))
        bounds.append(_compare(rw, "LessOrEqual", low, positions, shape))
    total = bounds[0]
    for bound in bounds[1:]:
        total = _compare(rw, "And", total, bound, shape)
    return total, causal


def _fixed(
    rw: Rewriter, shape: tuple[int, int], offset: int, window: tuple[int, int]
) -> VariableNode | None:
    """The mask where it is the same for all entries; None if nothing is hidden."""
    queries, keys = shape
    ahead = np.arange(keys)[None] - np.arange(queries)[:, None] - offset
    allowed: Array = np.ones(shape, np.bool_)
    left, right = window
    if right >= 0:
        allowed &= ahead <= right
    if left >= 0:
        allowed &= -ahead <= left
    return None if allowed.all() else rw.constant(allowed)


def _constant(rw: Rewriter, array: Array) -> VariableNode:
    return rw.constant(array.astype(np.int64))


def _column(rw: Rewriter, lengths: VariableNode, batch: int) -> VariableNode:
    """``lengths`` [batch] as [batch, 1, 1, 1]."""
    shape = (batch, 1, 1, 1)
    result = rw.op("Reshape", [lengths, _constant(rw, np.array(shape))], like=lengths)
    result.shape = shape
    return result


def _sum(rw: Rewriter, a: VariableNode, b: Array, shape: Shape) -> VariableNode:
    result = rw.op("Add", [a, _constant(rw, b)], like=a)
    result.shape = shape
    return result


def _compare(
    rw: Rewriter, kind: str, a: VariableNode, b: VariableNode, shape: Shape
) -> VariableNode:
    result = rw.op(kind, [a, b])
    result.dtype, result.shape = DType.BOOL, shape
    return result
