"""Write elementwise operators of elementwise operators as fewer, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any as AnyType
from typing import ClassVar

import numpy as np

from burnish.ir import Array, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup import clamps
from burnish.passes.cleanup.no_op_arithmetic import LARGEST, extremes, keeps_shape
from burnish.passes.cleanup.remove_no_ops import can_stand_in
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, Miss, OneOf, Op, Rewriter, Rule


@dataclass(frozen=True)
class SimplifyElementwise(RulePass):
    """Cancel and merge signs, negations, conditions and bounds without changing a bit.

    Before:
        y = a + Neg(b)      z = Where(Not(c), a, b)      u = Clip(Relu(x), max=6)      v = x / 4

    After:
        y = a - b           z = Where(c, b, a)           u = Clip(x, 0, 6)             v = x * 0.25
    """

    name: ClassVar[str] = "simplify-elementwise"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Pairs that cancel first."""
        return RULES


def _keeps_name(match: Match) -> VariableNode | Miss:
    kept = match["x"]
    if not can_stand_in(kept, match.root.output):
        return Miss("a graph output must keep its own name", match.root)
    return kept


def _give(rewriter: Rewriter, match: Match, kept: VariableNode) -> None:
    rewriter.replace(match.root.output, kept)


def _requantized(match: Match) -> VariableNode | Miss:
    """The integers that were made floats and are made integers again in the same way."""
    inner, root = match.node("inner"), match.root
    if match["x"].dtype is not root.output.dtype or not root.output.dtype:
        return Miss("the integers are of another type afterwards", root)
    for index in (1, 2):
        a, b = inner.input(index), root.input(index)
        if a is not b and not _same(a, b):
            return Miss("the two have different scales or zero points", root)
    scale = root.input(1)
    if scale is None or scale.dtype.name not in ("FLOAT", "DOUBLE"):
        return Miss("the scale is rounded too much for integers to come back", root)
    if any(inner.attribute(name, d) != root.attribute(name, d) for name, d in _BLOCKS):
        return Miss("the two go along different axes", root)
    return _keeps_name(match)


_BLOCKS = (("axis", 1), ("block_size", 0))


def _same(a: VariableNode | None, b: VariableNode | None) -> bool:
    if a is None or b is None or a.constant is None or b.constant is None:
        return False
    return a.constant.same_value(b.constant)


def _becomes(op_type: str, *names: str) -> Callable[[Rewriter, Match, AnyType], None]:
    """A rewrite to ``op_type`` of the values captured under ``names``."""

    def write(rewriter: Rewriter, match: Match, _: AnyType) -> None:
        inputs = [match[name] for name in names]
        rewriter.replace(match.root.output, rewriter.op(op_type, inputs, like=match.root.output))

    return write


def _negated(match: Match) -> Array | Miss:
    """The constant with the other sign."""
    constant, root = match.constant("c"), match.root
    if constant.size > LARGEST:
        return Miss("the constant is large, and would be kept with both signs", root)
    division = "Div" in (root.op_type, match.node("inner").op_type if "inner" in match else "")
    array = constant.numpy()
    if division and not constant.dtype.is_floating:
        return Miss("integers are divided with rounding", root)
    return np.asarray(np.negative(array))


def _with_constant(rewriter: Rewriter, match: Match, array: Array) -> None:
    """The product or quotient of ``x`` and the constant."""
    root = match.root
    node = match.node("inner") if root.op_type == "Neg" else root
    constant = rewriter.constant(array)
    operands = [constant if value is match["c"] else match["x"] for value in node.inputs]
    rewriter.replace(root.output, rewriter.op(node.op_type, operands, like=root.output))


def _minus_one(match: Match) -> Miss | None:
    """A factor or divisor of -1 that does not broadcast."""
    constant, root = match.constant("c"), match.root
    if constant.size > LARGEST:
        return Miss("the constant is large", root)
    if not np.all(constant.numpy() == -1):
        return Miss("the constant is not -1", root)
    if not keeps_shape(match["x"], match["c"], root.output):
        return Miss("the constant broadcasts the other operand", root)
    return None


def _reciprocal(match: Match) -> Array | Miss:
    """One over powers of two, which no multiplication rounds differently."""
    constant, root = match.constant("c"), match.root
    if not constant.dtype.is_floating or constant.dtype.bits < 16 or constant.size > LARGEST:
        return Miss("integers are divided with rounding", root)
    divisor = constant.numpy()
    wide = divisor.astype(np.float64)
    fraction, exponent = np.frexp(wide)
    limit = np.frexp(extremes(match["c"])[1])[1] - 3
    if not np.all((np.abs(fraction) == 0.5) & (np.abs(exponent) < limit)):
        return Miss("the reciprocal of the divisor is rounded", root)
    return np.asarray((1 / wide).astype(divisor.dtype))


