"""Move numbers as the integers that they are stored as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.ir import DType, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.simplify_elementwise import QUANTIZE_DEQUANTIZED
from burnish.passes.quantization.movement import MOVES, Moved, moved
from burnish.passes.quantization.parameters import (
    BYTES,
    Parameters,
    dequantize,
    dequantized,
    limits,
    quantize,
)
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, Op, Rewriter, Rule


@dataclass(frozen=True)
class MoveQuantization(RulePass):
    """Let operators that only move or choose numbers do it with integers.

    What dequantizes comes after them, what quantizes before; conversions that meet cancel, and
    bounds that integers have anyway go.

    Before:
        y = MaxPool(DequantizeLinear(x, 0.5, 3))
        z = QuantizeLinear(Relu(Transpose(a)), 0.1, 0)

    After:
        y = DequantizeLinear(MaxPool(x), 0.5, 3)
        z = Transpose(QuantizeLinear(a, 0.1, 0))
    """

    name: ClassVar[str] = "move-quantization"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Conversions that cancel first."""
        return RULES


def _can_follow(match: Match) -> Moved | Miss:
    """How an operator works on the integers that are dequantized right before it."""
    node, inner = match.root, match.node("inner")
    source = dequantized(inner.output)
    if source is None:
        return Miss("it is not dequantized from 8 bits to float32", inner)
    return moved(node, source.parameters, source.integers.dtype, exact=True)


def _follow(rw: Rewriter, match: Match, form: Moved) -> None:
    node, source = match.root, dequantized(match.node("inner").output)
    assert source is not None
    results = _on_integers(rw, node, source.integers, form)
    for old, new in zip(node.outputs, results, strict=True):
        if old.uses:
            rw.replace(old, dequantize(rw, new, source.parameters, old, form.axis))


def _on_integers(
    rw: Rewriter, node: OperatorNode, integers: VariableNode, form: Moved
) -> Sequence[VariableNode]:
    """The results of ``node`` on ``integers``."""
    inputs = [integers, *node.inputs[1:]]
    for index, array in form.constants.items():
        inputs += [None] * (index + 1 - len(inputs))
        inputs[index] = rw.constant(array)
    first = rw.op(node.op_type, inputs, node.attributes, outputs=len(node.outputs))
    assert first.producer is not None
    for old, new in zip(node.outputs, first.producer.outputs, strict=True):
        new.dtype, new.shape = integers.dtype, old.shape
    return first.producer.outputs


def _can_precede(match: Match) -> Moved | Miss:
    """How an operator works on the integers that are quantized right after it."""
    node, move = match.root, match.node("move")
    parameters, before = _parameters(match), move.input(0)
    if isinstance(parameters, Miss):
        return parameters
    if before is None or before.is_constant:
        return Miss("what is moved is constant", move)
    if len(before.uses) > 1:
        return Miss(f"{before.name or 'what is moved'} is also read as it is", move)
    if len(move.outputs) > 1:
        return Miss("what is moved is taken apart", move)
    return moved(move, parameters, node.output.dtype, exact=False)


def _parameters(match: Match) -> Parameters | Miss:
    """The scale and zero point of the QuantizeLinear at the root, one each for all numbers."""
    node = match.root
    parameters = Parameters.of(node)
    if parameters is None or not parameters.is_single:
        return Miss("there is more than one scale", node)
    first = node.input(0)
    if node.output.dtype not in BYTES or first is None or first.dtype is not DType.FLOAT:
        return Miss("it is not quantized from float32 to 8 bits", node)
    return parameters


def _precede(rw: Rewriter, match: Match, form: Moved) -> None:
    node, move = match.root, match.node("move")
    parameters, before = _parameters(match), move.input(0)
    assert isinstance(parameters, Parameters)
    assert before is not None
    like = VariableNode("", node.output.dtype, before.shape)
    integers = quantize(rw, before, parameters, like)
    rw.replace(node.output, _on_integers(rw, move, integers, form)[0])


def _parts(match: Match) -> Parameters | Miss:
    """Whether every part of a Concat is quantized alike."""
    found = [dequantized(value) for value in match.root.inputs]
    known = [each for each in found if each is not None]
    if not known or len(known) < len(found):
        return Miss("a part is not dequantized from 8 bits to float32", match.root)
    first = known[0]
    for each in known:
        if not each.parameters.is_single:
            return Miss("a part has more than one scale", each.node)
        same = each.parameters.same_as(first.parameters)
        if not same or each.integers.dtype is not first.integers.dtype:
            return Miss("the parts have other scales or zero points", each.node)
    return first.parameters


