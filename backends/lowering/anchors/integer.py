"""Products and convolutions of integers, accumulated exactly in 32 bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tvm.tirx as tx
from tvm import te

from burnish.backends.lowering.attributes import window_of
from burnish.backends.lowering.elementwise import Expr
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.layout import physical, spatial_order
from burnish.backends.lowering.plan import shape_of
from burnish.ir import OperatorNode, VariableNode

WIDE = "int32"


def matmul_integer(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """MatMulInteger with zero points for all, for each row of A, or for each column of B."""
    a, b = builder.read(node.input(0)), builder.read(node.input(1))
    a_zero = _matrix_zero(builder, node.input(2), -2)
    b_zero = _matrix_zero(builder, node.input(3), -1)
    k = te.reduce_axis((0, int(a.shape[-1])), "k")
    left, right = len(a.shape), len(b.shape)

    def element(*index: Expr) -> Expr:
        batch = index[: len(index) - (left > 1) - (right > 1)]
        row = [index[len(batch)]] if left > 1 else []
        x = (*_broadcast(batch, a), *row, k)
        y = (*_broadcast(batch, b), k, index[-1]) if right > 1 else (k,)
        value, weight = a(*x).astype(WIDE) - a_zero(x), b(*y).astype(WIDE) - b_zero(y)
        return te.sum(value * weight, axis=k)

    return [te.compute(shape_of(node.output), element, name="product")]


def _broadcast(batch: Sequence[Expr], tensor: te.Tensor) -> list[Expr]:
    """The part of a batch index that ``tensor`` has, 0 where it has one element."""
    count = max(0, len(tensor.shape) - 2)
    own = list(tensor.shape)[:count]
    return [
        tx.const(0, "int32") if int(size) == 1 else i
        for i, size in zip(batch[len(batch) - count :], own, strict=True)
    ]


def _matrix_zero(
    builder: KernelBuilder, value: VariableNode | None, axis: int
) -> Callable[[Sequence[Expr]], Expr]:
    """The zero point at an index of its matrix: one, a vector along ``axis``, or as wide."""
    if value is None:
        return lambda index: tx.const(0, WIDE)
    tensor, shape = builder.read(value), shape_of(value)

    def at(index: Sequence[Expr]) -> Expr:
        is_vector = len(shape) == 1 and len(index) > 1
        where = [index[axis]] if is_vector else index[len(index) - len(shape) :]
        return tensor(*(
            tx.const(0, "int32") if size == 1 else i for i, size in zip(where, shape, strict=True)
        )).astype(WIDE)  # fmt: skip

    return at


def conv_integer(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """ConvInteger with zero points for the input and for all or each output channel."""
    x, w = node.inputs[:2]
    assert x is not None and w is not None
    layout = builder.layout(node.output)
    order = spatial_order(layout)
    outputs, depth, *kernel = shape_of(w)
    window = window_of(node, shape_of(x)[2:], kernel).ordered(order)
    spatial = [shape_of(x)[axis + 2] for axis in order]
    source = builder.read(x, layout)
    weights = builder.read(w, (0, 1, *(axis + 2 for axis in order)))
    x_zero, w_zero = (_channel_zero(builder, node.input(index)) for index in (2, 3))
    per_group = outputs // int(node.attribute("group", 1))
    taps = [te.reduce_axis((0, kernel[axis]), f"tap{axis}") for axis in order]
    inner = te.reduce_axis((0, depth), "k")

    def element(n: Expr, *position: Expr) -> Expr:
        *outer, channel = position
        where, guards = [], []
        for i, (at, tap) in enumerate(zip(outer, taps, strict=True)):
            place = at * window.strides[i] + tap * window.dilations[i] - window.pads[i]
            where.append(place)
            guards += [place >= 0, place < spatial[i]]
        entry = tx.indexdiv(channel, per_group) * depth + inner
        # What padding adds is the zero point, so that it counts for nothing.
        value = source(n, *where, entry).astype(WIDE) - x_zero(channel)
        value = tx.if_then_else(tx.all(*guards), value, tx.const(0, WIDE)) if guards else value
        weight = weights(channel, inner, *taps).astype(WIDE) - w_zero(channel)
        return te.sum(value * weight, axis=[*taps, inner])

    return [te.compute(physical(shape_of(node.output), layout), element, name="convolution")]


def _channel_zero(builder: KernelBuilder, value: VariableNode | None) -> Callable[[Expr], Expr]:
    """The zero point of a channel."""
    if value is None:
        return lambda channel: tx.const(0, WIDE)
    tensor, shape = builder.read(value), shape_of(value)

    def at(channel: Expr) -> Expr:
        index = tx.const(0, "int32") if shape in ((), (1,)) else channel
        return tensor(*[index] * len(shape)).astype(WIDE)

    return at
