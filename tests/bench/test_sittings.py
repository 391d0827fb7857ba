"""Who sits with whom and for how long, with engines and a clock that are made up."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from burnish.bench.sittings import EngineProblem, Pace, Table, Timings

PACE = Pace(seconds=1e9)
TRUE = {"whole": 0.010, "same": 0.010, "slow": 0.0105, "slower": 0.012, "fast": 0.008}


@dataclass
class Room:
    """Processes that take as long as they are told, give or take their luck."""

    true: Mapping[str, float]
    luck: float = 0.01
    seed: int = 0
    now: float = 0.0
    seated: list[str] = field(default_factory=list)
    most: int = 0
    starts: list[str] = field(default_factory=list)
    refused: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def start(self, name: str) -> Process:
        if name in self.refused:
            raise EngineProblem(f"no {name} today")
        self.seated.append(name)
        self.starts.append(name)
        self.most = max(self.most, len(self.seated))
        self.now += 0.3
        return Process(self, name, self.true[name] * (1 + self.random.gauss(0, self.luck)))

    def clock(self) -> float:
        return self.now


@dataclass
class Process:
    room: Room
    name: str
    seconds: float

    def time(self, count: int, *, warm: int) -> list[float]:
        self.room.now += self.seconds * (count + warm)
        return [self.seconds * (1 + self.room.random.random() / 100) for _ in range(count)]

    def end(self) -> None:
        self.room.seated.remove(self.name)


def measured(room: Room, pace: Pace = PACE) -> Timings:
    names = list(room.true)
    pairs = [(name, "whole") for name in names if name != "whole"]
    found = Table(room.start, pace, clock=room.clock).measure(names, pairs, "whole")
    assert room.seated == []
    return found


def signs(found: Timings) -> dict[str, int]:
    contrasts = found.contrasts()
    told = {}
    for name in TRUE:
        ratio = found.ratio(name, "whole", contrasts)
        if ratio is not None:
            told[name] = (ratio.low > 1) - (ratio.high < 1)
    return told


def test_differences_are_told_from_luck_on_every_run() -> None:
    for seed in range(5):
        told = signs(measured(Room(TRUE, seed=seed)))
        assert told == {"same": 0, "slow": 1, "slower": 1, "fast": -1}


def test_who_is_decided_rests() -> None:
    room = Room(TRUE, luck=0.004)
    measured(room)
    assert room.starts.count("slower") < PACE.most
    assert room.starts.count("slower") >= PACE.fewest


def test_groups_are_small_and_the_whole_is_in_each() -> None:
    true = {"whole": 0.01} | {f"v{number}": 0.01 + number / 1e5 for number in range(20)}
    room = Room(true)
    found = measured(room, Pace(seconds=1e9, together=4, most=3))
    assert room.most == 4
    assert all("whole" in sitting for sitting in found.sittings)
    assert set(found.seconds) == set(true)


def test_the_first_sitting_takes_place_however_little_time_there_is() -> None:
    found = measured(Room(TRUE), Pace(seconds=0.0))
    assert set(found.seconds) == set(TRUE)
    assert found.ratio("slow", "whole", found.contrasts()) is None
    found = measured(Room(TRUE), Pace(seconds=0.0, together=3))
    assert set(found.seconds) == {"whole", "same", "slow"}
    assert found.untimed == ["slower", "fast"]
    assert found.ratio("fast", "whole", found.contrasts()) is None


def test_the_first_round_ends_with_the_time() -> None:
    true = {"whole": 0.01} | {f"v{number}": 0.01 for number in range(100)}
    found = measured(Room(true), Pace(seconds=20.0))
    assert 20.0 <= found.spent < 25.0
    assert 10 < len(found.seconds) < 90
    assert found.untimed[-1] == "v99"


def test_time_ends_it() -> None:
    found = measured(Room(TRUE, luck=0.2), Pace(seconds=20.0))
    assert 20.0 <= found.spent < 30.0


def test_who_fails_leaves_and_the_others_stay() -> None:
    found = measured(Room(TRUE, refused=("same",)))
    assert found.failures == {"same": "no same today"}
    assert set(found.seconds) == set(TRUE) - {"same"}
    assert found.latency("same") is None
    assert found.ratio("same", "whole", found.contrasts()) is None


def test_a_process_counts_once_in_the_time_of_a_run() -> None:
    """Blocks of one process share its luck, so that many of them tell no more than it does."""
    few = Timings("whole", [], seconds={"whole": [[1.0, 1.1, 1.2], [2.0, 2.1, 2.2]]})
    found = few.latency("whole")
    assert found is not None
    assert (found.low, found.value, found.high) == (1.0, pytest.approx(1.6), 2.2)
    many = Timings("whole", [], seconds={"whole": [[n, n, 50.0] for n in range(1, 10)]})
    found = many.latency("whole")
    assert found is not None
    assert (found.low, found.value, found.high) == (2, 5, 8)
    assert many.blocks("whole") == 27
    assert many.blocks("other") == 0


def test_intervals_hold_for_all_ratios_that_are_told() -> None:
    """Of every variant the ratio to the whole, and of pairs that answer questions; each once."""
    pairs = [("a", "b"), ("b", "a"), ("a", "whole")]
    assert Timings("whole", pairs, names=["whole", "a", "b"]).looked_at == 3
    found = measured(Room(TRUE, luck=0.02), Pace(seconds=1e9, most=3))
    contrasts = found.contrasts()
    assert found.looked_at == len(TRUE) - 1
    assert found.ratio("slow", "whole", contrasts) == contrasts.ratio("slow", "whole", 4)


def test_nothing_is_timed_without_the_whole() -> None:
    found = measured(Room(TRUE, refused=("whole",)))
    assert set(found.failures) == {"whole"}
