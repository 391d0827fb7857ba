"""Recognises Softmax and LogSoftmax in the spellings of exporters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.numerics import Numerics
from burnish.passes.fusion.forms import (
    SHAPERS,
    reduced_axes,
    reshaped,
    spread_problem,
    widened,
)
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, OneOf, Op, Pattern, Rewriter, Rule, Scalar

X = Any("x")
PER_AXIS = 13
"""The opset since which Softmax goes over one axis; before, over all axes from one on."""


@dataclass(frozen=True)
class RecogniseSoftmax(RulePass):
    """Replace the arithmetic of Softmax and LogSoftmax by the operators.

    Before:
        e = Exp(x - ReduceMax(x))
        y = e / ReduceSum(e)

    After:
        y = Softmax(x)

    Knows LogSoftmax as Log(Softmax(x)) and as x - ReduceLogSumExp(x). What is the same all along
    the axis need not be subtracted before.
    """

    name: ClassVar[str] = "recognise-softmax"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Spelled out first; then what is made of the operators."""
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


def _writes(op_type: str) -> Callable[[Rewriter, Match, int], None]:
    def write(rw: Rewriter, match: Match, axis: int) -> None:
        output = match.root.output
        rw.replace(output, rw.op(op_type, [match["x"]], {"axis": axis}, like=output))

    return write


def _converts(op_type: str) -> Callable[[Rewriter, Match, None], None]:
    """Writes ``op_type`` along the axis of the matched operator."""

    def write(rw: Rewriter, match: Match, facts: None) -> None:
        output, attributes = match.root.output, match.node("softmax").attributes
        rw.replace(output, rw.op(op_type, [match["x"]], attributes, like=output))

    return write


def _shifted(match: Match) -> Miss | None:
    """Whether all that Softmax compares is lowered by the same number."""
    x, largest, softmax = match["x"], match.node("max"), match.node("softmax")
    axes = reduced_axes(largest)
    if axes is None or x.rank is None or len(axes) != 1:
        return Miss("the maximum does not go over one known axis", largest)
    assert softmax.graph is not None
    given = softmax.attribute("axis", -1 if softmax.graph.opset >= PER_AXIS else 1) % x.rank
    if given != axes[0] or (softmax.graph.opset < PER_AXIS and given != x.rank - 1):
        return Miss("maximum and Softmax are taken along different axes", softmax)
    return spread_problem(match, largest, axes) or widened(match)


def _write_unshifted(rw: Rewriter, match: Match, facts: None) -> None:
    softmax = match.node("softmax")
    _converts(softmax.op_type)(rw, match, None)


def _softmax(exponent: Op) -> OneOf:
    total = reshaped(Op("ReduceSum", exponent, name="sum", open_ended=True))
    return OneOf(Op("Div", exponent, total), Op("Mul", exponent, Op("Reciprocal", total)))


_MAX = Op("ReduceMax", X, name="max", open_ended=True)
LARGEST = reshaped(OneOf(_MAX, Op("Max", _MAX, Scalar(float("-inf")))))
LOWERED = Op("Sub", X, LARGEST)


def _log_total(data: Pattern) -> Pattern:
    """The logarithm of the sum of ``exp(data)``."""
    total = reshaped(Op("ReduceSum", Op("Exp", data), name="sum", open_ended=True))
    return OneOf(Op("Log", total), Op(SHAPERS, Op("Log", total), open_ended=True))


LOG_SOFTMAX = OneOf(
    Op("Sub", LOWERED, _log_total(LOWERED)),
    Op("Sub", X, reshaped(Op("ReduceLogSumExp", X, name="sum", open_ended=True))),
    Op("Sub", X, _log_total(X)),
    Op("Sub", X, Op("Add", LARGEST, _log_total(LOWERED))),
)

RULES = (
    Rule("softmax", _softmax(Op("Exp", LOWERED)), _writes("Softmax"), _read),
    Rule("softmax-plain", _softmax(Op("Exp", X)), _writes("Softmax"), _read),
    Rule("log-softmax", LOG_SOFTMAX, _writes("LogSoftmax"), _read),
    Rule("log-of-softmax", Op("Log", Op("Softmax", X, name="softmax")), _converts("LogSoftmax")),
    Rule("exp-of-log-softmax", Op("Exp", Op("LogSoftmax", X, name="softmax")),
         _converts("Softmax")),
    Rule("softmax-shifted", Op("Softmax|LogSoftmax", LOWERED, name="softmax"), _write_unshifted,
         _shifted),
)  # fmt: skip
