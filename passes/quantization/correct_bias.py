"""Take the mean error of quantized layers out of their biases."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.calibration import Geometry, geometry_of
from burnish.ir import Array, Constant, DType, Graph, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.quantization.cascade import Stop
from burnish.passes.quantization.pairs import MAX_BIAS, dequantized_constant
from burnish.passes.quantization.refining import refined
from burnish.passes.quantization.twins import RoundedLayer, rounded_layer
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Rewriter, RewriteResult

POSITIONS, ROWS = (48, 256), 8192
"""Fewest and most rows that are looked at for each item of a sample, and about how many in all:
they are the same ones in both graphs, so that few tell what the difference is."""
ESTIMATES = 4
"""Means that the spread of an error is told from, at least."""
LEAST = 1e-4
"""Errors below this part of the layer's largest mean output are none."""


@dataclass(frozen=True)
class CorrectBias(Pass):
    """Subtract from each bias what rounding adds to the layer's outputs on average.

    Layer by layer from the first, so that each makes up for what the corrected layers before it
    still give it wrong. A product without a bias gets one. An error that differs from sample to
    sample counts the less, down to nothing.

    Before:
        y = Conv(h, DequantizeLinear(w8, s), DequantizeLinear(b32, t))

    After:
        y = Conv(h, DequantizeLinear(w8, s), DequantizeLinear(b32 - E[y - float y] / t, t))

    After Nagel et al., "Data-Free Quantization", arXiv 1906.04721, with data.
    """

    name: ClassVar[str] = "correct-bias"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Correct the biases of all layers whose floats are known.

        Raises:
            BurnishError: the calibration data do not fit the graph.
        """
        layers = {node: layer for node in graph if (layer := rounded_layer(node)) is not None}
        return refined(
            graph, context, layers, _correct, name=self.name, purpose="to tell errors by"
        )


def _correct(rewriter: Rewriter, layer: RoundedLayer, stop: Stop) -> str:
    """Correct the bias of one layer; why it stays as it is, empty if it does not."""
    data = layer.node.input(0)
    geometry = None if data is None else geometry_of(layer.node, data)
    if geometry is None:
        return "it is not known what its weights are multiplied with"
    error, size = _mean_error(layer, stop, geometry)
    if not error.size or np.abs(error).max() <= LEAST * size:
        return "its mean error is too small to tell"
    rewriter.anchor, rewriter.provenance = layer.node, layer.node.provenance
    if layer.node.is_op("MatMul"):
        return _add_after(rewriter, layer.node, -error)
    return _add_to_bias(rewriter, layer, -error)


def _mean_error(layer: RoundedLayer, stop: Stop, geometry: Geometry) -> tuple[Array, float]:
    """What each channel's output is too large by on average, float64 [channels].

    Also the largest mean of an output.
    """
    wanted_weights = layer.matrices(layer.origin.numpy()).astype(np.float64)
    integers = layer.matrices(layer.integers.numpy()).astype(np.float64)
    found_weights = integers * layer.steps[:, :, None]
    parts = max(1, math.ceil(ESTIMATES / max(1, len(stop.found))))
    fewest, most = POSITIONS
    items = sum(array.shape[0] if array.ndim > 1 else 1 for array in stop.found)
    per_item = max(fewest, min(most, ROWS // max(1, items)))
    means = [
        pair
        for found, wanted in zip(stop.found, stop.wanted, strict=True)
        for pair in zip(
            *(_means(geometry, each, parts, per_item) for each in (wanted, found)), strict=True
        )
    ]
    if not means:
        return np.zeros(0), 0.0
    before, after = (
        [_by_channel(layer, column) for column in np.split(matrices @ vectors, len(means), 2)]
        for matrices, vectors in zip(
            (wanted_weights, found_weights),
            (np.stack(each, 2) for each in zip(*means, strict=True)),
            strict=True,
        )
    )
    size = max(float(np.abs(each).max(initial=0.0)) for each in before)
    errors = [now - was for was, now in zip(before, after, strict=True)]
    spread = np.var(errors, axis=0, ddof=1) / len(errors) if len(errors) > 1 else 0.0
    error = np.mean(errors, axis=0) + _bias_error(layer)
    # As much of it as is not explained by which samples were seen (James and Stein, 1961).
    certain = np.maximum(0.0, 1 - spread / np.maximum(error**2, np.finfo(float).tiny))
    return error * certain, size


def _means(geometry: Geometry, array: Array, parts: int, per_item: int) -> list[Array]:
    """Means of the rows of one sample, in so many parts; float64 [groups, inputs] each."""
    total = geometry.positions(array.shape)
    count = min(total, per_item * (array.shape[0] if array.ndim > 1 else 1))
    at = np.arange(total)
    if count < total:
        at = np.sort(np.random.default_rng(0).choice(total, count, replace=False, shuffle=False))
    rows = geometry.rows(array, at)
    return [
        part.mean(1, dtype=np.float64) for part in np.array_split(rows, parts, 1) if part.shape[1]
    ]


def _by_channel(layer: RoundedLayer, outputs: Array) -> Array:
    """``outputs [groups, outputs, 1]`` of matrices as means of channels, float64 [channels]."""
    node = layer.node
    if not node.is_op("ConvTranspose"):
        return outputs.reshape(-1)
    taps = math.prod(layer.integers.shape[2:])
    strides = math.prod(node.attribute("strides") or (1,))
    return np.asarray(outputs.reshape(-1, taps).sum(1) / strides)


def _bias_error(layer: RoundedLayer) -> Array | float:
    """How much larger the bias is than it was before it was rounded."""
    value = layer.node.input(2)
    maker = None if value is None else value.producer
    if maker is None or not maker.is_op("DequantizeLinear"):
        constant = layer.node.constant_input(2)
        if constant is None or constant.origin is None:
            return 0.0
        return np.asarray(constant.numpy() - constant.origin.numpy(), np.float64).reshape(-1)
    integers, scales = maker.constant_input(0), maker.constant_input(1)
    if integers is None or scales is None or integers.origin is None:
        return 0.0
    floats = integers.numpy().astype(np.float64) * scales.numpy()
    return np.asarray(floats - integers.origin.numpy().reshape(-1))


def _add_to_bias(rewriter: Rewriter, layer: RoundedLayer, change: Array) -> str:
    node = layer.node
    value = node.input(2)
    maker = None if value is None else value.producer
    if maker is not None and maker.is_op("DequantizeLinear"):
        integers, scales = maker.constant_input(0), maker.constant_input(1)
        if integers is None or scales is None or value is None or len(value.consumers) > 1:
            return "its bias is computed or shared"
        sums = integers.numpy() + np.rint(change / scales.numpy())
        changed = np.clip(sums, -MAX_BIAS, MAX_BIAS).astype(np.int32)
        if np.array_equal(changed, integers.numpy()):
            return "its mean error is less than a step of its bias"
        rewriter.set_input(maker, 0, _constant(changed, integers.origin))
        return ""
    if value is not None:
        constant = value.constant
        if constant is None or constant.dtype is not DType.FLOAT or constant.size != change.size:
            return "its bias is computed or shared"
        changed = np.asarray(constant.numpy() + change.reshape(constant.shape), np.float32)
        rewriter.set_input(node, 2, _constant(changed, constant.origin or constant))
        return ""
    scale = _data_scale(node)
    if scale is None or change.size != layer.scales.size:
        return "its data are not quantized"
    steps = np.asarray(np.float32(scale) * layer.scales)
    biases = np.clip(np.rint(change / steps), -MAX_BIAS, MAX_BIAS).astype(np.int32)
    origin = Constant.of(np.zeros(biases.shape, np.float32))
    rewriter.set_input(node, 2, dequantized_constant(rewriter, biases, steps, 0, origin))
    return ""


def _data_scale(node: OperatorNode) -> float | None:
    value = node.input(0)
    maker = None if value is None else value.producer
    if maker is None or not maker.is_op("DequantizeLinear"):
        return None
    scale = maker.constant_input(1)
    return None if scale is None or scale.size != 1 else float(scale.numpy().reshape(()))


def _add_after(rewriter: Rewriter, node: OperatorNode, change: Array) -> str:
    """Add ``change`` to the result of a product, in the constant that is added anyway if any is."""
    reader = _bias_reader(node, change.size)
    if reader is not None:
        add, index, constant = reader
        changed = np.asarray(constant.numpy() + change.reshape(constant.shape), np.float32)
        rewriter.set_input(add, index, _constant(changed, constant.origin or constant))
        return ""
    old = node.output
    rewriter.anchor = node.next
    origin = Constant.of(np.zeros(change.shape, np.float32))
    sum_ = rewriter.op("Add", [old, _constant(change.astype(np.float32), origin)], like=old)
    rewriter.replace(old, sum_)
    return ""


def _bias_reader(node: OperatorNode, channels: int) -> tuple[OperatorNode, int, Constant] | None:
    """What adds a constant of one number for each channel to the result of ``node``."""
    readers = node.output.consumers
    if len(node.output.uses) != 1 or not readers or not readers[0].is_op("Add"):
        return None
    for index, value in enumerate(readers[0].inputs):
        constant = None if value is None else value.constant
        is_vector = constant is not None and constant.shape[-1:] == (channels,)
        if constant is not None and is_vector and constant.size == channels:
            return readers[0], index, constant
    return None


def _constant(array: Array, origin: Constant | None) -> VariableNode:
    constant = Constant.of(array)
    constant.origin = origin
    return VariableNode.of(constant)
