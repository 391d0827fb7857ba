"""Text for people that fits their terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from burnish.wording import shortened, visible

WIDTH = 80
SHOWN = 3
"""Places named for each rule, unless -v asks for all."""


def wrapped(text: str, first: str, rest: str) -> str:
    """``text`` in lines of at most ``WIDTH``, after ``first`` and then ``rest``."""
    return textwrap.fill(
        visible(" ".join(text.split())), WIDTH, initial_indent=first, subsequent_indent=rest,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def place(nodes: Sequence[str], verbose: bool) -> str:
    """One place, by the first of its nodes."""
    names = [name for name in nodes if name]
    if not names:
        return "a node that passes made"
    return " ".join(names) if verbose else shortened(names[0])


def places(found: Sequence[Sequence[str]], verbose: bool) -> str:
    """A few of many places, each of them once."""
    unique = list(dict.fromkeys(tuple(nodes if verbose else nodes[:1]) for nodes in found))
    shown = unique if verbose else unique[:SHOWN]
    more = len(unique) - len(shown)
    return ", ".join(place(nodes, verbose) for nodes in shown) + (
        f" and {more} more" if more else ""
    )
