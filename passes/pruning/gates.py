"""What each unit of a structure means to the answers of a model, measured by forward passes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from burnish.analysis.axis_graph_sites import Member
from burnish.calibration import Calibration
from burnish.ir import Array, Graph, VariableNode
from burnish.ir.clone import clone
from burnish.oracle import Oracle
from burnish.passes.pruning.structures import Structure
from burnish.quantization.distance import farthest
from burnish.rewrite import Rewriter

LOWERED = 0.25
"""By how much a gate is lowered from one."""
ITEMS = 32
"""Items that answers are compared on, at least as far as there are as many."""
UNITS = 512
"""Of a structure, at most: each takes a run of the model."""


def fisher_information(graph: Graph, structure: Structure, calibration: Calibration) -> Array:
    """The diagonal of the Fisher information of gates on what units give, by its definition.

    With one gate lowered by e, the divergence of the answers from the model's own is e^2 / 2 times
    that entry, up to higher powers of e: no labels and no gradients are needed (Liu et al., "Group
    Fisher pruning", 2021, arXiv 2108.00708, take it from gradients). Each unit takes a run of the
    model, so that this is for small ones.

    Args:
        graph: what the structure is of.
        structure: of which every reader multiplies by weights.
        calibration: the data; a few samples are used.

    Returns:
        Float64 [units]. Of answers without classes the power of the error over that of the signal
        stands for the divergence.

    Raises:
        BurnishError: the data do not fit, or the graph does not run.
    """
    gated, gates = _gated(graph, structure)
    oracle, feeds = Oracle(gated, optimized=True), _first(graph, calibration)
    open_ = _positions(structure, gates, np.ones(len(structure.units)))
    expected = [oracle.run({**each, **open_}) for each in feeds]
    found = np.zeros(len(structure.units))
    for unit in range(len(found)):
        levels = np.ones(len(found))
        levels[unit] -= LOWERED
        lowered = _positions(structure, gates, levels)
        distance = farthest(expected, [oracle.run({**each, **lowered}) for each in feeds])
        if distance is not None:
            lost = distance.noise if distance.divergence is None else distance.divergence
            found[unit] = 2 * lost / LOWERED**2
    return found


def _gated(graph: Graph, structure: Structure) -> tuple[Graph, dict[Member, str]]:
    """A copy whose readers of the structure multiply their weights by inputs of the graph."""
    copy, made = clone(graph)
    rewriter, names = Rewriter(copy), dict[Member, str]()
    for number, reader in enumerate(structure.readers):
        node = made.nodes[reader.node]
        value = reader.value
        gate = VariableNode(f"gate {number}", value.dtype, _shape(reader))
        copy.inputs = [*copy.inputs, gate]
        rewriter.anchor = node
        product = rewriter.op("Mul", [value, gate], like=value)
        rewriter.set_input(node, reader.index, product)
        names[reader] = gate.name
    return copy, names


def _shape(reader: Member) -> tuple[int, ...]:
    """Of a gate that goes with the weights of ``reader``."""
    shape = [1] * (reader.value.rank or 0)
    for axis, size in zip(reader.axes, reader.numbers.shape, strict=True):
        shape[axis] = size
    return tuple(shape)


def _positions(
    structure: Structure, gates: Mapping[Member, str], levels: Array
) -> dict[str, Array]:
    """What gates are where units are at ``levels``; channels of no unit are left alone."""
    found = {}
    for reader, name in gates.items():
        units = structure.unit_of[structure.group.channels_of(reader)]
        placed = np.append(levels, 1.0)[units].transpose(np.argsort(reader.axes))
        assert reader.value.dtype is not None
        found[name] = placed.reshape(_shape(reader)).astype(reader.value.dtype.numpy)
    return found


def _first(graph: Graph, calibration: Calibration) -> list[dict[str, Array]]:
    """As many of the samples as hold `ITEMS`, or a few more."""
    found: list[dict[str, Array]] = []
    items = 0
    for feeds in calibration.feeds(graph):
        found.append(feeds)
        items += max((array.shape[0] for array in feeds.values() if array.ndim > 1), default=1)
        if items >= ITEMS:
            break
    return found
