"""The floats that a quantized graph comes from: its layers, and the graph without rounding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.calibration.matrices import Matrices
from burnish.ir import Array, Constant, DType, Graph, OperatorNode, VariableNode
from burnish.ir.clone import clone
from burnish.passes.quantization.weighted import WEIGHTED


@dataclass(frozen=True)
class RoundedLayer:
    """A product or convolution whose weights are integers that were floats before."""

    node: OperatorNode
    dequantize: OperatorNode
    """What makes floats of the integers."""
    integers: Constant
    origin: Constant
    """The weights as floats."""
    scales: Array
    """Float32, one per output channel."""
    axis: int
    """Of the output channels."""

    @property
    def form(self) -> Matrices:
        """How the weights are laid out."""
        return Matrices(self.node, self.axis, self.integers.shape)

    @property
    def groups(self) -> int:
        """Parts of the channels that are multiplied by themselves."""
        return self.form.groups

    def matrices(self, weights: Array) -> Array:
        """Weights as ``[groups, outputs, inputs]``, to be multiplied with rows of the data."""
        return self.form.split(weights)

    def weights(self, matrices: Array) -> Array:
        """The inverse of `matrices`."""
        return self.form.joined(matrices)

    @property
    def steps(self) -> Array:
        """Scales as they go with `matrices`: float32 ``[groups, outputs]``."""
        shape = [1] * len(self.integers.shape)
        shape[self.axis] = -1
        spread = np.broadcast_to(self.scales.reshape(shape), self.integers.shape)
        return np.ascontiguousarray(self.matrices(spread)[:, :, 0])


def rounded_layer(node: OperatorNode) -> RoundedLayer | None:
    """``node`` as one of these; None if it is none, or its floats are not known any more."""
    value = node.input(1) if node.is_op(*WEIGHTED) else None
    dequantize = None if value is None else value.producer
    if dequantize is None or not dequantize.is_op("DequantizeLinear"):
        return None
    integers, scales = dequantize.constant_input(0), dequantize.constant_input(1)
    if integers is None or scales is None or integers.origin is None:
        return None
    rank = len(integers.shape)
    axis = int(dequantize.attribute("axis", 1)) % rank
    return RoundedLayer(node, dequantize, integers, integers.origin, scales.numpy(), axis)


def float_twin(graph: Graph) -> tuple[Graph, dict[OperatorNode, OperatorNode]]:
    """A copy of ``graph`` that rounds nothing, and what became of each node in it.

    Weights whose floats are not known any more stay rounded.
    """
    twin, made = clone(graph)
    for node in twin:
        for index, value in enumerate(node.inputs):
            source = _source(value)
            if source is not None:
                node.replace_input(index, source)
    return twin, made.nodes


def _source(value: VariableNode | None) -> VariableNode | None:
    """The floats that ``value`` was before it was changed, if that is known and it was."""
    if value is None or value.dtype is not DType.FLOAT:
        return None
    if value.constant is not None:
        return _origin(value.constant)
    maker = value.producer
    if maker is None or not maker.is_op("DequantizeLinear"):
        return None
    integers = maker.input(0)
    assert integers is not None
    if integers.constant is not None:
        return _origin(integers.constant)
    quantize = integers.producer
    is_pair = quantize is not None and quantize.is_op("QuantizeLinear")
    return quantize.input(0) if quantize is not None and is_pair else None


def _origin(constant: Constant) -> VariableNode | None:
    return None if constant.origin is None else VariableNode.of(constant.origin)
