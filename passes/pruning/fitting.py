"""Fits layers anew, one after the other, as those before them were fitted and thinned out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from burnish.analysis.axis_graph import ChannelGroup
from burnish.analysis.axis_graph_edits import edit
from burnish.analysis.axis_graph_sites import Member
from burnish.calibration import Calibration, geometry_of
from burnish.ir import Array, Constant, Graph, OperatorNode, VariableNode
from burnish.ir.clone import clone
from burnish.passes.folding.weights import NewWeights
from burnish.passes.pruning.readings import form_of, slot_of
from burnish.passes.pruning.refit import Pair, Refit, refit
from burnish.passes.pruning.structures import taps
from burnish.passes.quantization.cascade import Stop, cascade
from burnish.passes.quantization.weighted import Weighted, weighted
from burnish.rewrite import Rewriter

BIASED = ("Conv", "ConvTranspose", "Gemm", "Add")
"""Operators that add what they have for each channel."""


def fit_layers(
    rewriter: Rewriter,
    graph: Graph,
    left: Mapping[ChannelGroup, Array],
    calibration: Calibration,
    *,
    only_readers: bool = False,
    before: tuple[Graph, Mapping[OperatorNode, OperatorNode]] | None = None,
) -> dict[OperatorNode, Refit]:
    """Fit every layer that is given something else by now, in order of the graph.

    Those are products and convolutions of float32 in the main graph whose weights are their own,
    transposed ones only where what they read is thinned out.

    Args:
        rewriter: of the graph.
        graph: its layers get other weights; nothing is deleted yet.
        left: which channels stay, bool [size] by group. Readers get weights of zero for the others,
            and those that nothing reads with weights, as queries and keys, become zero.
        calibration: the data.
        only_readers: whether layers that read nothing thinner stay as they are.
        before: a graph that layers are to give the same as in, and its nodes by those of ``graph``;
            None for ``graph`` as it is.

    Raises:
        BurnishError: the data do not fit, or the graph does not run.
    """
    kept = {
        reader.node: np.repeat(mask[group.channels_of(reader).reshape(-1)], taps(reader))
        for group, mask in left.items() for reader in group.readers
    }  # fmt: skip
    layers = [node for node in graph if node in kept or (not only_readers and _is_own(node))]
    if before is None:
        copy, made = clone(graph)
        before = copy, made.nodes
    silent: dict[OperatorNode, Array] = {}
    for group, mask in left.items():
        silent |= _silence(rewriter, group, mask)
    found: dict[OperatorNode, Refit] = {}
    for stop in cascade(graph, *before, layers, calibration):
        node = stop.node
        pairs = list(map(Pair, stop.found, stop.wanted, _missing(stop)))
        if node in kept or _differ(pairs[0]):
            found[node] = _refit(rewriter, node, kept.get(node), silent.get(node), pairs)
    return found


def give_biases(graph: Graph) -> list[OperatorNode]:
    """Give layers without a bias one of zeros, so that it is thinned out as the weights are."""
    found = []
    for node in graph.walk():
        weights = node.constant_input(1) if node.is_op("Conv", "ConvTranspose", "Gemm") else None
        if weights is None or node.input(2) is not None or not weights.dtype.is_floating:
            continue
        axis = form_of(node).axis
        groups = node.attribute("group", 1) if node.is_op("ConvTranspose") else 1
        bias = np.zeros(weights.shape[axis] * groups, weights.dtype.numpy)
        node.inputs = (*node.inputs[:2], VariableNode.of(Constant.of(bias)))
        found.append(node)
    return found


def take_biases(given: Sequence[OperatorNode]) -> None:
    """Take away those that are zero still."""
    for node in given:
        bias = node.constant_input(2)
        if bias is not None and not bias.numpy().any():
            node.inputs = node.inputs[:2]


def _silence(rewriter: Rewriter, group: ChannelGroup, left: Array) -> dict[OperatorNode, Array]:
    """Make channels zero that go and that no reader sees, by their weights and biases.

    Returns which outputs of each writer those are, bool [outputs].
    """
    quiet = ~left
    for reader in group.readers:
        quiet[group.channels_of(reader)] = False
    if not quiet.any():
        return {}

    def change(member: Member, rows: Array) -> Array:
        stays = ~quiet[group.channels_of(member).reshape(-1)]
        found: Array = np.where(stays.reshape(-1, *[1] * (rows.ndim - 1)), rows, 0.0)
        return found

    biases = [rider for rider in group.riders if rider.node.is_op(*BIASED)]
    edit(rewriter, (*group.writers, *biases), change)
    return {member.node: quiet[group.channels_of(member).reshape(-1)] for member in group.writers}


def _is_own(node: OperatorNode) -> bool:
    """Whether a product's weights are constant and read by nothing else."""
    layer = weighted(node)
    if not isinstance(layer, Weighted) or node.is_op("ConvTranspose"):
        return False
    value = node.input(1)
    return value is not None and len(value.uses) == 1 and geometry_of(node, layer.data) is not None


def _differ(pair: Pair) -> bool:
    return pair.missing is not None or not np.array_equal(pair.found, pair.wanted)


def _missing(stop: Stop) -> list[Array | None]:
    """What the results are added to has lost, with channels last; None where that is nothing."""
    if stop.beside is None or stop.node.is_op("ConvTranspose"):
        return [None] * len(stop.found)
    found = [(wanted - now) / _alpha(stop.node) for now, wanted in stop.beside]
    if stop.node.is_op("Conv"):
        found = [np.moveaxis(one, 1, -1) for one in found]
    return list(found)


def _alpha(node: OperatorNode) -> float:
    """What products are multiplied by."""
    return float(node.attribute("alpha", 1.0)) if node.is_op("Gemm") else 1.0


def _refit(
    rewriter: Rewriter, node: OperatorNode, kept: Array | None, silent: Array | None,
    pairs: Sequence[Pair],
) -> Refit:  # fmt: skip
    """Fit one layer; what goes has weights of zero until it is deleted."""
    data, constant = node.input(0), node.constant_input(1)
    assert data is not None
    assert constant is not None
    geometry, slot = geometry_of(node, data), slot_of(node)
    assert geometry is not None
    form = form_of(node)
    matrices = form.split(constant.numpy().astype(np.float64))
    kept = np.ones(matrices.shape[2], bool) if kept is None else kept
    new = refit(matrices, kept, pairs, geometry, has_bias=slot is not None)
    if silent is not None:
        speaks = ~silent.reshape(new.shift.shape)
        new = replace(new, weights=new.weights * speaks[:, :, None], shift=new.shift * speaks)
    weights = NewWeights()
    weights.inputs[node, 1] = form.joined(new.weights)
    if slot is not None:
        weights.add(slot, _alpha(node) * new.shift.reshape(-1))
    # What the dtype cannot hold is left as it was.
    weights.write(rewriter)
    return new
