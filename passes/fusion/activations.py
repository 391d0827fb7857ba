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
from burnish.passes.fusion.forms import clip, widened
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, OneOf, Op, Pattern, Rewriter, Rule, Scalar

X = Any("x")


@dataclass(frozen=True)
class RecogniseActivations(RulePass):
    """Replace the arithmetic of common activation functions by operators.

    Before:
        y = x * Clip(x + 3, 0, 6) / 6

    After:
        y = HardSwish(x)

    Knows HardSigmoid, HardSwish, Softplus, Mish and Swish (SiLU and the Gelu of CLIP).
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


GATE = {"alpha": 1 / 6, "beta": 0.5}
RELU6 = clip(Op("Add", X, Scalar(3.0)), 0.0, 6.0)
HARD_SIGMOID = _sixth(RELU6)
HARD_SWISH = OneOf(
    _sixth(Op("Mul", X, RELU6)),
    Op("Mul", _sixth(X), RELU6),
    Op("Mul", X, Op("HardSigmoid", X, accept=_is_hard_swish_gate)),
)
# Above a threshold torch returns the argument itself, which it equals to the last digit.
SOFTPLUS = OneOf(
    Op("Log", Op("Add", Op("Exp", X), Scalar(1.0))),
    Op("Where", Op("Greater", X, Const("", _is_beyond_rounding)), X, Op("Softplus", X)),
)
MISH = Op("Mul", X, Op("Tanh", Op("Softplus", X)))
SWISH = OneOf(
    Op("Mul", X, Op("Sigmoid", X)),
    Op("Mul", X, Op("Sigmoid", Op("Mul", X, Const("alpha", is_number)))),
)

RULES = (
    Rule("hard-sigmoid", HARD_SIGMOID, _writes("HardSigmoid", GATE), widened, 6),
    Rule("hard-swish", HARD_SWISH, _writes("HardSwish"), widened, 14),
    Rule("hard-swish-gate", HARD_SWISH.choices[0], _write_gated, widened, 6),
    Rule("softplus", SOFTPLUS, _writes("Softplus"), widened),
    Rule("mish", MISH, _writes("Mish"), widened, 18),
)
SWISH_REGION = Rule("swish", SWISH, _outline_swish, widened)
