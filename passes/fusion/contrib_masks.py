"""Masks of ONNX Runtime's attention operators, as numbers to add to the scores."""

from __future__ import annotations

import numpy as np

from burnish.ir import DType, OperatorNode, VariableNode
from burnish.rewrite import Miss, Rewriter


def mask_problem(
    node: OperatorNode, mask: VariableNode | None, extra: VariableNode | None, total: int | None
) -> Miss | None:
    """Why the masks of ``node`` are none that can be added.

    Args:
        node: the attention.
        mask: of ones and zeros [batch, keys] or [batch, queries, keys], or how many of the keys
            count [batch].
        extra: numbers to add, with four axes.
        total: how many keys there are, None if unknown.
    """
    if mask is not None and mask.rank not in (1, 2, 3):
        return Miss("the mask does not have one to three known axes", node)
    if mask is not None and mask.rank == 1:
        data = node.input(0)
        assert mask.shape is not None
        if data is None or data.shape is None or mask.shape[0] != data.shape[0]:
            return Miss("the mask holds more than one length for each entry of the batch", node)
        if total is None:
            return Miss("the mask holds lengths, and the number of keys is unknown", node)
    if extra is not None and extra.rank != 4:
        return Miss("the bias of the scores does not have four known axes", node)
    return None


def total_mask(
    rw: Rewriter, node: OperatorNode, mask: VariableNode | None, extra: VariableNode | None,
    like: VariableNode, total: int | None,
) -> tuple[VariableNode, ...]:  # fmt: skip
    """What is to be added to the scores, of the type of ``like``."""
    masks = [] if mask is None else [_from_mask(rw, mask, node, like, total)]
    return (*masks, *([] if extra is None else [extra]))


def _from_mask(
    rw: Rewriter, mask: VariableNode, node: OperatorNode, like: VariableNode, total: int | None
) -> VariableNode:
    """Numbers to add: 0 where a key counts."""
    assert mask.shape is not None
    axes = {1: [1, 2, 3], 2: [1, 2], 3: [1]}[len(mask.shape)]
    keys = rw.op("Unsqueeze", [mask, rw.constant(np.array(axes))], like=mask)
    keys.shape = (mask.shape[0], *(1 for _ in axes), *mask.shape[1:])
    if len(mask.shape) == 1:
        assert total is not None
        positions = rw.constant(np.arange(total, dtype=mask.dtype.numpy))
        counts = rw.op("Less", [positions, keys])
        counts.shape = (mask.shape[0], 1, 1, total)
    else:
        counts = rw.op("Cast", [keys], {"to": int(DType.BOOL)})
        counts.shape = keys.shape
    counts.dtype = DType.BOOL
    fill = node.attribute("mask_filter_value", -10000.0)
    choices = [rw.constant(np.asarray(c, like.dtype.numpy)) for c in (0.0, fill)]
    result = rw.op("Where", [counts, *choices])
    result.dtype, result.shape = like.dtype, counts.shape
    return result
