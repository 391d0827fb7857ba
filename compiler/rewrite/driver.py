"""The driver: applies rules until none fires, and remembers near misses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from burnish.errors import BurnishError
from burnish.ir import Graph, OperatorNode
from burnish.rewrite.match import Match, Miss, closest, match
from burnish.rewrite.pattern import anchors
from burnish.rewrite.rewriter import Rewriter
from burnish.rewrite.rule import Rule

STEPS_PER_NODE = 50
"""How often rules may fire per node of the graph before the driver calls it a loop."""


@dataclass(frozen=True, slots=True)
class Firing:
    """A rule that was applied, and the source nodes that it concerned."""

    rule: str
    provenance: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A rule whose guard or form failed at a place that looked right."""

    rule: str
    reason: str
    provenance: tuple[str, ...]


@dataclass
class RewriteResult:
    """What a run of rules did."""

    edits: Counter[str] = field(default_factory=Counter)
    fired: list[Firing] = field(default_factory=list)
    missed: list[NearMiss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What the user should know beyond the edits."""

    @property
    def changed(self) -> bool:
        """Whether the graph is another one now."""
        return self.edits.total() > 0


class RuleLoop(BurnishError):
    """A rule fired so often that it must be undoing or repeating its own work."""


def apply_rules(graph: Graph, rules: Sequence[Rule], *, explain: bool = False) -> RewriteResult:
    """Apply ``rules`` in order of preference over ``graph`` and its subgraphs to a fixed point.

    With ``explain``, near misses are collected once the fixed point is reached.

    Raises:
        RuleLoop: the step budget ran out; names the rule that fired most.
    """
    by_type: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        for kind in anchors(rule.pattern):
            by_type.setdefault(kind, []).append(rule)
    result = RewriteResult()
    pending = dict.fromkeys(graph.walk())
    budget = STEPS_PER_NODE * (len(pending) + 20)
    while pending:
        node = next(iter(pending))
        del pending[node]
        if node.graph is None:
            continue
        for rule in by_type.get((node.domain, node.op_type), ()):
            rewriter = _try(graph, rule, node, result)
            if rewriter is None:
                continue
            result.edits += rewriter.edits
            pending.update(dict.fromkeys(_neighbours(rewriter.touched)))
            if len(result.fired) > budget:
                raise _loop(result)
            break
    if explain:
        result.missed = list(_near_misses(graph, by_type))
    return result


def _try(graph: Graph, rule: Rule, node: OperatorNode, result: RewriteResult) -> Rewriter | None:
    found = match(rule.pattern, node)
    if found is None or graph.opset < rule.since or _leak(found) is not None:
        return None
    facts = rule.guard(found)
    if isinstance(facts, Miss):
        return None
    rewriter = Rewriter(graph)
    rewriter.anchor, rewriter.provenance = node, found.provenance
    rule.rewrite(rewriter, found, facts)
    if not rewriter.changed:
        return None
    rewriter.erase_unused(found.nodes)
    result.fired.append(Firing(rule.name, found.provenance))
    return rewriter


def _leak(found: Match) -> OperatorNode | None:
    """A matched node, other than the root, whose result is read outside the match."""
    inside = set(found.nodes)
    for node in found.nodes[1:]:
        if node in found.shared:
            continue
        for value in node.outputs:
            if any(use.user not in inside for use in value.uses):
                return node
    return None


def _neighbours(touched: Iterable[OperatorNode]) -> Iterable[OperatorNode]:
    """Touched nodes and readers two steps on, where a pattern reaching back may now match."""
    for node in touched:
        if node.graph is None:
            continue
        yield node
        for value in node.outputs:
            for consumer in value.consumers:
                yield consumer
                for further in consumer.outputs:
                    yield from further.consumers


def _near_misses(
    graph: Graph, by_type: dict[tuple[str, str], list[Rule]]
) -> Iterable[NearMiss]:
    for node in graph.walk():
        for rule in by_type.get((node.domain, node.op_type), ()):
            miss = _why_not(graph, rule, node)
            if miss is not None:
                at = miss.at or node
                yield NearMiss(rule.name, miss.reason, at.provenance or node.provenance)


def _why_not(graph: Graph, rule: Rule, node: OperatorNode) -> Miss | None:
    found = match(rule.pattern, node)
    if found is None:
        reached = closest(rule.pattern, node)
        # A pattern that failed at its very root says nothing about this place.
        return None if reached is None or reached.at is node else reached
    if graph.opset < rule.since:
        return Miss(f"needs opset {rule.since}, the model has {graph.opset}: use --opset", node)
    leak = _leak(found)
    if leak is not None:
        return Miss(f"the result of {leak.op_type} is also read elsewhere", leak)
    facts = rule.guard(found)
    return facts if isinstance(facts, Miss) else None


def _loop(result: RewriteResult) -> RuleLoop:
    rule, times = Counter(firing.rule for firing in result.fired).most_common(1)[0]
    return RuleLoop(
        f"rule {rule} fired {times} times without reaching a fixed point; "
        f"leave its pass out with --skip and report the model"
    )
