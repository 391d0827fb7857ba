"""Parts of a model that stand alone, fed with what the whole model computes where it was cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from burnish.errors import BurnishError
from burnish.ir import Array, Graph, OperatorNode, VariableNode
from burnish.ir.assembly import fill
from burnish.ir.clone import clone, extract, values_read
from burnish.ir.onnx_io import skeleton
from burnish.oracle import Oracle
from burnish.oracle.exact_products import exact_products
from burnish.verification import Feeds

CAPTURED = 2 << 30
"""Bytes of intermediate values that are kept at most."""


@dataclass(frozen=True)
class Part:
    """A model with one set of inputs."""

    graph: Graph
    feeds: dict[str, Array]


class Source:
    """A model that parts are cut from, with the values that it computes on one set of inputs."""

    def __init__(self, graph: Graph, feeds: Feeds, *, static: bool = False) -> None:
        """Cut parts from ``graph``, which must not change, as it runs on ``feeds``.

        With ``static``, sizes of inputs that have names become numbers.
        """
        self.graph = graph
        self._static = static
        self.nodes = list(graph)
        self._feeds = feeds
        self._values: dict[VariableNode, Array | None] = {
            value: np.asarray(feeds[value.name]) for value in graph.inputs
        }

    def part(self, nodes: Iterable[OperatorNode]) -> Part | None:
        """``nodes`` of the main graph as a model of their own; None if they cannot be one.

        It takes what they read from outside, and returns what is read outside.
        """
        chosen = set(nodes)
        ordered = [node for node in self.nodes if node in chosen]
        outside = _outside(ordered)
        results = [value for node in ordered for value in node.outputs if _leaves(value, chosen)]
        self._capture([*outside, *results])
        if not results or any(self._values[value] is None for value in (*outside, *results)):
            return None
        graph, made = extract(ordered)
        graph.header = dict(self.graph.header)
        graph.outputs = [made.values[value] for value in results]
        for value in (*outside, *results):
            array, copy = self._values[value], made.values[value]
            assert array is not None
            _describe(copy, array)
            if self._static and value in outside:
                copy.shape = array.shape
        _name(graph)
        feeds = {made.values[value].name: self._values[value] for value in outside}
        return Part(graph, {name: array for name, array in feeds.items() if array is not None})

    def _capture(self, values: Sequence[VariableNode]) -> None:
        """Let the oracle compute those of ``values`` that are not known yet."""
        wanted = [value for value in dict.fromkeys(values) if value not in self._values]
        if not wanted:
            return
        computed = self._computed(wanted)
        for value, array in zip(wanted, computed, strict=True):
            is_tensor = isinstance(array, np.ndarray | np.generic)
            self._values[value] = np.asarray(array) if is_tensor else None

    def capture_all(self) -> None:
        """Compute every value at once, if there is room for them."""
        made = [value for node in self.nodes for value in node.outputs if _is_real(value)]
        sizes = [value.static_shape or () for value in made]
        if 8 * sum(int(np.prod(size, dtype=np.int64)) for size in sizes) <= CAPTURED:
            self._capture(made)

    def _computed(self, wanted: Sequence[VariableNode]) -> list[object]:
        copy, made = clone(self.graph)
        copies = [made.values[value] for value in wanted]
        copy.outputs = copies
        copy.output_names = tuple(f"captured_{index}" for index in range(len(copies)))
        for value in copies:
            # Declared shapes may be wrong: the oracle finds out itself.
            value.shape = None
        try:
            results = Oracle(fill(skeleton(exact_products(copy), partial=True))).run(self._feeds)
        except BurnishError:
            return [None] * len(wanted)
        return [results[name] for name in copy.output_names]


def around(nodes: Iterable[OperatorNode], steps: int) -> set[OperatorNode]:
    """``nodes`` and those of their graph that are at most so many steps before or after them."""
    found = set(nodes)
    edge = set(found)
    for _ in range(steps):
        reached = {other for node in edge for other in _neighbours(node)}
        edge = reached - found
        found |= edge
    return found


def at_top(nodes: Iterable[OperatorNode]) -> set[OperatorNode]:
    """For each of ``nodes`` the node of the main graph that it is, or that it is inside of."""
    found = set()
    for node in nodes:
        top: OperatorNode = node
        while top.graph is not None and top.graph.owner is not None:
            top = top.graph.owner
        found.add(top)
    return found


def _neighbours(node: OperatorNode) -> Iterator[OperatorNode]:
    for value in values_read(node):
        if value.producer is not None:
            yield value.producer
    for value in node.outputs:
        yield from at_top(value.consumers)


def _outside(nodes: Sequence[OperatorNode]) -> list[VariableNode]:
    inside = {value for node in nodes for value in node.outputs}
    read = dict.fromkeys(value for node in nodes for value in values_read(node))
    return [value for value in read if value not in inside and not value.is_constant]


def _is_real(value: VariableNode) -> bool:
    """Whether it is an output at all: one that is left out has no name and no reader."""
    return bool(value.name or value.uses)


def _leaves(value: VariableNode, chosen: set[OperatorNode]) -> bool:
    """Whether something outside ``chosen`` reads ``value``, or nothing at all does."""
    if not _is_real(value):
        return False
    return value.is_graph_output or not at_top(value.consumers) <= chosen or not value.uses


def _describe(value: VariableNode, array: Array) -> None:
    """Give ``value`` the type of ``array`` where its own is not known."""
    if not value.dtype:
        value.dtype = type(value.dtype).from_numpy(array.dtype)
    if value.shape is None or any(size is None for size in value.shape):
        value.shape = array.shape


def _name(graph: Graph) -> None:
    """Give inputs and outputs names of their own, and nodes those that they come from."""
    for node in graph:
        if not node.name and node.provenance:
            node.name = node.provenance[0]
    taken = {value.name for value in graph.variables() if value.name}
    for index, value in enumerate([*graph.inputs, *graph.outputs]):
        if not value.name:
            name = f"value_{index}"
            while name in taken:
                name += "_"
            value.name = name
            taken.add(name)
    graph.output_names = tuple(value.name for value in graph.outputs)
