"""Recognises Gelu in the spellings of exporters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.numerics import Numerics
from burnish.passes.fusion.forms import product, widened
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, OneOf, Op, Pattern, Rewriter, Rule, Scalar

X = Any("x")
HALF = Scalar(0.5)
CUBIC = Scalar(0.044715)
SLOPE = Scalar(math.sqrt(2 / math.pi))


@dataclass(frozen=True)
class RecogniseGelu(RulePass):
    """Replace the arithmetic of Gelu, exact or by tanh, by the operator.

    Before:
        y = 0.5 * x * (1 + Erf(x / sqrt(2)))

    After:
        y = Gelu(x)
    """

    name: ClassVar[str] = "recognise-gelu"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """The exact form and the approximation by tanh."""
        return RULES


def _gated(gate: Pattern) -> Pattern:
    """``x * gate / 2`` in any order of the factors."""
    two = Scalar(2.0)
    return OneOf(
        product(HALF, X, gate),
        Op("Div", Op("Mul", X, gate), two),
        Op("Mul", Op("Div", X, two), gate),
        Op("Mul", X, Op("Div", gate, two)),
    )


def _exact() -> Pattern:
    argument = OneOf(Op("Div", X, Scalar(math.sqrt(2))), Op("Mul", X, Scalar(math.sqrt(0.5))))
    return _gated(Op("Add", Op("Erf", argument), Scalar(1.0)))


def _tanh() -> Pattern:
    cube = OneOf(Op("Mul", CUBIC, Op("Pow", X, Scalar(3.0))), product(CUBIC, X, X, X))
    squared = OneOf(Op("Mul", CUBIC, Op("Pow", X, Scalar(2.0))), product(CUBIC, X, X))
    argument = OneOf(
        Op("Mul", SLOPE, Op("Add", X, cube)),
        product(SLOPE, X, Op("Add", squared, Scalar(1.0))),
    )
    return _gated(Op("Add", Op("Tanh", argument), Scalar(1.0)))


def _write(approximate: str, rw: Rewriter, match: Match) -> None:
    output = match.root.output
    attributes = {"approximate": approximate}
    rw.replace(output, rw.op("Gelu", [match["x"]], attributes, like=output))


RULES = (
    Rule("gelu-erf", _exact(), lambda rw, match, _: _write("none", rw, match), widened, 20),
    Rule("gelu-tanh", _tanh(), lambda rw, match, _: _write("tanh", rw, match), widened, 20),
)
