"""Operators that move elements: each output element is one input element, or a constant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import tvm.tirx as tx
from tvm import te

from burnish.backends.lowering.attributes import integers, starts_and_steps
from burnish.backends.lowering.bfloat16 import table
from burnish.backends.lowering.elementwise import Expr, numpy_name, uniform_scalar
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.layout import Layout, physical
from burnish.backends.lowering.plan import picked, shape_of
from burnish.ir import OperatorNode, VariableNode

Index = Sequence[Expr]


def reshape(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Reshape and its kin where the bytes have to move: read in row-major order of the input.

    The operand is brought into row-major order by a copy; the result is a copy of that.
    """
    x = builder.read(node.input(0))
    old, new = tuple(int(d) for d in x.shape), shape_of(node.output)

    def element(*index: Expr) -> Expr:
        flat = tx.const(0, "int32")
        for i, size in zip(index, new, strict=True):
            flat = flat * size + i
        where = []
        for size in reversed(old):
            where.append(tx.indexmod(flat, size))
            flat = tx.indexdiv(flat, size)
        return x(*reversed(where))

    return [te.compute(new, element, name="reshape")]


def concat(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Concat along one axis, in the layout of the output."""
    layout = builder.layout(node.output)
    shape = shape_of(node.output)
    axis = layout.index(int(node.attribute("axis")) % len(shape))
    parts = [value for value in node.inputs if value is not None and 0 not in shape_of(value)]
    tensors = [builder.read(value, layout) for value in parts]
    ends = list(accumulate(int(tensor.shape[axis]) for tensor in tensors))

    def element(*index: Expr) -> Expr:
        result = None
        for tensor, end in reversed(list(zip(tensors, ends, strict=True))):
            start = end - int(tensor.shape[axis])
            where = list(index)
            where[axis] = index[axis] - start
            load = tensor(*where)
            result = load if result is None else tx.if_then_else(index[axis] < end, load, result)
        return result

    return [te.compute(physical(shape, layout), element, name="concat")]


def split(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Split along one axis into several outputs."""
    x = node.inputs[0]
    assert x is not None
    layout = builder.layout(x)
    axis = int(node.attribute("axis", 0)) % len(shape_of(x))
    start = 0
    results = []
    for value in node.outputs:
        size = shape_of(value)[axis]
        results.append(_window(builder, x, value, layout, {axis: (start, 1)}))
        start += size
    return results


def slice_(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Slice with constant starts and steps."""
    x = node.inputs[0]
    assert x is not None
    return [_window(builder, x, node.output, builder.layout(x), starts_and_steps(node))]


def _window(
    builder: KernelBuilder,
    x: VariableNode,
    output: VariableNode,
    layout: Layout,
    where: dict[int, tuple[int, int]],
) -> te.Tensor:
    """Elements of ``x`` at ``start + i * step`` along some logical axes."""
    tensor = builder.read(x, layout)

    def element(*index: Expr) -> Expr:
        moved = []
        for i, axis in zip(index, layout, strict=True):
            start, step = where.get(axis, (0, 1))
            moved.append(i * step + start)
        return tensor(*moved)

    return te.compute(physical(shape_of(output), layout), element, name="slice")


def pad(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Pad with constant amounts: constant, reflect, edge, wrap; negative amounts crop."""
    x = node.inputs[0]
    assert x is not None
    shape, layout = shape_of(x), builder.layout(node.output)
    tensor = builder.read(x, layout)
    pads = integers(node, 1) or []
    axes = integers(node, 3) or list(range(len(shape)))
    before = dict.fromkeys(range(len(shape)), 0)
    for position, axis in enumerate(axes):
        before[axis % len(shape)] = pads[position]
    mode = node.attribute("mode", "constant")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    fill = node.input(2)
    value = tx.const(0, str(tensor.dtype)) if fill is None else uniform_scalar(fill)
    wrap = _BORDERS.get(mode)
    output = shape_of(node.output)

    def element(*index: Expr) -> Expr:
        where: list[Expr] = []
        guards: list[Expr] = []
        for i, axis in zip(index, layout, strict=True):
            source, size = i - before[axis], shape[axis]
            if output[axis] == size and before[axis] == 0:
                where.append(i)
            elif wrap is not None:
                where.append(wrap(source, size))
            else:
                where.append(source)
                guards += [source >= 0, source < size]
        load = tensor(*where)
        last = layout[-1] if layout else 0
        if wrap is not None and layout and output[last] > shape[last]:
            # Between its borders the last axis is a plain copy: said apart, it becomes vectors.
            within = index[-1] - before[last]
            inside = tx.all(within >= 0, within < shape[last])
            return tx.if_then_else(inside, tensor(*where[:-1], within), load)
        return tx.if_then_else(tx.all(*guards), load, value) if guards else load

    return [te.compute(physical(output, layout), element, name="pad")]


def _reflect(i: Expr, size: int) -> Expr:
    period = max(1, 2 * (size - 1))
    folded = tx.indexmod(i + period * 8, period)
    return tx.Select(folded < size, folded, period - folded)


_BORDERS: dict[str, Callable[[Expr, int], Expr]] = {
    "reflect": _reflect,
    "edge": lambda i, size: tx.max(tx.min(i, size - 1), 0),
    "wrap": lambda i, size: tx.indexmod(i + size * 8, size),
}


def gather(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Gather along one axis by an index tensor of any rank; negative indices count from the end."""
    x, indices = node.inputs
    assert x is not None and indices is not None
    if (place := picked(node)) is not None:
        return [_position(builder, node, *place)]
    axis = int(node.attribute("axis", 0)) % len(shape_of(x))
    source, chosen = table(builder, x), builder.read(indices)
    size, rank = shape_of(x)[axis], len(shape_of(indices))
    known = uniform_scalar(indices)

    def element(*index: Expr) -> Expr:
        at = known if known is not None else chosen(*index[axis : axis + rank])
        row = _bounded(at, size)
        return source(*index[:axis], row, *index[axis + rank :])

    return [te.compute(shape_of(node.output), element, name="gather")]


def _position(builder: KernelBuilder, node: OperatorNode, axis: int, position: int) -> te.Tensor:
    """One known position along ``axis``, which is dropped."""
    x = node.inputs[0]
    assert x is not None
    layout = builder.layout(x)
    tensor, place = builder.read(x, layout), layout.index(axis)

    def element(*index: Expr) -> Expr:
        return tensor(*index[:place], tx.const(position, "int32"), *index[place:])

    shape = physical(shape_of(node.output), builder.layout(node.output))
    return te.compute(shape, element, name="gather")


def _bounded(at: Expr, size: int) -> Expr:
    """An index brought into range: negative ones count from the end, wild ones are clamped."""
    at = at.astype("int32")
    wrapped = tx.Select(at < 0, at + size, at)
    return tx.max(tx.min(wrapped, size - 1), 0)


def gather_elements(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """GatherElements: one index for each output element."""
    x, indices = node.inputs
    assert x is not None and indices is not None
    axis = int(node.attribute("axis", 0)) % len(shape_of(x))
    table, chosen = builder.read(x), builder.read(indices)

    def element(*index: Expr) -> Expr:
        where = list(index)
        where[axis] = _bounded(chosen(*index), shape_of(x)[axis])
        return table(*where)

    return [te.compute(shape_of(node.output), element, name="gather_elements")]


def gather_nd(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """GatherND with batch dimensions: the last axis of the indices addresses leading axes."""
    x, indices = node.inputs
    assert x is not None and indices is not None
    table, chosen = builder.read(x), builder.read(indices)
    batch = int(node.attribute("batch_dims", 0))
    shape, index_shape = shape_of(x), shape_of(indices)
    depth, outer = index_shape[-1], len(index_shape) - 1

    def element(*index: Expr) -> Expr:
        lead, tail = index[:outer], index[outer:]
        where = [
            _bounded(chosen(*lead, tx.const(k, "int32")), shape[batch + k]) for k in range(depth)
        ]
        return table(*lead[:batch], *where, *tail)

    return [te.compute(shape_of(node.output), element, name="gather_nd")]


def tile(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Tile: the input over and over along every axis.

    Each axis of the result is written as two, repeat and position, over the same bytes: remainders
    of an index keep loops from becoming vectors, and LLVM 22 miscompiles some of them.
    """
    x = builder.read(node.input(0))
    sizes = [int(extent) for extent in x.shape]
    shape: list[int] = []
    for whole, size in zip(shape_of(node.output), sizes, strict=True):
        shape += [whole // size if size else 0, size]

    def element(*index: Expr) -> Expr:
        return x(*index[1::2])

    return [te.compute(shape, element, name="tile")]


def one_hot(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """OneHot: on and off values chosen by comparing with the index along the new axis."""
    indices, _, values = node.inputs
    assert indices is not None and values is not None
    shape = shape_of(node.output)
    axis = int(node.attribute("axis", -1)) % len(shape)
    chosen, pair = builder.read(indices), builder.read(values)

    def element(*index: Expr) -> Expr:
        at = chosen(*index[:axis], *index[axis + 1 :]).astype("int32")
        at = tx.Select(at < 0, at + shape[axis], at)
        return tx.Select(tx.EQ(at, index[axis]), pair(1), pair(0))

    return [te.compute(shape, element, name="one_hot")]


def trilu(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """Trilu with a constant diagonal."""
    x = builder.read(node.input(0))
    k = node.constant_input(1)
    diagonal = 0 if k is None else int(k.numpy().reshape(()))
    upper = bool(node.attribute("upper", 1))
    zero = tx.const(0, str(x.dtype))

    def element(*index: Expr) -> Expr:
        row, column = index[-2:]
        inside = column - row >= diagonal if upper else column - row <= diagonal
        return tx.Select(inside, x(*index), zero)

    return [te.compute(shape_of(node.output), element, name="trilu")]


def depth_to_space(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """DepthToSpace in both modes."""
    x = builder.read(node.input(0))
    block = int(node.attribute("blocksize"))
    mode = node.attribute("mode", "DCR")
    depth = shape_of(node.output)[1]
    column_first = mode in ("CRD", b"CRD")

    def element(n: Expr, c: Expr, y: Expr, z: Expr) -> Expr:
        inner = tx.indexmod(y, block) * block + tx.indexmod(z, block)
        channel = c * (block * block) + inner if column_first else inner * depth + c
        return x(n, channel, tx.indexdiv(y, block), tx.indexdiv(z, block))

    return [te.compute(shape_of(node.output), element, name="depth_to_space")]


def space_to_depth(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """SpaceToDepth in both modes."""
    x = builder.read(node.input(0))
    block = int(node.attribute("blocksize"))
    channels = int(x.shape[1])
    column_first = node.attribute("mode", "DCR") in ("CRD", b"CRD")

    def element(n: Expr, c: Expr, y: Expr, z: Expr) -> Expr:
        if column_first:
            channel, inner = tx.indexdiv(c, block * block), tx.indexmod(c, block * block)
        else:
            inner, channel = tx.indexdiv(c, channels), tx.indexmod(c, channels)
        return x(
            n, channel, y * block + tx.indexdiv(inner, block), z * block + tx.indexmod(inner, block)
        )

    return [te.compute(shape_of(node.output), element, name="space_to_depth")]


def constant_of_shape(builder: KernelBuilder, node: OperatorNode) -> list[te.Tensor]:
    """ConstantOfShape with a known shape."""
    fill = node.attribute("value")
    dtype = numpy_name(node.output.dtype)
    number = 0 if fill is None else np.asarray(fill.numpy()).reshape(-1)[0].item()
    value = tx.const(number, dtype)
    return [te.compute(shape_of(node.output), lambda *i: value, name="constant")]
