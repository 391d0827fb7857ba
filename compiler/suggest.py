"""Messages for names that do not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MANY = 40
"""Names that one message lists."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Those of ``known`` that are most like ``name``, if any are."""
    return get_close_matches(name, list(known), n=count, cutoff=0.5)


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One sentence that says ``name`` is no ``kind`` and what was probably meant."""
    names = list(known)
    close = nearest(name, names)
    if close:
        return f"unknown {kind} {name!r}; did you mean {' or '.join(close)}?"
    if not names:
        return f"unknown {kind} {name!r}; there are none"
    some = ", ".join(names[:MANY]) + (f" and {len(names) - MANY} more" if names[MANY:] else "")
    return f"unknown {kind} {name!r}; there are: {some}"
