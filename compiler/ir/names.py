"""The one authority for names: unique on export, stable when generated."""

from __future__ import annotations

from collections.abc import Iterable


class Names:
    """Hands out names, never the same one twice.

    Reserved names (the model's own inputs and outputs) are never given to anything else.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        """Start with ``reserved`` names taken; the empty name is never given."""
        self._taken = {"", *reserved}
        self._next: dict[str, int] = {}

    def fresh(self, hint: str) -> str:
        """``hint`` itself if it is free, else ``hint`` with the lowest free number behind it."""
        if hint not in self._taken:
            self._taken.add(hint)
            return hint
        stem = hint or "value"
        number = self._next.get(stem, 1 if hint else 0)
        while (name := f"{stem}_{number}") in self._taken:
            number += 1
        self._next[stem] = number + 1
        self._taken.add(name)
        return name
