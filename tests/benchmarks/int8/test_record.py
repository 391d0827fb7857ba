from __future__ import annotations

from benchmarks.int8.record import page
from benchmarks.readme import INT8_PAGE


def test_the_page_shows_what_was_recorded() -> None:
    assert INT8_PAGE.read_text() == page(), "run `make docs`"
