"""Recognises Softmax in the spellings of exporters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.numerics import Numerics
from burnish.passes.fusion.forms import reduced_axes, reshaped, spread_problem, widened
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, OneOf, Op, Rewriter, Rule, Scalar

X = Any("x")
PER_AXIS = 13
"""The opset since which Softmax goes over one axis; before, over all axes from one on."""


@dataclass(frozen=True)
class RecogniseSoftmax(RulePass):
    """Replace the arithmetic of Softmax by the operator.

    Before:
        e = Exp(x - ReduceMax(x))
        y = e / ReduceSum(e)

    After:
        y = Softmax(x)
    """

    name: ClassVar[str] = "recognise-softmax"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """With and without the subtraction of the largest element."""
        return RULES


def _read(match: Match) -> int | Miss:
    x, total = match["x"], match.node("sum")
    axes = reduced_axes(total)
    if axes is None or x.rank is None or len(axes) != 1:
        return Miss("the sum does not go over one known axis", total)
    if "max" in match and reduced_axes(match.node("max")) != axes:
        return Miss("maximum and sum are taken along different axes", match.node("max"))
    for name in ("max", "sum"):
        problem = spread_problem(match, match.node(name), axes) if name in match else None
        if problem is not None:
            return problem
    wider = widened(match)
    if wider is not None:
        return wider
    assert match.root.graph is not None
    if match.root.graph.opset < PER_AXIS and axes[0] != x.rank - 1:
        return Miss(f"needs opset {PER_AXIS} for an axis that is not the last", match.root)
    return axes[0] if axes[0] != x.rank - 1 else -1


def _write(rw: Rewriter, match: Match, axis: int) -> None:
    output = match.root.output
    rw.replace(output, rw.op("Softmax", [match["x"]], {"axis": axis}, like=output))


def _softmax(exponent: Op) -> OneOf:
    total = reshaped(Op("ReduceSum", exponent, name="sum", open_ended=True))
    return OneOf(Op("Div", exponent, total), Op("Mul", exponent, Op("Reciprocal", total)))


_MAX = Op("ReduceMax", X, name="max", open_ended=True)
LARGEST = reshaped(OneOf(_MAX, Op("Max", _MAX, Scalar(float("-inf")))))

RULES = (
    Rule("softmax", _softmax(Op("Exp", Op("Sub", X, LARGEST))), _write, _read),
    Rule("softmax-plain", _softmax(Op("Exp", X)), _write, _read),
)
