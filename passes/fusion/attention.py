"""Recognises scaled dot-product attention in the spellings of exporters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.fusion.attention_detours import DETOURS
from burnish.passes.fusion.attention_einsum import einsum_rule
from burnish.passes.fusion.attention_guards import GUARDS, SAFE_RESULT
from burnish.passes.fusion.attention_inputs import INPUTS, unrepeated
from burnish.passes.fusion.attention_mask import is_finite, mask_problem, write_mask
from burnish.passes.fusion.constants import is_number, number
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, Miss, OneOf, Op, Pattern, Rewriter, Rule, Scalar


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
        return RULES if context.target is None else (*RULES, SAFE_RESULT)


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
    return Op("MatMul", _weights_of(scores), Any("v"))


def _weights_of(scores: Op) -> Pattern:
    """What ``scores`` become by scale, bound, masks, Softmax and a guard."""
    logits = _scaled(scores, "logits", shared=False)
    bounded = Op("Tanh", _scaled(logits, "inner", shared=False))
    logits = OneOf(Op("Mul", bounded, Const("cap", is_number), name="capped"), logits)
    fill = Const("fill", is_number)
    chosen = OneOf(
        Op("Where", Any("keep"), logits, fill, name="chosen"),
        Op("Where", Any("drop"), fill, logits, name="chosen"),
    )
    masked = OneOf(Op("Add", OneOf(chosen, logits), Any("mask"), name="masked"), chosen, logits)
    weights = Op("Softmax", masked, name="softmax")
    return OneOf(Op("Where", Op("IsNaN", weights), Scalar(0.0), weights, name="guard"), weights)


@dataclass(frozen=True)
class Attention:
    """What to write."""

    scale: float
    softcap: float
    """What the magnitude of the scores tends to; 0 for no bound."""
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
    scale, cap = _scale(match), number(match.values.get("cap"))
    if cap is not None:
        if cap <= 0:
            return Miss(f"the bound {cap:g} of the scores is not positive", match.node("capped"))
        # cap * Tanh(x / cap): what makes the argument is the scale over the bound.
        scale *= cap
    if scale <= 0:
        return Miss(f"the scale {scale:g} is not positive", match.node("scores"))
    facts = _with_keys(match, (scale, cap or 0.0), rank)
    facts = _ungrouped(match, facts)
    return mask_problem(match, rank) or _shape_problem(match, facts) or facts


def _default_axis(softmax: OperatorNode) -> int:
    assert softmax.graph is not None
    return -1 if softmax.graph.opset >= 13 else 1


def _scale(match: Match) -> float:
    scale = 1.0
    for name in ("q", "k", "kt", "logits", "inner"):
        times, over = (number(match.values.get(f"{name}_{kind}")) for kind in ("times", "over"))
        if times is not None:
            scale *= times
        if over is not None:
            scale /= over or np.inf
    return scale


def _with_keys(match: Match, numbers: tuple[float, float], rank: int) -> Attention:
    """Facts with the keys as they were before they were transposed."""
    swap = (*range(rank - 2), rank - 1, rank - 2)
    guarded = "guard" in match and not is_finite(match)
    if "transpose" not in match:
        return Attention(*numbers, match["kt"], match["v"], swap, rank, guarded)
    perm = match.node("transpose").attribute("perm") or tuple(reversed(range(rank)))
    restored: tuple[int, ...] | None = tuple(perm[axis] for axis in swap)
    if restored == tuple(range(rank)):
        restored = None
    return Attention(*numbers, match["k"], match["v"], restored, rank, guarded)


def _ungrouped(match: Match, facts: Attention) -> Attention:
    """Facts with keys and values as they were before they were repeated for groups of heads."""
    if facts.perm is not None or facts.rank != 4:
        return facts
    keys, values = (unrepeated(value) for value in (facts.keys, facts.values))
    if keys is None or values is None or keys.shape is None or values.shape is None:
        return facts
    if keys.shape[:2] != values.shape[:2]:
        return facts
    return replace(facts, keys=keys, values=values)


def _shape_problem(match: Match, facts: Attention) -> Miss | None:
    """Why the operator would not broadcast batch and heads as MatMul does."""
    keys, values, queries = facts.keys.shape, facts.values.shape, match["q"].shape
    if keys is None or values is None or queries is None:
        return Miss("the shape of queries, keys or values is unknown", match.root)
    if match.root.output.rank not in (None, facts.rank):
        return Miss("a constant gives the result more axes than the queries have", match.root)
    keys = keys if facts.perm is None else tuple(keys[axis] for axis in facts.perm)
    outer = facts.rank - 2
    if None in keys[:outer] or keys[:outer] != values[:outer] or keys[0] != queries[0]:
        return Miss("queries, keys and values differ in batch size or heads", match.root)
    # Grouped heads are the one difference that the operator allows; `_ungrouped` made sure.
    if facts.values is match["v"] and keys[:outer] != queries[:outer]:
        return Miss("queries and keys differ in heads", match.root)
    return None


def _write(rw: Rewriter, match: Match, facts: Attention) -> None:
    output = match.root.output
    keys = facts.keys
    if facts.perm is not None:
        keys = _op(rw, "Transpose", keys, {"perm": facts.perm}, facts.perm)
    inputs: list[VariableNode | None] = [match["q"], keys, facts.values]
    mask = write_mask(rw, match, facts.rank)
    if facts.rank == 3:
        inputs = [_with_heads(rw, value) for value in inputs if value is not None]
    if mask is not None:
        inputs.append(mask)
    attributes = {"scale": facts.scale}
    if facts.softcap:
        attributes["softcap"] = facts.softcap
    result = rw.op("Attention", inputs, attributes, like=output)
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


def _with_heads(rw: Rewriter, value: VariableNode) -> VariableNode:
    result = rw.op("Unsqueeze", [value, rw.constant(np.array([1]))], like=value)
    if value.shape is not None:
        result.shape = (value.shape[0], 1, *value.shape[1:])
    return result


SUMS = einsum_rule(_weights_of)

RULES = (
    SUMS,
    *DETOURS,
    *GUARDS,
    Rule("attention", _attention(), _write, _read, since=23),
    *INPUTS,
)
