"""Times of calls, by artifacts that are made up."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from burnish.compilation import Request
from burnish.errors import GateFailed
from burnish.ir import Graph
from burnish.quantization import gains
from burnish.quantization.gains import Clock
from burnish.selection import Selection
from burnish.target import resolve


class Fake:
    """An artifact of two calls, the first of which is faster the second time."""

    def __init__(self) -> None:
        self.first = iter([3.0, 1.0, *[2.0] * 20])

    def example(self) -> Any:
        return SimpleNamespace(inputs={})

    def run(self, inputs: object) -> None:
        pass

    def profile(self, inputs: object, repeat: int) -> list[Any]:
        return [SimpleNamespace(fastest=next(self.first)), SimpleNamespace(fastest=5.0)]

    def calls(self) -> list[Any]:
        return [SimpleNamespace(sources=("a", "b")), SimpleNamespace(sources=())]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    def made(self: Clock, graph: Graph) -> Fake:
        if self.request.target.is_host and graph.name == "wild":
            raise GateFailed("self-test failed")
        return Fake()

    monkeypatch.setattr(Clock, "_artifact", made)
    monkeypatch.setattr(gains, "machine_to_ourselves", nullcontext)
    return Clock(Request(resolve(), Selection(compiling=True)))


TIMES = [(("a", "b"), 1.0), ((), 5.0)]


def test_the_fastest_of_all_rounds_counts(clock: Clock) -> None:
    assert clock.calls([Graph("calm"), Graph("calm")]) == [TIMES, TIMES]


def test_models_that_fail_their_self_tests_are_timed_nevertheless(clock: Clock) -> None:
    assert clock.calls([Graph("calm"), Graph("wild")]) == [TIMES, TIMES]


def test_what_fails_unchecked_fails(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: Clock, graph: Graph) -> Fake:
        raise GateFailed("no")

    monkeypatch.setattr(Clock, "_artifact", cast(Any, failing))
    with pytest.raises(GateFailed, match="no"):
        clock.calls([Graph("calm")])
