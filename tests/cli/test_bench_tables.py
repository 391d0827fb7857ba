"""What the tables of a bench show, of documents that are made up."""

from __future__ import annotations

import pytest

from burnish.bench.document import Interval
from burnish.cli.bench_tables import show
from burnish.cli.session import Session
from tests.bench.documents import synthetic


def widest(out: str) -> int:
    """Characters of the longest line but the first, which is a path."""
    return max(map(len, out.splitlines()[1:]))


def test_times_are_as_their_ratios_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Processes that were timed at other moments say less than those that took turns."""
    made = synthetic(operators=20, passes=5)
    base = next(one for one in made.variants if one.id == made.whole)
    variants = [
        one.model_copy(update={
            "latency": Interval(value=9.0, low=9.0, high=9.0),
            "ratio": Interval(value=0.5, low=0.5, high=0.5),
        }) if one.id == made.original else
        base.model_copy(update={"latency": Interval(value=1.0, low=1.0, high=1.0)})
        if one is base else one
        for one in made.variants
    ]  # fmt: skip
    show(Session(), made.model_copy(update={"variants": variants}))
    line = next(each for each in capsys.readouterr().out.splitlines() if "latency" in each)
    assert line.split()[:3] == ["latency", "2.00", "s"]


def test_passes_without_effect_are_listed_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    made = synthetic(operators=20, passes=5)
    idle = {step.name for step in made.steps if step.verdict != "same"}
    name = next(step.name for step in made.steps if step.name not in idle)
    show(Session(), made)
    out = capsys.readouterr().out
    assert "-v lists them" in out
    assert name not in out
    show(Session(verbose=True), made)
    assert name in capsys.readouterr().out


def test_what_is_within_noise_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    made = synthetic(operators=20, passes=5)
    near = Interval(value=1.001, low=0.99, high=1.012)
    steps = [
        one.model_copy(update={"speedup": near, "verdict": "noise"})
        if one.speedup is not None else one for one in made.steps
    ]  # fmt: skip
    show(Session(), made.model_copy(update={"steps": steps}))
    assert "≈ +0.1 ±1.1" in capsys.readouterr().out


def test_intervals_that_tell_nothing_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Of two or three processes, that differ a lot."""
    made = synthetic(operators=20, passes=5)
    vast = Interval(value=1.1, low=1e-200, high=1e200)
    steps = [
        one.model_copy(update={"speedup": vast, "verdict": "noise"})
        if one.speedup is not None else one for one in made.steps
    ]  # fmt: skip
    columns = [one.model_copy(update={"ratio": vast}) for one in made.columns]
    show(Session(), made.model_copy(update={"steps": steps, "columns": columns}))
    out = capsys.readouterr().out
    assert "noise" in out
    assert widest(out) <= 80
