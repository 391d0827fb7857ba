"""Multiply bfloat16 numbers in products and convolutions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from burnish.ir import Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.precision.attention import declines as attention_declines
from burnish.passes.precision.attention import is_attention, round_weights
from burnish.passes.precision.even import even, pays
from burnish.passes.precision.rounding import Rounder
from burnish.passes.precision.sites import Site, site_of, source_of
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, NearMiss, Rewriter, RewriteResult

FEWEST_COLUMNS, FEWEST_PRODUCTS = 8, 8
"""Sizes below which rounding costs about what multiplying gains."""
_SINCE = 13
"""The opset whose Cast knows bfloat16."""


@dataclass(frozen=True)
class NarrowProducts(Pass):
    """Round what products with constant weights, convolutions and attention multiply to bfloat16.

    Attention, where the target has a kernel for it, becomes a region that says what is rounded
    within: the weights of the values.

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
        for node in list(graph):
            site = site_of(node)
            if site is None and not is_attention(node):
                continue
            reason = self._declines(node, site, context)
            if reason:
                result.missed.append(NearMiss(self.name, reason, node.provenance))
                continue
            before = rewriter.edits.total()
            if site is None:
                region = round_weights(rewriter, node)
                values |= _with_sources(region.inputs[:3])
            else:
                values |= _round_constant(site, rewriter, rounder)
            if rewriter.edits.total() > before:
                result.fired.append(Firing(self.name, node.provenance))
        for value in values:
            rounder.value(value)
        result.edits = rewriter.edits
        return result

    def _declines(self, node: OperatorNode, site: Site | None, context: PassContext) -> str:
        if any(name in self.keep for name in node.provenance):
            return "it is to be kept"
        if site is None:
            return attention_declines(node, context.target)
        if site.channels % 2 and not pays(site):
            return f"{site.channels} input channels are no pairs"
        if site.columns < FEWEST_COLUMNS or site.depth < FEWEST_PRODUCTS:
            return f"{site.depth} products for each of {site.columns} columns gain nothing"
        return ""


def _round_constant(site: Site, rewriter: Rewriter, rounder: Rounder) -> dict[VariableNode, None]:
    """Round the weights of a product, made even; returns the values to round as well."""
    values = {even(rewriter, site): None} if site.channels % 2 else _with_sources([site.data])
    rounder.constant(site.node, 1)
    return values


def _with_sources(values: Iterable[VariableNode | None]) -> dict[VariableNode, None]:
    """Each value after what it is a view of, whose maker can then store it rounded."""
    return {
        each: None for value in values if value is not None for each in (source_of(value), value)
    }
