"""What may be asked of pruning, and what is said of what may not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.errors import UsageError
from burnish.pruning.request import MEASURES, Pruning


@pytest.mark.parametrize(
    ("given", "measure", "amount"),
    [
        ("0.3", "flops", 0.3), (0.3, "flops", 0.3), ("flops:0.3", "flops", 0.3),
        ("latency:0.7", "latency", 0.7), ("size: 0.5", "size", 0.5), ("auto", "auto", None),
    ],
)  # fmt: skip
def test_what_may_be_asked(given: Any, measure: str, amount: float | None) -> None:
    found = Pruning.of(given)
    assert found is not None
    assert (found.measure, found.amount) == (measure, amount)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("30", r"share of the operations to remove, between 0 and 1, not 30; for 30 % give 0.3$"),
        (30, r"for 30 % give 0.3$"),
        ("latency:70", r"time that is to be left, .* not 70; for 70 % give latency:0.7$"),
        ("0", r"not 0; to remove nothing, leave it out$"),
        ("1", r"not 1$"),
        ("latency:0", r"not 0$"),
        ("size:1", r"bytes of weights that is to be left, .*; to remove nothing, leave it out$"),
        ("-0.3", r"not -0.3$"),
        ("nan", r"not nan$"),
        ("inf", r"not inf$"),
        ("latncy:0.7", r"unknown measure 'latncy'; did you mean latency"),
        ("latncy:x", r"unknown measure 'latncy'; did you mean latency"),
        ("latency", r"latency needs an amount, as latency:0.5"),
        ("flops", r"flops needs an amount, as flops:0.5"),
        ("auto:0.5", r"auto takes no amount"),
        ("half", r"takes 0.3, latency:0.7, size:0.5 or auto, not 'half'"),
        ("size:30%", r"takes 0.3, latency:0.7, size:0.5 or auto, not 'size:30%'"),
        ("", r"takes 0.3"),
        (True, r"takes 0.3, .* not True"),
        ([0.3], r"takes 0.3, .* not \[0.3\]"),
    ],
)  # fmt: skip
def test_what_may_not_be_asked_has_one_message(given: Any, text: str) -> None:
    with pytest.raises(UsageError, match=f"^--prune:? .*{text}"):
        Pruning.of(given)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"measure": "speed"}, r"Pruning\(measure=\): unknown measure 'speed'"),
        ({"amount": 3.0}, r"Pruning\(amount=\) takes the share .* for 3 % give 0.03"),
        ({"measure": "size", "amount": None}, r"Pruning\(amount=\): size needs an amount"),
        ({"samples": 0}, r"Pruning\(samples=\) is at least 1"),
        ({"seconds": 0.0}, r"Pruning\(seconds=\) is a number of seconds above 0"),
    ],
)
def test_values_that_do_not_exist_are_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        Pruning(**{"measure": "flops", "amount": 0.5, **values})


@given(st.sampled_from(list(MEASURES)), st.floats(0.01, 0.99).map(lambda amount: round(amount, 4)))
def test_what_is_asked_reads_as_it_was_written(measure: str, amount: float) -> None:
    found = Pruning(measure, amount)
    assert Pruning.of(str(found)) == found


def test_layers_to_keep_are_about_prune() -> None:
    with pytest.raises(UsageError, match="keep-width is about --prune"):
        Pruning.of(None, keep=iter(["layer"]))
    assert Pruning.of(None, keep=()) is None
    assert Pruning.of("auto", keep=iter(["layer"])) == Pruning("auto", keep=("layer",))
