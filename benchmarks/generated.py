"""Generated graphs of any size, each after one way in which real models grow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

OPSET = 17
SHAPE = (1, 4, 4, 4)
"""Of every value but weights and shapes; small, so that only the number of nodes matters."""

NESTING = 12
"""Levels of subgraphs in subgraphs."""


class _Draft:
    """Nodes and initializers of one graph in the making."""

    def __init__(self, prefix: str, rng: np.random.Generator) -> None:
        self.prefix = prefix
        self.rng = rng
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._count = 0

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return its result."""
        result = self._name()
        self.nodes.append(helper.make_node(op_type, inputs, [result], name=result, **attributes))
        return result

    def weight(self, *shape: int) -> str:
        """Add an initializer of random numbers around one."""
        return self.initializer(self.rng.uniform(0.5, 1.5, shape).astype(np.float32))

    def initializer(self, array: np.ndarray) -> str:
        """Add an initializer."""
        name = self._name()
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def constant(self, array: np.ndarray) -> str:
        """Add a Constant node."""
        return self.op("Constant", value=numpy_helper.from_array(array))

    def _name(self) -> str:
        self._count += 1
        return f"{self.prefix}{self._count}"


def chain(count: int) -> ModelProto:
    """One operator after the other: elementwise ones, now and then a product or a reshape."""
    draft = _Draft("c", np.random.default_rng(0))
    value = "x"
    while len(draft.nodes) < count:
        value = _link(draft, value, len(draft.nodes))
    return _model(draft, [value])


def wide(count: int) -> ModelProto:
    """Short branches side by side: all read one value, all are added and joined at the end."""
    draft = _Draft("w", np.random.default_rng(0))
    ends: list[str] = []
    while len(draft.nodes) < count - 3:
        ends.append(draft.op("Relu", _branch(draft, len(ends))))
    total = draft.op("Sum", *ends)
    joined = draft.op("Concat", *ends, axis=0)
    return _model(draft, [total, draft.op("ReduceMax", joined, axes=[0], keepdims=1)])


def constants(count: int) -> ModelProto:
    """Constant nodes, a third of them equal to others, and arithmetic on them alone."""
    draft = _Draft("k", np.random.default_rng(0))
    value = "x"
    while len(draft.nodes) < count:
        number = len(draft.nodes)
        own = draft.constant(np.array([number], np.float32))
        shared = draft.constant(np.array([number % 3], np.float32))
        value = draft.op("Tanh", draft.op("Sub", value, draft.op("Div", shared, own)))
    return _model(draft, [value])


def nested(count: int) -> ModelProto:
    """If in If, ``NESTING`` levels deep, again and again; bodies read values of all levels."""
    draft = _Draft("n", np.random.default_rng(0))
    value = "x"
    made = 0
    while made < count:
        value = _level(draft, f"{draft.prefix}{made}_", value, 0)
        made += 4 * NESTING
    return _model(draft, [value], [helper.make_tensor_value_info("c", TensorProto.BOOL, ())])


def _level(draft: _Draft, prefix: str, value: str, level: int) -> str:
    """Two operators and an If around the next level; the result."""
    here = draft.op("Relu", draft.op("Add", value, draft.weight(1)))
    if level == NESTING:
        return here
    branches = {}
    for key in ("then_branch", "else_branch"):
        inner = _Draft(f"{prefix}{level}{key[0]}", draft.rng)
        deeper = key == "then_branch"
        result = (
            _level(inner, f"{prefix}{level}", here, level + 1)
            if deeper
            else inner.op("Mul", here, value)
        )
        branches[key] = _graph(inner, [], [result])
    return draft.op("If", "c", **branches)


def _branch(draft: _Draft, number: int) -> str:
    """An operator that reads what all others of a wide graph read, too."""
    match number % 8:
        case 0:
            return draft.op("MatMul", "x", draft.weight(4, 4))
        case 1:
            return draft.op("Transpose", "x", perm=(0, 1, 3, 2))
        case 2:
            return draft.op("Conv", "x", draft.weight(4, 4, 1, 1))
        case 3:
            return draft.op("Identity", "x")
    return draft.op("Mul", "x", draft.weight(1))


def _link(draft: _Draft, value: str, number: int) -> str:
    """The next operators of a chain."""
    step = number % 40
    if step == 10:
        return draft.op("Conv", value, draft.weight(4, 4, 1, 1), draft.weight(4))
    if step == 20:
        return draft.op("MatMul", value, draft.weight(4, 4))
    if step == 30:
        return _reshaped(draft, value)
    kind = ("Add", "Relu", "Mul", "Sigmoid", "Sub", "Tanh")[number % 6]
    return draft.op(
        kind, value, *([draft.weight(4, 1, 1)] if kind in ("Add", "Mul", "Sub") else [])
    )


def _reshaped(draft: _Draft, value: str) -> str:
    """There and back, with the sizes computed as exporters do."""
    index = draft.constant(np.array(0, np.int64))
    size = draft.op("Gather", draft.op("Shape", value), index, axis=0)
    axes = draft.constant(np.array([0], np.int64))
    rest = draft.constant(np.array([-1], np.int64))
    flat = draft.op("Concat", draft.op("Unsqueeze", size, axes), rest, axis=0)
    return draft.op("Reshape", draft.op("Exp", draft.op("Reshape", value, flat)),
                    draft.initializer(np.array(SHAPE, np.int64)))  # fmt: skip


def _model(
    draft: _Draft, outputs: list[str], more_inputs: list[ValueInfoProto] | None = None
) -> ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)
    graph = _graph(draft, [x, *(more_inputs or [])], outputs)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8,
        producer_name="generated",
    )  # fmt: skip


def _graph(draft: _Draft, inputs: list[ValueInfoProto], outputs: list[str]) -> GraphProto:
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in outputs]
    return helper.make_graph(
        draft.nodes, draft.prefix, inputs, results, initializer=draft.initializers
    )


GENERATORS: dict[str, Callable[[int], ModelProto]] = {
    "chain": chain,
    "constants": constants,
    "nested": nested,
    "wide": wide,
}
"""How to make a graph of about so many nodes, by its kind."""


def count_nodes(graph: GraphProto) -> int:
    """Nodes of a graph and its subgraphs."""
    return sum(1 for _ in _walk(graph))


def _walk(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _walk(attribute.g)
