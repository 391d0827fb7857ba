"""What a pass promises about numbers."""

from __future__ import annotations

from enum import Enum


class Numerics(Enum):
    """How far outputs may move."""

    EXACT = "exact"
    """Bit-identical."""
    REASSOCIATES = "reassociates"
    """The same mathematics with other rounding."""
    LOSSY = "lossy"
    """Another function, judged by a guard metric."""
