"""Recognises scaled dot-product attention in the spellings of exporters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.ir import Dim, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.fusion.constants import is_number, number
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, Miss, OneOf, Op, Pattern, Rewriter, Rule, Scalar

ABSORBING = -1e9
"""A masked logit at or below this leaves no trace of the score, whatever is added to it."""


@dataclass(frozen=True)
class RecogniseAttention(RulePass):
    """Replace the arithmetic of scaled dot-product attention by the operator.

    Before:
        y = MatMul(Softmax(MatMul(q, Transpose(k)) * scale + mask), v)

    After:
        y = Attention(q, k, v, mask)

    The scale may stand on the queries, on the keys or on the product; a mask may be added or
    chosen by Where; keys and values may be repeated for groups of heads.
    """

    name: ClassVar[str] = "recognise-attention"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Attention, after the ways to write the transposed keys are one."""
        return RULES


def _scaled(value: Pattern, name: str, *, shared: bool) -> Pattern:
    """``value``, maybe multiplied or divided by one number."""
    times, over = Const(f"{name}_times", is_number), Const(f"{name}_over", is_number)
    return OneOf(
        Op("Mul", value, times, shared=shared), Op("Div", value, over, shared=shared), value
    )


def _attention() -> Pattern:
    queries = _scaled(Any("q"), "q", shared=True)
    keys = OneOf(
        Op("Transpose", _scaled(Any("k"), "k", shared=True), name="transpose", shared=True),
        Any("kt"),
    )
    scores = Op("MatMul", queries, _scaled(keys, "kt", shared=True), name="scores")
    logits = _scaled(scores, "logits", shared=False)
    fill = Const("fill", is_number)
    chosen = OneOf(
        Op("Where", Any("keep"), logits, fill, name="chosen"),
        Op("Where", Any("drop"), fill, logits, name="chosen"),
    )
    masked = OneOf(Op("Add", OneOf(chosen, logits), Any("mask"), name="masked"), chosen, logits)
    weights = Op("Softmax", masked, name="softmax")
    guarded = OneOf(Op("Where", Op("IsNaN", weights), Scalar(0.0), weights, name="guard"), weights)
    return Op("MatMul", guarded, Any("v"))


@dataclass(frozen=True)
class Attention:
    """What to write."""

    scale: float
    keys: VariableNode
    values: VariableNode
    perm: tuple[int, ...] | None
    """How to transpose ``keys`` to [batch, heads, keys, depth]; None if they are."""
    rank: int
    keep_guard: bool
    """Rows that are masked altogether have to be made zero."""


def _read(match: Match) -> Attention | Miss:
    softmax = match.node("softmax")
    q, v, scores = match["q"], match["v"], match.node("scores").output
    rank = scores.rank
    if rank not in (3, 4) or q.rank != rank or v.rank != rank:
        return Miss("queries, keys and values do not all have 3 or all 4 known axes", match.root)
    if softmax.attribute("axis", _default_axis(softmax)) not in (-1, rank - 1):
        return Miss("Softmax does not go over the keys", softmax)
    scale = _scale(match)
    if scale <= 0:
        return Miss(f"the scale {scale:g} is not positive", match.node("scores"))
    facts = _with_keys(match, scale, rank)
    return _mask_problem(match, rank) or _shape_problem(match, facts) or facts


def _default_axis(softmax: OperatorNode) -> int:
    assert softmax.graph is not None
    return -1 if softmax.graph.opset >= 13 else 1


def _scale(match: Match) -> float:
    scale = 1.0
    for name in ("q", "k", "kt", "logits"):
        scale *= number(match.values.get(f"{name}_times")) or 1.0
        if f"{name}_over" in match:
            scale /= number(match[f"{name}_over"]) or np.inf
    return scale


def _with_keys(match: Match, scale: float, rank: int) -> Attention:
    """Facts with the keys as they were before they were transposed."""
    swap = (*range(rank - 2), rank - 1, rank - 2)
    guarded = "guard" in match and not _is_finite(match)
    if "transpose" not in match:
        return Attention(scale, match["kt"], match["v"], swap, rank, guarded)
    perm = match.node("transpose").attribute("perm") or tuple(reversed(range(rank)))
    restored: tuple[int, ...] | None = tuple(perm[axis] for axis in swap)
    if restored == tuple(range(rank)):
        restored = None
    return Attention(scale, match["k"], match["v"], restored, rank, guarded)


def _mask_problem(match: Match, rank: int) -> Miss | None:
    scores = match.node("scores").output
    for name in ("mask", "keep", "drop"):
        if name not in match:
            continue
        shape = match[name].shape
        assert scores.shape is not None
        if shape is None or len(shape) > rank:
            return Miss("the shape of the mask is unknown or has too many axes", match.root)
        own = scores.shape[rank - len(shape) :]
        for mine, theirs in zip(shape, own, strict=True):
            if mine is None or mine not in (1, theirs):
                return Miss("it is unknown whether the mask fits the scores", match.root)
    if "fill" in match:
        fill = number(match["fill"])
        if fill is None or fill > ABSORBING:
            return Miss(f"masked scores become {fill:g}, not minus infinity", match.node("chosen"))
    return None


