"""Remove operators that give back one of their inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.ir import VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.no_op_arithmetic import ARITHMETIC
from burnish.passes.cleanup.no_op_moves import MOVES
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Match, Miss, Op, Rewriter, Rule


@dataclass(frozen=True)
class RemoveNoOps(RulePass):
    """Remove operators that give back an input bit for bit.

    Adding 0.0 stays here: it turns -0.0 into 0.0. Subtracting 0.0 and adding -0.0 go.

    Before:
        y = Mul(Transpose[perm=(0, 1)](Identity(x)), 1.0)

    After:
        y = x
    """

    name: ClassVar[str] = "remove-no-ops"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """One rule per operator type."""
        return RULES


JUDGES = MOVES | ARITHMETIC
"""Standard operators that may be no-ops."""


def can_stand_in(new: VariableNode, old: VariableNode) -> bool:
    """Whether ``new`` can replace ``old`` without an Identity to keep a graph output's name."""
    if not old.is_graph_output:
        return True
    made_here = new.producer is not None and old.producer is not None
    return made_here and not new.is_graph_output and new.producer.graph is old.producer.graph  # type: ignore[union-attr]


def _guard(match: Match) -> int | Miss:
    node = match.root
    found = JUDGES[node.op_type](node)
    if isinstance(found, str):
        return Miss(found, node)
    kept = node.inputs[found]
    if kept is None or not can_stand_in(kept, node.output):
        return Miss("a graph output must keep its own name", node)
    if kept.dtype and node.output.dtype and kept.dtype is not node.output.dtype:
        return Miss("it changes the type", node)
    return found


def _forward(rewriter: Rewriter, match: Match, index: int) -> None:
    kept = match.root.inputs[index]
    assert kept is not None
    rewriter.replace(match.root.output, kept)


RULES = tuple(Rule(f"no-op-{op_type.lower()}", Op(op_type), _forward, _guard) for op_type in JUDGES)
"""The rules, one for each operator type."""
