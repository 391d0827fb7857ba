"""Gives every channel of a sum a scale of its own where nothing contracts the channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.calibration import Channels, Interval
from burnish.ir import Array, DType, Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.quantization.formats import Scaling, activation_dtype
from burnish.passes.quantization.operators import computed_inputs, is_elementwise
from burnish.passes.quantization.parameters import Parameters
from burnish.passes.quantization.weighted import WEIGHTED
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Miss, NearMiss, Rewriter, RewriteResult

NORMS = frozenset({
    "BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization",
    "RMSNormalization",
})  # fmt: skip
"""Operators that scale each number anyway as they read it, besides functions of single numbers."""
SINCE = 13
"""The opset whose QuantizeLinear knows a scale for each channel."""


@dataclass(frozen=True)
class CompensateChannels(Pass):
    """Round sums to 8 bits with a scale and a zero point for each channel.

    Channels of a residual stream differ much, and norms, through which no scale can be folded,
    read it. Where all that reads a value takes its channels one by one (sums, gates, activations,
    norms), its integers are made floats as they are read, at no cost for a scale of each channel.
    Values that are rounded already get such scales, sums that are not are rounded by ``sums``.

    Before:
        h = DequantizeLinear(QuantizeLinear(a + b, 0.1, 128), 0.1, 128)
        y = LayerNormalization(h, gamma)

    After:
        h = DequantizeLinear(QuantizeLinear(a + b, [0.1, 0.001], [128, 7]), [0.1, 0.001], [128, 7])
        y = LayerNormalization(h, gamma)

    After section 7.3.1 of GB/T 42382.2, which multiplies the channels instead.
    """

    sums: bool = False
    """Round sums of computed values that are not rounded so far as well."""

    name: ClassVar[str] = "compensate-channels"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Give scales to all that calibration data say the channels of.

        Raises:
            BurnishError: the calibration data do not fit the graph.
        """
        rw, result = Rewriter(graph), RewriteResult()
        if context.calibration is None or graph.opset < SINCE:
            return result
        pairs: dict[VariableNode, OperatorNode | None] = dict(_rounded(graph))
        if self.sums:
            pairs |= _sums(graph)
        found: dict[VariableNode, list[Channels]] = {}
        for value, pair in pairs.items():
            problem = _problem(value, pair)
            if problem is None:
                found[value] = [Channels(axis) for axis in _axes(value)]
            elif problem.at is not None:
                result.missed.append(NearMiss.of(self.name, problem, problem.at))
        if found:
            context.calibration.collect(graph, found)
        for value, tried in found.items():
            usable = [seen for seen in tried if seen.low.size and not seen.wrong]
            if usable:
                pair = pairs[value]
                dtype = activation_dtype(context.target) if pair is None else pair.output.dtype
                _write(rw, value, pair, min(usable, key=_noise), dtype)
                where = () if value.producer is None else value.producer.provenance
                result.fired.append(Firing(self.name, where))
        result.edits = rw.edits
        return result


def _rounded(graph: Graph) -> Iterator[tuple[VariableNode, OperatorNode | None]]:
    """Values that are rounded with one scale, and what rounds them."""
    for node in graph:
        if not node.is_op("QuantizeLinear") or node.output.is_graph_output:
            continue
        parameters = Parameters.of(node)
        readers = node.output.consumers
        value = node.input(0)
        if parameters is None or not parameters.is_single or value is None or not readers:
            continue
        if all(reader.is_op("DequantizeLinear") for reader in readers) and not value.is_constant:
            yield value, node


def _sums(graph: Graph) -> dict[VariableNode, None]:
    """Sums of computed values of one shape that are not rounded."""
    found: dict[VariableNode, None] = {}
    for node in graph:
        if not node.is_op("Add") or node.output.dtype is not DType.FLOAT:
            continue
        shapes = {value.shape for value in computed_inputs(node)}
        rounded = any(reader.is_op("QuantizeLinear") for reader in node.output.consumers)
        if len(computed_inputs(node)) == 2 and shapes == {node.output.shape} and not rounded:
            found[node.output] = None
    return found


