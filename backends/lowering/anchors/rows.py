"""Operators that reduce along axes: Reduce*, global pooling, softmax, normalizations, ArgMax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import tvm.tirx as tx
from tvm import te

from burnish.backends.lowering.elementwise import Expr, like
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.layout import Layout, channels_last, identity, physical
from burnish.backends.lowering.plan import shape_of
from burnish.ir import OperatorNode, VariableNode

Combine = Callable[..., Expr]


def _axes(node: OperatorNode, rank: int) -> tuple[int, ...]:
    """Reduced axes of a Reduce operator, given as input or attribute; all of them by default."""
    constant = node.constant_input(1)
    given = constant.numpy().reshape(-1) if constant is not None else node.attribute("axes")
    if given is None or len(given) == 0:
        return () if node.attribute("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(int(axis) % rank for axis in given))


def _reduce(
    tensor: te.Tensor,
    layout: Layout,
    axes: Sequence[int],
    keep: bool,
    combine: Combine,
    prepare: Callable[[Expr], Expr] = lambda x: x,
) -> te.Tensor:
    """Combine over logical ``axes``; the result keeps the order of the axes that stay."""
    kept = [axis for axis in layout if axis not in axes]
    ranges = {axis: te.reduce_axis((0, int(tensor.shape[layout.index(axis)]))) for axis in axes}
    order = layout if keep else tuple(kept)
    shape = [1 if axis in axes else int(tensor.shape[layout.index(axis)]) for axis in order]

    def element(*index: Expr) -> Expr:
        where = {axis: i for axis, i in zip(order, index, strict=True) if axis not in axes}
        read = tensor(*(ranges[a] if a in axes else where[a] for a in layout))
        return combine(prepare(read), axis=list(ranges.values()))

    return te.compute(shape, element, name="reduce")


def _product(x: Expr, axis: Sequence[Expr]) -> Expr:
    reducer = te.comm_reducer(lambda a, b: a * b, lambda t: tx.const(1, t), name="product")
    return reducer(x, axis=axis)


_SUM, _MAX, _MIN = te.sum, te.max, te.min
REDUCTIONS: dict[str, tuple[Combine, Callable[[Expr], Expr], Callable[[Expr, int], Expr]]] = {
    "ReduceSum": (_SUM, lambda x: x, lambda r, n: r),
    "ReduceMean": (_SUM, lambda x: x, lambda r, n: r / like(r, n)),
    "ReduceMax": (_MAX, lambda x: x, lambda r, n: r),
    "ReduceMin": (_MIN, lambda x: x, lambda r, n: r),
    "ReduceProd": (_product, lambda x: x, lambda r, n: r),
    "ReduceL1": (_SUM, tx.abs, lambda r, n: r),
    "ReduceL2": (_SUM, lambda x: x * x, lambda r, n: tx.sqrt(r)),
    "ReduceSumSquare": (_SUM, lambda x: x * x, lambda r, n: r),
    "ReduceLogSum": (_SUM, lambda x: x, lambda r, n: tx.log(r)),
    "GlobalAveragePool": (_SUM, lambda x: x, lambda r, n: r / like(r, n)),
    "GlobalMaxPool": (_MAX, lambda x: x, lambda r, n: r),
}
"""How each operator combines elements, what it takes of them, and what it makes of the result."""


def reduce(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Reduce* and global pooling in the layout of the input."""
    x = node.inputs[0]
    assert x is not None
    rank = len(shape_of(x))
    pools = node.op_type.startswith("Global")
    axes = tuple(range(2, rank)) if pools else _axes(node, rank)
    keep = pools or bool(node.attribute("keepdims", 1))
    layout = channels_last(rank) if pools else _input_layout(builder, x, node.output, keep, axes)
    tensor = builder.read(x, layout)
    combine, prepare, finish = REDUCTIONS[node.op_type]
    count = prod(shape_of(x)[axis] for axis in axes)
    total = _reduce(tensor, layout, axes, keep, combine, prepare)
    done = te.compute(total.shape, lambda *i: finish(total(*i), count), name="finish")
    return [done]


def _input_layout(
    builder: KernelBuilder, x: VariableNode, output: VariableNode, keep: bool, axes: Sequence[int]
) -> Layout:
    """The layout to read ``x`` in so that the result comes out as the plan wants it."""
    if keep:
        return builder.layout(output)
    kept = [axis for axis in range(len(shape_of(x))) if axis not in axes]
    wanted = [kept[axis] for axis in builder.layout(output)]
    current = builder.layout(x)
    if [axis for axis in current if axis in kept] == wanted:
        return current
    return identity(len(shape_of(x)))


