"""Write arithmetic the short way where that may round differently."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any as AnyType
from typing import ClassVar

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup import clamps
from burnish.passes.cleanup.no_op_arithmetic import LARGEST, keeps_shape
from burnish.passes.cleanup.remove_no_ops import can_stand_in
from burnish.passes.fusion.constants import number
from burnish.passes.fusion.forms import count_along, reduced_axes
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, Miss, OneOf, Op, Rewriter, Rule, Scalar


@dataclass(frozen=True)
class SimplifyArithmetic(RulePass):
    """Use the operator that says the same on real numbers, and leave out what says nothing.

    Rounding may differ, and so may the sign of zero and what becomes of infinities.

    Before:
        y = (1 / a) * b      z = Min(Max(x, 0), 6)      n = ArgMax(Softmax(x))      u = x + 0

    After:
        y = b / a            z = Clip(x, 0, 6)          n = ArgMax(x)               u = x
    """

    name: ClassVar[str] = "simplify-arithmetic"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """What leaves operators out, then what replaces one by another."""
        return RULES


def _becomes(op_type: str, *names: str) -> Callable[[Rewriter, Match, AnyType], None]:
    """A rewrite to ``op_type`` of the values captured under ``names``."""

    def write(rewriter: Rewriter, match: Match, _: AnyType) -> None:
        inputs = [match[name] for name in names]
        rewriter.replace(match.root.output, rewriter.op(op_type, inputs, like=match.root.output))

    return write


def _floats(match: Match) -> Miss | None:
    if match.root.output.dtype.is_floating:
        return None
    return Miss("it works on integers, or on an unknown type", match.root)


def _zero(match: Match) -> Miss | None:
    """Adding zeros of either sign."""
    constant, root = match.constant("c"), match.root
    if constant.size > LARGEST or constant.dtype.bits < 8 or np.any(constant.numpy()):
        return Miss("what it adds is not known to be zero", root)
    if not keeps_shape(match["x"], match["c"], root.output):
        return Miss("the zeros broadcast the other operand", root)
    if not can_stand_in(match["x"], root.output):
        return Miss("a graph output must keep its own name", root)
    return None


def _leave_out(rewriter: Rewriter, match: Match, _: None) -> None:
    rewriter.replace(match.root.output, match["x"])


def _from_zero(match: Match) -> Miss | None:
    """Zeros that something is taken away from, without broadcasting it."""
    constant, root = match.constant("c"), match.root
    if constant.size > LARGEST or constant.dtype.bits < 8 or constant.dtype.name[0] == "U":
        return Miss("the constant is large or has no sign", root)
    if np.any(constant.numpy()):
        return Miss("it is not taken away from zero", root)
    if not keeps_shape(match["x"], match["c"], root.output):
        return Miss("the zeros broadcast the other operand", root)
    return None


def _inverse(match: Match) -> Miss | None:
    """A quotient for a product with an inverse, if that takes no more divisions."""
    if not match.root.output.dtype.is_floating:
        return Miss("integers are divided with rounding", match.root)
    known = match["x"].shape is not None and None not in (match["x"].shape or ())
    if not known or match["x"].shape != match.root.output.shape:
        return Miss("every element would be divided, where a few are inverted now", match.root)
    return None


def _power(match: Match) -> str | Miss:
    """The operator that computes a power with a small exponent."""
    exponent, root = number(match["c"]), match.root
    found = None if exponent is None else POWERS.get(exponent)
    if found is None or not match["x"].dtype.is_floating:
        return Miss("there is no operator for this power", root)
    if match["x"].dtype is not root.output.dtype:
        return Miss("the type is not known", root)
    if not keeps_shape(match["x"], match["c"], root.output):
        return Miss("the exponent broadcasts the value", root)
    # Else ONNX Runtime makes no LayerNormalization of it in models that are too old for ours.
    if any(reader.is_op("ReduceMean") for reader in root.output.consumers):
        return Miss("engines know a variance by its power", root)
    return found


POWERS = {2.0: "Mul", 0.5: "Sqrt", -1.0: "Reciprocal"}


def _write_power(rewriter: Rewriter, match: Match, op_type: str) -> None:
    inputs = [match["x"]] * (2 if op_type == "Mul" else 1)
    rewriter.replace(match.root.output, rewriter.op(op_type, inputs, like=match.root.output))


MONOTONE = "Softmax|LogSoftmax|Sigmoid|Exp|Log|Sqrt|Tanh|Softplus|Softsign|Elu|Selu|Atan|Erf"


def _same_choice(match: Match) -> Miss | None:
    """Whether the largest element stays the largest."""
    root, inner = match.root, match.node("inner")
    if not inner.op_type.endswith("Softmax"):
        return _floats_only(match["x"], inner)
    assert root.graph is not None
    rank = match["x"].rank
    if root.graph.opset < 13 or not rank:
        return Miss("the axes of the two are not known to be the same", root)
    if inner.attribute("axis", -1) % rank != root.attribute("axis", 0) % rank:
        return Miss("the two go along different axes", root)
    return None


def _floats_only(value: VariableNode, at: OperatorNode) -> Miss | None:
    return None if value.dtype.is_floating else Miss("it works on integers", at)


def _choose(rewriter: Rewriter, match: Match, _: None) -> None:
    root = match.root
    result = rewriter.op(root.op_type, [match["x"]], root.attributes, like=root.output)
    rewriter.replace(root.output, result)


def _averages(match: Match) -> Miss | None:
    """A sum divided by how many there are."""
    total, root = match.node("sum"), match.root
    axes = reduced_axes(total)
    count = None if axes is None else count_along(match["x"], axes)
    factor = number(match["c"])
    if not count or factor is None or not root.output.dtype.is_floating:
        return Miss("how many are summed is not known", root)
    if root.op_type == "Div":
        factor = 1 / factor if factor else 0.0
    if not np.isclose(factor * count, 1.0, rtol=1e-6, atol=0):
        return Miss("it is divided by another number than are summed", root)
    if not keeps_shape(total.output, match["c"], root.output):
        return Miss("the number gives the sum another shape", root)
    return None


def _average(rewriter: Rewriter, match: Match, _: None) -> None:
    total, old = match.node("sum"), match.root.output
    mean = rewriter.op("ReduceMean", total.inputs, total.attributes, like=old)
    rewriter.replace(old, mean)


def _single_class(match: Match) -> tuple[int, ...] | Miss:
    """The shape of a Softmax over one element each."""
    root, x = match.root, match["x"]
    assert root.graph is not None
    rank, shape = x.rank, x.static_shape
    if root.graph.opset < 13 or not rank or not x.dtype.is_floating:
        return Miss("its axis is not known", root)
    if (x.shape or ())[root.attribute("axis", -1) % rank] != 1:
        return Miss("it goes over several elements", root)
    if shape is None or int(np.prod(shape, dtype=np.int64)) > LARGEST:
        return Miss("its shape is not known, or large", root)
    return shape


def _write_single(rewriter: Rewriter, match: Match, shape: tuple[int, ...]) -> None:
    root = match.root
    value = 1.0 if root.op_type == "Softmax" else 0.0
    rewriter.make_constant(root.output, np.full(shape, value, root.output.dtype.numpy))


def _mean_axes(match: Match) -> bool:
    """Whether axes are inputs of ReduceMean, as they are of ReduceSum."""
    return match.root.graph is not None and match.root.graph.opset >= 18


def _average_since(match: Match) -> Miss | None:
    total = match.node("sum")
    if total.input(1) is not None and not _mean_axes(match):
        return Miss("needs opset 18, where ReduceMean takes its axes as an input: use --opset",
                    match.root)  # fmt: skip
    return _averages(match)


X, Y, C = Any("x"), Any("y"), Const("c")
_SUMMED = Op("ReduceSum", X, open_ended=True, name="sum")
INVERSE = OneOf(Op("Reciprocal", X), Op("Div", Scalar(1.0, 0.0), X))
_CLAMP = Op("Relu|Clip|Max|Min", open_ended=True, name="inner")
RULES = (
    Rule("add-zero", OneOf(Op("Add", X, C), Op("Sub", X, C)), _leave_out, _zero, since=7),
    Rule("sum-to-mean", OneOf(Op("Mul", _SUMMED, C), Op("Div", _SUMMED, C)), _average,
         _average_since, since=7),
    Rule("product-with-inverse", Op("Mul", INVERSE, Y), _becomes("Div", "y", "x"), _inverse,
         since=7),
    Rule("quotient-by-inverse", Op("Div", Y, INVERSE), _becomes("Mul", "y", "x"), _floats,
         since=7),
    Rule("negated-difference", Op("Neg", Op("Sub", X, Y)), _becomes("Sub", "y", "x"), since=7),
    Rule("clamp-once",
         OneOf(Op("Relu|Clip|Max|Min", _CLAMP, open_ended=True),
               Op("Max|Min", Any(), _CLAMP)), clamps.write, clamps.both),
    Rule("monotone-before-choice", Op("ArgMax|ArgMin", Op(MONOTONE, X, name="inner")), _choose,
         _same_choice),
    Rule("softmax-of-one", Op("Softmax|LogSoftmax", X), _write_single, _single_class),
    Rule("zero-minus", Op("Sub", C, X), _becomes("Neg", "x"), _from_zero, since=7),
    Rule("small-power", Op("Pow", X, C), _write_power, _power, since=7),
)  # fmt: skip
