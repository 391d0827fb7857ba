"""What the readers of a structure are given, as second moments, on data that the model is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from burnish.analysis.axis_graph_flow import Slot, bias_slot
from burnish.analysis.axis_graph_sites import Member
from burnish.calibration import Calibration, Geometry, Gram, geometry_of
from burnish.calibration.matrices import Matrices
from burnish.ir import Array, Graph, OperatorNode, VariableNode
from burnish.passes.pruning.structures import Structure

HELD_BYTES = 512 << 20
"""Of moments that are collected in one run over the data."""
FEWEST_ROWS, EACH = 4096, 4
"""Rows that moments are taken of: at least so many, and so many for each number of a row."""
DAMPINGS = (1e-3, 1e-2, 1e-1, 1.0)
"""Parts of the mean of their diagonal that are added to moments before they are inverted."""


@dataclass(frozen=True)
class WithOne:
    """Rows as another geometry takes them, each with a one behind it: moments hold means then."""

    base: Geometry

    def positions(self, shape: tuple[int, ...]) -> int:
        """How many rows a tensor of ``shape`` has."""
        return self.base.positions(shape)

    def rows(self, array: Array, at: Array) -> Array:
        """The rows at the positions ``at``: float ``[groups, len(at), size + 1]``."""
        found = self.base.rows(array, at)
        return np.concatenate([found, np.ones_like(found[:, :, :1])], 2)


@dataclass(frozen=True)
class Reading:
    """A reader of a structure, and what it is given."""

    weights: Array
    """float64 [outputs, inputs]."""
    moments: Array
    """float64 [inputs, inputs]: covariances where the reader has a bias to take means, else the
    Gram matrix."""
    units: Array
    """int [inputs]: which unit each input belongs to, -1 for none of the structure."""

    @cached_property
    def regular(self) -> Array:
        """The moments with a part of the mean of their diagonal added, as much as it takes.

        Of data with large means or few samples, rounding leaves a matrix that is not positive.
        """
        mean = float(np.trace(self.moments)) / len(self.moments)
        size = mean if np.isfinite(mean) and mean > 0 else 1.0
        for damping in DAMPINGS:
            found: Array = self.moments + damping * size * np.eye(len(self.moments))
            try:
                np.linalg.cholesky(found)
            except np.linalg.LinAlgError:
                continue
            return found
        return size * np.eye(len(self.moments))

    @property
    def energy(self) -> float:
        """Mean square of what it gives, over all its outputs."""
        return float(np.vdot(self.weights @ self.moments, self.weights))


def form_of(node: OperatorNode) -> Matrices:
    """How a layer's weights are laid out."""
    constant = node.constant_input(1)
    assert constant is not None
    if node.is_op("Conv", "ConvTranspose"):
        axis = 0 if node.is_op("Conv") else 1
    else:
        axis = 0 if node.is_op("Gemm") and node.attribute("transB", 0) else 1
    return Matrices(node, axis, constant.shape)


def slot_of(node: OperatorNode) -> Slot | None:
    """Where a bias takes the means of what a layer gives; None if there is no such place.

    Of a transposed convolution one bias would have to do for all places of the kernel.
    """
    if node.is_op("ConvTranspose") or (node.is_op("Gemm") and node.attribute("beta", 1.0) == 0):
        return None
    return bias_slot(node)


def matrix_of(reader: Member) -> Array:
    """A reader's weights, float64 [outputs, inputs]."""
    constant = reader.value.constant
    assert constant is not None
    found: Array = form_of(reader.node).split(constant.numpy().astype(np.float64))[0]
    return found


def rows_per_item(items: int, inputs: int, fewest: int = FEWEST_ROWS) -> int:
    """How many rows to take of each of ``items``, for moments of ``inputs`` numbers."""
    return -(-max(fewest, EACH * inputs) // max(1, items))


def readings(
    graph: Graph, found: Sequence[Structure], calibration: Calibration
) -> Iterator[tuple[Structure, list[Reading]]]:
    """What the readers of each structure are given, structure by structure.

    Args:
        graph: what the structures are of.
        found: those that can be thinned out.
        calibration: the data, which are read again for every `HELD_BYTES` of moments.

    Raises:
        BurnishError: the data do not fit, or the graph does not run.
    """
    items = _items(graph, calibration)
    waiting: list[Structure] = []
    held = 0
    for structure in found:
        size = sum(4 * structure.rows(reader).size ** 2 for reader in structure.readers)
        if waiting and held + size > HELD_BYTES:
            yield from _collected(graph, waiting, calibration, items)
            waiting, held = [], 0
        waiting.append(structure)
        held += size
    if waiting:
        yield from _collected(graph, waiting, calibration, items)


def _items(graph: Graph, calibration: Calibration) -> int:
    """How many items the samples have together."""
    return sum(
        max((array.shape[0] for array in feeds.values() if array.ndim > 1), default=1)
        for feeds in calibration.feeds(graph)
    )


def _collected(
    graph: Graph, found: Sequence[Structure], calibration: Calibration, items: int
) -> Iterator[tuple[Structure, list[Reading]]]:
    grams: dict[Member, Gram] = {}
    for structure in found:
        for reader in structure.readers:
            data = reader.node.input(0)
            assert data is not None
            geometry = geometry_of(reader.node, data)
            assert geometry is not None
            rows = rows_per_item(items, structure.rows(reader).size)
            grams[reader] = Gram(WithOne(geometry), rows)
    collectors: dict[VariableNode, list[Gram]] = {}
    for reader, gram in grams.items():
        data = reader.node.input(0)
        assert data is not None
        collectors.setdefault(data, []).append(gram)
    calibration.collect(graph, collectors)
    for structure in found:
        yield (
            structure,
            [_reading(structure, reader, grams[reader]) for reader in structure.readers],
        )


def _reading(structure: Structure, reader: Member, gram: Gram) -> Reading:
    whole = gram.matrix[0].astype(np.float64)
    moments, means = whole[:-1, :-1], whole[-1, :-1]
    if slot_of(reader.node) is not None:
        moments = moments - np.outer(means, means)
    return Reading(matrix_of(reader), moments, structure.rows(reader))
