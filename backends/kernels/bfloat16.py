"""Numbers stored as bfloat16 and computed with as float32.

TVM rewrites its own bfloat16 to float32, so kernels see such numbers as their bits, uint16: the
upper half of the float32 number of the same value.
"""

from typing import Any

from tvm import te, tirx
from tvm.ir import Expr

from burnish.backends.kernels.decoded import Decoded

STORED = "uint16"
"""What kernels see elements of bfloat16 buffers as."""

PAIRS = "burnish.pairs"
"""Attribute of anchors that multiply bfloat16 numbers in pairs along the reduction."""


def widen(bits: Expr, width: int = 1) -> Expr:
    """The float32 values of a vector of ``width`` bfloat16 numbers, exactly."""
    suffix = f"x{width}" if width > 1 else ""
    half = tirx.const(16, "uint32")
    by = tirx.Broadcast(half, width) if width > 1 else half
    return tirx.reinterpret(f"float32{suffix}", bits.astype(f"uint32{suffix}") << by)


def narrow(single: Expr) -> Expr:
    """The bits of the bfloat16 number nearest to a float32 one, to even between two; NaN stays."""
    bits = tirx.Var("bits", "uint32")
    odd = (bits >> tirx.const(16, "uint32")) & tirx.const(1, "uint32")
    rounded = (bits + tirx.const(0x7FFF, "uint32") + odd) >> tirx.const(16, "uint32")
    is_nan = (bits & tirx.const(0x7FFFFFFF, "uint32")) > tirx.const(0x7F800000, "uint32")
    result = tirx.Select(is_nan, tirx.const(0x7FC0, "uint32"), rounded)
    return tirx.Let(bits, tirx.reinterpret("uint32", single), result).astype(STORED)


class Widened(Decoded):
    """A tensor of bfloat16 numbers that reads as one of float32 numbers."""

    def __init__(self, stored: te.Tensor) -> None:
        """Read ``stored``, whose elements are bits."""
        super().__init__(stored, lambda element, _: widen(element))


class Weights:
    """Packed weights ``[..., K, lanes]`` that read in their own type."""

    def __init__(self, stored: te.Tensor) -> None:
        """Read ``stored``."""
        self.stored = stored
        self.shape = tuple(stored.shape)
        self.attributes: dict[str, Any] = {}
        """What the anchor that reads them says of how it multiplies."""

    def __call__(self, *index: Any) -> Expr:
        """The weight at ``index``."""
        return self.stored(*index)


class NarrowWeights(Weights):
    """The same of bfloat16 numbers, which read as float32: one by one, or as `packing.pairs`."""

    def __init__(self, stored: te.Tensor) -> None:
        """Read ``stored``, whose last axis is that of a pair if it has two."""
        super().__init__(stored)
        self.in_pairs = int(stored.shape[-1]) == 2
        if self.in_pairs:
            *lead, pairs, lanes, _ = stored.shape
            self.shape = (*lead, pairs * 2, lanes)
            self.attributes[PAIRS] = 1

    def __call__(self, *index: Any) -> Expr:
        """The weight at ``index``."""
        if self.in_pairs:
            *lead, channel, lane = index
            index = (*lead, tirx.floordiv(channel, 2), lane, tirx.floormod(channel, 2))
        return widen(self.stored(*index))


def reading(weights: te.Tensor | Weights) -> Weights:
    """How packed weights are read."""
    if isinstance(weights, Weights):
        return weights
    return (NarrowWeights if str(weights.dtype) == STORED else Weights)(weights)
