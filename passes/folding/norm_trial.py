"""Tries what becomes of a model without a normalization: weights are fitted, outputs compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from burnish.analysis.axis_graph_flow import Reader
from burnish.calibration import Calibration, geometry_of
from burnish.ir import Graph, OperatorNode
from burnish.ir.clone import CloneMap, clone
from burnish.oracle import Oracle
from burnish.passes.folding.constant_norm import ConstantNorm
from burnish.passes.folding.weights import NewWeights
from burnish.passes.fusion.linear import Linear, read_linear
from burnish.passes.pruning.readings import form_of, slot_of
from burnish.passes.pruning.refit import Pair, Refit, refit
from burnish.passes.quantization.cascade import Stop, cascade
from burnish.quantization.distance import Distance, farthest
from burnish.rewrite import Rewriter
from burnish.verification import Feeds

HELD_OUT = 4
"""Each so many-th sample tells how far outputs are off, and weights are fitted to the others; of
fewer samples all do both."""
JUDGED = 64
"""Samples that outputs are compared on, at most."""


class Trial:
    """A model to compare with: the graph as it is when this is made."""

    def __init__(self, graph: Graph, calibration: Calibration) -> None:
        """Run ``graph`` on samples that weights are not fitted to, if there are enough.

        Raises:
            BurnishError: the data do not fit, or the graph does not run.
        """
        self._calibration = calibration
        self._original, self._copies = clone(graph)
        first: list[Feeds] = []
        held: list[Feeds] = []
        for index, feeds in enumerate(calibration.feeds(graph)):
            if _is_held_out(index) and len(held) < JUDGED:
                held.append(feeds)
            elif index < HELD_OUT:
                first.append(feeds)
        self._feeds = held or first
        self._expected = self._answers(self._original)

    def without(self, graph: Graph, norm: ConstantNorm) -> tuple[NewWeights, Distance | None]:
        """Weights of the readers that make up for ``norm``, and how far outputs are off then.

        Args:
            graph: it stays as it is.
            norm: one of it.

        Raises:
            BurnishError: the data do not fit, or a graph does not run.
        """
        trial, copies = clone(graph)
        rw, weights = Rewriter(trial), NewWeights()
        readers = {copies.nodes[reader.node]: reader for reader in norm.readers}
        twins = {node: self._copies.nodes[reader.node] for node, reader in readers.items()}
        for reader in norm.readers:
            _fold(weights, norm, reader, None)
        take_out(rw, copies.nodes[norm.node])
        _put(rw, weights, copies)
        order = [node for node in trial if node in readers]
        for stop in cascade(trial, self._original, twins, order, self._calibration):
            reader = readers[stop.node]
            _fold(weights, norm, reader, _refitted(norm, reader, stop))
            _put(rw, weights, copies)
        return weights, farthest(self._expected, self._answers(trial))

    def _answers(self, graph: Graph) -> list[Mapping[str, Any]]:
        oracle = Oracle(graph, optimized=True)
        return [oracle.run(feeds) for feeds in self._feeds]


def take_out(rw: Rewriter, norm: OperatorNode) -> None:
    """Let what reads the result of ``norm`` read what it reads."""
    source = norm.inputs[0]
    assert source is not None
    rw.replace(norm.output, source)
    rw.erase(norm)


def _put(rw: Rewriter, weights: NewWeights, copies: CloneMap) -> None:
    """Write ``weights`` into a copy of the graph that they are for."""
    there = {(copies.nodes[node], index): array for (node, index), array in weights.inputs.items()}
    NewWeights(there).write(rw)


def _fold(weights: NewWeights, norm: ConstantNorm, reader: Reader, new: Refit | None) -> None:
    """Let ``reader`` read what ``norm`` does, with its own weights for the result or new ones."""
    layer, slot = _layer(reader), slot_of(reader.node)
    array = layer.weight.numpy().astype(np.float64)
    if new is not None:
        array = form_of(reader.node).joined(new.weights)
    weights.inputs[reader.node, reader.member.index] = norm.folded(array, layer.in_axis)
    if new is not None and slot is not None:
        factor = layer.node.attribute("alpha", 1.0) if layer.node.is_op("Gemm") else 1.0
        weights.add(slot, factor * new.shift.reshape(-1))


def _refitted(norm: ConstantNorm, reader: Reader, stop: Stop) -> Refit:
    """Weights that give what ``reader`` gave, from what it is given now."""
    layer, data = _layer(reader), stop.node.input(0)
    geometry = None if data is None else geometry_of(stop.node, data)
    assert geometry is not None
    pairs = [
        Pair(norm.normalized(found, layer.data_axis), wanted)
        for index, (found, wanted) in enumerate(zip(stop.found, stop.wanted, strict=True))
        if not _is_held_out(index)
    ]
    matrices = form_of(reader.node).split(layer.weight.numpy().astype(np.float64))
    kept = np.ones(matrices.shape[2], bool)
    return refit(matrices, kept, pairs, geometry, has_bias=slot_of(reader.node) is not None)


def _layer(reader: Reader) -> Linear:
    layer = read_linear(reader.node)
    assert isinstance(layer, Linear)
    return layer


def _is_held_out(index: int) -> bool:
    return index % HELD_OUT == HELD_OUT - 1
