"""Names, counts and sizes as people read them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable

UNKNOWN = "–"
"""What stands where nothing was measured."""
LONGEST = 64
"""Characters of a name that are shown; the middle of longer ones is left out."""
FEW = 3
"""Reasons that one sentence names."""
_HIDDEN = frozenset({"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"})
"""Categories of characters that show nothing, command a terminal, change the order of what is
around them, or are none that XML takes."""


def visible(name: str) -> str:
    """``name`` with escapes for what cannot be shown, and for what would reorder it."""
    if name.isascii() and name.isprintable():
        return name
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _HIDDEN else char
        for char in name
    )


def printable(text: str) -> str:
    """The same of text that has lines and tabs."""
    return "\n".join("\t".join(map(visible, line.split("\t"))) for line in text.split("\n"))


def shortened(name: str, longest: int = LONGEST) -> str:
    """``name`` without its middle, if it has more than ``longest`` characters."""
    if len(name) <= longest:
        return name
    end = longest // 2 + 5
    return f"{name[: longest - end - 1]}…{name[-end:]}"


def counted(count: int, noun: str) -> str:
    """``1 place``, ``2 places``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def few(reasons: Iterable[str]) -> str:
    """The first reasons, each once, and how many others there are."""
    found = list(dict.fromkeys(reasons))
    rest = len(found) - FEW
    return "; ".join(
        [*found[:FEW], *([f"and {counted(rest, 'other reason')}"] if rest > 0 else [])]
    )


def counted_passes(count: int) -> str:
    """``1 pass``, ``2 passes``."""
    return "1 pass" if count == 1 else f"{count} passes"


def percent(share: float) -> str:
    """A share with two digits, or all before the point."""
    return f"{100 * share:,.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def data_size(count: int) -> str:
    """Bytes for people: ``4.7 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def duration(seconds: float | None) -> str:
    """A time with three digits: ``8.21 ms``."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    size = abs(seconds)
    if size >= 100:
        return f"{seconds / 60:.1f} min"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if size >= 0.9995 * scale:
            return f"{_three(seconds / scale)} {unit}"
    return f"{_three(seconds / 1e-9)} ns" if seconds else "0 s"


def _three(value: float) -> str:
    size = abs(value)
    digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value:.{digits}f}"


def agreement(error: float) -> str:
    """How near a result is to what was expected, by its largest relative error."""
    return "bit-identical" if error == 0 else f"largest relative error {error:.1e}"


def of_thousand(count: float) -> str:
    """A number for people, before its unit: ``1.25 G``."""
    for prefix in ("", "k", "M", "G"):
        if count < 999.5:
            return f"{count:.3g} {prefix}"
        count /= 1000
    return f"{count:.3g} T"
