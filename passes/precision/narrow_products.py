"""Multiply bfloat16 numbers in products and convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from burnish.ir import Graph, VariableNode
from burnish.numerics import Numerics
from burnish.passes.precision.even import even, pays
from burnish.passes.precision.rounding import Rounder
from burnish.passes.precision.sites import Site, sites
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, NearMiss, Rewriter, RewriteResult

FEWEST_COLUMNS, FEWEST_PRODUCTS = 8, 8
"""Sizes below which rounding costs about what multiplying gains."""
_SINCE = 13
"""The opset whose Cast knows bfloat16."""


@dataclass(frozen=True)
class NarrowProducts(Pass):
    """Round what products and convolutions with constant weights multiply to bfloat16.

    Sums, biases and everything else stay float32. All that reads such a value reads it rounded, so
    that it is stored once, in half the space. Values that models return are not rounded.

    Before:
        y = MatMul(Gelu(x), w)

    After:
        y = MatMul(Cast<to = float>(Cast<to = bfloat16>(Gelu(x))), nearest bfloat16 of w)
    """

    keep: tuple[str, ...] = ()
    """Names of products and convolutions to leave as they are, as the model calls them."""

    name: ClassVar[str] = "narrow-products"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Round the weights and data of every product that gains by it."""
        rewriter, result = Rewriter(graph), RewriteResult()
        if graph.opset < _SINCE:
            return result
        rounder = Rounder(rewriter)
        values: dict[VariableNode, None] = {}
        for site in list(sites(graph)):
            reason = self._declines(site)
            if reason:
                result.missed.append(NearMiss(self.name, reason, site.node.provenance))
                continue
            before = rewriter.edits.total()
            if site.channels % 2:
                values[even(rewriter, site)] = None
            else:
                # What it is a view of first: its maker can then store it rounded.
                values |= dict.fromkeys((site.source, site.data))
            rounder.constant(site.node, 1)
            if rewriter.edits.total() > before:
                result.fired.append(Firing(self.name, site.node.provenance))
        for value in values:
            rounder.value(value)
        result.edits = rewriter.edits
        return result

    def _declines(self, site: Site) -> str:
        if any(name in self.keep for name in site.node.provenance):
            return "it is to be kept"
        if site.channels % 2 and not pays(site):
            return f"{site.channels} input channels are no pairs"
        if site.columns < FEWEST_COLUMNS or site.depth < FEWEST_PRODUCTS:
            return f"{site.depth} products for each of {site.columns} columns gain nothing"
        return ""
