"""Follows channels that are always the same number from their writer to their readers."""

from __future__ import annotations

import numpy as np

from burnish.analysis.axis_graph import AxisGraph, ChannelGroup
from burnish.analysis.axis_graph_flow import MOVES
from burnish.analysis.axis_graph_sites import Member, Passage, Role, Site
from burnish.analysis.symmetry import PASSAGES, Transform
from burnish.ir import Array, Constant, Graph, OperatorNode, VariableNode
from burnish.oracle.fold import fold_nodes
from burnish.passes.folding.redundancy import zero_channels

KEEPING = MOVES | {"Concat", "MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin"}
"""Operators that give a constant back as it is."""
KEEPING_ZERO = frozenset({"AveragePool", "Pad", "Resize", "ReduceSum", "Upsample"})
"""Operators that give zero back where all is zero."""
EVALUATED = frozenset({
    "Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Relu", "LeakyRelu", "PRelu", "Neg", "Abs",
    "Clip", "BatchNormalization", *PASSAGES[Transform.PERMUTATION],
}) - {"Softmax", "LogSoftmax", "LpPool"}  # fmt: skip
"""Operators on single elements, whose result for a constant is computed."""


def constant_channels(axes: AxisGraph, group: ChannelGroup) -> dict[Site, Array]:
    """The number that each channel always is at each site, [size] with NaN where it varies.

    Sites of which nothing is known are left out.
    """
    written = _written(group)
    if not written:
        return {}
    known: dict[Site, Array] = {}
    for site in group.sites:
        incoming = axes.passages_to.get(site, ())
        found = _passed(axes, group, site, incoming, known) if incoming else written.get(site)
        if found is not None and not np.isnan(found).all():
            known[site] = found
    return known


def _written(group: ChannelGroup) -> dict[Site, Array]:
    """Channels written by weights of zeros alone, which are their bias."""
    result: dict[Site, Array] = {}
    for member in group.writers:
        zero = zero_channels(group, [member])
        inside = np.zeros(group.size, bool)
        inside[group.channels_of(member)] = True
        if not (zero & inside).any():
            continue
        values = np.where(zero & inside, 0.0, np.nan)
        for bias in group.riders:
            if bias.node is member.node and bias.site is member.site:
                beta = float(bias.node.attribute("beta", 1.0))
                row = _by_channel(group, bias) if _is_row(group, bias) else np.nan
                values = values + beta * row
        result[member.site] = values
    return result


def _is_row(group: ChannelGroup, member: Member) -> bool:
    """Whether a parameter is constant, and one number for each of its channels."""
    constant = member.value.constant
    return constant is not None and constant.size in (1, group.channels_of(member).size)


def _by_channel(group: ChannelGroup, member: Member) -> Array:
    """A parameter [size], in the order of the group; zero for channels that it lacks."""
    constant = member.value.constant
    assert constant is not None
    result = np.zeros(group.size)
    result[group.channels_of(member).reshape(-1)] = constant.numpy().reshape(-1)
    return result


def _passed(
    axes: AxisGraph, group: ChannelGroup, site: Site, incoming: list[Passage],
    known: dict[Site, Array],
) -> Array | None:  # fmt: skip
    """What is known of the channels at ``site`` behind the one node that leads there."""
    node = incoming[0].node
    sources = [known.get(passage.source) for passage in incoming]
    if node.op_type == "Concat":
        return _joined(group, [(p.source, known.get(p.source)) for p in incoming])
    first = sources[0]
    if first is None or any(source is None for source in sources):
        return None
    if node.op_type in KEEPING:
        return first
    if node.op_type in KEEPING_ZERO:
        return np.where(first == 0, first, np.nan)
    if node.op_type == "Conv":
        return _depthwise(axes, group, node, first)
    if node.op_type in EVALUATED:
        return _evaluated(axes, group, node, {p.source.value: known[p.source] for p in incoming})
    return None


def _joined(group: ChannelGroup, parts: list[tuple[Site, Array | None]]) -> Array:
    """Channels of several values; one that comes from two of them is the same in both."""
    result = np.full(group.size, np.nan)
    for site, values in parts:
        if values is not None:
            inside = group.channels_of(site).reshape(-1)
            result[inside] = values[inside]
    return result


def _depthwise(axes: AxisGraph, group: ChannelGroup, node: OperatorNode, values: Array) -> Array:
    """A depthwise convolution of zeros is its bias; other constants differ at the border."""
    result = np.where(values == 0, 0.0, np.nan)
    for member in axes.members_of.get(node, ()):
        if member.index == 2:
            result = result + _by_channel(group, member)
    return result


def _evaluated(
    axes: AxisGraph, group: ChannelGroup, node: OperatorNode, sources: dict[VariableNode, Array]
) -> Array | None:
    """An operator on single elements applied to the constants."""
    riders = {m.index: m for m in axes.members_of.get(node, ()) if m.role is Role.RIDER}
    kind = node.output.dtype.numpy
    inputs: list[VariableNode | None] = []
    varies = np.zeros(group.size, bool)
    for index, value in enumerate(node.inputs):
        if value is None:
            inputs.append(None)
        elif value in sources:
            varies |= np.isnan(sources[value])
            row = np.nan_to_num(sources[value]).astype(kind)[None]
            inputs.append(VariableNode.of(Constant.of(row)))
        elif index in riders and _is_row(group, riders[index]):
            row = _by_channel(group, riders[index]).astype(value.dtype.numpy)
            inputs.append(VariableNode.of(Constant.of(row)))
        elif value.constant is not None and value.constant.size == 1:
            inputs.append(VariableNode.of(Constant.of(value.constant.numpy().reshape(()))))
        else:
            return None
    scratch = Graph("constants", opsets=dict(axes.sites.graph.root.opsets))
    result = VariableNode("result", node.output.dtype)
    scratch.append(OperatorNode(node.op_type, inputs, [result], node.attributes))
    found = fold_nodes(list(scratch)).get(result)
    if found is None or found.size != group.size:
        return None
    return np.where(varies, np.nan, found.astype(np.float64).reshape(-1))
