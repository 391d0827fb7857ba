"""Write rarely used operators in terms of common ones, for code generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.analysis import infer
from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.passes.cleanup.einsum import EINSUM
from burnish.passes.cleanup.exotic_rules import EXOTIC_RULES
from burnish.passes.cleanup.function_bodies import FUNCTION_RULES
from burnish.passes.cleanup.infer_shapes import annotate
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import RewriteResult, Rule, apply_rules
from burnish.rewrite.pattern import anchors

MAX_ROUNDS = 4
"""A definition may use operators that are lowered in turn, once their shapes are known."""


@dataclass(frozen=True)
class LowerExotic(RulePass):
    """Lower operators that few models use to ones that have kernels everywhere.

    Where ONNX defines an operator by others, its definition is used.

    Before:
        y = Einsum[equation="bij,bkj->bik"](a, b)      z = DepthToSpace[blocksize=2](x)

    After:
        y = MatMul(a, Transpose(b))                    z = Reshape(Transpose(Reshape(x)))
    """

    name: ClassVar[str] = "lower-exotic"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    keep: tuple[str, ...] = ()
    """Operators that the target has kernels for, and that stay."""

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """The rules for operators that are not kept."""
        kept = set(self.keep)
        return [
            rule
            for rule in (EINSUM, *EXOTIC_RULES, *FUNCTION_RULES)
            if not kept & {op_type for _, op_type in anchors(rule.pattern)}
        ]

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Lower until nothing is left to lower; leaves values annotated with their shapes."""
        total = RewriteResult()
        for _ in range(MAX_ROUNDS):
            result = apply_rules(
                graph, self.rules(context), explain=context.explain, allowance=context.allowance
            )
            total.edits += result.edits
            total.fired += result.fired
            total.missed = result.missed
            if not result.changed:
                break
            total.edits += annotate(infer(graph))
        return total
