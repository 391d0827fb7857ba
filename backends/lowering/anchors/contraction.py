"""Convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tvm import te

from burnish.backends.kernels import packing
from burnish.backends.kernels.convolution import (
    convolution,
    convolution_over,
    gathering_axes,
    scattered,
    scattering_axes,
)
from burnish.backends.kernels.depthwise import depthwise_convolution
from burnish.backends.kernels.folding import has_many_phases
from burnish.backends.kernels.product import batch_product, product
from burnish.backends.lowering.attributes import Window, window_of
from burnish.backends.lowering.bfloat16 import packed_weights
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.folded import folded_convolution
from burnish.backends.lowering.gates import scaled_weights
from burnish.backends.lowering.layout import identity, spatial_order
from burnish.backends.lowering.plan import shape_of
from burnish.ir import Array, OperatorNode, VariableNode


def conv(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Conv over any number of spatial axes, channels last; computed weights are packed first."""
    x, weights = node.inputs[:2]
    assert x is not None and weights is not None
    gate = builder.gate
    x = x if gate is None else gate.data
    layout = builder.layout(node.output)
    order = spatial_order(layout)
    outputs, depth, *kernel = shape_of(weights)
    window = window_of(node, shape_of(x)[2:], kernel).ordered(order)
    groups = int(node.attribute("group", 1))
    builder.flops += 2.0 * np.prod(shape_of(node.output), dtype=float) * depth * np.prod(kernel)
    axes = gathering_axes(
        [shape_of(x)[2 + axis] for axis in order], [kernel[axis] for axis in order],
        window.strides, window.pads, window.dilations,
    )  # fmt: skip
    fits = gate is None
    folded = folded_convolution(builder, node, _ordered(weights, order), axes) if fits else None
    if folded is not None:
        return [_biased(builder, folded, node.input(2))]
    source = builder.factor(x, layout)
    if depth == 1 and groups == outputs and groups == shape_of(x)[1] and groups > 1:
        result = depthwise_convolution(
            source, _depthwise_weights(builder, weights, order),
            strides=window.strides, pads=window.pads, dilations=window.dilations,
        )  # fmt: skip
    else:
        result = convolution(
            source, _convolution_weights(builder, node, source, order), columns=outputs,
            strides=window.strides, pads=window.pads, dilations=window.dilations, groups=groups,
            winograd=builder.emitter.winograd,
        )  # fmt: skip
    return [_biased(builder, result, node.input(2))]


