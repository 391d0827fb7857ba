"""The driver: applies rules until none fires, and remembers near misses."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from burnish.errors import BurnishError
from burnish.ir import Graph, OperatorNode
from burnish.rewrite.match import Miss, matches
from burnish.rewrite.near_miss import closest
from burnish.rewrite.pattern import anchors, depth
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


RulesByType: TypeAlias = dict[tuple[str, str], list[Rule]]


def apply_rules(graph: Graph, rules: Sequence[Rule], *, explain: bool = False) -> RewriteResult:
    """Apply ``rules`` in order of preference over ``graph`` and its subgraphs to a fixed point.

    With ``explain``, near misses are collected once the fixed point is reached.

    Raises:
        RuleLoop: the step budget ran out; names the rule that fired most.
    """
    by_type: RulesByType = {}
    for rule in rules:
        for kind in anchors(rule.pattern):
            by_type.setdefault(kind, []).append(rule)
    reach = max((depth(rule.pattern) for rule in rules), default=0)
    result = RewriteResult()
    pending = _Worklist(graph.walk())
    budget = STEPS_PER_NODE * (len(pending) + 20)
    while pending:
        node = pending.pop()
        if not _is_live(node) or _is_settled(node):
            continue
        for rule in by_type.get((node.domain, node.op_type), ()):
            rewriter = _try(graph, rule, node, result)
            if rewriter is None:
                continue
            result.edits += rewriter.edits
            pending.extend(_readers(rewriter.touched, reach))
            if len(result.fired) > budget:
                raise _loop(result)
            break
    if explain:
        result.missed = list(_near_misses(graph, by_type))
    return result


class _Worklist:
    """Nodes to look at, first in first out, none twice."""

    def __init__(self, nodes: Iterable[OperatorNode]) -> None:
        self._queue: deque[OperatorNode] = deque()
        self._members: set[OperatorNode] = set()
        self.extend(nodes)

    def extend(self, nodes: Iterable[OperatorNode]) -> None:
        for node in nodes:
            if node not in self._members:
                self._members.add(node)
                self._queue.append(node)

    def pop(self) -> OperatorNode:
        node = self._queue.popleft()
        self._members.discard(node)
        return node

    def __len__(self) -> int:
        return len(self._queue)


def _is_live(node: OperatorNode) -> bool:
    """Whether ``node`` is still there and somebody reads it; rewriting dead code would not end."""
    return node.graph is not None and any(value.uses for value in node.outputs)


def _is_settled(node: OperatorNode) -> bool:
    """Whether ``node`` is in the body of a region: some rule has said what it is already."""
    graph = node.graph
    while graph is not None:
        if graph.owner is not None and graph.owner.is_region:
            return True
        graph = graph.parent
    return False


def _try(graph: Graph, rule: Rule, node: OperatorNode, result: RewriteResult) -> Rewriter | None:
    """Fire ``rule`` at ``node`` for the first match that is legal; None if there is none."""
    if graph.opset < rule.since:
        return None
    try:
        for found in matches(rule.pattern, node):
            facts = found.leak() or rule.guard(found)
            if isinstance(facts, Miss):
                continue
            rewriter = Rewriter(graph)
            rewriter.anchor, rewriter.provenance = node, found.provenance
            rule.rewrite(rewriter, found, facts)
            if not rewriter.changed:
                return None
            rewriter.erase_unused(found.nodes)
            result.fired.append(Firing(rule.name, found.provenance))
            return rewriter
    except Exception as error:
        error.add_note(f"in rule {rule.name} at {node!r}, which came from {node.provenance}")
        raise
    return None


def _readers(touched: Iterable[OperatorNode], steps: int) -> Iterator[OperatorNode]:
    """Touched nodes and what reads them up to ``steps`` further, where patterns may now match."""
    seen = {node for node in touched if node.graph is not None}
    frontier = [node for node in touched if node in seen]
    yield from frontier
    for _ in range(steps):
        readers = (c for node in frontier for value in node.outputs for c in value.consumers)
        frontier = [node for node in dict.fromkeys(readers) if node not in seen]
        seen.update(frontier)
        yield from frontier


def _near_misses(graph: Graph, by_type: RulesByType) -> Iterator[NearMiss]:
    for node in (node for node in graph.walk() if not _is_settled(node)):
        for rule in by_type.get((node.domain, node.op_type), ()):
            miss = _why_not(graph, rule, node)
            if miss is not None:
                at = miss.at or node
                yield NearMiss(rule.name, miss.reason, at.provenance or node.provenance)


def _why_not(graph: Graph, rule: Rule, node: OperatorNode) -> Miss | None:
    """What stopped ``rule`` at ``node``: opset, a leak or the guard, else the form if close."""
    misses: list[Miss] = []
    for found in matches(rule.pattern, node):
        if graph.opset < rule.since:
            reason = f"needs opset {rule.since}, the model has {graph.opset}: use --opset"
            return Miss(reason, node)
        miss = found.leak() or rule.guard(found)
        if not isinstance(miss, Miss):
            return None
        misses.append(miss)
    return misses[0] if misses else closest(rule.pattern, node)


def _loop(result: RewriteResult) -> RuleLoop:
    rule, times = Counter(firing.rule for firing in result.fired).most_common(1)[0]
    return RuleLoop(
        f"rule {rule} fired {times} times without reaching a fixed point; "
        f"leave its pass out with --skip and report the model"
    )
