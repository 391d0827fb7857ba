"""Multiplies channels before they are rounded, where no weights could be multiplied instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.calibration import Calibration, Channels, Rows
from burnish.ir import Array, DType, Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.folding.weights import NewWeights
from burnish.passes.fusion.constants import Vector, along
from burnish.passes.quantization.channel_scales import balanced_scales, even_scales
from burnish.passes.quantization.operators import moved
from burnish.passes.quantization.simulation import Simulation, as_multiplied, rows_for
from burnish.passes.quantization.weighted import Weighted, weighted
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Miss, NearMiss, Rewriter, RewriteResult
from burnish.wording import counted

RULE = "scale-channels"


@dataclass(frozen=True)
class ScaleChannels(Pass):
    """Scale channels in front of products and convolutions so that one range suits all of them.

    Values are rounded with one scale for all channels, weights with one for each result. A function
    that no scale passes, as HardSwish, leaves channels as uneven as it likes: they are multiplied
    behind it, which costs one multiplication as they are written, and the weights that read them
    are divided. A depthwise convolution sums up no two channels, and its weights have a scale for
    each: there all channels get the same range. Elsewhere the differences go to the weights as far
    as gives the least error of the results, with 8 bits on calibration data.

    Before:
        h = HardSwish(x)                   channels up to 20, 0.1
        y = Conv<group = 2>(h, w)

    After:
        g = HardSwish(x) * (1/20, 10)      channels up to 1, 1
        y = Conv<group = 2>(g, w * (20, 1/10))

    Where a convolution makes the channels, through no more than a ReLU, its weights are multiplied.
    Zero stays zero, so that padding does. Nothing is done where anything else reads the channels.
    """

    least_gain: float = 0.2
    """Part of the noise that has to go, or channels stay as they are."""

    name: ClassVar[str] = "scale-channels"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Scale what only products and convolutions with constant weights read.

        Raises:
            BurnishError: the calibration data do not fit the graph.
        """
        result = RewriteResult()
        if context.calibration is None:
            return result
        rw, weights = Rewriter(graph), NewWeights()
        multiplied: list[tuple[_Channels, Vector]] = []
        found = _candidates(graph, result)
        _observe(graph, found, context.calibration)
        for number, each in enumerate(found):
            if context.is_late():
                many = counted(len(found), "value")
                result.notes.append(f"stopped after {number} of {many}: time is up")
                break
            scales = each.scales(self.least_gain)
            if scales is None:
                continue
            for site in each.sites:
                _multiply(weights, site.node, 1, site.read_axis, scales)
            # The results of a convolution lie along its second axis.
            maker = _maker(each.value) if each.seen.axis == 1 else None
            if maker is None:
                multiplied.append((each, 1 / scales))
            else:
                for index in (1, 2):
                    _multiply(weights, maker, index, 0, 1 / scales)
            result.fired.append(Firing(RULE, each.sites[0].node.provenance))
        problem = weights.write(rw)
        if problem is not None:
            result.fired = []
            result.missed.append(NearMiss(RULE, problem.reason, ()))
            return result
        for each, factors in multiplied:
            _write(rw, each, factors)
        result.edits = rw.edits
        return result


@dataclass(frozen=True)
class _Site:
    """What reads channels."""

    node: OperatorNode
    weights: Array
    """Float32 [channels, taps, results]."""
    read_axis: int
    """Of the constant: channels that are read; of a depthwise convolution those that it writes."""
    rows: Rows
    """What the weights are multiplied with."""


@dataclass(frozen=True)
class _Channels:
    """Channels that could be scaled."""

    value: VariableNode
    seen: Channels
    sites: Sequence[_Site]
    is_depthwise: bool
    """Whether all that reads them takes them one by one."""

    def scales(self, least_gain: float) -> Vector | None:
        """What to divide each by, None if nothing is worth it."""
        if self.is_depthwise:
            return even_scales(self.seen, least_gain)
        products = [
            Simulation.over(site.node, site.rows, site.weights)
            for site in self.sites if site.rows.seen
        ]  # fmt: skip
        return balanced_scales(self.seen, products, least_gain)


def _candidates(graph: Graph, result: RewriteResult) -> list[_Channels]:
    """Values all readers of which have constant weights, in the order of the graph."""
    read: dict[VariableNode, list[Weighted]] = {}
    for node in graph:
        site = weighted(node)
        if isinstance(site, Weighted):
            read.setdefault(site.data, []).append(site)
    found = []
    for value, sites in read.items():
        made = _channels(value, sites)
        if isinstance(made, Miss):
            result.missed.append(NearMiss.of(RULE, made, sites[0].node))
        else:
            found.append(made)
    return found


