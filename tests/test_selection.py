"""From names and options to passes."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.errors import UsageError
from burnish.passes import PASSES
from burnish.passes.presets import PRESETS, preset
from burnish.selection import Selection, catalogue, choose, parse


def names(selection: Selection) -> list[str]:
    return [step.name for step in choose(selection)]


@pytest.mark.parametrize("name", ["minimal", "default", "max"])
def test_a_preset_is_what_runs(name: str) -> None:
    assert names(Selection(name)) == [step.name for step in preset(name)]


def test_compiling_adds_what_it_needs() -> None:
    needed = [step.name for step in preset("compile")]
    assert names(Selection(compiling=True)) == needed
    assert names(Selection("minimal", compiling=True)) == [
        *(step.name for step in preset("minimal")), *needed,
    ]  # fmt: skip


def test_passes_run_in_the_order_given() -> None:
    wanted = ["remove-dead-code", "fold-constants", "remove-dead-code"]
    assert names(Selection(passes=wanted)) == wanted
    assert names(Selection(passes=[])) == []


def test_other_options_bring_their_passes() -> None:
    chosen = choose(Selection(passes=["infer-shapes"], opset=20, input_shapes={"x": [1, 2]}))
    by_name: dict[str, Any] = {step.name: step for step in chosen}
    assert by_name["upgrade-opset"].version == 20
    assert by_name["freeze-input-shapes"].shapes == {"x": (1, 2)}
    assert chosen[-1].name == "infer-shapes"


def test_skip_leaves_every_occurrence_out() -> None:
    assert names(Selection("default")).count("remove-dead-code") > 1
    assert "remove-dead-code" not in names(Selection("default", skip=["remove-dead-code"]))


def test_settings_reach_every_occurrence() -> None:
    chosen: list[Any] = choose(Selection("default", settings={"fold-constants.max_bytes": "4096"}))
    limits = [step.max_bytes for step in chosen if step.name == "fold-constants"]
    assert limits
    assert set(limits) == {4096}
    chosen = choose(Selection("default", settings={"fold-constants.max_bytes": 12}))
    assert next(step for step in chosen if step.name == "fold-constants").max_bytes == 12


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection("large"), "unknown preset 'large'"),
        (Selection("compile"), "unknown preset 'compile'"),
        (Selection(passes=["fold"]), "unknown pass 'fold'"),
        (Selection(skip=["fold"]), "unknown pass 'fold'"),
        (Selection(settings={"fold.x": 1}), "unknown pass 'fold'"),
        (Selection(settings={"fold-constants": 1}), "PASS.FIELD=VALUE"),
        (Selection(settings={"fold-constants.": 1}), "PASS.FIELD=VALUE"),
        (Selection(settings={"fold-constants.limit": 1}), "unknown option of fold-constants"),
        (Selection(settings={"upgrade-opset.version": 9}), "not among the passes"),
    ],
)
def test_what_does_not_exist(selection: Selection, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose(selection)


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("12", int, 12),
        ("-3", int, -3),
        ("1e-3", float, 1e-3),
        ("yes", bool, True),
        ("OFF", bool, False),
        ("a b", str, "a b"),
        ("1, 2,3", tuple[int, ...], (1, 2, 3)),
        ("Add,Mul", tuple[str, ...], ("Add", "Mul")),
        ("none", int | None, None),
        ("7", int | None, 7),
    ],
)
def test_values_from_text(text: str, hint: Any, value: Any) -> None:
    found = parse(text, hint, "pass.field")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("1.5", int), ("", int), ("many", float), ("maybe", bool), ("1,x", tuple[int, ...]),
     ("{}", dict[str, int])],
)  # fmt: skip
def test_text_that_spells_no_value(text: str, hint: Any) -> None:
    with pytest.raises(UsageError, match=r"pass\.field"):
        parse(text, hint, "pass.field")


def test_catalogue() -> None:
    entries = catalogue()
    assert [entry["name"] for entry in entries] == list(PASSES)
    assert all(set(entry["presets"]) <= set(PRESETS) for entry in entries)
    assert all(entry["presets"] for entry in entries), "a pass that no preset runs"
