"""Lets values inside a graph be seen: a copy of the graph that returns them, in ONNX Runtime.

Nothing that these values do not need is computed. One session serves any subset of them, so that
the memory for results is bounded by running a sample again for the next group of values.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from burnish.analysis.shape_inference import infer
from burnish.analysis.sizes import from_dim
from burnish.analysis.value_type import ValueType
from burnish.errors import UnsupportedModel
from burnish.ir import Array, DType, Graph, VariableNode
from burnish.ir.clone import clone
from burnish.oracle import Oracle

RESULT_BYTES = 256 << 20
"""Of values that one run returns; a single value may be larger."""
UNKNOWN_BYTES = RESULT_BYTES // 8
"""Taken for a value whose size nothing is known of before it is first seen."""
COPIED_BYTES = 512 << 20
"""Weights up to which ONNX Runtime may optimize: it copies and packs them for that."""


def is_observable(graph: Graph, value: VariableNode) -> bool:
    """Whether ``value`` is a tensor that every run of ``graph`` computes, reads or knows.

    Values inside the branches and bodies of control flow are not, nor are sequences.
    """
    if value.onnx_type is not None:
        return False
    if value.is_constant or value.producer is None:
        return value.is_constant or value in graph.inputs
    return value.producer.graph is graph


class Probe:
    """Computes some values of a graph for one sample after the other."""

    def __init__(
        self, graph: Graph, values: Collection[VariableNode], *, threads: int = 0,
        limit: int = RESULT_BYTES,
    ) -> None:  # fmt: skip
        """Prepare to compute ``values`` of ``graph``, which may change afterwards.

        Args:
            graph: the main graph.
            values: those that are wanted; inputs and constants may be among them.
            threads: of ONNX Runtime; 0 lets it choose.
            limit: bytes of results that one run returns, as far as sizes are known beforehand.

        Raises:
            ValueError: a value is not observable.
            UnsupportedModel: ONNX Runtime refuses the graph.
        """
        for value in values:
            if not is_observable(graph, value):
                raise ValueError(f"{value!r} is no tensor that each run of {graph.name!r} computes")
        self._limit = limit
        self._inputs = {value.name: value for value in graph.inputs}
        self._fixed = [value for value in values if value.is_constant]
        self._given = [value for value in values if value in graph.inputs]
        computed = [value for value in values if value.producer is not None]
        self._names = {value: f"value_{index}" for index, value in enumerate(computed)}
        self._types: dict[VariableNode, ValueType] = {}
        self._growth: dict[VariableNode, float] = {}
        """Bytes of a value for each byte of a sample, the most that were seen."""
        self._oracle = self._prepared(graph, threads) if computed else None

    def _prepared(self, graph: Graph, threads: int) -> Oracle:
        copy, made = clone(graph)
        copy.outputs = [made.values[value] for value in self._names]
        copy.output_names = tuple(self._names.values())
        for node in copy.reversed():
            if not any(value.uses for value in node.outputs):
                copy.remove(node)
        types = infer(copy).types
        for value in self._names:
            twin = made.values[value]
            kind = types.get(twin) or ValueType.of(twin)
            if kind.message:
                raise ValueError(f"{value!r} is no tensor")
            if twin.dtype is DType.UNDEFINED:
                twin.dtype = kind.dtype
            self._types[value] = kind
        weights = sum(value.constant.nbytes for value in copy.constants() if value.constant)
        try:
            return Oracle(copy, threads=threads, optimized=weights <= COPIED_BYTES)
        except UnsupportedModel:
            return Oracle(copy, threads=threads)

    def groups(self, feeds: Mapping[str, Array]) -> list[list[VariableNode]]:
        """The values in groups, each small enough to be computed in one run on ``feeds``."""
        groups: list[list[VariableNode]] = [[*self._fixed, *self._given]]
        room = self._limit
        sizes = self._symbols(feeds)
        scale = sum(array.nbytes for array in feeds.values())
        for value in self._names:
            need = self._estimate(value, sizes, scale)
            if need > room and groups[-1]:
                groups.append([])
                room = self._limit
            groups[-1].append(value)
            room -= need
        return [group for group in groups if group]

    def run(
        self, feeds: Mapping[str, Array], values: Sequence[VariableNode]
    ) -> dict[VariableNode, Array]:
        """Compute ``values``, which are some of those that were asked for, on one sample.

        Raises:
            UnsupportedModel: the graph fails on this sample.
        """
        found: dict[VariableNode, Array] = {}
        for value in values:
            if value.constant is not None:
                found[value] = value.constant.numpy()
            elif value.producer is None:
                found[value] = feeds[value.name]
        wanted = [value for value in values if value not in found]
        if wanted and self._oracle is not None:
            results = self._oracle.run(feeds, [self._names[value] for value in wanted])
            found |= zip(wanted, results.values(), strict=True)
            self._learn(wanted, found, max(1, sum(array.nbytes for array in feeds.values())))
        return found

    def all(self, feeds: Mapping[str, Array]) -> dict[VariableNode, Array]:
        """All values on one sample, computed a group at a time.

        Raises:
            UnsupportedModel: the graph fails on this sample.
        """
        found: dict[VariableNode, Array] = {}
        for group in self.groups(feeds):
            found |= self.run(feeds, group)
        return found

    def _symbols(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """The symbols in the shapes of inputs, as large as a sample has them."""
        return {
            size: actual
            for name, array in feeds.items()
            if name in self._inputs
            for size, actual in zip(self._inputs[name].shape or (), array.shape, strict=False)
            if isinstance(size, str)
        }

    def _estimate(self, value: VariableNode, sizes: Mapping[str, int], scale: int) -> int:
        """Bytes of ``value``, from its inferred shape or else from what was seen."""
        kind = self._types[value]
        known: list[int] = []
        for dim in kind.shape or ():
            size = None if dim is None else from_dim(dim)
            bound = size if size is None or isinstance(size, int) else size.substitute(sizes)
            if isinstance(bound, int):
                known.append(bound)
        if kind.shape is not None and len(known) == len(kind.shape):
            return math.prod(known) * max(1, kind.dtype.bits // 8)
        if value in self._growth:
            return int(self._growth[value] * scale)
        return min(UNKNOWN_BYTES, self._limit)

    def _learn(
        self, values: Sequence[VariableNode], found: Mapping[VariableNode, Array], scale: int
    ) -> None:
        for value in values:
            self._growth[value] = max(self._growth.get(value, 0.0), found[value].nbytes / scale)