def _shape_problem(match: Match, facts: Attention) -> Miss | None:
    """Why the operator would not broadcast batch and heads as MatMul does."""
    keys = facts.keys.shape
    if keys is None:
        return Miss("the shape of the keys is unknown", match.root)
    keys = keys if facts.perm is None else tuple(keys[axis] for axis in facts.perm)
    shapes = [match["q"].shape, keys, facts.values.shape]
    for axis in range(facts.rank - 2):
        sizes = {shape[axis] for shape in shapes if shape is not None}
        if len(sizes) != 1 or None in sizes:
            return Miss("queries, keys and values differ in batch size or heads", match.root)
    return None


def _is_finite(match: Match) -> bool:
    """Whether no masked logit can be minus infinity."""
    fill = number(match.values.get("fill"))
    chosen = "fill" not in match or (fill is not None and bool(np.isfinite(fill)))
    return chosen and ("mask" not in match or finite(match["mask"]))


def finite(value: VariableNode) -> bool:
    """Whether every element of ``value`` is known to be a finite number."""
    if value.constant is not None:
        return bool(np.isfinite(value.constant.numpy().astype(np.float64)).all())
    node = value.producer
    if node is None or node.domain:
        return False
    if node.op_type == "Where":
        return all(v is not None and finite(v) for v in node.inputs[1:])
    if node.op_type in ("Expand", "Reshape", "Unsqueeze", "Squeeze", "Slice", "Transpose"):
        return node.inputs[0] is not None and finite(node.inputs[0])
    return False


def _write(rw: Rewriter, match: Match, facts: Attention) -> None:
    output = match.root.output
    keys = facts.keys
    if facts.perm is not None:
        keys = _op(rw, "Transpose", keys, {"perm": facts.perm}, facts.perm)
    inputs: list[VariableNode | None] = [match["q"], keys, facts.values]
    mask = _mask(rw, match)
    if facts.rank == 3:
        inputs = [_with_heads(rw, value) for value in inputs if value is not None]
    if mask is not None:
        inputs.append(_four_axes(rw, mask, facts.rank))
    result = rw.op("Attention", inputs, {"scale": facts.scale}, like=output)
    if facts.rank == 3:
        result.shape = None if output.shape is None else (output.shape[0], 1, *output.shape[1:])
        result = rw.op("Squeeze", [result, rw.constant(np.array([1]))], like=output)
    if facts.keep_guard:
        zero = rw.constant(np.zeros((), output.dtype.numpy))
        empty = rw.op("IsNaN", [result])
        empty.shape = output.shape
        result = rw.op("Where", [empty, zero, result], like=output)
    rw.replace(output, result)


def _op(
    rw: Rewriter, kind: str, value: VariableNode, attributes: dict[str, object],
    perm: tuple[int, ...],
) -> VariableNode:  # fmt: skip
    result = rw.op(kind, [value], attributes, like=value)
    result.shape = None if value.shape is None else tuple(value.shape[axis] for axis in perm)
    return result


def _mask(rw: Rewriter, match: Match) -> VariableNode | None:
    """Everything that masks, as one value to be added."""
    mask = match.values.get("mask")
    condition = match.values.get("keep") or match.values.get("drop")
    if condition is None:
        return mask
    kind = match["q"].dtype.numpy
    nothing = rw.constant(np.zeros((), kind))
    fill = rw.constant(np.asarray(number(match["fill"]), kind))
    choices = [nothing, fill] if "keep" in match else [fill, nothing]
    chosen = rw.op("Where", [condition, *choices])
    chosen.dtype, chosen.shape = match["q"].dtype, condition.shape
    if mask is None:
        return chosen
    both = rw.op("Add", [chosen, mask])
    both.dtype, both.shape = chosen.dtype, _broadcast(chosen, mask)
    return both


def _broadcast(a: VariableNode, b: VariableNode) -> tuple[Dim, ...]:
    """The shape of two masks together; each size is 1 in one of them or the same in both."""
    assert a.shape is not None
    assert b.shape is not None
    rank = max(len(a.shape), len(b.shape))
    left, right = ((1,) * (rank - len(s)) + s for s in (a.shape, b.shape))
    return tuple(y if x == 1 else x for x, y in zip(left, right, strict=True))


def _with_heads(rw: Rewriter, value: VariableNode) -> VariableNode:
    result = rw.op("Unsqueeze", [value, rw.constant(np.array([1]))], like=value)
    if value.shape is not None:
        result.shape = (value.shape[0], 1, *value.shape[1:])
    return result


def _four_axes(rw: Rewriter, mask: VariableNode, rank: int) -> VariableNode:
    """``mask`` with an axis for each of batch, heads, queries and keys."""
    assert mask.shape is not None
    shape = (1,) * (rank - len(mask.shape)) + mask.shape
    missing = list(range(rank - len(mask.shape)))
    if rank == 3:
        shape, missing = (shape[0], 1, *shape[1:]), [*missing, len(missing) or 1]
        missing = sorted(set(range(4 - len(mask.shape))) if len(mask.shape) < 3 else {1})
    if not missing:
        return mask
    if mask.constant is not None:
        return rw.constant(mask.constant.numpy().reshape([int(d) for d in shape if d is not None]))
    result = rw.op("Unsqueeze", [mask, rw.constant(np.array(missing))], like=mask)
    result.shape = shape
    return result


RULES = (Rule("attention", _attention(), _write, _read, since=23),)
