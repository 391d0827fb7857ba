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
    contrib_rotary,
)
from burnish.passes.fusion.contrib_writing import MS, left, rule
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


LEFT = {
    "it keeps a cache of its own that the standard has no operator for": (
        "DecoderAttention", "DecoderMaskedMultiHeadAttention", "DecoderMaskedSelfAttention",
        "PagedAttention",
    ),
    "its batch is packed without padding; export it without packing mode": (
        "PackedAttention", "PackedMultiHeadAttention", "RemovePadding", "RestorePadding",
    ),
    "it computes on integers in an order that only ONNX Runtime reads": (
        "QOrderedAttention", "QOrderedMatMul", "QOrderedLongformerAttention",
    ),
    "its blocks of keys have no standard form": ("LongformerAttention", "SparseAttention"),
    "its bias depends on the data": ("GatedRelativePositionBias", "RelativePositionBias"),
}  # fmt: skip
"""Attention that stays as it is, and why; compiled models hand it to ONNX Runtime."""

ATTENTION = (
    rule(f"{MS}Attention", contrib_attention.packed, 23, contrib_attention.packed_problem),
    rule(
        f"{MS}MultiHeadAttention", contrib_attention.separate, 23,
        contrib_attention.separate_problem,
    ),
    rule(
        f"{MS}GroupQueryAttention", contrib_rotary.grouped, 23, contrib_rotary.grouped_problem
    ),
    rule(f"{MS}RotaryEmbedding", contrib_rotary.rotary, 23, contrib_rotary.rotary_problem),
    *(left(MS + kind, reason) for reason, kinds in LEFT.items() for kind in kinds),
)  # fmt: skip
RULES = (
    *contrib_activations.RULES,
    *contrib_norms.RULES,
    *contrib_products.RULES,
    *contrib_legacy.RULES,
    *ATTENTION,
)
