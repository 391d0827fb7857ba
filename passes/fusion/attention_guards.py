"""Simplifies around attention what needs no operator for it: guards, open masks, two scales."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from burnish.ir import OperatorNode, Shape, VariableNode
from burnish.passes.fusion.attention_rows import always, keeps_a_key
from burnish.passes.fusion.constants import is_number, number
from burnish.rewrite import Any, Const, Match, Miss, OneOf, Op, Pattern, Rewriter, Rule, Scalar


def _never_empty(match: Match) -> Miss | None:
    """Some key stays visible in every row, so that Softmax makes no NaN of finite numbers."""
    softmax = match.node("softmax")
    assert softmax.graph is not None
    axis = softmax.attribute("axis", -1 if softmax.graph.opset >= 13 else 1)
    rank = match["scores"].rank
    if axis != -1 and (rank is None or axis != rank - 1):
        return Miss("Softmax does not go over the last axis", softmax)
    if keeps_a_key(match["scores"]):
        return None
    return Miss("a row may be masked altogether, which the guard against NaN is for", match.root)


def _unguard(rw: Rewriter, match: Match, facts: None) -> None:
    rw.replace(match.root.output, match.node("softmax").output)


def _hides_nothing(match: Match) -> Miss | None:
    scores, mask = match["scores"].shape, match["mask"].shape
    if always(match["mask"]) != 0:
        return Miss("the scores are zero, not the mask", match.node("masked"))
    if scores is None or mask is None or None in scores or len(mask) > len(scores):
        return Miss("it is unknown whether the mask fits the scores", match.node("masked"))
    fits = all(m in (1, s) for m, s in zip(reversed(mask), reversed(scores), strict=False))
    return None if fits else Miss("the mask widens the scores", match.node("masked"))


def _unmask(rw: Rewriter, match: Match, facts: None) -> None:
    rw.set_inputs(match.root, [match["scores"]])


def _meet(match: Match) -> Shape | Miss:
    """The shape of both masks together, no larger than the scores."""
    near, far, scores = (match[name].shape for name in ("near", "far", "logits"))
    if near is None or far is None or scores is None or None in (*near, *far, *scores):
        return Miss("the shapes of scores and masks are unknown", match.root)
    if not _is_scores(match["logits"]):
        return Miss("what the masks are added to is no product", match.root)
    if _is_scores(match["near"]) or _is_scores(match["far"]):
        return Miss("several products are added up: it is unknown which is the mask", match.root)
    if max(len(near), len(far)) > len(scores):
        return Miss("a mask has more axes than the scores", match.root)
    wide = [(1,) * (len(scores) - len(shape)) + shape for shape in (near, far)]
    if any(size not in (1, own) for shape in wide for size, own in zip(shape, scores, strict=True)):
        return Miss("a mask widens the scores", match.root)
    total = tuple(b if a == 1 else a for a, b in zip(*wide, strict=True))
    return total[len(scores) - max(len(near), len(far)) :]


def _add_once(rw: Rewriter, match: Match, shape: Shape) -> None:
    total = rw.op("Add", [match["near"], match["far"]], like=match["near"])
    total.shape = shape
    masked = rw.op("Add", [match["logits"], total], like=match.node("masked").output)
    rw.set_inputs(match.root, [masked])


def _both_scaled(match: Match) -> float | Miss:
    total = _factor(match, "q") * _factor(match, "k")
    if not np.isfinite(total) or total == 0:
        return Miss("the scales multiply to nothing or to no number", match.root)
    rank = match["q"].rank
    if rank is None or rank < _rank(match, "q") or (match["k"].rank or 0) < _rank(match, "k"):
        return Miss("a scale has more axes than what it scales", match.root)
    return total


def _factor(match: Match, name: str) -> float:
    times, over = (number(match.values.get(f"{name}_{kind}")) for kind in ("times", "over"))
    return times if times is not None else 1 / over if over else np.inf


def _rank(match: Match, name: str) -> int:
    value = match.values.get(f"{name}_times") or match[f"{name}_over"]
    return value.rank or 0


def _scale_once(rw: Rewriter, match: Match, total: float) -> None:
    q = match["q"]
    scale = rw.constant(np.asarray(total, q.dtype.numpy))
    scaled = rw.op("Mul", [q, scale], like=q)
    inputs: list[VariableNode | None] = [scaled, match["k"]]
    if "transpose" in match:
        keys = match.node("transpose")
        inputs[1] = rw.op("Transpose", [match["k"]], keys.attributes, like=keys.output)
    rw.set_inputs(match.root, inputs)


def _scaled(name: str) -> OneOf:
    """``name``, multiplied or divided by one number."""
    value = Any(name)
    times, over = Const(f"{name}_times", is_number), Const(f"{name}_over", is_number)
    return OneOf(
        Op("Mul", value, times, accept=_by_number), Op("Div", value, over, accept=_by_number)
    )


def _by_number(node: OperatorNode) -> bool:
    """Whether one operand is a number: other products are no near misses."""
    return any(value is not None and is_number(value) for value in node.inputs)


def _of_scores(node: OperatorNode) -> bool:
    """Whether one operand is a product, maybe scaled: what is added to others is no mask."""
    return any(_is_scores(value) for value in node.inputs)


def _is_scores(value: VariableNode | None) -> bool:
    node = None if value is None else value.producer
    if node is not None and node.op_type in ("Mul", "Div") and _by_number(node):
        value = next((v for v in node.inputs if v is not None and not is_number(v)), None)
        node = None if value is None else value.producer
    return node is not None and node.is_op("MatMul")


def _adds_nothing(node: OperatorNode) -> bool:
    """Whether one operand is zero everywhere: other masks are no near misses."""
    return any(always(value) == 0 for value in node.inputs)


def _of(*kinds: str) -> Callable[[OperatorNode], bool]:
    """A condition: an operand is made by one of ``kinds``; other operands are no near misses."""

    def accept(node: OperatorNode) -> bool:
        makers = (value.producer for value in node.inputs if value is not None)
        return any(maker is not None and maker.op_type in kinds for maker in makers)

    return accept


_SOFTMAX = Op("Softmax", Any("scores"), name="softmax", shared=True)
GUARDED = Op("Where", Op("IsNaN", _SOFTMAX, accept=_of("Softmax")), Scalar(0.0), _SOFTMAX)
OPEN = Op("Softmax", Op("Add", Any("scores"), Any("mask"), name="masked", accept=_adds_nothing))
_KEYS: Pattern = OneOf(_scaled("k"), Op("Transpose", _scaled("k"), name="transpose"))
TWICE = Op("MatMul", _scaled("q"), _KEYS)

MASKED_TWICE = Op(
    "Softmax",
    Op(
        "Add",
        Op("Add", Any("logits"), Any("near"), accept=_of_scores),
        Any("far"),
        name="masked",
        accept=_of("Add"),
    ),
)

_ATTENTION = Op("Attention", name="attention", shared=True)
GUARDED_RESULT = Op(
    "Where", Op("IsNaN", _ATTENTION, accept=_of("Attention")), Scalar(0.0), _ATTENTION
)

GUARDS = (
    Rule("nan-guard", GUARDED, _unguard, _never_empty),
    Rule("open-mask", OPEN, _unmask, _hides_nothing),
    Rule("two-masks", MASKED_TWICE, _add_once, _meet),
    Rule("two-scales", TWICE, _scale_once, _both_scaled),
)

SAFE_RESULT = Rule(
    "safe-result", GUARDED_RESULT,
    lambda rw, match, facts: rw.replace(match.root.output, match.node("attention").output),
)  # fmt: skip
"""Attention that is defined to give zeros for a row without keys needs no guard against NaN.

That was added to the standard later: engines differ, our kernels obey.
"""
