"""What a command writes beside its results."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from burnish.cli import session as module
from burnish.cli.session import Session
from burnish.cli.wrapping import wrapped
from burnish.errors import GateFailed
from burnish.wording import printable, visible


def test_progress_off_a_terminal_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Session().progress() as show:
        assert show is not None
        for second in range(70):
            now[0] = float(second)
            show("time variants", second, 300)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["burnish: time variants, 30 of 300", "burnish: time variants, 60 of 300"]


def test_nobody_watches_where_quiet_was_asked_for() -> None:
    assert not sys.stderr.isatty()
    with Session(quiet=True).progress() as show:
        assert show is None


def test_a_gate_that_fails_is_told_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        with (
            pytest.raises(GateFailed),
            Session(json=as_json).gates_as_data(Path("m.onnx")),
        ):
            raise GateFailed("int8 is wrong")
        printed = capsys.readouterr().out
        assert bool(printed) == as_json
    told = json.loads(printed)
    assert (told["failure"], told["code"], told["output"]) == ("int8 is wrong", 3, None)


def test_what_commands_a_terminal_is_shown_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session()
    session.complain("bad \x1b[31mname\x07\nrow\ttwo")
    session.note("also \x9b2J")
    assert capsys.readouterr().err == ("burnish: bad \\x1b[31mname\\x07\nrow\ttwo\nalso \\x9b2J\n")
    assert "\x1b" not in wrapped("a failure \x1b]0;title\x07", "", "")


def test_text_that_is_shown_stays_as_it_is() -> None:
    for text in ("Zeilen\nund\tSpalten", "größe 模型 ×", ""):
        assert printable(text) == text
    assert visible("a\nb") == "a\\nb"
    # What would be read in another order than it is written.
    assert visible("a\u202eb") == "a\\u202eb"
