"""Agendas: which pass comes next, while anything changes, never where it has nothing to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """A pass whose turn it is."""

    index: int
    round: int
    """How often it has been its turn before."""
    idle: bool
    """Whether the same pass has seen the graph as it is and changed nothing."""


class Agenda:
    """Turns of passes in order, round after round, until a round changes nothing."""

    def __init__(self, passes: Sequence[object], rounds: int) -> None:
        """Plan at most ``rounds`` rounds; equal ``passes`` count as one pass in several places."""
        self._same = [passes.index(step) for step in passes]
        self._rounds = rounds
        self._changes = 0
        self._left: dict[int, int] = {}
        """By pass: how many changes had been made when it last changed nothing."""
        self.settled = False
        """Whether the last round changed nothing."""

    def __iter__(self) -> Iterator[Turn]:
        for number in range(self._rounds):
            before = self._changes
            for index, same in enumerate(self._same):
                yield Turn(index, number, self._left.get(same) == self._changes)
            self.settled = self._changes == before
            if self.settled:
                return

    def done(self, turn: Turn, *, changed: bool) -> None:
        """The pass has been run."""
        self._changes += changed
        if not changed:
            self._left[self._same[turn.index]] = self._changes
