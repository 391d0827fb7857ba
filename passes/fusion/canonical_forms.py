"""Writes what can be said in several ways in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.numerics import Numerics
from burnish.passes.cleanup.einsum import EINSUM_AS_ONE
from burnish.passes.fusion.explicit_pads import EXPLICIT_PADS
from burnish.passes.fusion.flattened_products import FLATTENED_PRODUCT
from burnish.passes.fusion.optional_inputs import OPTIONAL_INPUT_RULES
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Rule


@dataclass(frozen=True)
class CanonicalForms(RulePass):
    """Write products and convolutions in the form that other passes know.

    Inputs that say nothing are left out: a bias or an initial state of zeros, lengths of sequences
    that are all whole. Padding is said in numbers, an Einsum that is one operator becomes that,
    and a product of a flattened value is one of the value as it is.

    Before:
        y = Reshape(Gemm(Reshape(x, [-1, 64]), w, b), [8, 16, 32])        x: float[8, 16, 64]
        z = Conv[auto_pad="SAME_UPPER"](v, k, [0, 0, 0])

    After:
        y = MatMul(x, w) + b
        z = Conv[pads=[1, 1, 1, 1]](v, k)
    """

    name: ClassVar[str] = "canonical-forms"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """All of them, whoever runs the model."""
        return RULES


RULES = (*OPTIONAL_INPUT_RULES, EXPLICIT_PADS, EINSUM_AS_ONE, FLATTENED_PRODUCT)
