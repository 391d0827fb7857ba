"""Work that grows with the graph and with what is rewritten, not with their product."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.ir import Constant, DType, Graph, OperatorNode, VariableNode
from burnish.ir.verify import verify
from burnish.rewrite import Any, Const, Op, Rewriter, RewriteResult, Rule, apply_rules
from burnish.rewrite.match import Match
from burnish.rewrite.provenance import MAX_SOURCES

SIZES = (200, 800)
STEPS_PER_NODE = 12
"""Looks at a node, on the average; far less than there are nodes."""


def merge(rw: Rewriter, found: Match, facts: object) -> None:
    product = found.constant("a").numpy() * found.constant("b").numpy()
    merged = rw.op("Mul", [found["x"], rw.constant(product)], like=found.root.output)
    rw.replace(found.root.output, merged)


def forward(rw: Rewriter, found: Match, facts: object) -> None:
    rw.replace(found.root.output, found["x"])


def double(rw: Rewriter, found: Match, facts: object) -> None:
    rw.replace(found.root.output, rw.op("Abs", [found["x"]], like=found.root.output))


RULES = [
    Rule("merge", Op("Mul", Op("Mul", Any("x"), Const("a")), Const("b")), merge),
    Rule("forward", Op("Identity", Any("x")), forward),
    Rule("double", Op("Relu", Op("Neg", Any("x"))), double),
    Rule(
        "deep", Op("Sum", *[Op("Exp", Op("Tanh", Op("Exp", Any())))] * 2, open_ended=True), double
    ),
]


class Builder:
    """Nodes on one float vector."""

    def __init__(self) -> None:
        self.graph = Graph(opsets={"": 21})
        self.x = VariableNode("x", DType.FLOAT, (2,))
        self.graph.inputs = [self.x]

    def op(self, op_type: str, *inputs: VariableNode) -> VariableNode:
        result = VariableNode(f"v{len(self.graph)}", DType.FLOAT, (2,))
        self.graph.append(OperatorNode(op_type, inputs, [result], provenance=(result.name,)))
        return result

    def weight(self) -> VariableNode:
        return VariableNode.of(Constant.of(np.full(2, 1.0, np.float32)))


def chain(count: int) -> Graph:
    """Every rule fires all along, and one node is left of most of it."""
    build, value = Builder(), None
    value = build.x
    for number in range(count):
        match number % 4:
            case 0 | 1:
                value = build.op("Mul", value, build.weight())
            case 2:
                value = build.op("Identity", value)
            case _:
                value = build.op("Relu", build.op("Neg", value)) if number % 16 == 3 else value
    build.graph.outputs = [value]
    return build.graph


def fan(count: int) -> Graph:
    """A value with very many readers, all of which change, joined by one operator."""
    build = Builder()
    hub = build.op("Exp", build.x)
    ends = []
    for number in range(count):
        middle = build.op("Identity" if number % 2 else "Neg", hub)
        ends.append(build.op("Relu", middle))
    build.graph.outputs = [build.op("Exp", build.op("Sum", *ends))]
    return build.graph


def relay(count: int) -> Graph:
    """One fan after the other, so that readers of readers are very many as well."""
    build, hub = Builder(), None
    hub = build.x
    for _ in range(4):
        hub = build.op("Sum", *[build.op("Identity", hub) for _ in range(count // 4)])
    build.graph.outputs = [hub]
    return build.graph


def settled(make: object, count: int) -> tuple[Graph, RewriteResult, int]:
    model = make(count)  # type: ignore[operator]
    nodes = len(model)
    return model, apply_rules(model, RULES), nodes


@pytest.mark.parametrize("make", [chain, fan, relay])
def test_steps_are_linear(make: object) -> None:
    for count in SIZES:
        model, result, nodes = settled(make, count)
        assert result.fired
        assert result.steps <= STEPS_PER_NODE * nodes
        verify(model)
        assert not apply_rules(model, RULES).changed


def test_steps_do_not_depend_on_rules_for_other_operators() -> None:
    others = [Rule(f"no-{n}", Op("Add", Op(f"None{n}")), forward) for n in range(50)]
    model = fan(50)
    assert apply_rules(model, others).steps == 0


def test_rules_for_what_others_make_are_tried() -> None:
    build = Builder()
    build.graph.outputs = [build.op("Relu", build.op("Neg", build.x))]
    further = Rule("abs", Op("Abs", Any("x")), forward)
    result = apply_rules(build.graph, [further, *RULES])
    assert [firing.rule for firing in result.fired] == ["double", "abs"]


def test_a_node_does_not_stand_for_more_than_can_be_told() -> None:
    build = Builder()
    value = build.x
    for _ in range(3 * MAX_SOURCES):
        value = build.op("Mul", value, build.weight())
    build.graph.outputs = [value]
    result = apply_rules(build.graph, RULES)
    (left,) = build.graph
    assert len(left.provenance) == MAX_SOURCES
    assert max(len(firing.provenance) for firing in result.fired) <= MAX_SOURCES


@pytest.mark.parametrize("readers", [1, 1000])
def test_replacing_a_reader_leaves_the_others_alone(readers: int) -> None:
    build = Builder()
    ends = [build.op("Neg", build.x) for _ in range(readers)]
    last = build.op("Sum", *ends)
    uses = list(build.x.uses)
    total = last.producer
    assert total is not None
    for index, end in enumerate(ends):
        total.replace_input(index, build.x)
        assert not end.uses
    assert list(build.x.uses)[:readers] == uses
    assert build.x.times_read_by(total) == readers
