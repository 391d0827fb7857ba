"""Recognises activation functions that differ for positive and for negative numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.ir import Array, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.fusion.constants import is_number, number, rounded
from burnish.passes.fusion.forms import (
    floats,
    increased,
    is_negative,
    is_positive,
    negated,
    relu,
    singles,
)
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, Miss, OneOf, Op, Pattern, Rewriter, Rule, Scalar

X = Any("x")
SELU = 1.67326319217681884765625, 1.05070102214813232421875
"""The numbers alpha and gamma of Selu."""


@dataclass(frozen=True)
class RecogniseRectifiers(RulePass):
    """Replace the arithmetic of LeakyRelu, PRelu, Elu and their relatives by the operators.

    Before:
        y = Where(x > 0, x, 0.1 * x)        z = Relu(x) - 0.1 * Relu(-x)

    After:
        y = LeakyRelu(x)                    z = LeakyRelu(x)

    Knows Abs, Relu, LeakyRelu, PRelu, ThresholdedRelu, Elu, Celu and Selu.
    """

    name: ClassVar[str] = "recognise-rectifiers"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Elu first, which Celu and Selu are made of.

        PRelu is only written for code generation: ONNX Runtime takes ten times as long for one of
        it as for the arithmetic.
        """
        return RULES if context.target is None else (*RULES, *PRELU)


def _attribute(
    name: str, least: float, most: float, why: str, fits: Callable[[Match], Miss | None] = floats
) -> Callable[[Match], float | Miss]:
    """A guard: the number captured as ``name`` lies between ``least`` and ``most``."""

    def guard(match: Match) -> float | Miss:
        found = 1.0 if name not in match else number(match[name])
        if found is None or not np.isfinite(found):
            return Miss(f"the {name} is no finite number", match.root)
        if not least <= found <= most:
            return Miss(f"the {name} is {found:g}: {why}", match.root)
        return fits(match) or found

    return guard


def _writes(op_type: str, **attributes: float) -> Callable[[Rewriter, Match, float | None], None]:
    def write(rw: Rewriter, match: Match, alpha: float | None) -> None:
        output = match.root.output
        given = attributes if alpha is None else attributes | {"alpha": alpha}
        rw.replace(output, rw.op(op_type, [match["x"]], given, like=output))

    return write


def _negated_slope(guard: Callable[[Match], float | Miss]) -> Callable[[Match], float | Miss]:
    """``guard`` for forms where the slope has the opposite sign."""

    def negative(match: Match) -> float | Miss:
        slope = guard(match)
        return slope if isinstance(slope, Miss) else -slope

    return negative


def _slopes(sign: int) -> Callable[[Match], Array | Miss]:
    """A guard: slopes for every channel, times ``sign``."""

    def guard(match: Match) -> Array | Miss:
        x, slope = match["x"], match.constant("slope")
        if slope.size == 1:
            return Miss("there is one slope for all: it is LeakyRelu", match.root)
        if x.rank is None or len(slope.shape) > x.rank:
            return Miss("the slopes have more axes than the data", match.root)
        # Two sizes that are not known to be equal would make PRelu fail where Mul spreads.
        sizes = zip(reversed(slope.shape), reversed(x.shape or ()), strict=False)
        if any(s not in (1, size) for s, size in sizes):
            return Miss("the slopes have another shape than the data", match.root)
        found = rounded(sign * slope.numpy(), x.dtype)
        if found is None or not np.isfinite(found).all():
            return Miss("the slopes are not finite", match.root)
        return found

    return guard


def _few_axes(match: Match) -> Miss | None:
    """Engines differ where the slope has more axes than the data."""
    if match["x"].rank is None or match["x"].rank < len(match.constant("slope").shape):
        return Miss("the slope has more axes than the data", match.root)
    return singles(match)


def _write_prelu(rw: Rewriter, match: Match, slopes: Array) -> None:
    output = match.root.output
    rw.replace(output, rw.op("PRelu", [match["x"], rw.constant(slopes)], like=output))


def _write_selu(rw: Rewriter, match: Match, facts: None) -> None:
    output, (alpha, gamma) = match.root.output, SELU
    attributes = {"alpha": alpha, "gamma": gamma}
    rw.replace(output, rw.op("Selu", [match["x"]], attributes, like=output))


def _write_celu(rw: Rewriter, match: Match, alpha: float) -> None:
    _writes("Celu")(rw, match, alpha)


def _single_precision(match: Match) -> float | Miss:
    """Celu's alpha; the operator is defined for single precision only."""
    if str(match["x"].dtype.numpy) != "float32":
        return Miss("Celu is defined for float32 only", match.root)
    alpha, inverse = number(match["alpha"]), number(match["divisor"])
    if alpha is None or inverse is None or alpha <= 0:
        return Miss("the alpha is no positive number", match.root)
    if not np.isclose(alpha, inverse, rtol=1e-5):
        return Miss("what the exponent is divided by is not what the result is times", match.root)
    return floats(match) or alpha


