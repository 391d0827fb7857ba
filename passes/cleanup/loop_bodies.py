"""What can be said about the body of a Loop or Scan without running it."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.analysis.effects import is_random
from burnish.ir import Graph, OperatorNode, VariableNode
from burnish.ir.clone import values_read

FROM_TYPES = frozenset({"Shape", "Size"})
"""Operators whose results follow from the shape of their input alone."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which inputs and outputs of a Loop or Scan, and of its body, are what.

    State ``n`` is input ``given + n`` and output ``n`` of the operator, input ``inner + n`` and
    output ``first + n`` of the body. What follows the states is scanned or stacked.
    """

    states: int
    given: int
    inner: int
    first: int

    @classmethod
    def of(cls, node: OperatorNode) -> Layout | None:
        """The layout of ``node``; None for another operator and for the first version of Scan."""
        if node.is_op("Loop"):
            return cls(len(node.inputs) - 2, given=2, inner=2, first=1)
        if node.is_op("Scan") and node.graph is not None and node.graph.opset >= 9:
            scanned = int(node.attribute("num_scan_inputs"))
            return cls(len(node.inputs) - scanned, given=0, inner=0, first=0)
        return None


def removable(node: OperatorNode, states: list[int]) -> list[int]:
    """Those of ``states`` that may go: before opset 11, a Loop has to carry something."""
    layout = Layout.of(node)
    assert layout is not None
    assert node.graph is not None
    needs_one = node.is_op("Loop") and node.graph.opset < 11
    return states[1:] if needs_one and len(states) == layout.states else states


def count_unrolled(node: OperatorNode, times: int) -> int:
    """Nodes that are left if ``node`` is unrolled ``times`` times and what can be is folded."""
    layout = Layout.of(node)
    stacked = scanned = 0
    if layout is not None:
        stacked = len(node.outputs) - layout.states
        scanned = len(node.inputs) - layout.given - layout.states
    return times * (_count_unfoldable(node) + stacked + scanned) + stacked


def _count_unfoldable(node: OperatorNode) -> int:
    """Nodes in the body of ``node`` whose results are not known once their iteration is."""
    layout = Layout.of(node)
    body = node.subgraphs["body"]
    if layout is None:
        return sum(1 for _ in body.walk())
    variable = set(body.inputs[layout.inner + layout.states :])
    for state in range(layout.states):
        initial = node.inputs[layout.given + state]
        if initial is None or not initial.is_constant:
            variable.add(body.inputs[layout.inner + state])
    while True:
        found, count = _spread(body, set(variable))
        carried = {
            body.inputs[layout.inner + state]
            for state in range(layout.states)
            if body.outputs[layout.first + state] in found
        }
        if carried <= variable:
            return count
        variable |= carried


def _spread(body: Graph, variable: set[VariableNode]) -> tuple[set[VariableNode], int]:
    """What depends on ``variable`` values or on some from outside, and how many nodes make it."""
    count = 0
    inside = set(body.inputs)
    for node in body:
        inside.update(node.outputs)
        read = [value for value in values_read(node) if not value.is_constant]
        if node.op_type in FROM_TYPES and all(value.static_shape is not None for value in read):
            continue
        if is_random(node) or any(value in variable or value not in inside for value in read):
            variable.update(node.outputs)
            count += 1 + sum(1 for inner in node.subgraphs.values() for _ in inner.walk())
    variable.update(v for v in body.outputs if v not in inside and not v.is_constant)
    return variable, count
