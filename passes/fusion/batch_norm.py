"""Folds BatchNormalization and per-channel arithmetic into the weights of linear operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.ir import OperatorNode
from burnish.numerics import Numerics
from burnish.passes.fusion.affine import Affine, affine, batch_norm, read_affine, scaling
from burnish.passes.fusion.constants import along, per_channel, rounded
from burnish.passes.fusion.linear import (
    OVERFLOW,
    Folded,
    Weights,
    fold_input,
    fold_output,
    linear,
    read_weights,
    write,
)
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, Miss, OneOf, Op, Rewriter, Rule

DATA = Any("data")


@dataclass(frozen=True)
class FuseBatchNorm(RulePass):
    """Fold BatchNormalization and per-channel Mul, Add, Sub, Div into neighbouring weights.

    Before:
        y = BatchNormalization(Conv(x, w, b), gamma, beta, mean, variance)

    After:
        y = Conv(x, w * s, (b - mean) * s + beta)        s = gamma / sqrt(variance + epsilon)

    Works on Conv, ConvTranspose, Gemm and MatMul, and also on arithmetic that comes right before
    one of them; what is added before a convolution only goes in if that one does not pad. When
    compiling, a BatchNormalization with no such neighbour becomes a Mul and an Add.
    """

    name: ClassVar[str] = "fuse-batch-norm"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Folding backwards first: it has no condition on padding."""
        alone = (STANDALONE,) if context.target is not None else ()
        return (*RULES, *alone)


def _after(match: Match) -> Folded | Miss:
    """An affine map that follows a linear operator."""
    weights = read_weights(match.node("linear"))
    if isinstance(weights, Miss):
        return weights
    found = _read(match, weights, weights.output_channels)
    return found if isinstance(found, Miss) else fold_output(weights, found)


def _read(match: Match, weights: Weights, channels: int) -> Affine | Miss:
    rank = weights.weight.ndim
    axis = weights.channel_axis
    if weights.node.op_type == "MatMul":
        value = weights.node.output if match.root is match.node("affine") else match["data"]
        if value.rank is None:
            return Miss("the rank of the data is unknown", weights.node)
        rank = value.rank
    return read_affine(match, axis % rank, rank, channels)


def _write_after(rw: Rewriter, match: Match, folded: Folded) -> None:
    node = match.node("linear")
    rw.replace(match.root.output, write(rw, node, match["data"], folded, match.root.output))


def _biased(match: Match) -> tuple[Folded, ...] | Miss:
    """An affine map that follows MatMul and the addition of its bias."""
    weights = read_weights(match.node("linear"))
    if isinstance(weights, Miss):
        return weights
    bias = per_channel(match["offset"], -1, 1, weights.output_channels)
    if bias is None:
        return Miss("what is added to MatMul is not one number per column", match.node("add"))
    found = _read(match, weights, weights.output_channels)
    if isinstance(found, Miss):
        return found
    folded = fold_output(Weights(weights.node, weights.weight, bias, 1, 1, 0), found)
    return folded if isinstance(folded, Miss) else (folded,)


def _write_biased(rw: Rewriter, match: Match, facts: tuple[Folded, ...]) -> None:
    _write_after(rw, match, facts[0])


def _before(match: Match) -> Folded | Miss:
    """An affine map that a linear operator reads."""
    node = match.node("linear")
    weights = read_weights(node)
    if isinstance(weights, Miss):
        return weights
    if node.attribute("transA", 0):
        return Miss("Gemm reads the data transposed", node)
    found = _read(match, weights, weights.input_channels)
    if isinstance(found, Miss):
        return found
    data = match["data"]
    if data.shape is None or data.rank != match.node("affine").output.rank:
        return Miss("the shape of the data is unknown", match.node("affine"))
    if data.shape[weights.channel_axis] != weights.input_channels:
        return Miss("the constant widens the data or its channels are unknown", node)
    if found.shift is not None and found.shift.any():
        if node.op_type == "ConvTranspose":
            return Miss("a shift before ConvTranspose differs at the border", node)
        if node.op_type == "Conv" and _pads(node):
            return Miss("what is added before a Conv that pads differs at the border", node)
    return fold_input(weights, found)


def _pads(node: OperatorNode) -> bool:
    if node.attribute("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
        return True
    return any(node.attribute("pads", ()))


def _write_before(rw: Rewriter, match: Match, folded: Folded) -> None:
    output = match.root.output
    rw.replace(output, write(rw, match.root, match["data"], folded, output))


def _alone(match: Match) -> tuple[np.ndarray, np.ndarray] | Miss:
    value = match["data"]
    if value.rank is None:
        return Miss("the rank of the data is unknown", match.root)
    found = read_affine(match, 1, value.rank, match.constant("gamma").size)
    if isinstance(found, Miss):
        return found
    assert found.scale is not None
    assert found.shift is not None
    parts = [rounded(along(v, 1, value.rank), value.dtype) for v in (found.scale, found.shift)]
    if parts[0] is None or parts[1] is None:
        return Miss(OVERFLOW.format(value.dtype), match.root)
    return parts[0], parts[1]


def _write_alone(rw: Rewriter, match: Match, facts: tuple[np.ndarray, np.ndarray]) -> None:
    output = match.root.output
    scaled = rw.op("Mul", [match["data"], rw.constant(facts[0])], like=output)
    rw.replace(output, rw.op("Add", [scaled, rw.constant(facts[1])], like=output))


MATMUL_BIAS = Op("Add", linear(DATA, "MatMul"), Const("offset"), name="add")

# What is only added to a MatMul is its bias, and stays.
AFTER = OneOf(affine(linear(DATA, "Conv|ConvTranspose|Gemm")), scaling(linear(DATA, "MatMul")))

RULES = (
    Rule("affine-after-linear", AFTER, _write_after, _after),
    Rule("affine-after-matmul-bias", affine(MATMUL_BIAS), _write_biased, _biased),
    Rule("affine-before-linear", linear(affine(DATA)), _write_before, _before),
)
STANDALONE = Rule("batch-norm-alone", batch_norm(DATA), _write_alone, _alone)
