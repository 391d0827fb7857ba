from __future__ import annotations

from benchmarks.pruning.record import page
from benchmarks.readme import PRUNING_PAGE


def test_the_page_shows_what_was_recorded() -> None:
    assert PRUNING_PAGE.read_text() == page(), "run `make docs`"
