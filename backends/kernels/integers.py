"""Operands of products of bytes whose sums are exact in 32 bits."""

from typing import Any

from tvm import te, tirx
from tvm.ir import Expr

from burnish.backends.kernels.bfloat16 import Weights
from burnish.backends.kernels.quads import SIZE

QUADS = "burnish.quads"
"""Attribute of anchors that multiply bytes in quads along the reduction: how many bytes long it is,
and whether the signs of activations are turned round."""
SUMS = "int32"


class Integers:
    """A tensor of bytes that reads as one of 32-bit integers."""

    dtype = SUMS

    def __init__(self, stored: te.Tensor, flipped: bool = False) -> None:
        """Read ``stored``; with ``flipped`` each number, which has a sign, is 128 more."""
        self.stored = stored
        self.shape = tuple(stored.shape)
        self.flipped = flipped

    def __call__(self, *index: Any) -> Expr:
        """The value at ``index``."""
        value = self.stored(*index).astype(SUMS)
        return value + tirx.const(128, SUMS) if self.flipped else value


class Merged(Integers):
    """The same where adjacent positions of the last spatial axis are channels of one of them."""

    def __init__(self, inner: Integers, taps: int) -> None:
        """Read ``taps`` positions of ``inner`` ``[..., W, C]`` as ``taps * C`` channels."""
        super().__init__(inner.stored, inner.flipped)
        self._channels = int(inner.shape[-1])
        self.shape = (*inner.shape[:-1], taps * self._channels)

    def __call__(self, *index: Any) -> Expr:
        """The value at an index of the first position."""
        *lead, position, channel = index
        tap = tirx.floordiv(channel, self._channels)
        return super().__call__(*lead, position + tap, tirx.floormod(channel, self._channels))


class Packed(Weights):
    """Weights ``[..., depth, lanes]`` of bytes with sign, as `packing` writes them."""

    def __call__(self, *index: Any) -> Expr:
        """The weight at ``index``."""
        return self.stored(*index).astype(SUMS)


class Quads(Packed):
    """The same, as `packing.quads` of that."""

    def __init__(self, stored: te.Tensor, depth: int, flipped: bool) -> None:
        """Read ``stored``, whose anchor reads `Integers` that are ``flipped`` or not."""
        super().__init__(stored)
        *lead, _, lanes, _ = stored.shape
        self.shape = (*lead, depth, lanes)
        self.attributes[QUADS] = [depth, int(flipped)]
        self._depth = depth

    def __call__(self, *index: Any) -> Expr:
        """The weight at ``index``."""
        *lead, channel, lane = index
        rest = self._depth % SIZE
        if rest and self._depth > SIZE:
            # The last quad ends with the last byte.
            channel = tirx.Select(channel >= self._depth - rest, channel + SIZE - rest, channel)
        quad, byte = tirx.floordiv(channel, SIZE), tirx.floormod(channel, SIZE)
        return super().__call__(*lead, quad, lane, byte)
