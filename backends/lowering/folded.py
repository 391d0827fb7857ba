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
        weights: ``[O, I, *kernel]``, None if they are computed.
        axes: in the order in which they lie, as in ``weights``.
    """
    x, given = node.inputs[:2]
    assert x is not None and given is not None
    if weights is None or node.attribute("group", 1) != 1 or x.dtype is not DType.FLOAT:
        return None
    columns, depth, *_ = weights.shape
    batch, lanes = shape_of(x)[0], builder.target.lanes("float32")
    found = folding(axes, Costs(batch, depth, columns, lanes, builder.emitter.winograd))
    if found is None:
        return None
    inner = KernelBuilder(builder.emitter, pitched=True)
    inner.flops = builder.flops
    layout = builder.layout(node.output)
    source = inner.read(x, layout)
    if isinstance(source, Widened):
        return None
    held = _sums(inner, node, source, weights, found, (id(given.constant), node.op_type, *layout))
    if not all(axis.is_single for axis in found[:-1]):
        held = _in_lines(builder, node, held, found)
    lines = [axis.folded.outputs * axis.block for axis in found]
    sums = builder.argument(builder.emitter.view(held, (batch, *lines, columns)))
    outputs = [axis.outputs for axis in axes]
    return te.compute((batch, *outputs, columns), lambda *index: sums(*index), name="crop")


def _sums(
    inner: KernelBuilder,
    node: OperatorNode,
    source: te.Tensor,
    weights: Array,
    axes: Folding,
    key: tuple[object, ...],
) -> Buffer:
    """``[batch, *blocks, *block, C]``, summed by a kernel of its own.

    ``key`` stands for the weights and the order of their axes.
    """
    emitter, shape = inner.emitter, [axis.block for axis in axes]
    count = prod(shape) * len(weights)
    width = packing.lane_count(count, inner.target.lanes("float32"))
    packed = packing.pack_convolution(fold_weights(weights, axes), width)
    placed = [
        (a.block, a.axis.stride, a.axis.dilation, a.axis.pad, a.axis.transposed) for a in axes
    ]
    operand = inner.weights(packed, (*key, width, *placed))
    folded = [axis.folded for axis in axes]
    sums = convolution_over(source, operand, folded, columns=count, winograd=emitter.winograd)
    held = emitter.temporary(f"{node.name}.folded", [int(e) for e in sums.shape], "float32")
    emitter.launch(inner, [sums], [held], (node,), node.op_type.lower(), inner.flops)
    return held


def _in_lines(builder: KernelBuilder, node: OperatorNode, held: Buffer, axes: Folding) -> Buffer:
    """``[batch, *blocks, *block, C]`` as ``[batch, blocks, block, ..., C]``, axis by axis."""
    emitter, count = builder.emitter, len(axes)
    inner = KernelBuilder(emitter)
    blocks = [axis.block for axis in axes[:-1]]
    source = inner.argument(
        emitter.view(held, (*held.shape[:-1], *blocks, held.shape[-1] // prod(blocks)))
    )
    places = [i for axis in range(count - 1) for i in (1 + axis, 1 + count + axis)]
    places = [0, *places, count, 2 * count]

    def element(*index: Expr) -> Expr:
        return source(*(index[places.index(axis)] for axis in range(len(places))))

    shape = [int(source.shape[axis]) for axis in places]
    moved = emitter.temporary(f"{node.name}.unfolded", shape, "float32")
    result = te.compute(shape, element, name="transpose")
    emitter.launch(inner, [result], [moved], (node,), "transpose")
    return moved
