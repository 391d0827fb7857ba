"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tvm.tirx as tx
from tvm import te

from burnish.backends.kernels.geometry import Axis
from burnish.backends.kernels.window import window
from burnish.backends.lowering.attributes import window_of
from burnish.backends.lowering.elementwise import Expr
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.layout import channels_last
from burnish.backends.lowering.plan import shape_of
from burnish.ir import OperatorNode


def _axes(node: OperatorNode, spatial: Sequence[int], outputs: Sequence[int]) -> list[Axis]:
    """One axis per spatial one; output sizes come from the graph, so ``ceil_mode`` needs no care."""
    kernel = tuple(node.attribute("kernel_shape"))
    moves = window_of(node, spatial, kernel)
    return [
        Axis(spatial[i], outputs[i], kernel[i], moves.strides[i], moves.dilations[i], moves.pads[i])
        for i in range(len(kernel))
    ]


def max_pool(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """MaxPool without indices."""
    x = node.inputs[0]
    assert x is not None
    axes = _axes(node, shape_of(x)[2:], shape_of(node.output)[2:])
    return [window(builder.read(x, channels_last(len(shape_of(x)))), axes, "max-pool")]


def average_pool(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """AveragePool: the sum of each window divided by the positions that count."""
    x = node.inputs[0]
    assert x is not None
    axes = _axes(node, shape_of(x)[2:], shape_of(node.output)[2:])
    total = window(builder.read(x, channels_last(len(shape_of(x)))), axes, "sum-pool")
    counts = _counts(node, axes)
    dtype = str(total.dtype)
    if (counts == counts.flat[0]).all():
        factor = tx.const(1.0 / float(counts.flat[0]), dtype)
        return [te.compute(total.shape, lambda *i: total(*i) * factor, name="average")]
    table = builder.weights((1.0 / counts).astype(dtype))

    def element(*index: Expr) -> Expr:
        return total(*index) * table(*index[1:-1])

    return [te.compute(total.shape, element, name="average")]


def _counts(node: OperatorNode, axes: Sequence[Axis]) -> np.ndarray:
    """How many positions each window's sum is divided by, by output position."""
    counts = np.ones((1,) * len(axes))
    include = bool(node.attribute("count_include_pad", 0))
    moves = window_of(node, [axis.inputs for axis in axes], [axis.kernel for axis in axes])
    for i, axis in enumerate(axes):
        positions = (
            np.arange(axis.outputs)[:, None] * axis.stride - axis.pad
            + np.arange(axis.kernel)[None, :] * axis.dilation
        )  # fmt: skip
        low = -axis.pad if include else 0
        high = axis.inputs + (moves.pads[i + len(axes)] if include else 0)
        per_axis = ((positions >= low) & (positions < high)).sum(axis=1)
        shape = [1] * len(axes)
        shape[i] = axis.outputs
        counts = counts * per_axis.reshape(shape)
    return np.maximum(counts, 1)
