"""Attention whose two products are written by Einsum, with heads after the positions."""

from __future__ import annotations

from collections.abc import Callable

from burnish.ir import OperatorNode, VariableNode
from burnish.passes.fusion.attention_mask import mask_problem
from burnish.rewrite import Any, Match, Miss, Op, Pattern, Rewriter, Rule

BY_HEAD, TRANSPOSED = (0, 2, 1, 3), (0, 2, 3, 1)


def canonical(node: OperatorNode) -> str:
    """The equation with its letters named in order of appearance."""
    names: dict[str, str] = {}
    equation = str(node.attribute("equation", "")).replace(" ", "")
    return "".join(
        names.setdefault(c, chr(ord("a") + len(names))) if c.isalpha() else c for c in equation
    )


def _of(equation: str) -> str:
    node = OperatorNode("Einsum", [], [VariableNode()], {"equation": equation})
    return canonical(node)


# [batch, positions, heads, channels] everywhere but in the scores.
SCORES_OF_QUERIES, SCORES_OF_KEYS = _of("btnh,bsnh->bnts"), _of("bsnh,btnh->bnts")
WEIGHTED = _of("bnts,bsnh->btnh")


def _makes_scores(node: OperatorNode) -> bool:
    return canonical(node) in (  # [batch, positions, heads, channels] everywhere but in the scores.
        SCORES_OF_QUERIES,
        SCORES_OF_KEYS,
    )


def _takes_values(node: OperatorNode) -> bool:
    return canonical(node) == WEIGHTED


def _read(match: Match) -> Miss | None:
    if any(match[name].rank != 4 for name in ("left", "right", "v")):
        return Miss("queries, keys or values do not have four known axes", match.root)
    if match.node("scores").output.rank != 4:
        return Miss("the shape of the scores is unknown", match.root)
    return mask_problem(match, 4)


def _write(rw: Rewriter, match: Match, facts: None) -> None:
    """Both products by MatMul, with heads before the positions."""
    scores = match.node("scores")
    queries, keys = match["left"], match["right"]
    if canonical(scores) == SCORES_OF_KEYS:
        queries, keys = keys, queries
    rw.anchor = scores
    left, right = _turned(rw, queries, BY_HEAD), _turned(rw, keys, TRANSPOSED)
    rw.replace(scores.output, rw.op("MatMul", [left, right], like=scores.output))
    rw.anchor = match.root
    output = match.root.output
    product = rw.op("MatMul", [match.root.inputs[0], _turned(rw, match["v"], BY_HEAD)], like=output)
    if output.shape is not None:
        product.shape = tuple(output.shape[axis] for axis in BY_HEAD)
    rw.replace(output, _turned(rw, product, BY_HEAD))


def _turned(rw: Rewriter, value: VariableNode, perm: tuple[int, ...]) -> VariableNode:
    result = rw.op("Transpose", [value], {"perm": perm}, like=value)
    result.shape = None if value.shape is None else tuple(value.shape[axis] for axis in perm)
    return result


def einsum_rule(weights_of: Callable[[Op], Pattern]) -> Rule:
    """The rule for scores that become weights as ``weights_of`` says."""
    scores = Op("Einsum", Any("left"), Any("right"), name="scores", accept=_makes_scores)
    pattern = Op("Einsum", weights_of(scores), Any("v"), accept=_takes_values)
    return Rule("attention-einsum", pattern, _write, _read, since=23)
