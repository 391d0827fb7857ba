"""Write what is cut, joined, padded or picked several times as one operator, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.numerics import Numerics
from burnish.passes.cleanup.concat_rules import CONCAT_RULES
from burnish.passes.cleanup.gather_rules import GATHER_RULES
from burnish.passes.cleanup.slice_rules import SLICE_RULES
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Rule


@dataclass(frozen=True)
class MergeSlices(RulePass):
    """Merge slices, splits, concats, pads, gathers, expands and tiles with each other.

    A list of indices in even steps becomes a Slice, which every other rule can read.

    Before:
        a, b, c = Split(Concat(x, y, z))          d = Slice(Slice(x, 0:4, axis=2), 0:4, axis=3)

    After:
        a, b, c = x, y, z                         d = Slice(x, [0:4, 0:4], axes=[2, 3])
    """

    name: ClassVar[str] = "merge-slices"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """What makes operators disappear first."""
        return (*GATHER_RULES, *SLICE_RULES, *CONCAT_RULES)
