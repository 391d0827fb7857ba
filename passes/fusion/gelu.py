"""Recognises Gelu in the spellings of exporters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.numerics import Numerics
from burnish.passes.fusion.forms import increased, product, singles
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, OneOf, Op, Pattern, Rewriter, Rule, Scalar

X = Any("x")
HALF = Scalar(0.5)
CUBIC = 0.044715
SLOPE = math.sqrt(2 / math.pi)


@dataclass(frozen=True)
class RecogniseGelu(RulePass):
    """Replace the arithmetic of Gelu, exact or by tanh, by the operator.

    Before:
        y = 0.5 * x * (1 + Erf(x / sqrt(2)))

    After:
        y = Gelu(x)

    Without the half, which products behind it may have drawn in, it is ``2 * Gelu(x)``.
    """

    name: ClassVar[str] = "recognise-gelu"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """The exact form and the approximation by tanh."""
        return RULES


def _gated(function: Pattern) -> Pattern:
    """``x * (1 + function) / 2`` in any order of the factors."""
    two = Scalar(2.0)
    gate = increased(function)
    return OneOf(
        product(HALF, X, gate),
        Op("Div", Op("Mul", X, gate), two),
        Op("Mul", Op("Div", X, two), gate),
        Op("Mul", X, Op("Div", gate, two)),
        Op("Mul", X, increased(OneOf(Op("Mul", function, HALF), Op("Div", function, two)), 0.5)),
        Op("Mul", Op("Add", X, Op("Mul", X, function)), HALF),
    )


def _exact() -> Pattern:
    return _gated(Op("Erf", _unit()))


def _unit() -> Pattern:
    return OneOf(Op("Div", X, Scalar(math.sqrt(2))), Op("Mul", X, Scalar(math.sqrt(0.5))))


def _tanh() -> Pattern:
    """By Tanh, or by the Sigmoid of twice the argument, which is ``(1 + tanh) / 2``."""
    return OneOf(
        _gated(Op("Tanh", _polynomial(SLOPE))), Op("Mul", X, Op("Sigmoid", _polynomial(2 * SLOPE)))
    )


def _polynomial(slope: float) -> Pattern:
    """``slope * (x + 0.044715 * x ** 3)``, with the slope drawn in or not."""
    one, drawn = Scalar(slope), Scalar(slope * CUBIC)
    return OneOf(
        Op("Mul", one, Op("Add", X, _cube(Scalar(CUBIC)))),
        product(one, X, increased(_squared(Scalar(CUBIC)))),
        Op("Add", Op("Mul", X, one), _cube(drawn)),
        Op("Mul", X, Op("Add", _squared(drawn), one)),
    )


def _cube(factor: Pattern) -> Pattern:
    return OneOf(Op("Mul", factor, Op("Pow", X, Scalar(3.0))), product(factor, X, X, X))


def _squared(factor: Pattern) -> Pattern:
    return OneOf(Op("Mul", factor, Op("Pow", X, Scalar(2.0))), product(factor, X, X))


def _write(approximate: str, rw: Rewriter, match: Match) -> None:
    output = match.root.output
    attributes = {"approximate": approximate}
    rw.replace(output, rw.op("Gelu", [match["x"]], attributes, like=output))


def _is_not_scaled(match: Match) -> Miss | None:
    """What halves the product is part of Gelu, which other rules recognise."""
    for reader in match.root.output.consumers:
        if reader.is_op("Mul", "Div"):
            return Miss("the product is multiplied or divided afterwards", reader)
    return singles(match)


def _write_doubled(rw: Rewriter, match: Match, facts: None) -> None:
    output = match.root.output
    gelu = rw.op("Gelu", [match["x"]], {"approximate": "none"}, like=output)
    rw.replace(output, rw.op("Mul", [gelu, rw.constant(np.array(2, np.float32))], like=output))


RULES = (
    Rule("gelu-erf", _exact(), lambda rw, match, _: _write("none", rw, match), singles, 20),
    Rule(
        "gelu-erf-doubled",
        Op("Mul", X, increased(Op("Erf", _unit()))),
        _write_doubled,
        _is_not_scaled,
        20,
    ),
    Rule("gelu-tanh", _tanh(), lambda rw, match, _: _write("tanh", rw, match), singles, 20),
)
