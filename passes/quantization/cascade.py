"""Two versions of a graph, run side by side from layer to layer.

Before each layer the caller sees what it is given in both and may change its constants: what
comes after is computed with these. Each operator runs once for every sample, however many layers
there are; what later layers need is kept meanwhile, for as many samples as there is room for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from burnish.analysis.shape_inference import infer
from burnish.analysis.value_type import ValueType
from burnish.calibration import Calibration
from burnish.errors import UnsupportedModel
from burnish.ir import Array, DType, Graph, OperatorNode, VariableNode
from burnish.ir.clone import extract, values_read
from burnish.oracle import Oracle

HELD_BYTES = 768 << 20
"""Of values that are kept between layers, in both graphs."""
FEWEST_SAMPLES = 4
"""Samples that are kept even if they take more."""


@dataclass(frozen=True)
class Stop:
    """A layer that is about to run."""

    node: OperatorNode
    """In the graph that may be changed."""
    found: list[Array]
    """What it is given there, sample by sample."""
    wanted: list[Array]
    """What it would be given in the other graph."""
    beside: list[tuple[Array, Array]] | None = None
    """What its results are added to here and in the other graph, if that is known by now."""


def cascade(
    graph: Graph,
    other: Graph,
    twins: Mapping[OperatorNode, OperatorNode],
    layers: Sequence[OperatorNode],
    calibration: Calibration,
    *,
    limit: int = HELD_BYTES,
) -> Iterator[Stop]:
    """Stop before each of ``layers``, which are in order, with what it is given.

    Args:
        graph: the main graph; constants that ``layers`` read may change as they are stopped at.
        other: a version of it that stays.
        twins: nodes of ``other`` by those of ``graph``.
        layers: nodes of ``graph`` whose first input is looked at.
        calibration: the data.
        limit: bytes of values that are kept, if that leaves `FEWEST_SAMPLES`.

    Raises:
        BurnishError: the data do not fit, or a graph does not run.
    """
    samples = [dict(feeds) for feeds in calibration.feeds(graph)]
    one = _Front(graph, samples, layers)
    two = _Front(other, samples, [twins[node] for node in layers])
    del samples
    for node in layers:
        found, wanted = one.before(node), two.before(twins[node])
        yield Stop(node, found, wanted, _beside(one, two, node, twins[node]))
        while one.nbytes + two.nbytes > limit and len(one) > FEWEST_SAMPLES:
            one.drop()
            two.drop()


def _beside(
    one: _Front, two: _Front, node: OperatorNode, twin: OperatorNode
) -> list[tuple[Array, Array]] | None:
    """What the results of ``node`` and of its twin are added to, once both are known."""
    sums = _sum(node), _sum(twin)
    if sums[0] is None or sums[1] is None:
        return None
    found, wanted = one.held(sums[0][1]), two.held(sums[1][1])
    return None if found is None or wanted is None else list(zip(found, wanted, strict=True))


def _sum(node: OperatorNode) -> tuple[OperatorNode, VariableNode] | None:
    """What adds the results of ``node`` to others, a bias left aside, and to which."""
    while len(node.output.uses) == 1 and node.output.consumers:
        reader = node.output.consumers[0]
        if not reader.is_op("Add") or reader.output.shape != node.output.shape:
            return None
        other = next((value for value in reader.inputs if value is not node.output), None)
        if other is None or not other.is_constant:
            is_alike = other is not None and other.shape == node.output.shape
            return (reader, other) if is_alike and other is not None else None
        node = reader
    return None


class _Front:
    """How far a graph has been run on each sample; it may change beyond."""

    def __init__(
        self, graph: Graph, samples: Sequence[Mapping[str, Array]], layers: Sequence[OperatorNode]
    ) -> None:
        # Sums as well, so that what results are added to is kept until then.
        needed = _needed([*layers, *(each[0] for node in layers if (each := _sum(node)))])
        self._graph = graph
        self._done = {node for node in graph if node not in needed}
        """Nodes that were run, or need not be."""
        self._fixed: dict[OperatorNode, bool] = {}
        self._next = graph.first
        self._held: list[dict[VariableNode, Array]] = [
            {value: feeds[value.name] for value in graph.inputs if self._is_wanted(value)}
            for feeds in samples
        ]

    def __len__(self) -> int:
        return len(self._held)

    @property
    def nbytes(self) -> int:
        """Bytes that are kept."""
        return sum(array.nbytes for held in self._held for array in held.values())

    def drop(self) -> None:
        """Go on without the last sample."""
        self._held.pop()

    def held(self, value: VariableNode) -> list[Array] | None:
        """What ``value`` is for each sample, None if that is not known yet."""
        if any(value not in held for held in self._held):
            return None
        return [held[value] for held in self._held]

    def before(self, node: OperatorNode) -> list[Array]:
        """Run all that comes before ``node``; its first input for each sample."""
        part = []
        while self._next is not None and self._next is not node:
            if self._next not in self._done and not self._is_fixed(self._next):
                part.append(self._next)
            self._next = self._next.next
        if part:
            self._run(part)
        data = node.input(0)
        assert data is not None
        return [held[data] for held in self._held]

    def _run(self, nodes: Sequence[OperatorNode]) -> None:
        self._done.update(nodes)
        made = [value for node in nodes for value in node.outputs]
        results = [value for value in made if self._is_wanted(value)]
        part, copies = extract(self._with_fixed(nodes))
        given = [value for value, copy in copies.values.items() if copy in part.inputs]
        for index, value in enumerate(given):
            copies.values[value].name = f"given_{index}"
            copies.values[value].dtype = DType.from_numpy(self._held[0][value].dtype)
        types = infer(part).types
        for value in results:
            copy = copies.values[value]
            copy.dtype = copy.dtype or (types.get(copy) or ValueType()).dtype
        part.outputs = [copies.values[value] for value in results]
        part.output_names = tuple(f"result_{index}" for index in range(len(results)))
        oracle = _oracle(part)
        for held in self._held:
            feeds = {f"given_{index}": held[value] for index, value in enumerate(given)}
            found = oracle.run(feeds) if results else {}
            held |= zip(results, found.values(), strict=True)
            for value in [value for value in held if not self._is_wanted(value)]:
                del held[value]

    def _is_wanted(self, value: VariableNode) -> bool:
        """Whether a node that is still to be run reads ``value``."""
        return any(
            self._top(use.user) not in self._done
            for use in value.uses
            if isinstance(use.user, OperatorNode)
        )

    def _top(self, node: OperatorNode) -> OperatorNode:
        """The node of the main graph that ``node`` is, or is inside of."""
        while node.graph is not self._graph:
            assert node.graph is not None
            assert node.graph.owner is not None
            node = node.graph.owner
        return node

    def _is_fixed(self, node: OperatorNode) -> bool:
        """Whether ``node`` reads constants alone: it is computed where it is read."""
        if node not in self._fixed:
            self._fixed[node] = all(
                value.is_constant or (value.producer is not None and self._is_fixed(value.producer))
                for value in values_read(node)
            )
        return self._fixed[node]

    def _with_fixed(self, nodes: Sequence[OperatorNode]) -> list[OperatorNode]:
        """``nodes`` and what computes the constants that they read, in order."""
        found: dict[OperatorNode, None] = {}

        def add(node: OperatorNode) -> None:
            for value in values_read(node):
                maker = value.producer
                if maker is not None and maker not in found and self._is_fixed(maker):
                    add(maker)
            found[node] = None

        for node in nodes:
            add(node)
        return list(found)


def _oracle(graph: Graph) -> Oracle:
    try:
        return Oracle(graph, optimized=True)
    except UnsupportedModel:
        return Oracle(graph)


def _needed(layers: Sequence[OperatorNode]) -> set[OperatorNode]:
    """``layers`` and all that they depend on."""
    found = set(layers)
    pending = list(layers)
    while pending:
        for value in values_read(pending.pop()):
            if value.producer is not None and value.producer not in found:
                found.add(value.producer)
                pending.append(value.producer)
    return found
