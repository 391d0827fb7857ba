"""Compute products and convolutions with integers of 8 bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from burnish.calibration.ranges import METHODS
from burnish.errors import UsageError
from burnish.ir import Array, Graph, OperatorNode, VariableNode
from burnish.layer_formats import LayerFormat, ValueFormat
from burnish.numerics import Numerics
from burnish.passes.cleanup.upgrade_opset import UpgradeOpset
from burnish.passes.quantization.formats import REDUCED_WEIGHTS, WEIGHTS, Scaling, activation_dtype
from burnish.passes.quantization.pairs import (
    dequantized_constant,
    least_scales,
    quantize_bias,
    quantize_value,
)
from burnish.passes.quantization.placement import place
from burnish.passes.quantization.ranges import AUTOMATIC, Chosen, Ranger
from burnish.passes.quantization.tables import quantize_tables
from burnish.passes.quantization.weighted import WEIGHTED, Weighted, layer_name, weighted
from burnish.passes.quantization.weights import QuantizedWeights, quantize_weights
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, NearMiss, Rewriter, RewriteResult
from burnish.suggest import unknown

SINCE = 13
"""The opset whose DequantizeLinear knows a scale for each channel."""
QUANTIZED = frozenset({
    "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeMatMul",
    "MatMulBnb4", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits", "QAttention", "QGemm",
    "QuantizeLinear",
})  # fmt: skip


@dataclass(frozen=True)
class QuantizeInt8(Pass):
    """Round what products and convolutions with constant weights multiply to integers of 8 bits.

    Values have one scale and a zero point, found on calibration data; weights have a scale for
    each output channel, biases are int32. What sums, gates, averages and moves of values between
    such products read is rounded as well; a move has the same scale on both sides. Norms, softmax
    and activations are computed in float32. Values that models return are not rounded. Tables that
    rows are looked up in, as those of embeddings, have a scale for each channel, where that leaves
    them well above the noise.

    Before:
        y = Conv(Relu(x), w, b)

    After:
        h = DequantizeLinear(QuantizeLinear(Relu(x), 0.02, 0), 0.02, 0)
        y = Conv(h, DequantizeLinear(w8, s), DequantizeLinear(b32, 0.02 * s))
    """

    method: str = AUTOMATIC
    """How ranges of values are found: ``auto`` takes what has the least error for each."""
    keep: tuple[str, ...] = ()
    """Names of nodes to leave in float32, as the model calls them."""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Least and greatest number by the name of a value, where they are not to be found."""
    reduce_range: bool = False
    """Use 7 bits for weights: for engines that add pairs of products in 16 bits, as ONNX Runtime
    does on x86 without VNNI."""
    shared: bool = False
    """Let all that read a value read it rounded, so that it is stored once; else what computes
    in floats, as the sums between norms of a transformer, reads it as it is."""
    all_results: bool | None = None
    """Round all that convolutions give and sums add, as ONNX Runtime needs to compute them with
    integers; by default where ONNX goes out."""

    name: ClassVar[str] = "quantize-int8"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Quantize what calibration data allow.

        Raises:
            UsageError: ``method`` is unknown.
            BurnishError: the calibration data do not fit the graph.
        """
        if self.method not in (AUTOMATIC, *METHODS):
            raise UsageError(unknown("method", self.method, (AUTOMATIC, *METHODS)))
        result = RewriteResult()
        if already := quantized_already(graph):
            result.notes.append(f"left alone, as it is quantized already: {already}")
            return result
        if not any(node.is_op(*WEIGHTED) for node in graph.walk()):
            return result
        if context.calibration is None:
            result.notes.append("left alone: there is no calibration data to find ranges with")
            return result
        if graph.opset < SINCE:
            upgraded = UpgradeOpset(version=SINCE).run(graph, context)
            result.edits, result.fired = upgraded.edits, upgraded.fired
            result.notes += upgraded.notes
            if graph.opset < SINCE:
                return result
        _Run(self, graph, context, result).quantize()
        return result


def quantized_already(graph: Graph) -> str:
    """The first node that quantized numbers go through, with its name; empty if there is none."""
    for node in graph.walk():
        if node.op_type in QUANTIZED or node.op_type.startswith("QLinear"):
            return f"{node.op_type} {layer_name(node)}"
    return ""


class _Run:
    """One run over one graph."""

    def __init__(
        self, options: QuantizeInt8, graph: Graph, context: PassContext, result: RewriteResult
    ) -> None:
        self._options, self._graph, self._context = options, graph, context
        self._result, self._rewriter = result, Rewriter(graph)
        self._weights: dict[VariableNode, tuple[VariableNode, QuantizedWeights]] = {}
        """What stands for weights that were quantized."""

    def quantize(self) -> None:
        sites = self._sites()
        if not sites:
            return
        options, context = self._options, self._context
        assert context.calibration is not None
        every = context.target is None if options.all_results is None else options.all_results
        placement = place(self._graph, sites, all_results=every)
        ranger = Ranger(activation_dtype(context.target), options.method, options.ranges)
        scalings = ranger.choose(self._graph, placement, context.calibration)
        for site in sites.values():
            chosen = scalings[site.data]
            if isinstance(chosen, str):
                self._leave(site.node, f"its data cannot be quantized: {chosen}")
            else:
                self._layer(site, chosen)
        for value, chosen in scalings.items():
            if isinstance(chosen, Chosen):
                readers = None if options.shared else placement.readers[value]
                quantize_value(self._rewriter, self._graph, value, chosen.scaling, readers)
        self._result.notes += quantize_tables(self._rewriter, self._graph, options.keep)
        self._result.edits = self._result.edits + self._rewriter.edits

    def _sites(self) -> dict[OperatorNode, Weighted]:
        found = {}
        for node in self._graph.walk():
            site = weighted(node)
            if any(name in self._options.keep for name in (node.name, *node.provenance)):
                site = "it is to be kept" if site is not None else None
            elif isinstance(site, Weighted) and node.graph is not self._graph:
                site = "it is part of control flow"
            if isinstance(site, Weighted):
                found[node] = site
            elif site is not None:
                self._leave(node, site)
        return found

    def _leave(self, node: OperatorNode, reason: str) -> None:
        self._result.missed.append(NearMiss(self._options.name, reason, node.provenance))
        self._result.layers.append(LayerFormat(layer_name(node), node.op_type, reason=reason))

    def _layer(self, site: Weighted, chosen: Chosen) -> None:
        """Quantize weights and bias."""
        node, rewriter = site.node, self._rewriter
        rewriter.anchor, rewriter.provenance = node, node.provenance
        _normalize(rewriter, node)
        value = node.input(1)
        assert value is not None
        if value not in self._weights:
            self._weights[value] = self._quantized(node, site.axis, chosen.scaling)
        dequantized, weights = self._weights[value]
        rewriter.set_input(node, 1, dequantized)
        quantize_bias(rewriter, node, chosen.scaling, weights)
        self._result.fired.append(Firing(self._options.name, node.provenance))
        self._result.layers.append(_described(site, chosen, weights))

    def _quantized(
        self, node: OperatorNode, axis: int, data: Scaling
    ) -> tuple[VariableNode, QuantizedWeights]:
        constant = node.constant_input(1)
        assert constant is not None
        bias = _bias(node, constant.shape[axis])
        format = REDUCED_WEIGHTS if self._options.reduce_range else WEIGHTS
        weights = quantize_weights(constant.numpy(), axis, format, least=least_scales(bias, data))
        made = dequantized_constant(
            self._rewriter, weights.integers, weights.scales, axis, constant
        )
        return made, weights


def _normalize(rewriter: Rewriter, node: OperatorNode) -> None:
    """Write a Gemm without factors, which kernels for integers do not know."""
    if not node.is_op("Gemm"):
        return
    for name, index in (("alpha", 1), ("beta", 2)):
        factor, constant = float(node.attribute(name, 1.0)), node.constant_input(index)
        if factor != 1.0 and constant is not None:
            scaled = np.asarray(constant.numpy() * np.float32(factor), np.float32)
            rewriter.set_input(node, index, rewriter.constant(scaled))
            rewriter.set_attribute(node, name, 1.0)


def _bias(node: OperatorNode, channels: int) -> Array | None:
    constant = node.constant_input(2)
    return None if constant is None or constant.size != channels else constant.numpy()


def _described(site: Weighted, chosen: Chosen, weights: QuantizedWeights) -> LayerFormat:
    scaling = chosen.scaling
    data = ValueFormat(str(scaling.dtype), scaling.low, scaling.high, 1, chosen.method, chosen.sqnr)
    values = weights.values
    stored = ValueFormat(
        "int8", float(values.min()), float(values.max()), len(weights.scales), weights.method,
        weights.sqnr,
    )  # fmt: skip
    return LayerFormat(site.name, site.node.op_type, data, stored)
