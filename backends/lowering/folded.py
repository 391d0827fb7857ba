"""Convolutions to few channels that are computed in blocks of outputs, by kernels of their own."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tvm import te
from tvm.ir import Expr

from burnish.backends.kernels import packing
from burnish.backends.kernels.bfloat16 import Widened
from burnish.backends.kernels.convolution import convolution_over
from burnish.backends.kernels.folding import Costs, Folding, fold_weights, folding
from burnish.backends.kernels.geometry import Axis
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.backends.lowering.plan import shape_of
from burnish.backends.program import Buffer
from burnish.ir import Array, DType, OperatorNode


def folded_convolution(
    builder: KernelBuilder, node: OperatorNode, weights: Array | None, axes: Sequence[Axis]
) -> te.Tensor | None:
    """The sums of a Conv or ConvTranspose in its output's layout, None if folding does not pay.

    Args:
        builder: of the kernel that reads the sums.
        node: a convolution with channels last.
        weights: ``[O, I / groups, *kernel]``, None if they are computed.
        axes: in the order in which they lie, as in ``weights``.
    """
    x, given = node.inputs[:2]
    assert x is not None and given is not None
    if weights is None or x.dtype is not DType.FLOAT:
        return None
    groups = int(node.attribute("group", 1))
    columns, depth, *_ = weights.shape
    batch, lanes = shape_of(x)[0], builder.target.lanes("float32")
    winograd = builder.emitter.winograd if groups == 1 else 1
    found = folding(axes, Costs(batch, depth, columns // groups, lanes, winograd, groups))
    if found is None:
        return None
    inner = KernelBuilder(builder.emitter, pitched=True)
    inner.flops = builder.flops
    layout = builder.layout(node.output)
    source = inner.factor(x, layout)
    if isinstance(source, Widened):
        return None
    held = _sums(inner, node, source, weights, found, (id(given.constant), node.op_type, *layout))
    if groups > 1 or not all(axis.is_single for axis in found[:-1]):
        held = _in_lines(builder, node, held, found, groups)
    lines = [axis.folded.outputs * axis.block for axis in found]
    sums = builder.argument(builder.emitter.view(held, (batch, *lines, columns)))
    outputs = [axis.outputs for axis in axes]
    skips = [0, *(axis.skip for axis in found), 0]

    def kept(*index: Expr) -> Expr:
        return sums(*(i + skip if skip else i for i, skip in zip(index, skips, strict=True)))

    return te.compute((batch, *outputs, columns), kept, name="crop")


def _sums(
    inner: KernelBuilder,
    node: OperatorNode,
    source: te.Tensor,
    weights: Array,
    axes: Folding,
    key: tuple[object, ...],
) -> Buffer:
    """``[batch, *blocks, groups, *block, C / groups]``, summed by a kernel of its own.

    ``key`` stands for the weights and the order of their axes.
    """
    emitter, shape = inner.emitter, [axis.block for axis in axes]
    groups = int(node.attribute("group", 1))
    count = prod(shape) * len(weights)
    width = packing.lane_count(count // groups, inner.target.lanes("float32"))
    packed = packing.pack_convolution(fold_weights(weights, axes, groups), width, groups)
    placed = [
        (a.block, a.skip, a.axis.stride, a.axis.dilation, a.axis.pad, a.axis.transposed)
        for a in axes
    ]
    operand = inner.weights(packed, (*key, groups, width, *placed))
    folded = [axis.folded for axis in axes]
    sums = convolution_over(
        source, operand, folded, columns=count, groups=groups, winograd=emitter.winograd
    )
    held = emitter.temporary(f"{node.name}.folded", [int(e) for e in sums.shape], "float32")
    emitter.launch(inner, [sums], [held], (node,), node.op_type.lower(), inner.flops)
    return held


def _in_lines(
    builder: KernelBuilder, node: OperatorNode, held: Buffer, axes: Folding, groups: int
) -> Buffer:
    """``[batch, *blocks, groups, *block, C / groups]`` as ``[batch, blocks, block, ..., C]``."""
    emitter, count = builder.emitter, len(axes)
    inner = KernelBuilder(emitter)
    blocks = [axis.block for axis in axes]
    columns = held.shape[-1] // (groups * prod(blocks))
    if groups == 1:
        # The last block and its channels stay next to each other.
        *blocks, last = blocks
        shape, at = [*blocks, last * columns], count + 1
        places = [i for axis in range(count - 1) for i in (1 + axis, at + axis)]
        places = [0, *places, count, at + count - 1]
    else:
        shape, at = [groups, *blocks, columns], count + 2
        places = [i for axis in range(count) for i in (1 + axis, at + axis)]
        places = [0, *places, at - 1, at + count]
    source = inner.argument(emitter.view(held, (*held.shape[:-1], *shape)))

    def element(*index: Expr) -> Expr:
        return source(*(index[places.index(axis)] for axis in range(len(places))))

    moved = emitter.temporary(
        f"{node.name}.unfolded", [int(source.shape[axis]) for axis in places], "float32"
    )
    result = te.compute(moved.shape, element, name="transpose")
    emitter.launch(inner, [result], [moved], (node,), "transpose")
    return moved
