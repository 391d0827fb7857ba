"""The driver: applies rules until none fires, and remembers near misses.

Every node is looked at once, then only those around which something changed: the time taken grows
with the graph and with what is rewritten, never with their product.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import TypeAlias

from burnish.errors import BurnishError
from burnish.ir import Graph, OperatorNode
from burnish.layer_formats import LayerFormat
from burnish.rewrite.allowance import Allowance
from burnish.rewrite.match import Miss, matches, may_match
from burnish.rewrite.near_miss import closest
from burnish.rewrite.pattern import anchors, can_occur, depth
from burnish.rewrite.provenance import merged
from burnish.rewrite.rewriter import Rewriter
from burnish.rewrite.rule import Rule

STEPS_PER_NODE = 50
"""How often rules may fire per node of the graph before the driver calls it a loop."""

FEW_READERS = 64
"""A value with more readers than any pattern has places: losing one of them allows nothing new."""


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

    @classmethod
    def of(cls, rule: str, miss: Miss, node: OperatorNode) -> NearMiss:
        """``miss`` where it says it was, else at ``node``."""
        place = miss.at or node
        return cls(rule, miss.reason, place.provenance or node.provenance)


@dataclass
class RewriteResult:
    """What a run of rules did."""

    edits: Counter[str] = field(default_factory=Counter)
    fired: list[Firing] = field(default_factory=list)
    missed: list[NearMiss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What the user should know beyond the edits."""
    layers: list[LayerFormat] = field(default_factory=list)
    """How layers are computed that are computed otherwise, and why others are not."""
    steps: int = 0
    """How many nodes were looked at, again and again."""
    allowance: Allowance | None = None
    """How often rules may fire, if not until none does."""

    @property
    def changed(self) -> bool:
        """Whether the graph is another one now."""
        return self.edits.total() > 0


class RuleLoop(BurnishError):
    """A rule fired so often that it must be undoing or repeating its own work."""


Kind: TypeAlias = tuple[str, str]
"""Domain and type of an operator."""

RulesByType: TypeAlias = dict[Kind, list[Rule]]


def apply_rules(
    graph: Graph,
    rules: Sequence[Rule],
    *,
    explain: bool = False,
    kinds: Set[Kind] | None = None,
    allowance: Allowance | None = None,
) -> RewriteResult:
    """Apply ``rules`` in order of preference over ``graph`` and its subgraphs to a fixed point.

    With ``explain``, near misses are collected once the fixed point is reached. ``kinds`` of the
    operators in the graph save looking for rules that need others. Once ``allowance`` is used up,
    rules are still tried and none fires.

    Raises:
        RuleLoop: the step budget ran out; names the rule that fired most.
    """
    result = RewriteResult(allowance=allowance)
    present = set(kinds_of(graph) if kinds is None else kinds)
    while not _settle(graph, _by_type(rules, present), present, result):
        pass
    if explain:
        result.missed = list(_near_misses(graph, _by_type(rules, None)))
    return result


def kinds_of(graph: Graph) -> set[Kind]:
    """Domain and type of every operator of ``graph`` and its subgraphs."""
    return {(node.domain, node.op_type) for node in graph.walk()}


def _by_type(rules: Sequence[Rule], present: Set[Kind] | None) -> RulesByType:
    """Rules by the operators at which they can match; without those that lack an operator."""
    by_type: RulesByType = {}
    for rule in rules:
        if present is None or can_occur(rule.pattern, present):
            for kind in anchors(rule.pattern):
                by_type.setdefault(kind, []).append(rule)
    return by_type


def _settle(graph: Graph, by_type: RulesByType, present: set[Kind], result: RewriteResult) -> bool:
    """Apply rules until none fires; False where operators appeared that others may wait for."""
    if not by_type:
        return True
    patterns = [rule.pattern for rules in by_type.values() for rule in rules]
    # One further than patterns go: guards look at what makes a captured value.
    reach = 1 + max(depth(pattern) for pattern in patterns)
    nodes = list(graph.walk())
    budget = STEPS_PER_NODE * (len(nodes) + 20)
    pending = _Worklist(node for node in nodes if (node.domain, node.op_type) in by_type)
    before = len(present)
    while pending:
        node, further = pending.pop()
        result.steps += 1
        if node.graph is None:
            continue
        rewriter = _rewrite_at(graph, by_type, node, result)
        if rewriter is not None:
            result.edits += rewriter.edits
            if len(result.fired) > budget:
                raise _loop(result)
            present.update((node.domain, node.op_type) for node in rewriter.touched)
            _look_again(pending, rewriter, reach)
        if further and node.graph is not None:
            pending.push_readers(node, further - 1)
    return len(present) == before


