"""The page of ``--quantize --report``: what it says, and as a browser shows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import burnish
from burnish.bench.stats import Estimate
from burnish.building.page import write_page
from burnish.layer_formats import LayerFormat, ValueFormat
from burnish.quantization.decision import Decision, Point
from burnish.quantization.guard import Loss
from burnish.quantization.page import layer_rows
from burnish.quantization.result import Layer, Quantized, Times
from burnish.testing import graph
from tests.bench import browser

FOUND = browser.find()
TEXT = 'g (float["n", 3] x) => (float["n", 3] y) { y = Relu(x) }'
NAMES = tuple(f"/encoder/layer.{number}/attention/output/dense/MatMul" for number in range(9))


def layer(number: int) -> Layer:
    data = ValueFormat("uint8", -1.25, 3.5, 1, "percentile-99.999", 41.2)
    weights = ValueFormat("int8", -0.5, 0.5, 384, "mse", 38.7)
    reason = "costs accuracy: alone it takes 130 % of the allowed loss" if number == 1 else ""
    form = LayerFormat(NAMES[number], "MatMul", data, weights, reason)
    gain = Estimate(3.2e-6, 3.0e-6, 3.5e-6) if number < 8 else None
    sensitivity, group = ((1.3, 1), (0.05, 4), (None, 1))[min(2, number - 1)] if number else (0, 1)
    return Layer(form, sensitivity, gain, group)


def quantized(*, is_timed: bool = True) -> Quantized:
    chosen = Point((NAMES[1],), Loss(0.4, "KL 0.002 nats, the same top-1 in 99.0 %"))
    points = [Point((), Loss(1.4, "KL 0.007 nats, the same top-1 in 97.0 %")), chosen]
    gains = {name: Estimate(3.2e-6, 3.0e-6, 3.5e-6) for name in NAMES[:8]}
    times = Times(gains, {}, 1e-4, Estimate(2.0, 1.9, 2.1)) if is_timed else Times({}, {})
    decision = Decision({NAMES[1]: "costs accuracy"}, {}, {}, points, chosen)
    layers = [layer(number) for number in range(9)]
    return Quantized(graph(TEXT), [], layers, decision, "0.005 nats", 3.0, [], times)


def written(path: Path, *, is_timed: bool = True) -> Path:
    notices = ["calibration uses 3 samples, as there are no 9", "<script>alert(1)</script>"]
    write_page(None, quantized(is_timed=is_timed), "m<b>.onnx", notices, path)
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("page") / "page.html")


def test_every_layer_has_its_formats_ranges_noise_cost_gain_and_reason() -> None:
    table = layer_rows(quantized())
    assert [row[0] for row in table.rows] == list(NAMES)
    first, second, third, last = (table.rows[at] for at in (0, 1, 2, 8))
    assert first[2:6] == ["int8", "uint8 -1.25 to 3.5\npercentile-99.999", "int8 -0.5 to 0.5\nmse, "
                          "384 scales", "41 39"]  # fmt: skip
    assert (second[6], third[6], last[6]) == ("130 %", "5 %\n1 of 4", "")
    assert first[7] == "3.2 µs\n3.0 to 3.5"
    assert (first[8], last[7]) == ("", "")
    assert second[2] == "float"
    assert second[8] == "costs accuracy: alone it takes 130 % of the allowed loss"


def test_costs_of_groups_are_told_as_such() -> None:
    told = layer(2).as_json()
    assert (told["sensitivity"], told["sensitivity_of"]) == (0.05, 4)
    assert layer(8).as_json()["sensitivity_of"] is None


def test_that_time_cut_the_search_short_is_told_to_programs() -> None:
    told = quantized().as_json()
    assert (told["cut_short"], told["unmeasured"]) == (False, 0)
    found = quantized()
    found.decision.cut, found.decision.unmeasured = "the 5 s that deciding may take ...", 4
    told = found.as_json()
    assert (told["cut_short"], told["unmeasured"]) == (True, 4)


def test_what_the_model_and_the_data_are_called_is_text(page: Path) -> None:
    text = page.read_text()
    assert "<title>m&lt;b&gt;.onnx in int8</title>" in text
    assert "<script" not in text
    assert "8 of 9 layers multiply integers of 8 bits. Loss: KL 0.002 nats" in text


@pytest.mark.parametrize("is_timed", [True, False])
def test_accuracy_is_drawn_against_time_or_else_layers(tmp_path: Path, is_timed: bool) -> None:
    text = written(tmp_path / "page.html", is_timed=is_timed).read_text()
    assert f"Accuracy against {'latency' if is_timed else 'layers in int8'}" in text
    assert ("9 of 9 layers in int8: loses KL 0.007 nats" in text) is True
    assert ("ms a run, without tuning" in text) is is_timed


def test_a_model_left_in_float_has_no_figure_but_a_reason(tmp_path: Path) -> None:
    measured = Estimate(0.9, 0.88, 0.92)
    found = replace(quantized(), speedup=Estimate(1.2, 1.1, 1.3), final_speedup=measured)
    assert "0.90x" in found.told_speedup
    reason = "left in float: int8 takes 1.11 times as long, measured"
    found = found.in_float(reason)
    assert found.told_speedup == ""
    assert (found.as_json()["untuned_speedup"], found.as_json()["final_speedup"]) == (None, None)
    found.layers[1] = replace(
        found.layers[1], format=replace(found.layers[1].format, reason=reason)
    )
    write_page(None, found, "m.onnx", [], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "Speed over float" not in text
    assert f"0 of 9 layers multiply integers of 8 bits; {reason}." in text


def test_of_several_sets_of_shapes_it_is_told_which_one_a_speedup_is_of(tmp_path: Path) -> None:
    gain = Estimate(1.2, 1.1, 1.3)
    first = replace(quantized(), speedup=gain, sets=3)
    least = replace(first, final_speedup=gain)
    alone = replace(first, sets=1)
    assert first.told_speedup.endswith("tuning, at the first of 3 sets of input shapes")
    assert least.told_speedup.endswith("are, at that of 3 sets of input shapes that gains least")
    assert alone.told_speedup.endswith("both without tuning")
    assert first.as_json()["input_shape_sets"] == 3
    for found, told in ((first, "at the first input"), (least, "least of all"), (alone, "tuning<")):
        write_page(None, found, "m.onnx", [], tmp_path / "page.html")
        assert told in (tmp_path / "page.html").read_text()


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
    (chart,) = sizes["charts"]
    assert 14 * chart["scale"] >= 13.99
    assert chart["shapes"] > 5


def test_a_model_without_layers_has_a_page(tmp_path: Path) -> None:
    found, report = burnish.optimize(graph(TEXT), quantize="int8")
    assert "no product or convolution" in str(report)
    empty = Quantized(found, [], [], Decision(), "0.005 nats")
    write_page(None, empty, "m.onnx", [], tmp_path / "page.html")
    assert "no layer that could be quantized" in (tmp_path / "page.html").read_text()