def _parts(slope: Pattern) -> tuple[Pattern, Pattern]:
    """LeakyRelu as the sum of its positive and negative part; with the slope, and minus it."""
    negative = relu(negated(X))
    minimum = OneOf(Op("Min", X, Scalar(0.0)), negated(negative))
    plain = OneOf(
        Op("Sub", relu(X), Op("Mul", negative, slope)),
        Op("Add", relu(X), Op("Mul", minimum, slope)),
        Op("Add", relu(X), negated(Op("Mul", negative, slope))),
    )
    return plain, Op("Add", relu(X), Op("Mul", negative, slope))


def _chosen(positive: Pattern, otherwise: Pattern) -> Pattern:
    """``positive`` where x is above zero, ``otherwise`` elsewhere."""
    return OneOf(
        Op("Where", is_positive(X), positive, otherwise),
        Op("Where", is_negative(X), otherwise, positive),
    )


def _exponential(argument: Pattern) -> Pattern:
    """``exp(argument) - 1``."""
    return increased(Op("Exp", argument), -1.0)


def _is_zero(value: VariableNode) -> bool:
    return value.constant is not None and not np.any(value.constant.numpy())


def _makes_zeros(node: OperatorNode) -> bool:
    value = node.attribute("value")
    return value is None or not np.any(value.numpy())


def _elu() -> Pattern:
    """With and without what keeps the exponential from overflowing where it is not used."""
    negative = OneOf(X, Op("Min", X, Scalar(0.0)), _chosen(Scalar(0.0), X))
    power = _exponential(negative)
    scaled = OneOf(Op("Mul", power, Const("alpha", is_number)), power)
    below = _exponential(Op("Min", X, Scalar(0.0)))
    return OneOf(
        _chosen(X, scaled),
        Op("Add", relu(X), OneOf(Op("Mul", below, Const("alpha", is_number)), below)),
        Op("Add", relu(X), Op("Min", scaled, Scalar(0.0))),
    )


def _celu() -> Pattern:
    power = _exponential(Op("Div", X, Const("divisor", is_number)))
    scaled = Op("Mul", power, Const("alpha", is_number))
    return OneOf(_chosen(X, scaled), Op("Add", relu(X), Op("Min", scaled, Scalar(0.0))))


def _is_selu(value: float) -> Callable[..., bool]:
    return lambda node: bool(np.isclose(node.attribute("alpha", 1.0), value, rtol=1e-4))


SLOPE = Const("slope", is_number)
STEEP, FLAT = _parts(SLOPE)
STEEP_CHANNELS, FLAT_CHANNELS = _parts(Const("slope"))
NOT_LARGER = "the larger is not the data where they are positive"
FINITE = _attribute("slope", -1e30, 1e30, "", singles)
NARROW = _attribute("slope", -1e30, 1e30, "", _few_axes)
ABOVE = OneOf(Op("Greater", X, Const("alpha", is_number)), Op("Less", Const("alpha", is_number), X))
ABOVE_ZERO = _attribute("alpha", 1e-30, 1e30, "Elu wants one above 0", singles)
# Zeros of one element, or of as many as the data have.
ZEROS = OneOf(
    Const("", _is_zero), Op("ConstantOfShape", Op("Shape", X, shared=True), accept=_makes_zeros)
)

RULES = (
    Rule("abs", OneOf(Op("Max", X, negated(X)), Op("Add", relu(X), relu(negated(X)))),
         lambda rw, match, _: _writes("Abs")(rw, match, None), floats),
    Rule("relu", _chosen(X, ZEROS),
         lambda rw, match, _: _writes("Relu")(rw, match, None), floats),
    Rule("leaky-relu", OneOf(STEEP, _chosen(X, Op("Mul", X, SLOPE))), _writes("LeakyRelu"), FINITE),
    Rule("leaky-relu-negated", FLAT, _writes("LeakyRelu"), _negated_slope(FINITE)),
    Rule("leaky-relu-max", Op("Max", X, Op("Mul", X, SLOPE)), _writes("LeakyRelu"),
         _attribute("slope", 1e-30, 1.0, NOT_LARGER, singles)),
    Rule("prelu-single", Op("PRelu", X, SLOPE), _writes("LeakyRelu"), NARROW),
    Rule("thresholded-relu", OneOf(Op("Where", ABOVE, X, ZEROS), Op("Mul", X, Op("Cast", ABOVE))),
         _writes("ThresholdedRelu"), _attribute("alpha", -1e30, 1e30, "", singles), since=10),
    Rule("elu", _elu(), _writes("Elu"), ABOVE_ZERO),
    Rule("selu", Op("Mul", Op("Elu", X, accept=_is_selu(SELU[0])), Scalar(SELU[1], 1e-4)),
         _write_selu, singles),
    Rule("celu", _celu(), _write_celu, _single_precision, since=12),
)  # fmt: skip
PRELU = (
    Rule("prelu", STEEP_CHANNELS, _write_prelu, _slopes(1)),
    Rule("prelu-negated", FLAT_CHANNELS, _write_prelu, _slopes(-1)),
)
