"""Ratios of times from sittings that not everybody takes part in."""

from __future__ import annotations

import math
import random

import pytest

from burnish.bench.contrasts import SYSTEMATIC, Contrasts, Sitting, student_quantile


@pytest.mark.parametrize(
    ("chance", "freedom", "known"),
    [
        (0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 3, 3.1824), (0.995, 4, 4.6041),
        (0.975, 10, 2.2281), (0.9995, 10, 4.5869), (0.9995, 60, 3.4602), (0.975, 120, 1.9799),
    ],
)  # fmt: skip
def test_quantiles_are_those_of_tables(chance: float, freedom: int, known: float) -> None:
    assert student_quantile(chance, freedom) == pytest.approx(known, rel=2e-4)


def drawn(worth: dict[str, float], groups: list[str], luck: float, seed: int = 0) -> list[Sitting]:
    generator = random.Random(seed)
    return [
        {name: worth[name] + generator.gauss(0, luck) + number for name in group}
        for number, group in enumerate(groups)
    ]


def test_differences_are_found_between_those_who_never_sat_together() -> None:
    worth = {"a": 0.0, "b": 0.1, "c": -0.2}
    found = Contrasts.of(drawn(worth, ["ab", "ac", "ab", "ac"], luck=0.0))
    ratio = found.ratio("b", "c")
    assert ratio is not None
    assert ratio.value == pytest.approx(math.exp(0.3))
    assert math.log(ratio.high) - 0.3 == pytest.approx(SYSTEMATIC)
    assert found.freedom == 2
    assert found.sittings == {"a": 4, "b": 2, "c": 2}


def test_one_sitting_each_tells_nothing_of_luck() -> None:
    assert Contrasts.of(drawn({"a": 0.0, "b": 0.1}, ["ab"], luck=0.0)).ratio("a", "b") is None


def test_intervals_hold_as_often_as_they_say() -> None:
    worth = {name: 0.01 * index for index, name in enumerate("abcdef")}
    missed = 0
    for seed in range(400):
        found = Contrasts.of(drawn(worth, ["abc", "ade", "abf", "acd", "aef"], 0.02, seed))
        ratio = found.ratio("f", "b")
        assert ratio is not None
        missed += not ratio.low <= math.exp(0.04) <= ratio.high
    # 5% of 400 without the part that no sitting averages out, which makes them a little wider.
    assert missed <= 28


def test_more_comparisons_make_wider_intervals() -> None:
    found = Contrasts.of(drawn({"a": 0.0, "b": 0.1}, ["ab"] * 5, luck=0.01))
    one, many = found.ratio("a", "b"), found.ratio("a", "b", comparisons=50)
    assert one is not None
    assert many is not None
    assert many.low < one.low < one.value < one.high < many.high
