"""What can go wrong, each with the exit code that the command line returns for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from burnish.gates import Gate


class BurnishError(Exception):
    """Base of every expected failure: one clear message that says why and what to do next."""

    exit_code = 1


class UnsupportedModel(BurnishError):
    """The model or the target cannot be handled, though the input is valid."""

    exit_code = 1


class UsageError(BurnishError, ValueError):
    """An option, pass, target or argument that does not exist or does not fit."""

    exit_code = 2


class GateFailed(BurnishError):
    """A check that the user asked for did not hold: numerics, budget, self-test."""

    exit_code = 3

    def __init__(self, message: str, gates: Sequence[Gate] = ()) -> None:
        super().__init__(message)
        self.gates = tuple(gates)
        """All budgets that were judged, those that hold too; empty for other checks."""


class InvalidInput(BurnishError):
    """A file that is missing, malformed, truncated or hostile."""

    exit_code = 4