def _multiply(rewriter: Rewriter, match: Match, factor: Array) -> None:
    inputs = [match["x"], rewriter.constant(factor)]
    rewriter.replace(match.root.output, rewriter.op("Mul", inputs, like=match.root.output))


def _flips(match: Match) -> Miss | None:
    """Equal with False, or Xor with True."""
    constant, root = match.constant("c"), match.root
    if constant.dtype.name != "BOOL" or constant.size > LARGEST:
        return Miss("it compares other values than conditions", root)
    array = constant.numpy()
    if not (array.all() if root.op_type == "Xor" else not array.any()):
        return Miss("the constant does not turn the condition around", root)
    if not keeps_shape(match["x"], match["c"], root.output):
        return Miss("the constant broadcasts the other operand", root)
    return None


OPPOSITE = {"Greater": "LessOrEqual", "GreaterOrEqual": "Less",
            "Less": "GreaterOrEqual", "LessOrEqual": "Greater"}  # fmt: skip


def _opposite(match: Match) -> Miss | None:
    kind = match["a"].dtype
    if not kind or kind.is_floating:
        return Miss("nothing is less, equal or greater than NaN", match.root)
    return None


def _compare(rewriter: Rewriter, match: Match, _: None) -> None:
    old, inputs = match.root.output, [match["a"], match["b"]]
    result = rewriter.op(OPPOSITE[match.node("inner").op_type], inputs, like=old)
    rewriter.replace(old, result)


def _two_inputs(node: OperatorNode) -> bool:
    return len(node.inputs) == 2


X, C = Any("x"), Const("c")
QUANTIZE_DEQUANTIZED = Rule(
    "quantize-dequantized",
    Op("QuantizeLinear", Op("DequantizeLinear", X, open_ended=True, shared=True, name="inner"),
       open_ended=True),
    _give, _requantized,
)  # fmt: skip
NEGATED = Op("Neg", X, name="neg", shared=True)
_CLAMP = Op("Relu|Clip", open_ended=True, name="inner")
RULES = (
    Rule("not-not", Op("Not", Op("Not", X, shared=True)), _give, _keeps_name),
    Rule("neg-neg", Op("Neg", Op("Neg", X, shared=True)), _give, _keeps_name),
    Rule("bitwise-not-not", Op("BitwiseNot", Op("BitwiseNot", X, shared=True)), _give,
         _keeps_name),
    QUANTIZE_DEQUANTIZED,
    Rule("abs-of-neg", Op("Abs", NEGATED), _becomes("Abs", "x")),
    Rule("add-negated", Op("Add", Any("y"), NEGATED), _becomes("Sub", "y", "x"), since=7),
    Rule("sub-negated", Op("Sub", Any("y"), NEGATED), _becomes("Add", "y", "x"), since=7),
    Rule("mul-negated", Op("Mul", NEGATED, Op("Neg", Any("y"), shared=True)),
         _becomes("Mul", "x", "y"), since=7),
    Rule("scale-negated",
         OneOf(Op("Mul", NEGATED, C), Op("Div", NEGATED, C), Op("Div", C, NEGATED)),
         _with_constant, _negated, since=7),
    Rule("negate-scaled",
         Op("Neg", OneOf(Op("Mul", X, C, name="inner"), Op("Div", X, C, name="inner"),
                         Op("Div", C, X, name="inner"))),
         _with_constant, _negated, since=7),
    Rule("minus-one", OneOf(Op("Mul", X, C), Op("Div", X, C)), _becomes("Neg", "x"), _minus_one,
         since=7),
    Rule("divide-by-power-of-two", Op("Div", X, C), _multiply, _reciprocal, since=7),
    Rule("where-not", Op("Where", Op("Not", X, shared=True), Any("a"), Any("b")),
         _becomes("Where", "x", "b", "a")),
    Rule("flip-condition", Op("Equal|Xor", X, C), _becomes("Not", "x"), _flips, since=7),
    Rule("not-compared",
         Op("Not", Op("|".join(OPPOSITE), Any("a"), Any("b"), name="inner")),
         _compare, _opposite, since=12),
    Rule("add-two", Op("Sum", X, Any("y"), accept=_two_inputs), _becomes("Add", "x", "y"), since=8),
    Rule("clamp-once", Op("Relu|Clip", _CLAMP, open_ended=True), clamps.write, clamps.both),
)  # fmt: skip
