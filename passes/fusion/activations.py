"""Recognises activation functions in the spellings of exporters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any as AnyType
from typing import ClassVar

import numpy as np

from burnish.ir import DType, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.fusion.constants import is_number, number
from burnish.passes.fusion.forms import (
    clip,
    floats,
    increased,
    negated,
    relu,
    singles,
    widened,
)
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, Miss, OneOf, Op, Pattern, Rewriter, Rule, Scalar

X = Any("x")


@dataclass(frozen=True)
class RecogniseActivations(RulePass):
    """Replace the arithmetic of common activation functions by operators.

    Before:
        y = x * Clip(x + 3, 0, 6) / 6

    After:
        y = HardSwish(x)

    Knows Sigmoid, Tanh, Softsign, HardSigmoid, HardSwish, Softplus, Mish and Swish (SiLU and the
    Gelu of CLIP).
    """

    name: ClassVar[str] = "recognise-activations"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Inner functions first: HardSwish and Mish are made of others.

        Swish is standard since opset 24, but ONNX Runtime has no kernel for it: a model that goes
        out as ONNX keeps its Sigmoid, and for code generation the two become a region.
        """
        return RULES if context.target is None else (*RULES, SWISH_REGION)


def _is_hard_swish_gate(node: OperatorNode) -> bool:
    """Whether ``node`` is HardSigmoid as HardSwish has it."""
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    return bool(np.isclose(alpha, 1 / 6, rtol=1e-3) and np.isclose(beta, 0.5))


def _is_beyond_rounding(value: VariableNode) -> bool:
    """Whether Softplus is its argument above ``value``, in single precision."""
    threshold = number(value)
    return threshold is not None and threshold >= 18 and value.dtype is not DType.DOUBLE


def _writes(op_type: str, attributes: Mapping[str, float] | None = None) -> Callable[..., None]:
    def write(rw: Rewriter, match: Match, facts: AnyType) -> None:
        output = match.root.output
        rw.replace(output, rw.op(op_type, [match["x"]], attributes, like=output))

    return write


def _sixth(value: Pattern) -> Pattern:
    return OneOf(Op("Div", value, Scalar(6.0)), Op("Mul", value, Scalar(1 / 6)))


def _write_gated(rw: Rewriter, match: Match, facts: AnyType) -> None:
    """HardSwish for opsets that do not have it yet."""
    output = match.root.output
    gate = rw.op("HardSigmoid", [match["x"]], GATE, like=output)
    rw.replace(output, rw.op("Mul", [match["x"], gate], like=output))


def _outline_swish(rw: Rewriter, match: Match, facts: AnyType) -> None:
    alpha = number(match.values.get("alpha"))
    attributes = {"alpha": 1.0 if alpha is None else alpha}
    nodes = tuple(reversed(match.nodes))
    rw.outline(nodes, "Swish", [match["x"]], [match.root.output], attributes)


def _write_gate(rw: Rewriter, match: Match, facts: AnyType) -> None:
    """``x * Sigmoid(x)`` for what has no operator of its own."""
    output = match.root.output
    gate = rw.op("Sigmoid", [match["x"]], like=output)
    rw.replace(output, rw.op("Mul", [match["x"], gate], like=output))


def _line(match: Match) -> tuple[float, float] | Miss:
    """Slope and offset of a HardSigmoid."""
    alpha, beta = number(match["slope"]), number(match["offset"])
    if alpha is None or beta is None or not np.isfinite([alpha, beta]).all():
        return Miss("slope and offset are no finite numbers", match.root)
    return singles(match) or (alpha, beta)


def _write_line(rw: Rewriter, match: Match, facts: tuple[float, float]) -> None:
    output, (alpha, beta) = match.root.output, facts
    attributes = {"alpha": alpha, "beta": beta}
    rw.replace(output, rw.op("HardSigmoid", [match["x"]], attributes, like=output))


def _same_scale(match: Match) -> Miss | None:
    """A Miss unless Softplus is divided by what its argument is multiplied by."""
    beta, divisor = number(match["beta"]), number(match["divisor"])
    if beta is None or divisor is None or beta <= 0:
        return Miss("the factor of the argument is no positive number", match.root)
    if not np.isclose(beta, divisor, rtol=1e-5):
        return Miss("Softplus is not divided by the factor of its argument", match.root)
    return widened(match)


