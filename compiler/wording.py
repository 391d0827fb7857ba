"""Names, counts and sizes as people read them."""

from __future__ import annotations

LONGEST = 64
"""Characters of a name that are shown; the middle of longer ones is left out."""


def shortened(name: str, longest: int = LONGEST) -> str:
    """``name`` without its middle, if it has more than ``longest`` characters."""
    if len(name) <= longest:
        return name
    end = longest // 2 + 5
    return f"{name[: longest - end - 1]}…{name[-end:]}"


def counted(count: int, noun: str) -> str:
    """``1 place``, ``2 places``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def data_size(count: int) -> str:
    """Bytes for people: ``4.7 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def of_thousand(count: float) -> str:
    """A number for people, before its unit: ``1.25 G``."""
    for prefix in ("", "k", "M", "G"):
        if count < 999.5:
            return f"{count:.3g} {prefix}"
        count /= 1000
    return f"{count:.3g} T"