def _join(rw: Rewriter, match: Match, parameters: Parameters) -> None:
    node = match.root
    parts = [source.integers for v in node.inputs if (source := dequantized(v)) is not None]
    like = VariableNode("", parts[0].dtype, node.output.shape)
    joined = rw.op("Concat", parts, node.attributes, like=like)
    rw.replace(node.output, dequantize(rw, joined, parameters, node.output))


def _can_split(match: Match) -> Parameters | Miss:
    return _parameters(match)


def _join_quantized(rw: Rewriter, match: Match, parameters: Parameters) -> None:
    node, joining = match.root, match.node("move")
    parts = []
    for value in joining.inputs:
        assert value is not None
        like = VariableNode("", node.output.dtype, value.shape)
        parts.append(quantize(rw, value, parameters, like))
    rw.replace(node.output, rw.op("Concat", parts, joining.attributes, like=node.output))


def _bounds(node: OperatorNode) -> tuple[float, float] | None:
    """Between what a Relu or Clip keeps numbers, None if that is computed."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    ends = []
    for index, default in ((1, -np.inf), (2, np.inf)):
        value = node.input(index)
        if value is not None and (value.constant is None or value.constant.size != 1):
            return None
        given = default if value is None else value.constant.numpy().reshape(())  # type: ignore[union-attr]
        ends.append(float(given))
    return ends[0], ends[1]


def _is_implied_behind(match: Match) -> Miss | None:
    """Whether no number below or above the bounds is quantized otherwise than the bound."""
    node, clamp = match.root, match.node("clamp")
    parameters, bounds = _parameters(match), _bounds(clamp)
    if isinstance(parameters, Miss):
        return parameters
    if any(not other.is_op("QuantizeLinear") for other in clamp.output.consumers):
        return Miss("the bounded numbers are read as well", clamp)
    if bounds is None or not parameters.is_constant:
        return Miss("the bounds, the scale or the zero point are computed", clamp)
    lowest, highest = limits(node.output.dtype)
    scale, zero = np.float32(parameters.scales()), int(parameters.zeros())
    ends = [float(np.rint(np.float32(bound) / scale)) + zero for bound in bounds]
    if ends[0] > lowest or ends[1] < highest or not scale > 0:
        return Miss("integers reach further than the bounds", node)
    return None


def _give_unbounded(rw: Rewriter, match: Match, facts: None) -> None:
    rw.set_input(match.root, 0, match["x"])


def _is_implied_before(match: Match) -> Miss | None:
    """Whether no integer stands for a number out of bounds."""
    source, bounds = dequantized(match.node("inner").output), _bounds(match.root)
    if source is None or not source.parameters.is_single or not source.parameters.is_constant:
        return Miss("it is not dequantized by one known scale", match.node("inner"))
    if bounds is None:
        return Miss("the bounds are computed", match.root)
    scale, zero = np.float32(source.parameters.scales()), int(source.parameters.zeros())
    lowest, highest = (np.float32(end - zero) * scale for end in limits(source.integers.dtype))
    if bounds[0] > lowest or bounds[1] < highest or not scale > 0:
        return Miss("integers reach further than the bounds", match.root)
    if match.root.output.is_graph_output:
        return Miss("a graph output must keep its own name", match.root)
    return None


def _give_dequantized(rw: Rewriter, match: Match, facts: None) -> None:
    rw.replace(match.root.output, match.node("inner").output)


_SOURCE = Op("DequantizeLinear", name="inner", shared=True)
_CLAMP = "Clip|Relu"
RULES = (
    QUANTIZE_DEQUANTIZED,
    Rule("quantize-unbounded",
         Op("QuantizeLinear", Op(_CLAMP, Any("x"), open_ended=True, name="clamp", shared=True),
            open_ended=True),
         _give_unbounded, _is_implied_behind, since=13),
    Rule("dequantized-in-bounds", Op(_CLAMP, _SOURCE, open_ended=True), _give_dequantized,
         _is_implied_before, since=13),
    Rule("dequantize-behind", Op("|".join(MOVES), _SOURCE, open_ended=True), _follow, _can_follow,
         since=13),
    Rule("quantize-before",
         Op("QuantizeLinear", Op("|".join(MOVES), open_ended=True, name="move"), open_ended=True),
         _precede, _can_precede, since=13),
    Rule("join-dequantized", Op("Concat"), _join, _parts, since=13),
    Rule("join-quantized",
         Op("QuantizeLinear", Op("Concat", open_ended=True, name="move"), open_ended=True),
         _join_quantized, _can_split, since=13),
)  # fmt: skip
