"""Contractions of bytes with constant weights: what kernels multiply, and what corrects their sums.

Kernels sum products of bytes as they are stored: activations without sign, or shifted by 128 so
that they have none, by weights with sign. With x and w the stored numbers, a and z their zero
points, the result over all kernel positions inside the input is

    sum (x - a) (w - z) = sum x v + d sum x - a sum (w - z)        where w - z = v + d

and v has 8 bits. Its last term depends on the weights and on which positions lie inside: a small
table. d is 0 unless some w - z need more than 8 bits. All of this is exact modulo 2**32, as ONNX
has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from tvm import te, tirx
from tvm.ir import Expr

from burnish.backends.kernels import packing
from burnish.backends.kernels.geometry import Axis
from burnish.backends.kernels.integer_window import Number
from burnish.backends.kernels.integers import SUMS, Integers, Packed, Quads
from burnish.backends.kernels.quads import SIZE
from burnish.backends.lowering.emitter import KernelBuilder
from burnish.ir import Array, VariableNode

X86 = "x86_64"
"""Processors with instructions for quads."""
Zero: TypeAlias = "int | Callable[[Sequence[Expr]], Expr]"
"""A zero point: known, or read at an index."""
Place: TypeAlias = Callable[[Sequence[Expr]], Sequence[Expr]]
"""The index of what is read at an index."""
_FEWER = 0.9
"""What merging must leave of quads."""
_BORDERS = 12
"""Most variants of weights for borders: there is code for each."""
SHIFT = 128
"""What is added to numbers with sign, or taken from those without, to turn one into the other."""


@dataclass(frozen=True)
class Centred:
    """Constant weights in 8 bits with sign."""

    values: Array
    """v, int8 ``[O, I / groups, *kernel]``."""
    true: Array
    """w - z, int32 of the same shape."""
    rest: Array
    """d, int32 ``[O]``."""

    @classmethod
    def of(cls, weights: Array, zero: Array) -> Centred:
        """The weights ``[O, ...]`` less their zero points, one or one for each of ``O``."""
        outputs = len(weights)
        per_channel = np.broadcast_to(zero.astype(np.int32).reshape(-1), (outputs,))
        spread = per_channel.reshape(outputs, *(1 for _ in weights.shape[1:]))
        true = weights.astype(np.int32) - spread
        flat = true.reshape(outputs, -1)
        fits = (flat.min(axis=1, initial=0) >= -128) & (flat.max(axis=1, initial=0) <= 127)
        shift = SHIFT if weights.dtype == np.uint8 else 0
        rest = np.where(fits, 0, shift - per_channel).astype(np.int32)
        values = true - rest.reshape(spread.shape)
        return cls(values.astype(np.int8), true, rest)

    def ordered(self, order: Sequence[int]) -> Centred:
        """The same with kernel axes, counted from 0, in another order."""
        moved = (0, 1, *(axis + 2 for axis in order))
        return Centred(self.values.transpose(moved), self.true.transpose(moved), self.rest)

    def mirrored(self) -> Centred:
        """The same with kernel positions in opposite order along each axis."""
        return Centred(packing.mirrored(self.values), packing.mirrored(self.true), self.rest)


def border_classes(axis: Axis) -> tuple[Array, Array]:
    """Which outputs along ``axis`` reach which kernel positions.

    Returns:
        For each output the number of its class, int32, and for each class 1 where it reaches the
        kernel position and 0 elsewhere, int32 ``[classes, kernel]``.
    """
    found: dict[tuple[int, ...], int] = {}
    numbers = np.zeros(axis.outputs, np.int32)
    for phase in axis.phases():
        for t in range(phase.count):
            taps = phase.taps
            reached = [taps.kernel + j * taps.kernel_step for j in phase.valid(t, axis.inputs)]
            number = found.setdefault(tuple(sorted(reached)), len(found))
            numbers[phase.first + t * phase.output_step] = number
    reaches = np.zeros((len(found), axis.kernel), np.int32)
    for reached_taps, number in found.items():
        reaches[number, list(reached_taps)] = 1
    return numbers, reaches


def window_sums(true: Array, reaches: Sequence[Array]) -> Array:
    """Sums of weights ``[O, I / groups, *kernel]`` over what each class of outputs reaches.

    Args:
        true: int32.
        reaches: of each spatial axis, as `border_classes` gives them.

    Returns:
        int32 ``[*classes, O]``, modulo 2**32.
    """
    sums = true.sum(axis=1, dtype=np.int32)
    for reach in reaches:
        # The first kernel axis goes, that of its classes comes last.
        sums = np.tensordot(sums, reach, ((1,), (1,)))
    return np.ascontiguousarray(np.moveaxis(sums, 0, -1).astype(SUMS))


def merging(axis: Axis, depth: int) -> Axis | None:
    """The last spatial axis of a convolution with its kernel positions as channels.

    None unless that makes quads fewer, or whole: those of a few channels are zeros in part.

    Args:
        axis: of a convolution without groups.
        depth: channels.
    """
    if axis.transposed or axis.dilation > 1 or axis.pad < 0:
        return None
    if axis.kernel == 1 or axis.inputs < axis.kernel:
        return None
    apart, together = axis.kernel * -(-depth // SIZE), -(-axis.kernel * depth // SIZE)
    merged = replace(axis, merged=True)
    pays = together <= _FEWER * apart or depth < SIZE
    return merged if pays and len(merged.shifts) <= _BORDERS else None


def merge_weights(weights: Array, axis: Axis) -> Array:
    """``[O, I, *kernel]`` as ``[O, taps * I, *kernel, variants]`` without the last kernel axis.

    ``axis`` is merged, and has a variant for outputs away from borders and one for each other.
    """
    found = []
    for shift in axis.shifts:
        moved = np.zeros_like(weights)
        for tap in range(max(0, -shift), min(axis.kernel, axis.kernel - shift)):
            moved[..., tap] = weights[..., tap + shift]
        # Channels of a position lie next to each other.
        turned = np.moveaxis(moved, -1, 1)
        found.append(turned.reshape(len(weights), -1, *weights.shape[2:-1]))
    return np.stack(found, -1)


def known_zero(value: VariableNode | None) -> Array | None:
    """A zero point, 0 where there is none; None if it is computed."""
    if value is None:
        return np.zeros((), np.uint8)
    return None if value.constant is None else value.constant.numpy()


def in_quads(builder: KernelBuilder) -> bool:
    """Whether kernels sum four products at a time."""
    return builder.target.arch == X86


def scalar_zero(builder: KernelBuilder, value: VariableNode | None) -> Number:
    """A zero point of all elements."""
    known = known_zero(value)
    if known is not None:
        return int(known.reshape(()))
    tensor = builder.read(value)

    def read() -> Expr:
        return tensor(*[tirx.const(0, "int32")] * len(tensor.shape)).astype(SUMS)

    return read


class Operands:
    """What a kernel with constant weights multiplies.

    Weights lie in quads for processors that sum four products at a time, and activations with sign
    are shifted for them.
    """

    def __init__(
        self, builder: KernelBuilder, x: te.Tensor, weights: Centred, key: tuple[object, ...]
    ) -> None:
        """Multiply ``x``; ``key`` stands for the weights and the order of their axes."""
        self._builder, self._key = builder, key
        self.in_quads = in_quads(builder)
        self.weights = weights
        self.x = Integers(x, self.in_quads and str(x.dtype) == "int8")

    @property
    def lanes(self) -> int:
        """Sums in a vector."""
        return self._builder.target.lanes(SUMS)

    def packed(self, array: Array, *key: object) -> Packed:
        """Weights ``[..., K, lanes]``, int8, as the kernel reads them."""
        if not self.in_quads:
            return Packed(self._builder.weights(array, (*self._key, *key)))
        held = self._builder.weights(packing.quads(array), (*self._key, *key, "quads"))
        return Quads(held, array.shape[-2], self.x.flipped)

    def corrected(self, sums: te.Tensor, correction: Correction) -> te.Tensor:
        """The result from ``sums`` of products, channels last."""
        shift = SHIFT if self.x.flipped else 0
        zero, table, rest = correction.zero, correction.table, correction.rest
        if isinstance(zero, int):
            table = table * np.int32(zero + shift)
        if not table.any() and rest is None:
            return sums
        held = self._builder.weights(table)
        factors = self._builder.weights(self.weights.rest)

        def value(*index: Expr) -> Expr:
            term = held(*correction.at(index), index[-1])
            if not isinstance(zero, int):
                term = term * (zero(index) + tirx.const(shift, SUMS))
            result = sums(*index) - term
            return result if rest is None else result + factors(index[-1]) * rest(*index)

        return te.compute(sums.shape, value, name="zero")


@dataclass(frozen=True)
class Correction:
    """What becomes of sums of products of bytes as they are stored."""

    zero: Zero
    """The zero point of activations."""
    table: Array
    """Sums of weights less their zero points, int32 ``[*classes, O]``."""
    at: Place
    """The class of an index of the result."""
    rest: Callable[..., Expr] | None
    """Sums of activations at an index of the result, if weights need them."""