def _write_chosen(rw: Rewriter, match: Match, facts: AnyType) -> None:
    rw.replace(match.root.output, match.node("chosen").output)


GATE = {"alpha": 1 / 6, "beta": 0.5}
RELU6 = clip(Op("Add", X, Scalar(3.0)), 0.0, 6.0)
HARD_SIGMOID = _sixth(RELU6)
SLOPED = Op("Mul", X, Const("slope", is_number))
LINE = clip(Op("Add", SLOPED, Const("offset", is_number)), 0.0, 1.0)
HARD_SWISH = OneOf(
    _sixth(Op("Mul", X, RELU6)),
    Op("Mul", _sixth(X), RELU6),
    Op("Mul", X, Op("HardSigmoid", X, accept=_is_hard_swish_gate)),
)
DENOMINATOR = increased(Op("Exp", negated(X)))  # 1 + exp(-x)
TWICE = OneOf(Op("Mul", X, Scalar(2.0)), Op("Add", X, X))
HALVES = OneOf(Op("Mul", X, Scalar(0.5)), Op("Div", X, Scalar(2.0)))
SIGMOID = OneOf(
    Op("Reciprocal", DENOMINATOR),
    Op("Div", Scalar(1.0), DENOMINATOR),
    Op("Pow", DENOMINATOR, Scalar(-1.0)),
    Op("Div", Op("Exp", X), increased(Op("Exp", X))),
    Op("Mul", increased(Op("Tanh", HALVES)), Scalar(0.5)),
    Op("Add", Op("Mul", Op("Tanh", HALVES), Scalar(0.5)), Scalar(0.5)),
)
RISING, FALLING = Op("Exp", X), Op("Exp", negated(X))
TANH = OneOf(
    increased(Op("Mul", Op("Sigmoid", TWICE), Scalar(2.0)), -1.0),
    Op("Div", Op("Sub", RISING, FALLING), Op("Add", RISING, FALLING)),
)
SOFTSIGN = Op("Div", X, increased(Op("Abs", X)))
# Above a threshold torch returns the argument itself, which it equals to the last digit.
SOFTPLUS = OneOf(
    Op("Log", increased(Op("Exp", X))),
    Op("Where", Op("Greater", X, Const("", _is_beyond_rounding)), X, Op("Softplus", X)),
    Op("Add", relu(X), Op("Softplus", negated(Op("Abs", X)))),
)
SCALED = Op("Mul", X, Const("beta", is_number), name="scaled")
CHOSEN = Op("Div", Op("Softplus", SCALED), Const("divisor", is_number), name="chosen")
SCALED_SOFTPLUS = Op("Where", Op("Greater", SCALED, Const("", _is_beyond_rounding)), X, CHOSEN)
MISH = Op("Mul", X, Op("Tanh", Op("Softplus", X)))
SWISH = OneOf(
    Op("Mul", X, Op("Sigmoid", X)),
    Op("Mul", X, Op("Sigmoid", Op("Mul", X, Const("alpha", is_number)))),
)

RULES = (
    Rule("sigmoid", SIGMOID, _writes("Sigmoid"), floats),
    Rule("swish-gate", Op("Div", X, DENOMINATOR), _write_gate, floats),
    Rule("tanh", TANH, _writes("Tanh"), floats),
    Rule("softsign", SOFTSIGN, _writes("Softsign"), singles),
    Rule("hard-sigmoid", HARD_SIGMOID, _writes("HardSigmoid", GATE), singles, 6),
    Rule("hard-sigmoid-line", LINE, _write_line, _line, 6),
    Rule("hard-swish", HARD_SWISH, _writes("HardSwish"), singles, 14),
    Rule("hard-swish-gate", HARD_SWISH.choices[0], _write_gated, singles, 6),
    Rule("softplus", SOFTPLUS, _writes("Softplus"), singles),
    Rule("softplus-scaled", SCALED_SOFTPLUS, _write_chosen, _same_scale),
    Rule("mish", MISH, _writes("Mish"), singles, 18),
)
SWISH_REGION = Rule("swish", SWISH, _outline_swish, widened)
