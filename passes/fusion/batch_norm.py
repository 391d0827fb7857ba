"""Folds BatchNormalization and per-channel arithmetic into constants of other operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from burnish.ir import Array, Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.fusion.absorb import Plan, carry_out, into_readers, into_writers, settled
from burnish.passes.fusion.affine import ARITHMETIC, Affine, read_affine
from burnish.passes.fusion.constants import rounded
from burnish.passes.fusion.ends import Edit
from burnish.passes.fusion.linear import OVERFLOW
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import (
    Any,
    Const,
    Match,
    Miss,
    OneOf,
    Op,
    Pattern,
    Rewriter,
    RewriteResult,
    Rule,
    apply_rules,
)

Facts: TypeAlias = tuple[int, tuple[Edit, ...]]
"""The input that takes the place of the mapped value, and what has to be edited for that."""

GAIN = {"BatchNormalization": 2}
"""Additions that are worth avoiding an operator; 1 for others. A BatchNormalization also scales."""


@dataclass(frozen=True)
class FuseBatchNorm(RulePass):
    """Fold BatchNormalization and per-channel Mul, Add, Sub, Div into neighbouring weights.

    Before:
        y = BatchNormalization(Transpose(MatMul(x, w) + b), gamma, beta, mean, variance)

    After:
        y = Transpose(MatMul(x, w * s) + ((b - mean) * s + beta))
                                                         s = gamma / sqrt(variance + epsilon)

    The weights may be those of Conv, ConvTranspose, Gemm, MatMul, a normalization or of other
    arithmetic, before or after, with shapes, pooling, concatenation and the like in between. If
    there are several readers, all of them have to take it. What is added before a convolution only
    goes in if that one does not pad. When compiling, a BatchNormalization that nothing takes in
    becomes a Mul and an Add.
    """

    name: ClassVar[str] = "fuse-batch-norm"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Apply the rules until none fires: what one folds may clear the way for one far away."""
        total, kinds = RewriteResult(), context.kinds
        while True:
            rules = self.rules(context)
            result = apply_rules(
                graph, rules, explain=context.explain, kinds=kinds, allowance=context.allowance
            )
            kinds = None
            total.edits += result.edits
            total.fired += result.fired
            total.missed = result.missed
            if not result.changed:
                return total

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Folding backwards first: it has no condition on padding."""
        alone = (STANDALONE,) if context.target is not None else ()
        return (*RULES, *alone)


Find: TypeAlias = Callable[[OperatorNode, VariableNode, Affine], Plan | Miss]


def _into_writers(root: OperatorNode, source: VariableNode, affine: Affine) -> Plan | Miss:
    return into_writers(source, affine, root)


def _into_readers(root: OperatorNode, source: VariableNode, affine: Affine) -> Plan | Miss:
    return into_readers(root.output, affine, root)


def _guard(find: Find) -> Callable[[Match], Facts | Miss]:
    def guard(match: Match) -> Facts | Miss:
        root = match.root
        reading = read_affine(root)
        if isinstance(reading, Miss):
            return reading
        source, affine = reading
        plan = find(root, source, affine)
        if isinstance(plan, Miss):
            return plan
        edits = settled(plan, GAIN.get(root.op_type, 1), root)
        return edits if isinstance(edits, Miss) else (root.inputs.index(source), edits)

    return guard


def _write(rw: Rewriter, match: Match, facts: Facts) -> None:
    slot, edits = facts
    carry_out(rw, edits, match.root)
    source = match.root.inputs[slot]
    assert source is not None
    rw.replace(match.root.output, source)


def _alone(match: Match) -> tuple[Array | None, Array | None] | Miss:
    reading = read_affine(match.root)
    if isinstance(reading, Miss):
        return reading
    source, affine = reading
    parts = []
    for array in (affine.scale, affine.shift):
        part = None if array is None else rounded(array, source.dtype)
        if array is not None and part is None:
            return Miss(OVERFLOW.format(source.dtype), match.root)
        parts.append(part)
    return parts[0], parts[1]


def _write_alone(rw: Rewriter, match: Match, facts: tuple[Array | None, Array | None]) -> None:
    output, result = match.root.output, match["data"]
    for op_type, array in zip(("Mul", "Add"), facts, strict=True):
        if array is not None:
            result = rw.op(op_type, [result, rw.constant(array)], like=output)
    rw.replace(output, result)


DATA, FACTOR = Any("data"), Const("factor")
BATCH_NORM = Op("BatchNormalization", DATA, *map(Const, ("gamma", "beta", "mean", "variance")))
MAP: Pattern = OneOf(Op(ARITHMETIC, DATA, FACTOR), Op("Sub", FACTOR, DATA), BATCH_NORM)

RULES = (
    Rule("affine-after-linear", MAP, _write, _guard(_into_writers)),
    # Not into readers: half of the values that are rotated by their position change sign.
    Rule("sign-after-linear", Op("Neg", DATA), _write, _guard(_into_writers)),
    Rule("affine-before-linear", MAP, _write, _guard(_into_readers)),
)
STANDALONE = Rule("batch-norm-alone", BATCH_NORM, _write_alone, _alone)
