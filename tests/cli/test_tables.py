"""What tables show."""

from __future__ import annotations

import pytest

from burnish.cli.session import _console
from burnish.cli.tables import new_table
from burnish.wording import of_thousand


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 "), (999.4, "999 "), (999.6, "1 k"), (1.25e9, "1.25 G"), (999.7e9, "1 T")],
)
def test_numbers_for_people(count: float, text: str) -> None:
    assert of_thousand(count) == text


def test_names_of_nodes_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = new_table("node")
    table.add_row("layer[0]/x[/b]")
    _console(stderr=False).print(table)
    assert "layer[0]/x[/b]" in capsys.readouterr().out
