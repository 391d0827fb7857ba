"""The formats of quantized numbers, by target, and the scale and zero point of a range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.calibration.formats import S8, S8_SYMMETRIC, U8, Format, Interval
from burnish.ir import Array, DType
from burnish.target import Target

WEIGHTS = S8_SYMMETRIC
REDUCED_WEIGHTS = Format(-63, 63, symmetric=True)
"""Sums of two products of these with unsigned bytes fit 16 bits."""


@dataclass(frozen=True)
class Scaling:
    """How integers of 8 bits stand for numbers: ``(integer - zero) * scale``."""

    dtype: DType
    format: Format
    scale: np.float32
    zero: int

    @classmethod
    def over(cls, interval: Interval, dtype: DType) -> Scaling:
        """The scaling of ``dtype`` that covers ``interval``."""
        format = U8 if dtype is DType.UINT8 else S8
        return cls(dtype, format, *format.parameters(interval))

    @property
    def low(self) -> float:
        """The least number that is represented."""
        return float((self.format.low - self.zero) * self.scale)

    @property
    def high(self) -> float:
        """The greatest number that is represented."""
        return float((self.format.high - self.zero) * self.scale)

    def parameters(self) -> tuple[Array, Array]:
        """Scale and zero point as scalars."""
        return np.array(self.scale), np.array(self.zero, self.dtype.numpy)


def activation_dtype(target: Target | None) -> DType:
    """What values are stored as; None stands for ONNX Runtime on x86.

    Products of unsigned with signed numbers are what x86 has instructions for; ARM multiplies
    signed by signed.
    """
    is_arm = target is not None and target.arch in ("aarch64", "arm")
    return DType.INT8 if is_arm else DType.UINT8