def _problem(value: VariableNode, pair: OperatorNode | None) -> Miss | None:
    """Why the channels of ``value`` cannot have scales of their own."""
    read = [value] if pair is None else [each.output for each in pair.output.consumers]
    for reader in (node for one in read for node in one.consumers):
        if not (is_elementwise(reader) or reader.op_type in NORMS) or reader.domain:
            return Miss(f"{reader.op_type} takes channels together", reader)
        if _is_joined(reader) and any(use.is_op("QuantizeLinear") for use in _users(reader)):
            return Miss(f"{reader.op_type} of integers has one scale in ONNX Runtime", reader)
    maker = value.producer
    if maker is not None and _is_joined(maker):
        return Miss(f"{maker.op_type} of integers has one scale in ONNX Runtime", maker)
    if maker is not None and maker.is_op(*WEIGHTED):
        return Miss("integers that a product gives have one zero point", maker)
    if any(one.is_graph_output for one in read):
        return Miss("the model returns it", value.producer)
    if not _axes(value):
        return Miss("how many channels it has is not known", value.producer)
    return None


def _is_joined(node: OperatorNode) -> bool:
    """Whether all that a function computes with is dequantized.

    ONNX Runtime makes one operator of that and the QuantizeLinear behind it, and refuses the model
    as it is loaded if there are several scales.
    """
    makers = [value.producer for value in node.inputs if value is not None]
    return is_elementwise(node) and all(
        maker is not None and maker.is_op("DequantizeLinear") for maker in makers
    )


def _users(node: OperatorNode) -> list[OperatorNode]:
    return [reader for value in node.outputs for reader in value.consumers]


def _axes(value: VariableNode) -> list[int]:
    """Where channels may lie: after the batch, or last.

    Weights of models that are rounded are computed, so that no axis graph follows channels there;
    any axis is right, and the data say which is best.
    """
    shape = value.shape or ()
    places = dict.fromkeys((1, len(shape) - 1)) if len(shape) > 1 else {}
    return [axis for axis in places if isinstance(size := shape[axis], int) and size > 1]


def _noise(seen: Channels) -> float:
    """What rounding with these scales costs: the mean square of their steps."""
    low, high = np.minimum(seen.low, 0), np.maximum(seen.high, 0)
    return float(np.square(high - low).mean())


def _write(
    rw: Rewriter, value: VariableNode, pair: OperatorNode | None, seen: Channels, dtype: DType
) -> None:
    """Round ``value`` with a scale and a zero point for each channel."""
    scalings = [
        Scaling.over(Interval.over(float(low), float(high)), dtype)
        for low, high in zip(seen.low, seen.high, strict=True)
    ]
    scales: Array = np.array([one.scale for one in scalings], np.float32)
    zeros: Array = np.array([one.zero for one in scalings], dtype.numpy)
    parameters = [rw.constant(scales), rw.constant(zeros)]
    if pair is not None:
        for node in (pair, *pair.output.consumers):
            rw.set_inputs(node, [node.inputs[0], *parameters])
            rw.set_attribute(node, "axis", seen.axis)
        return
    maker = value.producer
    assert maker is not None
    readers = [use for use in value.uses if isinstance(use.user, OperatorNode)]
    rw.anchor, rw.provenance = maker.next, maker.provenance
    axis = {"axis": seen.axis}
    like = VariableNode("", dtype, value.shape)
    integers = rw.op("QuantizeLinear", [value, *parameters], axis, like=like)
    floats = rw.op("DequantizeLinear", [integers, *parameters], axis, like=value)
    for use in readers:
        assert isinstance(use.user, OperatorNode)
        rw.set_input(use.user, use.index, floats)
