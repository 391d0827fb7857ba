"""Rules: pattern, guard, rewrite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any as AnyType

from burnish.rewrite.match import Match, Miss
from burnish.rewrite.pattern import Pattern
from burnish.rewrite.rewriter import Rewriter


def always(match: Match) -> None:
    """A guard that has nothing to check."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rewrite: where it may apply, when it is legal, what it puts there.

    The guard returns facts for the rewrite (any frozen value, None if there are none to pass) or a
    ``Miss`` with the reason. The rewrite replaces the outputs of ``match.root``; matched nodes that
    nobody reads afterwards are erased by the driver. Rules hold no state.
    """

    name: str
    pattern: Pattern
    rewrite: Callable[[Rewriter, Match, AnyType], None]
    guard: Callable[[Match], AnyType | Miss] = always
    since: int = 1
    """The first opset that has every operator which the rewrite writes."""
