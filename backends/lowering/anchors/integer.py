"""Products and convolutions of integers, accumulated exactly in 32 bits."""

from __future__ import annotations

from collections.abc import Sequence

import tvm.tirx as tx
from tvm import te

from burnish.backends.lowering.attributes import window_of
from burnish.backends.lowering.elementwise import Expr
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.layout import channels_last, physical
from burnish.backends.lowering.plan import shape_of
from burnish.ir import OperatorNode, VariableNode

WIDE = "int32"


def matmul_integer(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """MatMulInteger with zero points for all, for each row of A, or for each column of B."""
    a, b = builder.read(node.input(0)), builder.read(node.input(1))
    a_zero = _by_position(builder, node.input(2), -2)
    b_zero = _by_position(builder, node.input(3), -1)
    k = te.reduce_axis((0, int(a.shape[-1])), "k")
    left, right = len(a.shape), len(b.shape)
    shape = shape_of(node.output)

    def element(*index: Expr) -> Expr:
        batch = index[: len(index) - (left > 1) - (right > 1)]
        row = [index[len(batch)]] if left > 1 else []
        column = [index[-1]] if right > 1 else []
        x = (*_broadcast(batch, a), *row, k)
        y = (*_broadcast(batch, b), k, *column) if right > 1 else (k,)
        return te.sum(
            (a(*x).astype(WIDE) - a_zero(x)) * (b(*y).astype(WIDE) - b_zero(y)), axis=k
        )  # fmt: skip

    return [te.compute(shape, element, name="product")]


def _broadcast(batch: Sequence[Expr], tensor: te.Tensor) -> list[Expr]:
    """The part of a batch index that ``tensor`` has, 0 where it has one element."""
    count = max(0, len(tensor.shape) - 2)
    own = list(tensor.shape)[:count]
    return [
        tx.const(0, "int32") if int(size) == 1 else i
        for i, size in zip(batch[len(batch) - count :], own, strict=True)
    ]


class _by_position:  # noqa: N801 - a function with state
    """The zero point at an index of its matrix: a scalar, a vector along one axis, or as wide."""

    def __init__(self, builder: KernelBuilder, value: VariableNode | None, axis: int) -> None:
        self._tensor = None if value is None else builder.read(value)
        self._axis = axis

    def __call__(self, index: Sequence[Expr]) -> Expr:
        if self._tensor is None:
            return tx.const(0, WIDE)
        shape = [int(extent) for extent in self._tensor.shape]
        if len(shape) == 1 and len(index) > 1:
            where = [index[self._axis]]
        else:
            where = list(index[len(index) - len(shape) :])
        at = [tx.const(0, "int32") if s == 1 else i for i, s in zip(where, shape, strict=True)]
        return self._tensor(*at).astype(WIDE)


def conv_integer(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """ConvInteger with zero points for the input and for all or each output channel."""
    x, w = node.inputs[:2]
    assert x is not None and w is not None
    rank = len(shape_of(x))
    outputs, depth, *kernel = shape_of(w)
    spatial = shape_of(x)[2:]
    window = window_of(node, spatial, kernel)
    source, weights = builder.read(x, channels_last(rank)), builder.read(w)
    x_zero, w_zero = (_zero(builder, node.input(index)) for index in (2, 3))
    per_group = outputs // int(node.attribute("group", 1))
    taps = [te.reduce_axis((0, size), f"tap{i}") for i, size in enumerate(kernel)]
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
        value = tx.if_then_else(
            tx.all(*guards), source(n, *where, entry).astype(WIDE) - x_zero(channel), 0
        )
        weight = weights(channel, inner, *taps).astype(WIDE) - w_zero(channel)
        return te.sum(value * weight, axis=[*taps, inner])

    shape = physical(shape_of(node.output), channels_last(rank))
    return [te.compute(shape, element, name="convolution")]


class _zero:  # noqa: N801 - a function with state
    """The zero point of a channel."""

    def __init__(self, builder: KernelBuilder, value: VariableNode | None) -> None:
        self._tensor = None if value is None else builder.read(value)

    def __call__(self, channel: Expr) -> Expr:
        if self._tensor is None:
            return tx.const(0, WIDE)
        many = [int(extent) for extent in self._tensor.shape] not in ([], [1])
        index = [channel if many else tx.const(0, "int32")] * len(self._tensor.shape)
        return self._tensor(*index).astype(WIDE)
