"""How many examples tests draw that compile each one."""

from __future__ import annotations

from hypothesis import settings

_USUAL = 100  # what Hypothesis draws where nobody says how many


def few(count: int) -> int:
    """``count`` examples, or more under a profile that draws more: see ``tests/conftest.py``."""
    return max(1, count * settings().max_examples // _USUAL)