def softmax(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Softmax and LogSoftmax along one axis (opset 13 and later)."""
    x = node.inputs[0]
    assert x is not None
    layout = builder.layout(node.output)
    tensor = builder.read(x, layout)
    axis = int(node.attribute("axis", -1)) % len(layout)
    top = _reduce(tensor, layout, (axis,), True, _MAX)
    at = _keeping(layout, (axis,))
    shape = physical(shape_of(x), layout)
    shifted = te.compute(shape, lambda *i: tensor(*i) - top(*at(i)), name="shifted")
    if node.op_type == "LogSoftmax":
        total = _reduce(shifted, layout, (axis,), True, _SUM, tx.exp)
        return [te.compute(shape, lambda *i: shifted(*i) - tx.log(total(*at(i))), name="log")]
    powers = te.compute(shape, lambda *i: tx.exp(shifted(*i)), name="powers")
    total = _reduce(powers, layout, (axis,), True, _SUM)
    return [te.compute(shape, lambda *i: powers(*i) / total(*at(i)), name="softmax")]


def _keeping(layout: Layout, axes: Sequence[int]) -> Callable[[Sequence[Expr]], list[Expr]]:
    """Maps an index to that of its statistics, whose reduced ``axes`` have size 1."""
    return lambda index: [
        tx.const(0, "int32") if axis in axes else i for i, axis in zip(index, layout, strict=True)
    ]


def layer_norm(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """LayerNormalization and RMSNormalization over the last axes."""
    x = node.inputs[0]
    assert x is not None
    rank = len(shape_of(x))
    axes = tuple(range(int(node.attribute("axis", -1)) % rank, rank))
    layout = builder.layout(node.output)
    centred = node.op_type == "LayerNormalization"
    return [_normalized(builder, node, x, layout, axes, centred, 1e-5)]


def instance_norm(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """InstanceNormalization: each channel of each image over its positions."""
    x = node.inputs[0]
    assert x is not None
    rank = len(shape_of(x))
    layout = builder.layout(node.output)
    return [_normalized(builder, node, x, layout, tuple(range(2, rank)), True, 1e-5, channel=1)]


def _normalized(
    builder: KernelBuilder,
    node: OperatorNode,
    x: VariableNode,
    layout: Layout,
    axes: tuple[int, ...],
    centred: bool,
    epsilon: float,
    channel: int | None = None,
) -> te.Tensor:
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias`` over logical ``axes``.

    The variance is taken from centred values: the one-pass formula loses digits.
    """
    tensor = builder.read(x, layout)
    shape, at = physical(shape_of(x), layout), _keeping(layout, axes)
    count = prod(shape_of(x)[axis] for axis in axes)
    eps = float(node.attribute("epsilon", epsilon))
    inner = tensor
    if centred:
        total = _reduce(tensor, layout, axes, True, _SUM)
        inner = te.compute(
            shape, lambda *i: tensor(*i) - total(*at(i)) / like(total(*at(i)), count), name="centred"
        )
    squares = _reduce(inner, layout, axes, True, _SUM, lambda v: v * v)
    scale = _parameter(builder, node.input(1), x, layout, channel)
    bias = _parameter(builder, node.input(2), x, layout, channel)

    def element(*index: Expr) -> Expr:
        spread = squares(*at(index))
        root = tx.sqrt(spread / like(spread, count) + like(spread, eps))
        value = inner(*index) / root
        if scale is not None:
            value = value * scale(index)
        return value if bias is None else value + bias(index)

    return te.compute(shape, element, name="normalized")


def _parameter(
    builder: KernelBuilder,
    value: VariableNode | None,
    x: VariableNode,
    layout: Layout,
    channel: int | None,
) -> Callable[[Sequence[Expr]], Expr] | None:
    """Reader of a scale or bias: one per channel, or broadcast against the last axes."""
    if value is None:
        return None
    tensor = builder.read(value)
    if channel is not None:
        return lambda index: tensor(index[layout.index(channel)])
    own = shape_of(value)
    first = len(shape_of(x)) - len(own)

    def at(index: Sequence[Expr]) -> Expr:
        where = dict(zip(layout, index, strict=True))
        return tensor(*(
            tx.const(0, "int32") if size == 1 else where[first + i] for i, size in enumerate(own)
        ))  # fmt: skip

    return at


def arg_reduce(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """ArgMax and ArgMin: the first (or last) position of the largest (or smallest) element."""
    x = node.inputs[0]
    assert x is not None
    rank = len(shape_of(x))
    axis = int(node.attribute("axis", 0)) % rank
    keep = bool(node.attribute("keepdims", 1))
    layout = _input_layout(builder, x, node.output, keep, (axis,))
    tensor = builder.read(x, layout)
    size = shape_of(x)[axis]
    combine = _MAX if node.op_type == "ArgMax" else _MIN
    best = _reduce(tensor, layout, (axis,), True, combine)
    at = _keeping(layout, (axis,))
    last = bool(node.attribute("select_last_index", 0))
    missing = tx.const(-1 if last else size, "int64")
    place = te.compute(
        tensor.shape,
        lambda *i: tx.Select(
            tx.EQ(tensor(*i), best(*at(i))), i[layout.index(axis)].astype("int64"), missing
        ),
        name="place",
    )
    found = _reduce(place, layout, (axis,), keep, _MAX if last else _MIN)
    return [te.compute(found.shape, lambda *i: found(*i), name="position")]
