"""Write chains of reshapes, transposes and casts as one operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.broadcast_rules import BROADCAST_RULES
from burnish.passes.cleanup.cast_rules import CAST_RULES
from burnish.passes.cleanup.reduction_rules import REDUCTION_RULES
from burnish.passes.cleanup.remove_no_ops import can_stand_in
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, Op, Rewriter, Rule

SHAPERS = "Reshape|Flatten|Squeeze|Unsqueeze"
"""Operators that keep the elements and their order."""


@dataclass(frozen=True)
class SimplifyChains(RulePass):
    """Merge chains of operators that only change shape, order of axes, or element type.

    Before:
        y = Unsqueeze(Squeeze(Reshape(x, [2, 1, 6]), 1), 0)       z = Transpose(Transpose(x))

    After:
        y = Reshape(x, [1, 2, 6])                                 z = x
    """

    name: ClassVar[str] = "simplify-chains"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Merging first; what stays of it may then be a reshape."""
        return RULES


def _target(value: VariableNode) -> tuple[int, ...] | Miss:
    """The shape input of a Reshape to the shape of ``value``: at most one size left open."""
    if value.shape is None:
        return Miss("the rank of the result is not known")
    open_axes = [dim for dim in value.shape if not isinstance(dim, int)]
    if len(open_axes) > 1:
        return Miss("more than one size of the result is not known: give --input-shape")
    if open_axes and 0 in value.shape:
        return Miss("the result is empty along an axis")
    return tuple(dim if isinstance(dim, int) else -1 for dim in value.shape)


def _merged_shape(match: Match) -> tuple[int, ...] | Miss:
    target = _target(match.root.output)
    if isinstance(target, Miss) and match.root.op_type == "Reshape":
        # A constant target without zeros means the same after any other reshape.
        constant = match.root.constant_input(1)
        if constant is not None and (constant.numpy() != 0).all():
            return tuple(int(size) for size in constant.numpy())
    return target


def _reshape(rewriter: Rewriter, match: Match, target: tuple[int, ...]) -> None:
    if match["x"].static_shape == target and can_stand_in(match["x"], match.root.output):
        rewriter.replace(match.root.output, match["x"])
        return
    shape = rewriter.constant(np.array(target, np.int64))
    attributes = {"allowzero": 1} if 0 in target else None
    result = rewriter.op("Reshape", [match["x"], shape], attributes, like=match.root.output)
    rewriter.replace(match.root.output, result)


def _perm(node: OperatorNode) -> tuple[int, ...] | None:
    """The order of axes that a Transpose gives; None if it reverses an unknown rank."""
    perm = node.attribute("perm")
    if perm is not None:
        return tuple(perm)
    rank = None if node.inputs[0] is None else node.inputs[0].rank
    return None if rank is None else tuple(reversed(range(rank)))


def _composed(match: Match) -> tuple[int, ...] | Miss:
    outer, inner = _perm(match.root), _perm(match.node("inner"))
    if outer is None or inner is None:
        return Miss("the rank is not known")
    return tuple(inner[axis] for axis in outer)


def _transpose(rewriter: Rewriter, match: Match, perm: tuple[int, ...]) -> None:
    old = match.root.output
    if perm == tuple(range(len(perm))) and can_stand_in(match["x"], old):
        rewriter.replace(old, match["x"])
        return
    rewriter.replace(old, rewriter.op("Transpose", [match["x"]], {"perm": perm}, like=old))


def _moves_ones(match: Match) -> tuple[int, ...] | Miss:
    perm, shape = _perm(match.root), match["x"].shape
    if perm is None or shape is None:
        return Miss("the rank is not known")
    moved = [axis for axis in perm if shape[axis] != 1]
    if moved != sorted(moved):
        return Miss("it moves axes of more than one element", match.root)
    if perm == tuple(range(len(perm))):
        return Miss("it moves no axes")
    return _target(match.root.output)


X = Any("x")
RULES = (
    *REDUCTION_RULES,
    *BROADCAST_RULES,
    *CAST_RULES,
    Rule(
        "merge-reshapes",
        Op(SHAPERS, Op(SHAPERS, X, open_ended=True, shared=True), open_ended=True),
        _reshape, _merged_shape, since=14,
    ),
    Rule("merge-transposes", Op("Transpose", Op("Transpose", X, name="inner", shared=True)),
         _transpose, _composed),
    Rule("transpose-of-ones", Op("Transpose", X), _reshape, _moves_ones, since=14),
)  # fmt: skip
