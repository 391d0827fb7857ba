"""Pooling over channel-last activations, for any number of axes."""

from collections.abc import Sequence

from tvm import te, tirx
from tvm.ir import Expr

from burnish.backends.kernels.geometry import Axis
from burnish.backends.kernels.window import window

Ints = Sequence[int]


def max_pool(
    x: te.Tensor,
    *,
    kernel: Ints,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    ceil_mode: bool = False,
) -> te.Tensor:
    """The greatest element of each window of ``x`` ``[batch, *spatial, C]``.

    Args:
        x: activations, channels last.
        kernel: extents of the window, one per spatial axis as ``strides`` and ``dilations``.
        strides: distance of windows.
        pads: positions before each spatial axis, then positions after each, as ONNX orders them.
        dilations: distance of a window's positions.
        ceil_mode: whether a last window may reach beyond the padded input.

    Raises:
        ValueError: the window does not fit the padded input.
    """
    return window(x, _axes(x, kernel, strides, pads, dilations, ceil_mode), "max-pool")


def average_pool(
    x: te.Tensor,
    *,
    kernel: Ints,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    scale: Expr | None = None,
    zero: Expr | None = None,
) -> te.Tensor:
    """The mean of each window of ``x``; arguments as for `max_pool`.

    ``count_include_pad`` says whether padding counts as zeros; what a window of ``ceil_mode``
    reaches beyond the padding never counts. If there is a ``scale``, ``x`` has integers that stand
    for ``(x - zero) * scale``, float32: they are summed as such, exactly.
    """
    axes = _axes(x, kernel, strides, pads, dilations, ceil_mode)
    total = window(x, axes, "sum-pool")
    after = [pad if count_include_pad else 0 for pad in pads[len(axes) :]]
    before = [pad if count_include_pad else 0 for pad in pads[: len(axes)]]

    def positions(outputs: Sequence[Expr], before: Ints, after: Ints) -> Expr | int:
        count: Expr | int = 1
        for axis, output, low, high in zip(axes, outputs, before, after, strict=True):
            count = count * _reached(axis, output, low, high)
        return count

    def mean(n: Expr, *position: Expr) -> Expr:
        *outputs, channel = position
        count = positions(outputs, before, after)
        sums = total(n, *outputs, channel)
        if scale is not None:
            nothing = [0] * len(axes)
            less = (
                0 if zero is None else zero.astype(x.dtype) * positions(outputs, nothing, nothing)
            )
            sums = (sums - less).astype(scale.ty.dtype) * scale
        dtype = str(sums.ty)
        if isinstance(count, int):
            return sums * tirx.const(1.0 / count, dtype)
        return sums / tirx.Cast(dtype, count)

    return te.compute(total.shape, mean, name="mean")


def _axes(
    x: te.Tensor, kernel: Ints, strides: Ints, pads: Ints, dilations: Ints, ceil_mode: bool
) -> list[Axis]:
    count = len(kernel)
    axes = []
    for i in range(count):
        inputs = int(x.shape[i + 1])
        before, after = pads[i], pads[i + count]
        axis = Axis.gathering(inputs, kernel[i], strides[i], dilations[i], (before, after))
        # One more window where it begins within the input or the padding before it.
        reach = inputs + before + after - dilations[i] * (kernel[i] - 1) - 1
        if ceil_mode and reach % strides[i] and axis.outputs * strides[i] < inputs + before:
            axis = Axis(
                inputs, axis.outputs + 1, kernel[i], strides[i], dilations[i], before
            )  # fmt: skip
        axes.append(axis)
    return axes


def _reached(axis: Axis, output: Expr, before: int, after: int) -> Expr | int:
    """Positions of a window within the input and the padding that counts."""
    first = output * axis.stride - axis.pad
    low, high = -before, axis.inputs + after
    last = (axis.outputs - 1) * axis.stride - axis.pad + (axis.kernel - 1) * axis.dilation
    if -axis.pad >= low and last < high:
        return axis.kernel
    step = axis.dilation
    skipped = tirx.max(0, tirx.floordiv(low - first + step - 1, step))
    end = tirx.min(axis.kernel, tirx.floordiv(high - 1 - first, step) + 1)
    return end - skipped