def conv_transpose(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """ConvTranspose, channels last; computed weights are packed first.

    Without strides it is a convolution with its kernel mirrored.
    """
    x, weights = node.inputs[:2]
    assert x is not None and weights is not None
    layout = builder.layout(node.output)
    order = spatial_order(layout)
    groups = int(node.attribute("group", 1))
    _, per_group, *kernel = shape_of(weights)
    window, padding = transpose_window(node, shape_of(x)[2:], kernel)
    window = window.ordered(order)
    builder.flops += 2.0 * np.prod(shape_of(x), dtype=float) * per_group * np.prod(kernel)
    sizes = [shape_of(x)[2 + axis] for axis in order], [kernel[axis] for axis in order]
    axes = scattering_axes(
        *sizes, window.strides, window.pads, window.dilations, [padding[i] for i in order]
    )
    forward = _ordered(weights, order)
    forward = None if forward is None else packing.forward(forward, groups)
    mirrored = is_mirrored(node)
    if mirrored:
        axes = [axis.mirrored() for axis in axes]
        forward = None if forward is None else packing.mirrored(forward)
    folded = folded_convolution(builder, node, forward, axes)
    if folded is not None:
        return [_biased(builder, folded, node.input(2))]
    source = builder.factor(x, layout)
    if has_many_phases(axes):
        loose = builder.read(weights, (*(axis + 2 for axis in order), 0, 1))
        return [_biased(builder, scattered(source, loose, axes, groups=groups), node.input(2))]
    result = convolution_over(
        source, _convolution_weights(builder, node, source, order), axes,
        columns=per_group * groups, groups=groups, winograd=builder.emitter.winograd,
    )  # fmt: skip
    return [_biased(builder, result, node.input(2))]


def is_mirrored(node: OperatorNode) -> bool:
    """Whether a transposed convolution is computed as a convolution with the mirrored kernel."""
    strides = node.attribute("strides") or (1,)
    return node.op_type.startswith("ConvTranspose") and set(strides) == {1}


def _ordered(weights: VariableNode, order: Sequence[int]) -> Array | None:
    """Constant weights with their spatial axes in ``order``."""
    if weights.constant is None:
        return None
    return weights.constant.numpy().transpose(0, 1, *(axis + 2 for axis in order))


def _depthwise_weights(
    builder: KernelBuilder, weights: VariableNode, order: Sequence[int]
) -> te.Tensor:
    """``[*kernel, C]``, the kernel's axes in ``order``."""
    moved = (0, 1, *(axis + 2 for axis in order))
    if weights.constant is not None:
        array = weights.constant.numpy().transpose(moved)
        return builder.weights(packing.pack_depthwise(array), (id(weights.constant), order))
    held = builder.emitter.located(weights, (*moved[2:], 0, 1))
    return builder.argument(builder.emitter.view(held, held.shape[:-1]))


def _convolution_weights(
    builder: KernelBuilder, node: OperatorNode, source: te.Tensor, order: Sequence[int]
) -> te.Tensor:
    """``[groups * blocks, *kernel, I / groups, lanes]``, packed here or by a kernel of its own."""
    weights = node.inputs[1]
    assert weights is not None
    is_transposed = node.op_type == "ConvTranspose"
    groups = int(node.attribute("group", 1))
    mirrored = is_mirrored(node)
    moved = (0, 1, *(axis + 2 for axis in order))
    first, second, *kernel = (shape_of(weights)[axis] for axis in moved)
    columns, depth = (second, first // groups) if is_transposed else (first // groups, second)
    lanes = _lanes(builder, columns)
    if weights.constant is not None:
        pack = packing.pack_transposed_convolution if is_transposed else packing.pack_convolution
        array = weights.constant.numpy().transpose(moved)
        array = packing.mirrored(array) if mirrored else array
        key = (id(weights.constant), node.op_type, order, lanes, groups, mirrored)
        packed = pack(array, lanes, groups)
        if builder.gate is not None:
            return scaled_weights(builder, builder.gate, packed, key)
        return packed_weights(builder, source, packed, key)
    blocks = -(-columns // lanes)
    inner = KernelBuilder(builder.emitter)
    loose = inner.read(weights, moved)

    def element(block: te.Var, *rest: te.Var) -> te.Expr:
        *taps, entry, lane = rest
        if mirrored:
            taps = [extent - 1 - tap for extent, tap in zip(kernel, taps, strict=True)]
        group = te.indexdiv(block, blocks)
        column = te.indexmod(block, blocks) * lanes + lane
        inward, outward = group * depth + entry, group * columns + column
        at = (inward, column) if is_transposed else (outward, entry)
        return te.if_then_else(column < columns, loose(*at, *taps), te.const(0, loose.dtype))

    shape = (groups * blocks, *kernel, depth, lanes)
    result = te.compute(shape, element, name="pack")
    held = builder.emitter.temporary(f"{node.name}.weights", shape, str(loose.dtype))
    builder.emitter.launch(inner, [result], [held], (node,), "pack")
    return builder.argument(held)


def transpose_window(
    node: OperatorNode, spatial: Sequence[int], kernel: Sequence[int]
) -> tuple[Window, tuple[int, ...]]:
    """Window and output padding of a ConvTranspose, from pads or from ``output_shape``."""
    rank = len(kernel)
    strides = tuple(node.attribute("strides") or (1,) * rank)
    dilations = tuple(node.attribute("dilations") or (1,) * rank)
    padding = tuple(node.attribute("output_padding") or (0,) * rank)
    wanted = shape_of(node.output)[2:]
    if node.attribute("output_shape") is None and _text(node.attribute("auto_pad")) in (
        "", "NOTSET",
    ):  # fmt: skip
        pads = tuple(node.attribute("pads") or (0,) * (2 * rank))
        return Window(strides, pads, dilations), padding
    begin, end, missing = [], [], []
    for i in range(rank):
        full = (spatial[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 + padding[i]
        total = max(0, full - wanted[i])
        missing.append(max(0, wanted[i] - full))
        upper = _text(node.attribute("auto_pad")) == "SAME_UPPER"
        begin.append(total // 2 if upper else total - total // 2)
        end.append(total - begin[-1])
    padding = tuple(given + more for given, more in zip(padding, missing, strict=True))
    return Window(strides, (*begin, *end), dilations), padding


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def matmul(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """MatMul with packed constant weights, or of two computed operands."""
    a, b = node.inputs
    assert a is not None and b is not None
    builder.flops += _product_flops(node, a)
    if 1 in (len(shape_of(a)), len(shape_of(b))):
        return [_with_vector(builder, node)]
    if b.constant is not None and len(b.constant.shape) == 2:
        columns, source = b.constant.shape[1], builder.factor(a)
        packed = _packed_product(builder, source, b.constant.numpy(), (id(b.constant), "product"))
        return [product(source, packed, columns=columns)]
    left, turned_left = matrix_operand(builder, a)
    right, turned_right = matrix_operand(builder, b)
    return [batch_product(left, right, transpose_a=turned_left, transpose_b=turned_right)]


def _with_vector(builder: KernelBuilder, node: OperatorNode) -> te.Tensor:
    """A product where an operand has one axis, as numpy defines it."""
    a, b = (builder.read(value) for value in node.inputs)
    k = te.reduce_axis((0, int(a.shape[-1])), "k")
    left, right = len(a.shape), len(b.shape)

    def element(*index: te.Var) -> te.Expr:
        if left == 1:
            return te.sum(a(k) * (b(*index[:-1], k, index[-1]) if right > 1 else b(k)), axis=k)
        return te.sum(a(*index, k) * b(k), axis=k)

    return te.compute(shape_of(node.output), element, name="product")


def matrix_operand(builder: KernelBuilder, value: VariableNode) -> tuple[te.Tensor, bool]:
    """The operand as it lies in memory, and whether its last two axes are swapped there."""
    rank = len(shape_of(value))
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    turned = not value.is_constant and builder.layout(value) == swapped
    return builder.operand(value, swapped if turned else identity(rank)), turned


def _product_flops(node: OperatorNode, a: VariableNode) -> float:
    return 2.0 * float(np.prod(shape_of(node.output), dtype=float)) * shape_of(a)[-1]


def gemm(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Gemm: ``alpha * A' @ B' + beta * C`` with constant B."""
    a, b = node.inputs[:2]
    assert a is not None and b is not None
    alpha, beta = float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    order = (1, 0) if node.attribute("transA", 0) else (0, 1)
    depth = shape_of(a)[order[1]]
    builder.flops += 2.0 * float(np.prod(shape_of(node.output), dtype=float)) * depth
    if b.constant is not None:
        left = builder.factor(a, order)
        array = b.constant.numpy()
        array = array.T if node.attribute("transB", 0) else array
        scaled = array if alpha == 1.0 else array * array.dtype.type(alpha)
        key = (id(b.constant), "gemm", node.attribute("transB", 0), alpha)
        result = product(
            left, _packed_product(builder, left, scaled, key), columns=array.shape[1]
        )  # fmt: skip
        return [_biased(builder, result, node.input(2), beta)]
    left, right = builder.operand(a, order), builder.operand(b)
    result = batch_product(left, right, transpose_b=bool(node.attribute("transB", 0)))
    return [_biased(builder, result, node.input(2), beta, alpha)]


def _packed_product(
    builder: KernelBuilder, source: te.Tensor, array: Array, key: tuple[object, ...]
) -> te.Tensor:
    lanes = _lanes(builder, array.shape[1])
    return packed_weights(builder, source, packing.pack_product(array, lanes), (*key, lanes))


def _lanes(builder: KernelBuilder, columns: int) -> int:
    return packing.lane_count(columns, builder.target.lanes("float32"))


def _biased(
    builder: KernelBuilder,
    result: te.Tensor,
    bias: VariableNode | None,
    beta: float = 1.0,
    alpha: float = 1.0,
) -> te.Tensor:
    """``alpha * result + beta * bias``, the bias broadcast over leading axes."""
    if bias is None and alpha == 1.0:
        return result
    dtype = str(result.dtype)
    shape = tuple(int(extent) for extent in result.shape)
    scale = te.const(alpha, dtype)
    if bias is None:
        return te.compute(shape, lambda *i: result(*i) * scale, name="scale")
    operand = _bias_operand(builder, bias, beta)
    own = tuple(int(extent) for extent in operand.shape)

    def value(*index: te.Var) -> te.Expr:
        tail = index[len(index) - len(own) :]
        term = operand(*(0 if extent == 1 else i for i, extent in zip(tail, own, strict=True)))
        scaled = result(*index) if alpha == 1.0 else result(*index) * scale
        return scaled + (term if bias.is_constant or beta == 1.0 else term * te.const(beta, dtype))

    return te.compute(shape, value, name="bias")


def _bias_operand(builder: KernelBuilder, bias: VariableNode, beta: float) -> te.Tensor:
    if bias.constant is None or beta == 1.0:
        return builder.read(bias)
    array = bias.constant.numpy()
    return builder.weights(array * array.dtype.type(beta), (id(bias.constant), "beta", beta))
