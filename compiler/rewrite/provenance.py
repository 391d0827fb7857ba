"""Provenance: which nodes of the user's model a rewritten node stands for."""

from __future__ import annotations

from collections.abc import Iterable

MAX_SOURCES = 64
"""Names kept for one node. A node that stands for more is explained well enough by these, and a
chain of thousands that ends in one node would otherwise keep all the partial lists."""


def merged(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """The names in ``groups``, each once, the first ``MAX_SOURCES`` of them."""
    names: dict[str, None] = {}
    for group in groups:
        for name in group:
            names[name] = None
            if len(names) == MAX_SOURCES:
                return tuple(names)
    return tuple(names)