class _Worklist:
    """Nodes to look at, first in first out, none twice, each with how far to go on to its readers.

    Going on waits until a node's turn comes: whatever touches it meanwhile costs nothing more, so
    that a node with very many readers is no trap.
    """

    def __init__(self, nodes: Iterable[OperatorNode]) -> None:
        self._queue = deque(nodes)
        self._further = dict.fromkeys(self._queue, 0)

    def push(self, node: OperatorNode, further: int) -> None:
        """Look at ``node`` later, then at its readers and theirs, ``further`` levels of them."""
        known = self._further.get(node)
        if known is None:
            self._queue.append(node)
        if known is None or known < further:
            self._further[node] = further

    def push_readers(self, node: OperatorNode, further: int) -> None:
        """``push`` every node that reads a result of ``node``."""
        for value in node.outputs:
            for use in value.uses:
                if isinstance(use.user, OperatorNode):
                    self.push(use.user, further)

    def pop(self) -> tuple[OperatorNode, int]:
        """The next node, and how many levels of readers to look at after it."""
        node = self._queue.popleft()
        return node, self._further.pop(node)

    def __len__(self) -> int:
        return len(self._queue)


def _look_again(pending: _Worklist, rewriter: Rewriter, reach: int) -> None:
    """Queue the places where patterns may match now that did not before."""
    for node in rewriter.touched:
        if node.graph is not None:
            pending.push(node, reach)
    for node in rewriter.loosened:
        if node.graph is not None:
            few = sum(len(value.uses) for value in node.outputs) <= FEW_READERS
            pending.push(node, reach if few else 0)


def _rewrite_at(
    graph: Graph, by_type: RulesByType, node: OperatorNode, result: RewriteResult
) -> Rewriter | None:
    """Fire the first rule that applies at ``node``; None if none does."""
    rules = by_type.get((node.domain, node.op_type))
    if rules is None or not _is_live(node) or _is_settled(node):
        return None
    for rule in rules:
        if may_match(rule.pattern, node):
            rewriter = _try(graph, rule, node, result)
            if rewriter is not None:
                return rewriter
    return None


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
    allowance = result.allowance
    if allowance is not None:
        allowance.rule = rule.name
    try:
        for found in matches(rule.pattern, node):
            facts = found.leak() or rule.guard(found)
            if isinstance(facts, Miss):
                continue
            if allowance is not None and not allowance.admits(graph, found.nodes):
                return None
            rewriter = Rewriter(graph)
            rewriter.anchor, rewriter.provenance = node, found.provenance
            rule.rewrite(rewriter, found, facts)
            if not rewriter.changed:
                return None
            rewriter.erase_unused(found.nodes)
            result.fired.append(Firing(rule.name, found.provenance))
            if allowance is not None:
                allowance.used += 1
            return rewriter
    except Exception as error:
        error.add_note(f"in rule {rule.name} at {node!r}, which came from {node.provenance}")
        raise
    return None


def _near_misses(graph: Graph, by_type: RulesByType) -> Iterator[NearMiss]:
    for node in (node for node in graph.walk() if not _is_settled(node)):
        for rule in by_type.get((node.domain, node.op_type), ()):
            stopped = _why_not(graph, rule, node)
            if stopped is not None:
                miss, nodes = stopped
                concerned = (miss.at or node, *nodes)
                yield NearMiss(rule.name, miss.reason, merged(one.provenance for one in concerned))


def _why_not(
    graph: Graph, rule: Rule, node: OperatorNode
) -> tuple[Miss, tuple[OperatorNode, ...]] | None:
    """What stopped ``rule`` at ``node``: opset, a leak or the guard, else the form if close.

    With it come the nodes that the rule would have replaced: to ask about one of them is to ask
    about the rule.
    """
    misses: list[tuple[Miss, tuple[OperatorNode, ...]]] = []
    for found in matches(rule.pattern, node):
        if graph.opset < rule.since:
            reason = f"needs opset {rule.since}, the model has {graph.opset}: use --opset"
            return Miss(reason, node), found.nodes
        miss = found.leak() or rule.guard(found)
        if not isinstance(miss, Miss):
            return None
        misses.append((miss, found.nodes))
    if misses:
        return misses[0]
    near = closest(rule.pattern, node)
    return None if near is None else (near, (node,))


def _loop(result: RewriteResult) -> RuleLoop:
    rule, times = Counter(firing.rule for firing in result.fired).most_common(1)[0]
    return RuleLoop(
        f"rule {rule} fired {times} times without reaching a fixed point; "
        f"leave its pass out with --skip and report the model"
    )
