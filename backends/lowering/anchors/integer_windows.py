"""Depthwise convolutions of bytes, accumulated exactly in 32 bits."""

from __future__ import annotations

import numpy as np
import tvm.tirx as tx
from tvm import te

from burnish.analysis.cost import kernel_flops
from burnish.backends.kernels import packing
from burnish.backends.kernels.convolution import gathering_axes
from burnish.backends.kernels.integer_window import (
    SIGN,
    Number,
    depthwise_quads,
    depthwise_wide,
    pack_quads,
)
from burnish.backends.lowering.attributes import window_of
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.integers import X86, Centred, known_zero, scalar_zero
from burnish.backends.lowering.layout import spatial_order
from burnish.backends.lowering.plan import shape_of
from burnish.ir import OperatorNode

WIDE = "int32"
_FEWEST = 16
"""Channels of the shortest vector of bytes."""


def is_depthwise(node: OperatorNode) -> bool:
    """Whether a ConvInteger has a window of its own for each channel, with known weights."""
    w = node.inputs[1]
    assert w is not None
    if w.constant is None or known_zero(node.input(3)) is None:
        return False
    outputs, depth, *_ = w.constant.shape
    return bool(depth == 1 and 1 < outputs == int(node.attribute("group", 1)))


def depthwise_integer(builder: KernelBuilder, node: OperatorNode) -> te.Tensor:
    """A ConvInteger of which `is_depthwise` holds, channels last."""
    x, w = node.inputs[:2]
    zero = known_zero(node.input(3))
    assert x is not None and w is not None and w.constant is not None and zero is not None
    layout = builder.layout(node.output)
    order = spatial_order(layout)
    weights = Centred.of(w.constant.numpy(), zero).ordered(order)
    kernel = weights.values.shape[2:]
    window = window_of(node, shape_of(x)[2:], w.constant.shape[2:]).ordered(order)
    axes = gathering_axes(
        [shape_of(x)[axis + 2] for axis in order], kernel, window.strides, window.pads,
        window.dilations,
    )  # fmt: skip
    builder.flops += kernel_flops(node) or 0
    source, subtracted = builder.read(x, layout), scalar_zero(builder, node.input(2))
    key = (id(w.constant), id(node.input(3)), order)
    fits = builder.target.arch == X86 and len(weights.values) >= _FEWEST
    if not fits or weights.rest.any():
        array = packing.pack_depthwise(weights.true.astype(np.int16))
        return depthwise_wide(source, builder.weights(array, (*key, "wide")), axes, subtracted)
    shift = SIGN if str(source.dtype) == "int8" else 0
    outside = _plus(subtracted, shift)
    packed = builder.weights(pack_quads(weights.values), (*key, "quads"))
    sums = depthwise_quads(source, packed, axes, outside)
    total = weights.true.sum(axis=tuple(range(1, weights.true.ndim)), dtype=np.int32)
    if outside == 0 or not total.any():
        return sums
    if isinstance(outside, int):
        known = builder.weights(total * np.int32(outside))
        return te.compute(sums.shape, lambda *i: sums(*i) - known(i[-1]), name="zero")
    factors = builder.weights(total)
    return te.compute(sums.shape, lambda *i: sums(*i) - factors(i[-1]) * outside(), name="zero")


def _plus(value: Number, shift: int) -> Number:
    if isinstance(value, int):
        return value + shift
    return lambda: value() + tx.const(shift, WIDE)
