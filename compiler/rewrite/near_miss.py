"""Near misses: how far a pattern got at a node, and what stopped it."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.ir import OperatorNode
from burnish.rewrite.match import Miss, accepts, fits, orders, produces
from burnish.rewrite.pattern import Any, Const, Missing, OneOf, Op, Pattern, Scalar

ENOUGH = 0.5
"""Share of a pattern's operators that must fit before a user is told about the rest."""


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


def closest(pattern: Pattern, root: OperatorNode) -> Miss | None:
    """What stopped ``pattern`` at ``root``, if at least two and ``ENOUGH`` of its operators fit."""
    reach = _reach_node(pattern, root, root)
    if reach.fitting < max(2.0, ENOUGH * reach.wanted):
        return None
    return reach.miss or Miss("values that have to be the same one are different ones", root)


def _reach_node(pattern: Pattern, node: OperatorNode, root: OperatorNode) -> _Reach:
    if isinstance(pattern, OneOf):
        choices = (_reach_node(choice, node, root) for choice in pattern.choices)
        return max(choices, key=lambda reach: reach.rank)
    if not isinstance(pattern, Op):
        return _Reach()
    if not fits(pattern, node):
        return _Reach(0, size(pattern), Miss(_why_unfit(pattern, node), node))
    attempts = (
        [_reach_value(p, node, i, root) for i, p in enumerate(order)]
        for order in orders(pattern, node)
    )
    return max((_combine(attempt) for attempt in attempts), key=lambda reach: reach.rank)


def _combine(inputs: list[_Reach]) -> _Reach:
    stopped = [reach for reach in inputs if reach.miss is not None]
    furthest = max(stopped, key=lambda reach: reach.fitting, default=None)
    return _Reach(
        1 + sum(reach.fitting for reach in inputs),
        1 + sum(reach.wanted for reach in inputs),
        furthest.miss if furthest else None,
    )


def _reach_value(pattern: Pattern, node: OperatorNode, index: int, root: OperatorNode) -> _Reach:
    value = node.input(index)
    if isinstance(pattern, OneOf):
        choices = (_reach_value(choice, node, index, root) for choice in pattern.choices)
        return max(choices, key=lambda reach: reach.rank)
    if isinstance(pattern, Op):
        if value is not None and produces(pattern, value, root):
            assert value.producer is not None
            inner = _reach_node(pattern, value.producer, root)
            if inner.fitting:
                return inner
        return _Reach(0, size(pattern), _unlike(pattern, node, index))
    return _Reach(miss=None if accepts(pattern, value) else _unlike(pattern, node, index))


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


def size(pattern: Pattern) -> int:
    """Operators in ``pattern``; of alternatives the smallest."""
    if isinstance(pattern, OneOf):
        return min(size(choice) for choice in pattern.choices)
    if isinstance(pattern, Op):
        return 1 + sum(size(wanted) for wanted in pattern.inputs)
    return 0


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
