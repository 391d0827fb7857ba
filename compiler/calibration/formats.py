"""Integer formats, and the scale and zero point with which one covers an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.ir import Array

LEAST_SCALE = 2.0**-126
"""The smallest float32 whose reciprocal is one as well, without losing bits."""


@dataclass(frozen=True, slots=True)
class Interval:
    """What values an integer format covers; zero is always among them."""

    low: float
    high: float

    @classmethod
    def over(cls, low: float, high: float) -> Interval:
        """The smallest interval with zero, ``low`` and ``high``; only zero if there is no such.

        The range of a tensor that was empty or never finite has ``low`` above ``high``.
        """
        return cls(0.0, 0.0) if low > high else cls(min(low, 0.0), max(high, 0.0))

    def clipped(self, ratio: float) -> Interval:
        """Both ends that many times as far from zero."""
        return Interval(self.low * ratio, self.high * ratio)

    @property
    def reach(self) -> float:
        """The larger magnitude of both ends."""
        return max(-self.low, self.high)


@dataclass(frozen=True, slots=True)
class Format:
    """Integers from ``low`` to ``high``, affine or, if ``symmetric``, with zero point 0."""

    low: int
    high: int
    symmetric: bool = False

    @property
    def levels(self) -> int:
        """How many different values there are."""
        return self.high - self.low + 1

    def parameters(self, interval: Interval) -> tuple[np.float32, int]:
        """The scale and the zero point that cover ``interval``.

        Zero is represented exactly. An interval of one point, that is zero alone, has scale 1; no
        scale is so small that its reciprocal overflows.
        """
        if self.symmetric:
            span = interval.reach / min(-self.low, self.high)
        else:
            span = (interval.high - interval.low) / (self.high - self.low)
        if span == 0:
            return np.float32(1), min(max(0, self.low), self.high)
        scale = np.float32(max(span, LEAST_SCALE))
        if self.symmetric:
            return scale, 0
        zero = self.low - round(interval.low / float(scale))
        return scale, min(max(zero, self.low), self.high)

    def rounded(self, values: Array, interval: Interval) -> Array:
        """``values`` as they are after they went through the format, in their own type."""
        scale, zero = self.parameters(interval)
        steps = np.rint(values / scale.astype(values.dtype))
        np.clip(steps, self.low - zero, self.high - zero, out=steps)
        return np.asarray(steps * scale.astype(values.dtype))


U8 = Format(0, 255)
"""Activations where products take unsigned by signed bytes."""
U7 = Format(0, 127)
"""Activations where pairs of products would saturate 16 bits otherwise."""
S8 = Format(-128, 127)
"""Activations where products take signed by signed bytes."""
S8_SYMMETRIC = Format(-127, 127, symmetric=True)
"""Weights."""
