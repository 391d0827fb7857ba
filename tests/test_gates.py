from __future__ import annotations

from typing import Any

import pytest

from burnish.errors import GateFailed, UsageError
from burnish.gates import Budgets, Found, drop_in_points, judge, parse_bytes, require

EVERY = Budgets(size=10_000_000, arena=1000, max_drop=0.5, min_speedup=1.2)
GOOD = Found(size=10_000_000, arena=1000, drop=0.5, speedup=1.2)


def test_budgets_that_are_just_met_hold() -> None:
    gates = judge(EVERY, GOOD)
    assert [gate.name for gate in gates] == ["size", "arena", "max-drop", "min-speedup"]
    assert all(gate.passed for gate in gates)
    require(gates)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("size", Found(10_000_001, 1000, 0.5, 1.2)),
        ("arena", Found(10_000_000, 1001, 0.5, 1.2)),
        ("max-drop", Found(10_000_000, 1000, 0.51, 1.2)),
        ("min-speedup", Found(10_000_000, 1000, 0.5, 1.19)),
        ("max-drop", Found(10_000_000, 1000, float("nan"), 1.2)),
        ("min-speedup", Found(10_000_000, 1000, 0.5, float("nan"))),
    ],
)
def test_each_budget_fails_alone(name: str, found: Found) -> None:
    gates = judge(EVERY, found)
    assert [gate.name for gate in gates if not gate.passed] == [name]
    with pytest.raises(GateFailed) as failure:
        require(gates)
    text = str(failure.value)
    assert "1 of 4 budgets failed, nothing was written" in text
    assert f"{name}: " in text
    assert text.count(" ok ") == 3


def test_what_differs_is_not_shown_as_equal() -> None:
    (gate,) = judge(Budgets(size=10_000_000), Found(size=10_000_001))
    assert gate.text == "10000001 B, at most 10000000 B"
    (gate,) = judge(Budgets(size=10_000_000), Found(size=810_123))
    assert gate.text == "810.1 kB, at most 10.0 MB"


def test_what_is_not_asked_for_is_not_judged() -> None:
    assert judge(Budgets(), GOOD) == []
    assert not Budgets().are_set
    assert [gate.name for gate in judge(Budgets(arena=5), GOOD)] == ["arena"]


def test_a_better_metric_is_no_drop() -> None:
    assert judge(Budgets(max_drop=0.0), Found(drop=-3.0))[0].passed


def test_one_item_of_a_hundred_is_one_point() -> None:
    for lost in range(1, 100):
        difference = (lost - 1) / 100 - lost / 100
        drop, _, _ = drop_in_points((difference, 0.0, 0.0), higher_is_better=True)
        assert judge(Budgets(max_drop=1.0), Found(drop=drop))[0].passed
        assert not judge(Budgets(max_drop=0.999), Found(drop=drop))[0].passed


def test_a_drop_has_the_sign_of_what_is_worse() -> None:
    assert drop_in_points((-0.02, -0.03, -0.01), higher_is_better=True) == (2.0, 1.0, 3.0)
    assert drop_in_points((-0.02, -0.03, -0.01), higher_is_better=False) == (-2.0, -3.0, -1.0)
    (gate,) = judge(
        Budgets(max_drop=1.0), Found(drop=drop_in_points((0.0,) * 3, higher_is_better=True)[0])
    )
    assert gate.text == "0.00 points lost, at most 1.00 points lost"


def test_intervals_are_told() -> None:
    found = Found(speedup=1.3, speedup_interval=(1.25, 1.36))
    (gate,) = judge(Budgets(min_speedup=1.2), found)
    assert gate.text == "1.30x [1.25x, 1.36x], at least 1.20x"


def test_a_budget_on_what_was_not_measured_is_an_error() -> None:
    with pytest.raises(UsageError, match="arena"):
        judge(Budgets(arena=5), Found(size=3))


@pytest.mark.parametrize(
    "options",
    [{"size": 0}, {"size": 10**400}, {"arena": -1}, {"max_drop": -0.1}, {"max_drop": float("nan")},
     {"min_speedup": 0.0}, {"min_speedup": float("inf")}, {"min_speedup": float("nan")}],
)  # fmt: skip
def test_senseless_budgets_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--"):
        Budgets(**options)


@pytest.mark.parametrize(
    ("text", "count"),
    [("4096", 4096), ("12MB", 12_000_000), ("1.5 kB", 1500), ("2 MiB", 2 << 20), ("3gb", 3 * 10**9),
     (" 7 B ", 7)],
)  # fmt: skip
def test_sizes(text: str, count: int) -> None:
    assert parse_bytes(text, "--budget-size") == count


@pytest.mark.parametrize(
    "text", ["", "MB", "-1", "12 M", "1e3", "12MB!", "0x10", "1,5 MB", "9" * 400]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="--budget-size takes a size"):
        parse_bytes(text, "--budget-size")
