"""The report as a browser shows it; skipped where there is none."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from burnish.bench.document import Document
from burnish.bench.report import write_report
from tests.bench import browser
from tests.bench.documents import synthetic

FOUND = browser.find()
pytestmark = pytest.mark.skipif(
    FOUND is None, reason=f"no browser: none of {', '.join(browser.NAMES)} is on the PATH"
)
CHARTS = 6


@pytest.fixture(scope="module")
def document() -> Document:
    return synthetic()


@pytest.fixture(scope="module")
def page(document: Document, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(document, path)
    return path


@pytest.fixture(scope="module")
def view(page: Path, tmp_path_factory: pytest.TempPathFactory) -> browser.View:
    assert FOUND is not None
    return browser.visit(FOUND, page, tmp_path_factory.mktemp("visit"))


@pytest.fixture(scope="module", params=[1200, 400])
def sizes(
    request: pytest.FixtureRequest, page: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    assert FOUND is not None
    room = tmp_path_factory.mktemp("measure")
    found = browser.measure(FOUND, page, room, width=request.param)
    assert found["width"] == request.param
    return found


def test_nothing_is_complained_about_and_nothing_leaves_the_file(view: browser.View) -> None:
    assert view.console == []
    assert view.requests == []


def test_the_checks_see_what_they_look_for(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text('<img src="http://127.0.0.1:9/a.png"><script>absent()</script>')
    assert FOUND is not None
    seen = browser.visit(FOUND, path, tmp_path)
    assert seen.requests == ["http://127.0.0.1:9/a.png"]
    assert any("absent is not defined" in line for line in seen.console)


def test_the_search_appears_and_every_pass_is_named(view: browser.View, document: Document) -> None:
    # Fields without a script would be of no use, so it is the script that shows them.
    assert 'data-filter="#list-b tbody tr" hidden' not in view.dom
    assert all(f'data-pass="{step.name}"' in view.dom for step in document.steps)


def test_searching_leaves_what_fits_and_marks_it(sizes: dict[str, Any]) -> None:
    assert sizes["rows"] == ["b0"]
    assert sizes["marks"] == ["#b0"]


def test_the_page_does_not_scroll_sideways(sizes: dict[str, Any]) -> None:
    assert sizes["scroll"] <= sizes["width"]
    assert sizes["beyond"] == []


def test_no_column_of_a_table_is_cut_off(sizes: dict[str, Any]) -> None:
    assert sizes["cut"] == []


def test_text_is_large_enough(sizes: dict[str, Any]) -> None:
    assert sizes["smallest"] >= 14
    assert all(14 * chart["scale"] >= 13.99 for chart in sizes["charts"])


def test_charts_are_drawn(sizes: dict[str, Any]) -> None:
    assert len(sizes["charts"]) == CHARTS
    for chart in sizes["charts"]:
        left, top, right, bottom = chart["box"]
        assert right - left > 300
        assert bottom - top > 100
        assert chart["shapes"] > 10
        assert chart["texts"]
    assert len(sizes["strips"]) > 50
    assert all(right - left > 200 and bottom > top for left, top, right, bottom in sizes["strips"])


def test_words_in_charts_do_not_overlap(sizes: dict[str, Any]) -> None:
    for chart in sizes["charts"]:
        # Numbers of points stand where their points do; what is turned has no box of its own.
        texts = [
            (words, box)
            for words, box, turned in chart["texts"]
            if "rotate(-0 " in (turned or "rotate(-0 ") and not re.fullmatch(r"[\d–, ]+", words)
        ]
        for (first, one), (second, other) in itertools.combinations(texts, 2):
            wide = min(one[2], other[2]) - max(one[0], other[0])
            tall = min(one[3], other[3]) - max(one[1], other[1])
            # Boxes of lines are higher than their letters.
            assert wide <= 0 or tall <= 5, (chart["label"][:40], first, second)
