"""Recognises lengths of vectors and what is divided by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from burnish.numerics import Numerics
from burnish.passes.fusion.constants import is_number, number
from burnish.passes.fusion.forms import floats, reduced_axes, spread_problem, square, square_root
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, Miss, OneOf, Op, Pattern, Rewriter, Rule, Scalar

X = Any("x")
AXES_INPUT = 18
"""The opset since which reductions other than ReduceSum take their axes as an input."""


@dataclass(frozen=True)
class RecogniseLpNorm(RulePass):
    """Replace the arithmetic of Euclidean lengths by ReduceL2.

    Before:
        n = Sqrt(ReduceSum(x * x))

    After:
        n = ReduceL2(x)

    LpNormalization, which divides by the length as well, has no epsilon and makes zeros of zeros:
    it stands for ``x / max(n, epsilon)`` only where ``tiny`` allows it.
    """

    name: ClassVar[str] = "recognise-lp-norm"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    tiny: float = 0.0
    """Vectors of up to this length may come out otherwise; 0 leaves divisions spelled out."""

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Lengths first. There is no kernel of LpNormalization, so none is written for kernels."""
        if context.target is not None:
            return (LENGTH,)
        normalized = Rule("lp-normalization", DIVIDED, _write_normalized, partial(_read, self.tiny))
        return (LENGTH, normalized)


def _lengths(match: Match) -> tuple[int, ...] | Miss:
    """The axes that are summed along."""
    axes = reduced_axes(match.node("sum"))
    if not match["x"].dtype.is_floating:
        return Miss(f"the data are {match['x'].dtype}", match.root)
    squares = match.node("sum").inputs[0]
    if squares is None or squares.rank != match["x"].rank:
        return Miss("the squares have more axes than the data", match.node("sum"))
    return Miss("the axes of the sum are unknown", match.node("sum")) if axes is None else axes


def _write_length(rw: Rewriter, match: Match, axes: tuple[int, ...]) -> None:
    output, keep = match.root.output, match.node("sum").attribute("keepdims", 1)
    inputs, attributes = [match["x"]], {"keepdims": keep}
    if rw.graph.opset >= AXES_INPUT:
        inputs.append(rw.constant(np.asarray(axes, np.int64)))
    else:
        attributes["axes"] = axes
    rw.replace(output, rw.op("ReduceL2", inputs, attributes, like=output))


def _read(tiny: float, match: Match) -> int | Miss:
    """The axis that vectors lie along."""
    x, norm = match["x"], match.node("norm")
    axes = reduced_axes(norm)
    if axes is None or x.rank is None or len(axes) != 1:
        return Miss("the lengths are not taken along one known axis", norm)
    problem = spread_problem(match, norm, axes) or floats(match)
    if problem is not None:
        return problem
    epsilon = number(match["epsilon"]) if "epsilon" in match else 0.0
    assert epsilon is not None
    allow = f"--set {RecogniseLpNorm.name}.tiny={max(epsilon, 1e-30):g}"
    if epsilon == 0 and not tiny:
        return Miss(f"LpNormalization makes zeros of zeros; {allow} allows that", match.root)
    if epsilon > tiny:
        return Miss(f"LpNormalization has no epsilon; {allow} leaves it out", match.root)
    return axes[0] if axes[0] != x.rank - 1 else -1


def _write_normalized(rw: Rewriter, match: Match, axis: int) -> None:
    output, norm = match.root.output, match.node("norm")
    attributes = {"axis": axis, "p": 1 if norm.op_type == "ReduceL1" else 2}
    rw.replace(output, rw.op("LpNormalization", [match["x"]], attributes, like=output))


def _bounded(value: Pattern) -> Pattern:
    """``value``, at least ``epsilon`` where that is given."""
    epsilon = Const("epsilon", is_number)
    return OneOf(Op("Max", value, epsilon), Op("Clip", value, epsilon), value)


def _spread(value: Pattern) -> Pattern:
    return OneOf(value, Op("Expand|Unsqueeze|Reshape", value, open_ended=True))


TOTAL = Op("ReduceSum", square(X), name="sum", open_ended=True)
SQUARES = Op("ReduceSumSquare", X, name="sum", open_ended=True)
LENGTH = Rule("l2-length", square_root(OneOf(TOTAL, SQUARES)), _write_length, _lengths)

NORM = Op("ReduceL1|ReduceL2", X, name="norm", open_ended=True)
DIVISOR = _spread(_bounded(NORM))
DIVIDED = OneOf(
    Op("Div", X, DIVISOR),
    Op("Mul", X, OneOf(Op("Reciprocal", DIVISOR), Op("Div", Scalar(1.0), DIVISOR))),
)
