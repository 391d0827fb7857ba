"""Merges adapters into the weights beside them, or into those that read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from burnish.ir import Graph, OperatorNode
from burnish.numerics import Numerics
from burnish.passes.adapters.ahead import merge_ahead, write_ahead
from burnish.passes.adapters.merging import merge, write_pair
from burnish.passes.adapters.sums import Pair, is_sum, pairs, products
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Miss, Rewriter
from burnish.rewrite.driver import Firing, NearMiss, RewriteResult

BESIDE, AHEAD, PARALLEL = "low-rank-branch", "residual-adapter", "parallel-product"
KEPT = "adapters are kept as they are"


@dataclass(frozen=True)
class MergeAdapters(Pass):
    """Merge adapters with constant weights into the weights that they adapt.

    Before:
        y = x W + b + s (x A) B

    After:
        y = x (W + s A B) + b

    Any number of them, in MatMul, Gemm, Conv and Gather, scaled and cast and dropped out as
    trainers leave them behind. An adapter x + s f(x) goes into all products that read it.

    The first form is LoRA (Hu et al., 2021, arXiv:2106.09685), the other RepAdapter (Luo et al.,
    2023, arXiv:2302.08106).
    """

    keep: bool = False
    """Leave adapters as they are, to be exchanged later."""

    name: ClassVar[str] = "merge-adapters"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES
    rule_names: ClassVar[tuple[str, ...]] = (BESIDE, AHEAD, PARALLEL)
    """What it counts, for there are no rules in it."""

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Merge what can be merged, sum by sum, in the order of execution."""
        result = RewriteResult()
        kept = 0
        for body in list(graph.graphs()):
            if body.owner is not None and body.owner.is_region:
                continue
            for root in list(body):
                while root.graph is body and is_sum(root) and root.output.uses:
                    found = _find(root, body)
                    if isinstance(found, _Found) and not self.keep:
                        _write(graph, found, result)
                        continue
                    kept += isinstance(found, _Found)
                    if context.explain and found is not None:
                        result.missed.append(_near_miss(found))
                    break
        if kept:
            result.notes.append(f"{kept} left unmerged, as asked for")
        return result


@dataclass(frozen=True, eq=False)
class _Found:
    """A pair that can be merged."""

    rule: str
    pair: Pair
    facts: Any
    write: Callable[[Rewriter, Pair, Any], None]


@dataclass(frozen=True, eq=False)
class _Missed:
    """A pair that cannot."""

    rule: str
    pair: Pair
    miss: Miss


def _find(root: OperatorNode, graph: Graph) -> _Found | _Missed | None:
    """The first pair below ``root`` that can be merged, else why the first adapter cannot."""
    missed: _Missed | None = None
    for pair in pairs(root, graph):
        outcome = _judge(pair)
        if isinstance(outcome, _Found):
            return outcome
        missed = missed or outcome
    return missed


def _judge(pair: Pair) -> _Found | _Missed | None:
    if products(pair.base) == 1:
        is_adapter = products(pair.branch) > 1
        rule = BESIDE if is_adapter else PARALLEL
        facts = merge(pair)
        if not isinstance(facts, Miss):
            return _Found(rule, pair, facts, write_pair)
        return _Missed(rule, pair, facts) if is_adapter else None
    if products(pair.branch) < 2 or pair.into.parent is not pair.root or pair.between:
        return None
    ahead = merge_ahead(pair)
    if not isinstance(ahead, Miss):
        return _Found(AHEAD, pair, ahead, write_ahead)
    return _Missed(AHEAD, pair, ahead)


def _provenance(pair: Pair) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for node in pair.nodes for name in node.provenance))


def _write(graph: Graph, found: _Found, result: RewriteResult) -> None:
    rewriter = Rewriter(graph)
    names = rewriter.provenance = _provenance(found.pair)
    found.write(rewriter, found.pair, found.facts)
    result.edits += rewriter.edits
    result.fired.append(Firing(found.rule, names))


def _near_miss(found: _Found | _Missed) -> NearMiss:
    if isinstance(found, _Found):
        return NearMiss(found.rule, KEPT, _provenance(found.pair))
    at = found.miss.at or found.pair.root
    return NearMiss(found.rule, found.miss.reason, at.provenance or _provenance(found.pair))