def _channels(value: VariableNode, sites: Sequence[Weighted]) -> _Channels | Miss:
    """The channels of ``value``, or why they cannot be scaled, or not for nothing."""
    held = _held(value, sites)
    if held is not None:
        return held
    if len({_axis(site, value) for site in sites}) > 1 or value.dtype is not DType.FLOAT:
        return Miss("its readers do not agree on what a channel is", sites[0].node)
    kinds = {_is_depthwise(site) for site in sites}
    made = []
    for site in sites:
        weights = site.node.input(1)
        if weights is None or len(weights.uses) > 1:
            return Miss("its weights are used elsewhere too", site.node)
        if not _is_depthwise(site) and int(site.node.attribute("group", 1)) > 1:
            return Miss("each group of channels has weights of its own", site.node)
        array = as_multiplied(site.node, 1, site.weights.numpy())
        rows = rows_for(site.node, value, array)
        if rows is None or len(kinds) > 1:
            return Miss("it is not known what its weights are multiplied with", site.node)
        made.append(_Site(site.node, array, _read_axis(site), rows))
    return _Channels(value, Channels(_axis(sites[0], value)), made, kinds == {True})


def _held(value: VariableNode, sites: Sequence[Weighted]) -> Miss | None:
    """What keeps channels from being multiplied, None if nothing does."""
    readers = {site.node for site in sites}
    other = next((node for node in value.consumers if node not in readers), None)
    if other is not None:
        return Miss(f"{other.op_type} reads the channels as they are", other)
    if value.is_graph_output:
        return Miss("the model returns the channels", value.producer)
    if value.producer is None:
        return Miss("nothing that could multiply them makes the channels", sites[0].node)
    if value.rank is None:
        return Miss("it is not known how many axes it has", value.producer)
    if moved(value.producer):
        return Miss("what moves the channels keeps their scale", value.producer)
    return None


def _is_depthwise(site: Weighted) -> bool:
    """Whether each result is made of one channel."""
    shape = site.data.shape
    groups = int(site.node.attribute("group", 1))
    is_single = site.node.is_op("Conv") and groups > 1 and site.weights.shape[1] == 1
    return is_single and shape is not None and len(shape) > 1 and shape[1] == groups


def _axis(site: Weighted, value: VariableNode) -> int:
    """Of the channels in ``value``, which a node reads."""
    if site.node.is_op("Conv", "ConvTranspose"):
        return 1
    assert value.rank is not None
    is_turned = site.node.is_op("Gemm") and bool(site.node.attribute("transA", 0))
    return 0 if is_turned else value.rank - 1


def _read_axis(site: Weighted) -> int:
    """Of the weights: what the channels that are read lie along."""
    return 0 if _is_depthwise(site) else 1 - site.axis


def _observe(graph: Graph, found: Sequence[_Channels], calibration: Calibration) -> None:
    """Collect ranges of channels, and rows where products sum them up."""
    wanted: dict[VariableNode, list[Channels | Rows]] = {}
    for each in found:
        rows = [] if each.is_depthwise else [site.rows for site in each.sites]
        wanted[each.value] = [each.seen, *rows]
    if wanted:
        calibration.collect(graph, wanted)


def _maker(value: VariableNode) -> OperatorNode | None:
    """The convolution that makes the channels of ``value``, if a scale passes all on the way."""
    node = value.producer
    while node is not None and node.is_op("Relu", "LeakyRelu"):
        data = node.input(0)
        if data is None or data.is_graph_output or len(data.uses) > 1:
            return None
        node = data.producer
    if node is None or not node.is_op("Conv") or not isinstance(weighted(node), Weighted):
        return None
    constants = [each for each in node.inputs[1:] if each is not None]
    is_own = all(each.is_constant and len(each.uses) == 1 for each in constants)
    return node if is_own else None


def _multiply(
    weights: NewWeights, node: OperatorNode, index: int, axis: int, factors: Vector
) -> None:
    """Multiply a constant of ``node``, if it has that, along an axis."""
    now = weights.current(node, index)
    if now is not None:
        each = factors.repeat(now.shape[axis] // len(factors))
        weights.inputs[node, index] = now * along(each, axis, now.ndim)


def _write(rw: Rewriter, found: _Channels, factors: Vector) -> None:
    """Let all that reads the channels read them multiplied."""
    value = found.value
    maker = value.producer
    assert maker is not None
    rw.anchor, rw.provenance = maker.next, maker.provenance
    assert value.rank is not None
    vector = along(factors, found.seen.axis, value.rank).astype(value.dtype.numpy)
    # Without the axes in front of the channels, which broadcasting adds.
    vector = vector.reshape(vector.shape[found.seen.axis :])
    scaled = rw.op("Mul", [value, rw.constant(vector)], like=value)
    for site in found.sites:
        rw.set_input(site.node, 0, scaled)
