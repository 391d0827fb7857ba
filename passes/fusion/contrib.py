"""Writes ONNX Runtime's own operators as standard ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.numerics import Numerics
from burnish.passes.fusion import (
    contrib_activations,
    contrib_attention,
    contrib_legacy,
    contrib_norms,
    contrib_products,
)
from burnish.passes.fusion.contrib_writing import MS, rule
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Rule


@dataclass(frozen=True)
class StandardiseContribOps(RulePass):
    """Replace the operators that ONNX Runtime's optimizers write by standard ones.

    Before:
        y = com.microsoft::BiasGelu(x, b)

    After:
        y = Gelu(x + b)

    Knows Gelu and its relatives, normalizations with what is added before, embeddings, fused
    products and convolutions, attention, and operators that became standard. What else there is
    stays, for the reason that is given.
    """

    name: ClassVar[str] = "standardise-contrib-ops"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """One rule per operator."""
        return RULES


ATTENTION = (
    rule(f"{MS}Attention", contrib_attention.packed, 23, contrib_attention.packed_problem),
    rule(
        f"{MS}MultiHeadAttention", contrib_attention.separate, 23,
        contrib_attention.separate_problem,
    ),
)  # fmt: skip
RULES = (
    *contrib_activations.RULES,
    *contrib_norms.RULES,
    *contrib_products.RULES,
    *contrib_legacy.RULES,
    *ATTENTION,
)
