"""Convolutions over channel-last activations with packed weights, for any number of axes."""

from collections.abc import Sequence

from tvm import te, tirx
from tvm.ir import Expr

from burnish.backends.kernels.bfloat16 import PAIRS, Weights, reading
from burnish.backends.kernels.geometry import Axis
from burnish.backends.kernels.winograd import is_filter

Ints = Sequence[int]


def convolution(
    x: te.Tensor,
    weights: te.Tensor,
    *,
    columns: int,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    groups: int = 1,
    winograd: int = 1,
) -> te.Tensor:
    """Convolve ``x`` ``[batch, *spatial, I]`` to ``[batch, *outputs, columns]``.

    Args:
        x: activations, channels last.
        weights: as `packing.pack_convolution` writes them, or `packing.pairs` of that.
        columns: output channels of all groups.
        strides: one per spatial axis, as are ``dilations``.
        pads: positions before each spatial axis, then positions after each, as ONNX orders them.
        dilations: distance of kernel positions.
        groups: channel groups; depthwise ones have a kernel of their own.
        winograd: outputs along each axis that may share products, by minimal filtering; ignored
            where that does not apply.

    Raises:
        ValueError: the window does not fit the padded input.
    """
    axes = gathering_axes(*_sizes(x, weights), strides, pads, dilations)
    return convolution_over(x, weights, axes, columns=columns, groups=groups, winograd=winograd)


def convolution_over(
    x: te.Tensor,
    weights: te.Tensor | Weights,
    axes: Sequence[Axis],
    *,
    columns: int,
    groups: int = 1,
    winograd: int = 1,
) -> te.Tensor:
    """The same along any ``axes``, which may be those of a transposed convolution.

    Its weights are as `packing.pack_transposed_convolution` writes them. Each output gathers what
    reaches it, so that no two threads write one element.
    """
    held = reading(weights)
    sums_float = str(x.dtype) == "float32" and PAIRS not in held.attributes
    filtered = winograd if groups == 1 and sums_float and is_filter(axes) else 1
    return _contract(x, held, axes, columns, groups, filtered)


def scattered(
    x: te.Tensor, weights: te.Tensor, axes: Sequence[Axis], *, groups: int = 1
) -> te.Tensor:
    """A transposed convolution without code of its own for each phase of its ``axes``.

    For strides so large that this would be too much. Each output finds the few kernel positions
    that reach it by arithmetic.

    Args:
        x: activations ``[batch, *spatial, I]``.
        weights: ``[*kernel, I, O / groups]``.
        axes: as `scattering_axes` makes them.
        groups: channel groups.
    """
    per_group, depth = int(weights.shape[-1]), int(x.shape[-1]) // groups
    numbers = [te.reduce_axis((0, axis.meeting), f"tap{i}") for i, axis in enumerate(axes)]
    channel = te.reduce_axis((0, depth), "channel")

    def value(n: Expr, *position: Expr) -> Expr:
        *outputs, column = position
        met = [axis.met(*at) for axis, *at in zip(axes, outputs, numbers, strict=True)]
        taps, source, conditions = zip(*met, strict=True)
        inward = tirx.floordiv(column, per_group) * depth + channel
        term = x(n, *source, inward) * weights(*taps, inward, tirx.floormod(column, per_group))
        guards = [condition for each in conditions for condition in each]
        return te.sum(
            tirx.if_then_else(tirx.all(*guards), term, tirx.const(0, x.dtype)),
            axis=[*numbers, channel],
        )

    shape = (int(x.shape[0]), *(axis.outputs for axis in axes), per_group * groups)
    return te.compute(shape, value, name="scattered")


def gathering_axes(
    inputs: Ints, kernel: Ints, strides: Ints, pads: Ints, dilations: Ints
) -> list[Axis]:
    """The spatial axes of a convolution over ``inputs`` positions; the rest as for `convolution`.

    Raises:
        ValueError: the window does not fit the padded input.
    """
    sides = zip(pads, pads[len(strides) :], strict=False)
    each = zip(inputs, kernel, strides, dilations, sides, strict=True)
    return [Axis.gathering(*values) for values in each]


def scattering_axes(
    inputs: Ints,
    kernel: Ints,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    output_padding: Ints,
) -> list[Axis]:
    """The same of a transposed convolution; ``output_padding`` adds positions behind each axis."""
    count = len(strides)
    axes = []
    for i in range(count):
        extent = (inputs[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1
        outputs = extent + output_padding[i] - pads[i] - pads[i + count]
        axes.append(Axis(inputs[i], outputs, kernel[i], strides[i], dilations[i], pads[i], True))
    return axes


def _sizes(x: te.Tensor, weights: te.Tensor) -> tuple[list[int], list[int]]:
    """Inputs and kernel positions along each spatial axis."""
    count = len(x.shape) - 2
    sizes = [[int(e) for e in tensor.shape[1 : 1 + count]] for tensor in (x, weights)]
    return sizes[0], sizes[1]


def _contract(
    x: te.Tensor,
    weights: Weights,
    axes: Sequence[Axis],
    columns: int,
    groups: int,
    winograd: int = 1,
) -> te.Tensor:
    """Sum over kernel positions and input channels, everything within one block."""
    batch, lanes = int(x.shape[0]), int(weights.shape[len(axes) + 2])
    depth = int(x.shape[-1]) // groups
    per_group = columns // groups
    blocks = -(-per_group // lanes)
    taps = [te.reduce_axis((0, axis.taps), f"tap{i}") for i, axis in enumerate(axes)]
    channel = te.reduce_axis((0, depth), "channel")

    def value(n: Expr, *position: Expr) -> Expr:
        *outputs, column = position
        source, guards, places = [], [], []
        for axis, output, tap in zip(axes, outputs, taps, strict=True):
            index, conditions = axis.source(output, tap)
            source.append(index)
            guards += conditions
            places.append(axis.tap(output, tap))
        group: Expr | int = tirx.floordiv(column, per_group) if groups > 1 else 0
        within = tirx.floormod(column, per_group) if groups > 1 else column
        load = x(n, *source, group * depth + channel)
        if guards:
            load = tirx.if_then_else(tirx.all(*guards), load, tirx.const(0, x.dtype))
        block = group * blocks + tirx.floordiv(within, lanes)
        factor = weights(block, *places, channel, tirx.floormod(within, lanes))
        return te.sum(load * factor, axis=[*taps, channel])

    shape = (batch, *(axis.outputs for axis in axes), columns)
    attrs = {
        "burnish.role": "contraction",
        "burnish.axes": [axis.encode() for axis in (Axis(batch, batch), *axes)],
        "burnish.groups": groups,
        **weights.attributes,
        **({"burnish.winograd": winograd} if winograd > 1 else {}),
    }
    return te.compute(shape, value, name="convolution", attrs=attrs)
