"""Near misses: how far a pattern got at a node, and what stopped it."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.ir import OperatorNode
from burnish.rewrite.match import Miss, accepts, fits, orders, produces
from burnish.rewrite.pattern import Any, Const, OneOf, Op, Pattern, Scalar

ENOUGH = 0.5
"""Share of a pattern's operators that must fit before a user is told about the rest."""


def closest(pattern: Pattern, root: OperatorNode) -> Miss | None:
    """What stopped ``pattern`` at ``root``, if at least two and ``ENOUGH`` of its operators fit."""
    reach = _Explorer(root).at_node(pattern, root)
    if reach.fitting < max(2.0, ENOUGH * reach.wanted):
        return None
    return reach.miss or Miss("values that have to be the same one are different ones", root)


@dataclass(frozen=True, slots=True)
class _Reach:
    """How many operators of a pattern fit, of how many, and the first thing that did not."""

    fitting: int = 0
    wanted: int = 0
    miss: Miss | None = None

    @property
    def rank(self) -> tuple[bool, int]:
        """Complete ones first, then those that got further."""
        return self.miss is None, self.fitting


class _Explorer:
    """Matches without captures, remembering what it found for each part of a pattern.

    Alternatives share parts, so that without memory a pattern is as large as all its spellings.
    """

    def __init__(self, root: OperatorNode) -> None:
        self._root = root
        self._nodes: dict[tuple[int, OperatorNode], _Reach] = {}

    def at_node(self, pattern: Pattern, node: OperatorNode) -> _Reach:
        key = id(pattern), node
        if key not in self._nodes:
            self._nodes[key] = self._at_node(pattern, node)
        return self._nodes[key]

    def _at_node(self, pattern: Pattern, node: OperatorNode) -> _Reach:
        if isinstance(pattern, OneOf):
            choices = (self.at_node(choice, node) for choice in pattern.choices)
            return max(choices, key=lambda reach: reach.rank)
        if not isinstance(pattern, Op):
            return _Reach()
        if not fits(pattern, node):
            return _Reach(0, pattern.size, Miss(_why_unfit(pattern, node), node))
        attempts = (
            [self._at_input(wanted, node, index) for index, wanted in enumerate(order)]
            for order in orders(pattern, node)
        )
        return max((_combine(attempt) for attempt in attempts), key=lambda reach: reach.rank)

    def _at_input(self, pattern: Pattern, node: OperatorNode, index: int) -> _Reach:
        value = node.input(index)
        if isinstance(pattern, OneOf):
            choices = (self._at_input(choice, node, index) for choice in pattern.choices)
            return max(choices, key=lambda reach: reach.rank)
        if not isinstance(pattern, Op):
            fine = accepts(pattern, value)
            return _Reach(miss=None if fine else _unlike(pattern, node, index))
        if value is not None and produces(pattern, value, self._root):
            assert value.producer is not None
            inner = self.at_node(pattern, value.producer)
            if inner.fitting:
                return inner
        return _Reach(0, pattern.size, _unlike(pattern, node, index))


def _combine(inputs: list[_Reach]) -> _Reach:
    stopped = [reach for reach in inputs if reach.miss is not None]
    furthest = max(stopped, key=lambda reach: reach.fitting, default=None)
    return _Reach(
        1 + sum(reach.fitting for reach in inputs),
        1 + sum(reach.wanted for reach in inputs),
        furthest.miss if furthest else None,
    )


def _unlike(pattern: Pattern, node: OperatorNode, index: int) -> Miss:
    value = node.input(index)
    if value is None:
        found = "left out"
    elif value.constant is not None:
        one = value.constant.size == 1
        found = f"the constant {value.constant.numpy().item()}" if one else "a constant tensor"
    elif value.producer is None:
        found = "a graph input"
    elif value.producer.graph is not node.graph:
        found = "computed outside of this subgraph"
    else:
        found = f"computed by {value.producer.op_type}"
    wanted = _describe(pattern)
    return Miss(f"input {index} of {node.op_type} is {found}, the pattern needs {wanted}", node)


def _why_unfit(pattern: Op, node: OperatorNode) -> str:
    if (node.domain, node.op_type) not in pattern.types:
        return f"this is {node.op_type}, the pattern needs {_describe(pattern)}"
    return f"the attributes or further inputs of {node.op_type} do not fit the pattern"


def _describe(pattern: Pattern) -> str:
    if isinstance(pattern, Op):
        return "|".join(sorted(kind for _, kind in pattern.types))
    if isinstance(pattern, OneOf):
        return " or ".join(dict.fromkeys(_describe(choice) for choice in pattern.choices))
    if isinstance(pattern, Scalar):
        return f"{pattern.value:g}"
    if isinstance(pattern, Const):
        return "a constant" if pattern.accept is None else "a fitting constant"
    return "any value" if isinstance(pattern, Any) else "nothing"
