"""Products and convolutions of integers, accumulated exactly in 32 bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import tvm.tirx as tx
from tvm import te

from burnish.analysis.cost import kernel_flops
from burnish.backends.kernels import packing
from burnish.backends.kernels.convolution import (
    convolution_over,
    gathering_axes,
    scattering_axes,
)
from burnish.backends.kernels.folding import MOST_PHASES
from burnish.backends.kernels.geometry import Axis
from burnish.backends.kernels.integers import Merged
from burnish.backends.kernels.product import product
from burnish.backends.lowering.anchors.contraction import is_mirrored, transpose_window
from burnish.backends.lowering.anchors.integer_batch import batch_integer, is_batch
from burnish.backends.lowering.anchors.integer_windows import depthwise_integer, is_depthwise
from burnish.backends.lowering.attributes import window_of
from burnish.backends.lowering.elementwise import Expr
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.integers import (
    Centred,
    Correction,
    Operands,
    Place,
    border_classes,
    in_quads,
    known_zero,
    merge_weights,
    merging,
    window_sums,
)
from burnish.backends.lowering.layout import Layout, identity, physical, spatial_order
from burnish.backends.lowering.plan import shape_of
from burnish.ir import Array, OperatorNode, VariableNode

WIDE = "int32"


def matmul_integer(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """MatMulInteger with zero points for all, for each row of A, or for each column of B."""
    weights = _constant_matrix(node)
    if weights is not None:
        return [_product(builder, node, weights)]
    if is_batch(builder, node):
        return [batch_integer(builder, node)]
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


def _constant_matrix(node: OperatorNode) -> Centred | None:
    """The right operand turned round, ``[N, K]``, if it and its zero points are known."""
    a, b = node.inputs[:2]
    assert a is not None and b is not None
    zero = known_zero(node.input(3))
    if b.constant is None or len(b.constant.shape) != 2 or len(shape_of(a)) < 2 or zero is None:
        return None
    return Centred.of(b.constant.numpy().T, zero)


def _product(builder: KernelBuilder, node: OperatorNode, weights: Centred) -> te.Tensor:
    """A product with constant weights."""
    x, zero = node.input(0), known_zero(node.input(2))
    assert x is not None
    builder.flops += kernel_flops(node) or 0

    def contract(operands: Operands, values: Array, key: object) -> te.Tensor:
        lanes = packing.lane_count(len(values), operands.lanes)
        packed = operands.packed(packing.pack_product(values.T, lanes), lanes, key)
        return product(operands.x, packed, columns=len(values))

    layout = identity(len(shape_of(x)))
    operands = Operands(builder, builder.read(x, layout), weights, _key(node))
    at = _matrix_zero(builder, node.input(2), -2) if zero is None or zero.size > 1 else int(zero)
    table = window_sums(weights.true, ())
    rest = _row_sums(builder, node, layout, operands, contract, 1)
    correction = Correction(at, table, lambda index: (), rest)
    return operands.corrected(contract(operands, weights.values, "all"), correction)


def _row_sums(
    builder: KernelBuilder,
    node: OperatorNode,
    layout: Layout,
    operands: Operands,
    contract: Callable[[Operands, Array, object], te.Tensor],
    groups: int,
) -> Callable[..., Expr] | None:
    """Sums of the activations of each group that a result reads, by a kernel of their own.

    None if no weight needs them.
    """
    weights = operands.weights
    if not weights.rest.any():
        return None
    emitter, inner = builder.emitter, KernelBuilder(builder.emitter)
    ones = np.ones((groups, *weights.values.shape[1:]), np.int8)
    alone = Operands(inner, inner.read(node.input(0), layout), weights, (ones.shape, "ones"))
    sums = contract(alone, ones, groups)
    shape = [int(extent) for extent in sums.shape]
    held = emitter.temporary(f"{node.name}.sums", shape, WIDE)
    emitter.launch(inner, [sums], [held], (node,), "sums")
    rows, columns = builder.argument(held), len(weights.values) // groups

    def at(*index: Expr) -> Expr:
        group = tx.const(0, "int32") if groups == 1 else tx.floordiv(index[-1], columns)
        return rows(*index[:-1], group)

    return at


def _key(node: OperatorNode) -> tuple[object, ...]:
    """What stands for the weights of a node and their zero points."""
    values = (node.input(1), node.input(3))
    return tuple(id(value.constant) if value is not None else None for value in values)


def conv_integer(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """ConvInteger with zero points for the input and for all or each output channel."""
    if is_depthwise(node):
        return [depthwise_integer(builder, node)]
    weights = _constant_filters(node)
    if weights is not None:
        return [_gathering(builder, node, weights)]
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


def _constant_filters(node: OperatorNode) -> Centred | None:
    """Weights of a convolution, if they and their zero points are known."""
    w, zero = node.inputs[1], known_zero(node.input(3))
    assert w is not None
    if w.constant is None or zero is None:
        return None
    return Centred.of(w.constant.numpy(), zero)


def _gathering(builder: KernelBuilder, node: OperatorNode, weights: Centred) -> te.Tensor:
    """A convolution with constant weights."""
    x = node.inputs[0]
    assert x is not None
    order = spatial_order(builder.layout(node.output))
    kernel = weights.values.shape[2:]
    window = window_of(node, shape_of(x)[2:], kernel).ordered(order)
    axes = gathering_axes(
        [shape_of(x)[axis + 2] for axis in order], [kernel[axis] for axis in order],
        window.strides, window.pads, window.dilations,
    )  # fmt: skip
    return _convolution(builder, node, weights.ordered(order), axes)


def conv_transpose_integer(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """A ConvTranspose of integers with constant weights, zero points as for ConvInteger."""
    x, w = node.inputs[:2]
    assert x is not None and w is not None and w.constant is not None
    order = spatial_order(builder.layout(node.output))
    groups, zero = int(node.attribute("group", 1)), known_zero(node.input(3))
    assert zero is not None
    weights = Centred.of(packing.forward(w.constant.numpy(), groups), zero).ordered(order)
    kernel = shape_of(w)[2:]
    window, padding = transpose_window(node, shape_of(x)[2:], kernel)
    window = window.ordered(order)
    axes = scattering_axes(
        [shape_of(x)[axis + 2] for axis in order], [kernel[axis] for axis in order],
        window.strides, window.pads, window.dilations, [padding[i] for i in order],
    )  # fmt: skip
    if is_mirrored(node):
        axes, weights = [axis.mirrored() for axis in axes], weights.mirrored()
    return [_convolution(builder, node, weights, axes)]


def declines_transpose(node: OperatorNode) -> str | None:
    """Whether something that has to be known is computed, or code would be too much."""
    w = node.inputs[1]
    assert w is not None
    if w.constant is None or known_zero(node.input(3)) is None:
        return "ConvTranspose of integers with computed weights"
    if prod(node.attribute("strides") or (1,)) > MOST_PHASES:
        return f"ConvTranspose of integers with more than {MOST_PHASES} positions in a stride"
    return None


def _convolution(
    builder: KernelBuilder, node: OperatorNode, weights: Centred, axes: Sequence[Axis]
) -> te.Tensor:
    """A convolution, of either kind, along ``axes`` in the order in which they lie in weights."""
    layout = builder.layout(node.output)
    groups = int(node.attribute("group", 1))
    depth = weights.values.shape[1]
    builder.flops += kernel_flops(node) or 0
    merged = merging(axes[-1], depth) if groups == 1 and in_quads(builder) else None

    def contract(operands: Operands, values: Array, key: object) -> te.Tensor:
        columns, source, along = len(values), operands.x, axes
        if merged is not None:
            values, along = merge_weights(values, merged), [*axes[:-1], merged]
            source = Merged(source, merged.kernel)
        lanes = packing.lane_count(columns // groups, operands.lanes)
        packed = packing.pack_convolution(values, lanes, groups)
        held = operands.packed(packed, lanes, key, *along)
        return convolution_over(source, held, along, columns=columns, groups=groups)

    key = (*_key(node), node.op_type, *layout, groups)
    operands = Operands(builder, builder.read(node.input(0), layout), weights, key)
    classes = [border_classes(axis) for axis in axes]
    zero = known_zero(node.input(2))
    correction = Correction(
        _channel_zero(builder, node.input(2)) if zero is None else int(zero),
        window_sums(weights.true, [reaches for _, reaches in classes]),
        _class_place(builder, [numbers for numbers, _ in classes]),
        _row_sums(builder, node, layout, operands, contract, groups),
    )
    return operands.corrected(contract(operands, weights.values, "all"), correction)


def _class_place(builder: KernelBuilder, numbers: Sequence[Array]) -> Place:
    """The class of an index of a convolution's result along each spatial axis."""
    known = [builder.weights(each) if each.any() else None for each in numbers]

    def place(index: Sequence[Expr]) -> Sequence[Expr]:
        return [
            tx.const(0, "int32") if held is None else held(i)
            for held, i in zip(known, index[1:-1], strict=True)
        ]

    return place


def _channel_zero(builder: KernelBuilder, value: VariableNode | None) -> Callable[[Expr], Expr]:
    """The zero point of a channel."""
    if value is None:
        return lambda channel: tx.const(0, WIDE)
    tensor, shape = builder.read(value), shape_of(value)

    def at(channel: Expr) -> Expr:
        index = tx.const(0, "int32") if shape in ((), (1,)) else channel
        return tensor(*[index] * len(shape)).astype(WIDE)

    return at
