"""Masks of attention: what may be one, and all of it as one value to be added to the scores."""

from __future__ import annotations

import numpy as np

from burnish.ir import Array, DType, Shape, VariableNode
from burnish.passes.fusion.constants import number
from burnish.rewrite import Match, Miss, Rewriter

FLOOR = {DType.FLOAT16: -3e4}
"""A finite mask is no lower than this, or than ``LOWEST`` in wider types.

It takes every trace of the score away, like any lower number. But ONNX Runtime gives zeros for a
row in which the mask is the lowest number of its type everywhere, not the mean that arithmetic
gives.
"""
LOWEST = -1e30
ABSORBING = -1e9
"""A masked logit at or below this leaves no trace of the score, whatever is added to it."""


def mask_problem(match: Match, rank: int) -> Miss | None:
    """Why the masks that an attention pattern captured cannot be one that is added."""
    scores = match.node("scores").output.shape
    assert scores is not None
    for name in ("mask", "keep", "drop"):
        shape = match[name].shape if name in match else ()
        if shape is None or len(shape) > rank:
            return Miss("the shape of the mask is unknown or has too many axes", match.root)
        for mine, theirs in zip(reversed(shape), reversed(scores), strict=False):
            if mine is None or mine not in (1, theirs):
                return Miss("it is unknown whether the mask fits the scores", match.root)
        if name in match and (not shape or shape[-1] != scores[-1]):
            return Miss("the mask is the same for all keys", match.root)
    return _fill_problem(match) if "fill" in match else None


def _fill_problem(match: Match) -> Miss | None:
    fill, kind = number(match["fill"]), match["fill"].dtype
    if fill is not None and fill <= max(ABSORBING, FLOOR.get(kind, ABSORBING)):
        return None
    condition = match.values.get("keep") or match["drop"]
    if fill is not None and fill <= -1e4 and condition.constant is not None:
        kept = condition.constant.numpy() == ("keep" in match)
        if kept.any(axis=-1).all():
            return None
    reason = f"masked scores become {fill:g}: a row that is masked altogether would differ"
    return Miss(reason, match.node("chosen"))


def is_finite(match: Match) -> bool:
    """Whether no masked logit can be minus infinity."""
    fill = number(match.values.get("fill"))
    chosen = "fill" not in match or (fill is not None and bool(np.isfinite(fill)))
    return chosen and ("mask" not in match or _finite(match["mask"]))


def _finite(value: VariableNode) -> bool:
    """Whether every element of ``value`` is known to be a finite number."""
    if value.constant is not None:
        return bool(np.isfinite(value.constant.numpy().astype(np.float64)).all())
    node = value.producer
    if node is None or node.domain:
        return False
    if node.op_type == "Where":
        return all(v is not None and _finite(v) for v in node.inputs[1:])
    if node.op_type in ("Expand", "Reshape", "Unsqueeze", "Squeeze", "Slice", "Transpose"):
        return node.inputs[0] is not None and _finite(node.inputs[0])
    return False


def write_mask(rw: Rewriter, match: Match, rank: int) -> VariableNode | None:
    """Everything that masks scores of ``rank`` axes, with four axes; None if nothing does."""
    mask, fill = match.values.get("mask"), number(match.values.get("fill"))
    parts = [] if mask is None else [_raised(rw, mask)]
    if fill is not None:
        dtype = match["q"].dtype
        choices = [np.zeros((), dtype.numpy), np.asarray(fill, dtype.numpy)]
        if "drop" in match:
            choices.reverse()
        condition = match.values.get("keep") or match["drop"]
        parts.append(_choose(rw, condition, choices, dtype))
    if not parts:
        return None
    total = parts[0]
    if len(parts) == 2:
        total = rw.op("Add", parts)
        total.dtype, total.shape = parts[1].dtype, _broadcast(parts[0].shape, parts[1].shape)
    return for_every_query(rw, _with_four_axes(rw, total, rank), match["q"])


