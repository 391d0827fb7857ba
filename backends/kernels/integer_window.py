"""Depthwise convolution of bytes: every channel has a window of its own, summed in int32."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx
from tvm.ir import Expr

from burnish.backends.kernels.geometry import Axis
from burnish.backends.kernels.integers import SUMS
from burnish.backends.kernels.quads import SIZE as QUAD

SIGN = 128
"""What makes a byte with sign one without."""
QUADS = "depthwise-quads"
"""Role of windows that are summed by `QUAD` positions along one axis at once."""
WIDE = "depthwise-wide"
"""Role of windows whose elements are widened to 32 bits, one by one."""
AXIS, SHIFT, OUTSIDE = "burnish.quad", "burnish.shift", "burnish.outside"
"""Attributes of their anchors: that axis, what is added to make each byte unsigned, and what
positions outside the input count as where that is known (else it is an operand)."""
Number: TypeAlias = "Callable[[], Expr] | int"
"""A number, known or read, int32."""


def quad_axis(kernel: Sequence[int]) -> int:
    """The axis of a kernel along which positions are taken together.

    Not the last one if there is another: neighbours along it share what they read.
    """
    others = [axis for axis, extent in enumerate(kernel[:-1]) if extent > 1]
    return others[-1] if others else len(kernel) - 1


def pack_quads(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """``[C, 1, *kernel]`` to ``[*kernel, C, 4]``, one axis of the kernel by quads, zero padded."""
    moved = np.moveaxis(weights[:, 0], 0, -1)
    axis = quad_axis(moved.shape[:-1])
    missing = -moved.shape[axis] % QUAD
    padded = np.pad(moved, [(0, missing if i == axis else 0) for i in range(moved.ndim)])
    shape = padded.shape
    split = padded.reshape(*shape[:axis], shape[axis] // QUAD, QUAD, *shape[axis + 1 :])
    return np.ascontiguousarray(np.moveaxis(split, axis + 1, -1))


def depthwise_quads(
    x: te.Tensor, weights: te.Tensor, axes: Sequence[Axis], outside: Number
) -> te.Tensor:
    """Sums of the windows of ``x`` ``[batch, *spatial, C]``, uint8 or int8, in int32.

    Each element counts as an unsigned number, int8 ones 128 higher than they are; so does
    ``outside``, which positions outside the input have: a number, or what makes one.

    Args:
        x: activations, channels last.
        weights: int8, as `pack_quads` writes them.
        axes: one per spatial axis.
        outside: int32, from 0 to 255.
    """
    shift = SIGN if str(x.dtype) == "int8" else 0
    quad = quad_axis([axis.kernel for axis in axes])

    def term(load: Expr | None, taps: Sequence[Expr], channel: Expr) -> Expr:
        value = number(outside) if load is None else load + tirx.const(shift, SUMS)
        place = list(taps)
        place[quad] = tirx.floordiv(taps[quad], QUAD)
        weight = weights(*place, channel, tirx.floormod(taps[quad], QUAD))
        return value * weight.astype(SUMS)

    attrs = {AXIS: quad + 1, SHIFT: shift}
    known = {OUTSIDE: outside} if isinstance(outside, int) else {}
    return _window(x, axes, QUADS, term, attrs | known)


def depthwise_wide(
    x: te.Tensor, weights: te.Tensor, axes: Sequence[Axis], zero: Number
) -> te.Tensor:
    """The same of numbers less ``zero``; positions outside the input count for nothing.

    ``weights`` ``[*kernel, C]``, int8 or int16, are as `packing.pack_depthwise` writes them.
    """

    def term(load: Expr | None, taps: Sequence[Expr], channel: Expr) -> Expr:
        if load is None:
            return tirx.const(0, SUMS)
        return (load - number(zero)) * weights(*taps, channel).astype(SUMS)

    attrs = {OUTSIDE: zero} if isinstance(zero, int) else {}
    return _window(x, axes, WIDE, term, attrs)


def number(value: Number) -> Expr:
    """A number as an expression."""
    return tirx.const(value, SUMS) if isinstance(value, int) else value()


def _window(
    x: te.Tensor,
    axes: Sequence[Axis],
    role: str,
    term: Callable[[Expr | None, Sequence[Expr], Expr], Expr],
    attrs: dict[str, int],
) -> te.Tensor:
    """Sums of terms of an element, None outside the input, its kernel position and its channel."""
    batch, channels = int(x.shape[0]), int(x.shape[-1])
    taps = [te.reduce_axis((0, axis.kernel), f"tap{i}") for i, axis in enumerate(axes)]

    def value(n: Expr, *position: Expr) -> Expr:
        *outputs, channel = position
        source, guards = [], []
        for axis, output, tap in zip(axes, outputs, taps, strict=True):
            index, conditions = axis.source(output, tap)
            source.append(index)
            guards += conditions
        inside = term(x(n, *source, channel).astype(SUMS), taps, channel)
        if guards:
            inside = tirx.if_then_else(tirx.all(*guards), inside, term(None, taps, channel))
        return te.sum(inside, axis=taps)

    described = {
        "burnish.role": role,
        "burnish.axes": [axis.encode() for axis in (Axis(batch, batch), *axes)],
        **attrs,
    }
    shape = (batch, *(axis.outputs for axis in axes), channels)
    return te.compute(shape, value, name=role.replace("-", "_"), attrs=described)
