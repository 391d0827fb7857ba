"""Verification: whether a rewritten graph still answers what the original answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from burnish.errors import GateFailed, UnsupportedModel, UsageError
from burnish.ir import Array, Graph
from burnish.numerics import Numerics

Feeds: TypeAlias = Mapping[str, Array]
"""One array per graph input, by name."""

SEEDS = (0, 1, 2)


class Disagreement(GateFailed):
    """A rewritten graph is broken, or answers something else than the original."""


class Reference:
    feeds: Sequence[Feeds]
