"""What a pass promises about numbers."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class Numerics(Enum):
    """How far outputs may move."""

    EXACT = "exact"
    """Bit-identical."""
    REASSOCIATES = "reassociates"
    """The same mathematics with other rounding."""
    LOSSY = "lossy"
    """Another function, judged by a guard metric."""


def loosest(promises: Iterable[Numerics]) -> Numerics:
    """What remains of several promises made one after the other."""
    order = list(Numerics)
    return max(promises, key=order.index, default=Numerics.EXACT)
