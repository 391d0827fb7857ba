"""The page of ``--prune --report``: what it says, and as a browser shows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from burnish.building.page import write_page
from burnish.pruning.page import drawing, spots, structure_rows
from burnish.pruning.result import Pruned, Trial
from burnish.quantization.decision import Decision
from burnish.quantization.distance import Distance
from burnish.quantization.guard import Loss
from burnish.quantization.result import Quantized
from burnish.testing import graph
from tests.bench import browser
from tests.pruning.conftest import found
from tests.pruning.test_result import TEXT, THIN, WHOLE

FOUND = browser.find()


def trial(
    flops: float, divergence: float | None, seconds: float | None, share: float, text: str
) -> Trial:
    distance = None if divergence is None else Distance("y", divergence, 0.9, 0.2)
    loss = Loss(share, f"KL {divergence} nats")
    return Trial({}, flops, flops, loss, distance, seconds, text)


def pruned(*, is_timed: bool = True, labels: bool = False, **more: Any) -> Pruned:
    points = [(0.9, 1e-6, 0.5), (0.7, 0.01, 0.5), (0.5, 0.2, 2.0)]
    trials = [
        trial(
            flops, None if labels else loss, 1e-3 * flops if is_timed else None, share,
            text=f"try <{at}>",
        )
        for at, (flops, loss, share) in enumerate(points)
    ]  # fmt: skip
    distance = trials[1].distance
    return found(
        graph(TEXT), [THIN, WHOLE], trials=trials, chosen=trials[1], distance=distance, **more
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    quantized = Quantized(graph(TEXT), [], [], Decision(), "0.005 nats")
    write_page(pruned(), quantized, "m<b>.onnx", ["<script>alert(1)</script>"], path)
    return path


def test_every_structure_has_its_width_score_error_cost_and_reason() -> None:
    first, last = structure_rows(pruned()).rows
    assert first == ["/conv", "channels", "48 of 64", "0.002", "1.2 %", "10 %", "obs", ""]
    assert last == ["/last", "channels", "10 of 10", "", "", "", "", "the graph returns it"]


@pytest.mark.parametrize("is_timed", [True, False])
def test_accuracy_is_drawn_against_time_or_else_operations(is_timed: bool) -> None:
    model = pruned(is_timed=is_timed)
    drawn = spots(model)
    assert len(drawn) == (3 if is_timed else 4)
    assert [spot.is_chosen for spot in drawn[-3:]] == [False, True, False]
    assert [spot.is_allowed for spot in drawn[-3:]] == [True, True, False]
    assert drawn[-2].x == pytest.approx(0.7e-3 if is_timed else 0.7)
    chart = drawing(model)
    assert chart is not None
    assert ("ms a run" if is_timed else "share of operations") in chart.label
    assert "try <1>: 70 % of operations, loses KL 0.01 nats" in chart.label


def test_without_distances_it_is_the_share_of_what_is_allowed() -> None:
    model = pruned(labels=True)
    assert [spot.loss for spot in spots(model)] == [0.5, 0.5, 2.0]
    chart = drawing(model)
    assert chart is not None
    assert "share of the allowed loss" in chart.label


def test_one_page_has_both(page: Path) -> None:
    text = page.read_text()
    assert "<title>m&lt;b&gt;.onnx pruned, in int8</title>" in text
    assert "burnish pruning and quantization" in text
    assert "<script" not in text
    assert "1 of 2 structures is thinner. Loss: KL 0.01 nats; asked: 0.5 of operations." in text
    assert text.index('id="structures"') < text.index('id="layers"') < text.index('id="notes"')


def test_a_model_left_alone_has_a_page(tmp_path: Path) -> None:
    alone = replace(found(graph(TEXT), []))
    write_page(alone, None, "m.onnx", [], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "<title>m.onnx pruned</title>" in text
    assert "Nothing was tried" in text
    assert "nothing that could be pruned" in text


@pytest.mark.skipif(FOUND is None, reason="no browser is on the PATH")
def test_a_browser_has_nothing_to_complain_about(page: Path, tmp_path: Path) -> None:
    view = browser.visit(str(FOUND), page, tmp_path)
    assert view.console == []
    assert view.requests == []


@pytest.mark.skipif(FOUND is None, reason="no browser is on the PATH")
def test_the_page_fits_a_small_window(page: Path, tmp_path: Path) -> None:
    sizes: dict[str, Any] = browser.measure(str(FOUND), page, tmp_path, width=400)
    assert sizes["scroll"] <= sizes["width"] == 400
    assert sizes["beyond"] == []
    assert sizes["cut"] == []
    assert sizes["smallest"] >= 14
