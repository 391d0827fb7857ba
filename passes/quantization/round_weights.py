"""Round weights so that layers give what they gave before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.calibration import CrossGram, Geometry, Gram, geometry_of
from burnish.ir import Array, Constant, DType, Graph, VariableNode
from burnish.numerics import Numerics
from burnish.passes.quantization.cascade import Stop
from burnish.passes.quantization.gptq import Factors, gptq, output_errors, refitted
from burnish.passes.quantization.refining import refined
from burnish.passes.quantization.twins import RoundedLayer, rounded_layer
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Rewriter, RewriteResult

FEWEST_ROWS, ROWS = 4096, 4
"""Rows that moments are taken of: at least so many, and so many for each input."""
HELD_OUT = 4
"""Each so many-th sample is left out of rounding, and tells what to keep; of fewer, all do both."""


@dataclass(frozen=True)
class RoundWeights(Pass):
    """Round the weights of quantized layers anew, by what they are multiplied with.

    Layer by layer from the first, with data as the layers before give them by now: each weight
    makes up for the rounding of those before it. Scales stay. Of three ways to round (each weight
    by itself; GPTQ; GPTQ towards what the layer gave before anything was rounded) that of least
    error is kept, on samples that were not used for rounding.

    Before:
        y = Conv(h, DequantizeLinear(nearest integers of w / s, s))

    After:
        y = Conv(h, DequantizeLinear(other integers, s))
    """

    damping: float = 0.01
    """Part of the mean square of the data that is added to each."""
    asymmetric: bool = True
    """Also try to make up for the rounding of the data."""

    name: ClassVar[str] = "round-weights"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Round all weights whose floats are known.

        Raises:
            BurnishError: the calibration data do not fit the graph.
        """
        layers = [layer for node in graph if (layer := rounded_layer(node)) is not None]
        alone = {
            layer.node: layer for layer in layers if len(layer.dequantize.output.consumers) == 1
        }
        return refined(
            graph, context, alone, self._layer, name=self.name, purpose="to round weights with"
        )

    def _layer(self, rewriter: Rewriter, layer: RoundedLayer, stop: Stop) -> str:
        """Round the weights of ``layer``; why they stay as they are, empty if they do not."""
        data = layer.node.input(0)
        geometry = None if data is None else geometry_of(layer.node, data)
        if geometry is None:
            return "it is not known what its weights are multiplied with"
        per_item = _rows_per_item(stop.found, layer.matrices(layer.integers.numpy()).shape[2])
        fitted, judged = _Moments(geometry, per_item), _Moments(geometry, per_item)
        few = len(stop.found) < HELD_OUT
        for index, (found, wanted) in enumerate(zip(stop.found, stop.wanted, strict=True)):
            held = index % HELD_OUT == HELD_OUT - 1
            if held or few:
                judged.update(found, wanted)
            if not held or few:
                fitted.update(found, wanted)
        if not fitted.found.count:
            return "it was given no data"
        best = self._best(layer, fitted, judged)
        integers = layer.weights(best).astype(np.int8)
        if np.array_equal(integers, layer.integers.numpy()):
            return "each weight is best rounded by itself"
        constant = Constant(integers.shape, DType.INT8, integers)
        constant.origin = layer.origin
        rewriter.set_input(layer.dequantize, 0, VariableNode.of(constant))
        return ""

    def _best(self, layer: RoundedLayer, fitted: _Moments, judged: _Moments) -> Array:
        """The integers with the least error, as matrices."""
        weights, steps = layer.matrices(layer.origin.numpy()), layer.steps
        present = layer.matrices(layer.integers.numpy())
        bound = max(1, int(np.abs(present).max()))
        candidates = [present]
        try:
            gram = fitted.found.matrix
            factors = Factors.of(gram, self.damping)
            candidates.append(gptq(weights, steps, factors, bound))
            if self.asymmetric:
                target = refitted(weights, gram, fitted.crossed.matrix, factors)
                candidates.append(gptq(target, steps, factors, bound))
        except np.linalg.LinAlgError:
            # Data that tell nothing: what is there is as good.
            pass
        floats = [each * steps[:, :, None] for each in candidates]
        errors = output_errors(weights, floats, judged.crossed.matrix, judged.found.matrix)
        return candidates[int(np.argmin(errors))]


def _rows_per_item(samples: Sequence[Array], inputs: int) -> int:
    """How many rows to take of each item of a sample, for matrices of ``inputs`` to be told."""
    items = sum(array.shape[0] if array.ndim > 1 else 1 for array in samples)
    return math.ceil(max(FEWEST_ROWS, ROWS * inputs) / max(1, items))


class _Moments:
    """Second moments of the rows that weights are multiplied with, and of the original ones."""

    def __init__(self, geometry: Geometry, per_item: int) -> None:
        self.found = Gram(geometry, per_item)
        self.crossed = CrossGram(geometry, per_item)

    def update(self, found: Array, wanted: Array) -> None:
        """Take in one more sample."""
        self.found.update(found)
        self.crossed.update(wanted, found)
