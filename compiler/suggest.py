"""Messages for names that do not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One sentence that says ``name`` is no ``kind`` and what was probably meant."""
    names = list(known)
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"unknown {kind} {name!r}; did you mean {' or '.join(close)}?"
    if not names:
        return f"unknown {kind} {name!r}; there are none"
    return f"unknown {kind} {name!r}; there are: {', '.join(names)}"