def _raised(rw: Rewriter, mask: VariableNode) -> VariableNode:
    """``mask`` with its lowest finite numbers raised to the floor, where that can be seen."""
    if mask.constant is not None:
        array = mask.constant.numpy()
        raised = _floored(array, mask.dtype)
        return mask if np.array_equal(array, raised, equal_nan=True) else rw.constant(raised)
    node = mask.producer
    if node is None or not node.is_op("Where"):
        return mask
    condition, *choices = (value for value in node.inputs if value is not None)
    numbers = [number(choice) for choice in choices]
    if any(n is None for n in numbers):
        return mask
    arrays = [np.asarray(n, mask.dtype.numpy) for n in numbers]
    if all(np.array_equal(a, _floored(a, mask.dtype)) for a in arrays):
        return mask
    return _choose(rw, condition, arrays, mask.dtype)


def _floored(array: Array, dtype: DType) -> Array:
    floor = FLOOR.get(dtype, LOWEST)
    result: Array = np.where(np.isfinite(array), np.maximum(array, floor), array)
    return result.astype(array.dtype)


def _choose(
    rw: Rewriter, condition: VariableNode, choices: list[Array], dtype: DType
) -> VariableNode:
    constants = [rw.constant(_floored(choice, dtype)) for choice in choices]
    chosen = rw.op("Where", [condition, *constants])
    chosen.dtype, chosen.shape = dtype, condition.shape
    return chosen


def _broadcast(a: Shape, b: Shape) -> Shape:
    """The shape of two masks together; each size is 1 in one of them or the same in both."""
    assert a is not None
    assert b is not None
    rank = max(len(a), len(b))
    left, right = ((1,) * (rank - len(shape)) + shape for shape in (a, b))
    return tuple(y if x == 1 else x for x, y in zip(left, right, strict=True))


def for_every_query(rw: Rewriter, mask: VariableNode, queries: VariableNode) -> VariableNode:
    """``mask`` with its own row for every query: ONNX Runtime does not repeat one row."""
    assert mask.shape is not None
    assert queries.shape is not None
    count = queries.shape[-2]
    if mask.shape[-2] == count:
        return mask
    sizes = rw.constant(np.array([1, 1, count if isinstance(count, int) else 0, 1], np.int64))
    if not isinstance(count, int):
        rank = len(queries.shape)
        length = rw.op("Shape", [queries], {"start": rank - 2, "end": rank - 1})
        one = rw.constant(np.array([1], np.int64))
        length.dtype, length.shape = DType.INT64, (1,)
        sizes = rw.op("Concat", [one, one, length, one], {"axis": 0})
        sizes.dtype, sizes.shape = DType.INT64, (4,)
    result = rw.op("Expand", [mask, sizes], like=mask)
    result.shape = (*mask.shape[:2], count, mask.shape[3])
    return result


def _with_four_axes(rw: Rewriter, mask: VariableNode, rank: int) -> VariableNode:
    """``mask`` with an axis for each of batch, heads, queries and keys.

    Of scores with three axes the first counts batch and heads together: heads are 1.
    """
    assert mask.shape is not None
    outer = mask.shape[:-2] if len(mask.shape) > 1 else ()
    inner = (1,) * (2 - len(mask.shape)) + mask.shape[-2:]
    heads = outer[-1:] if rank == 4 else (1,)
    batch = outer[:-1] if rank == 4 else outer
    shape = (*(batch or (1,)), *(heads or (1,)), *inner)
    if len(mask.shape) == 4:
        return mask
    kept = [3 - i for i in range(len(mask.shape))]
    if rank == 3 and len(mask.shape) == 3:
        kept = [0, 2, 3]
    missing = [axis for axis in range(4) if axis not in kept]
    if mask.constant is not None:
        return rw.constant(np.expand_dims(mask.constant.numpy(), tuple(missing)))
    result = rw.op("Unsqueeze", [mask, rw.constant(np.array(missing))])
    result.dtype, result.shape = mask.dtype, shape
    return result
