"""Whether numbers fit float16: how large they get, and what rounding takes away from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.ir import Array

LARGEST = float(np.finfo(np.float16).max)
"""65504."""
LOOKED_AT = 1 << 16
"""Elements of a sample that are rounded to see what that takes away."""


@dataclass(eq=False)
class HalfRange:
    """The largest of all numbers of a tensor, and the squared error of rounding them to float16."""

    largest: float = 0.0
    wrong: int = 0
    """Numbers that were NaN or infinite."""
    squares: float = 0.0
    lost: float = 0.0
    """Squared error, of as many numbers as ``squares``; those that do not fit are left out."""

    def update(self, array: Array) -> None:
        """Take in more values."""
        if not array.size:
            return
        largest = float(np.abs(array).max())
        if not np.isfinite(largest):
            finite = np.isfinite(array)
            self.wrong += int(array.size - finite.sum())
            array = np.where(finite, array, 0)
            largest = float(np.abs(array).max())
        self.largest = max(self.largest, largest)
        flat = array.reshape(-1)
        some = flat[:: max(1, flat.size // LOOKED_AT)].astype(np.float64)
        some = np.clip(some, -LARGEST, LARGEST)
        self.squares += float(np.square(some).sum())
        self.lost += float(np.square(some.astype(np.float16).astype(np.float64) - some).sum())

    def problem(self, headroom: float, loss: float) -> str | None:
        """Why the numbers do not fit, None if they do.

        Args:
            headroom: how many times the largest number has to fit.
            loss: part of the numbers that rounding may take away, as root mean square.
        """
        if self.wrong:
            return f"has {self.wrong} values that are no numbers"
        if self.largest > LARGEST:
            return f"reaches {self.largest:.6g}, and float16 ends at {LARGEST:.0f}"
        if self.largest * headroom > LARGEST:
            return (
                f"reaches {self.largest:.6g}, and {headroom:g} times that is more than "
                f"{LARGEST:.0f}, where float16 ends"
            )
        if self.lost > loss**2 * self.squares:
            part = np.sqrt(self.lost / self.squares)
            return f"is so small that float16 takes {part:.1%} of it away"
        return None
