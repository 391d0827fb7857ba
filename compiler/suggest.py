"""Messages for names that do not exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

MANY = 12
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


def no_input(name: str, inputs: Mapping[str, Sequence[int | str | None] | None]) -> str:
    """One sentence that says ``name`` is no input of a model, and what to give instead.

    Args:
        name: what was given.
        inputs: the declared shape of every input.
    """
    for known, shape in inputs.items():
        if name in (shape or ()):
            sizes = ",".join("?" if size is None else str(size) for size in shape or ())
            return (
                f"{name!r} is a size, not an input: give the whole shape, --input-shape "
                f"'{known}={sizes}' with numbers in place of the names"
            )
    return f"--input-shape {name}: {unknown('input', name, inputs)}"
