"""Results that are timed against each other are held to what each of them is to answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from burnish.bench.timing import Plan
from burnish.building import trial
from burnish.building.trial import Contender, Ring
from burnish.errors import GateFailed
from burnish.source import load

FLOAT = """<ir_version: 10, opset_import: ["": 21]>
agraph (float[1, 8] x) => (float[1, 8] y) { y = Relu (x) }"""
ROUNDED = """<ir_version: 10, opset_import: ["": 21]>
agraph (float[1, 8] x) => (float[1, 8] y)
<float s = {%s}, uint8 z = {0}> {
  q = QuantizeLinear (x, s, z)  y = DequantizeLinear (q, s, z)
}"""
SAMPLE = {"x": np.float32([[0.2, 0.7, 1.2, 1.7, 2.2, 2.8, 3.3, 4.8]])}


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ring:
    monkeypatch.setattr(trial, "SECONDS", Plan(blocks=1, seconds=1e-3, warm=1))
    texts = {"float": FLOAT, "coarse": ROUNDED % "1.0", "coarser": ROUNDED % "2.0"}
    for name, text in texts.items():
        onnx.save(onnx.parser.parse_model(text), tmp_path / f"{name}.onnx")
    original, coarse = (tmp_path / f"{name}.onnx" for name in ("float", "coarse"))
    return Ring(load(original), original, {}, 1, 1e-2, [SAMPLE], load(coarse))


def test_a_quantized_result_is_timed_however_far_it_is_from_the_original(ring: Ring) -> None:
    found = ring.ratio(ring.baseline, coarse(ring))
    assert found.median > 0


def test_a_quantized_result_that_is_not_its_graph_is_not_timed(ring: Ring) -> None:
    wrong = replace(coarse(ring), path=ring.source.with_name("coarser.onnx"))
    with pytest.raises(GateFailed, match=r"coarser.onnx .* is not timed: .* y: largest error 0.2"):
        ring.ratio(ring.baseline, wrong)


@pytest.mark.parametrize(("tolerance", "is_right"), [(0.3, True), (0.1, False)])
def test_a_quantized_result_that_is_narrowed_is_held_to_the_tolerance(
    ring: Ring, tolerance: float, is_right: bool
) -> None:
    ring = replace(ring, tolerance=tolerance, is_narrowed=True)
    other = replace(coarse(ring), path=ring.source.with_name("coarser.onnx"))
    if is_right:
        assert ring.ratio(ring.baseline, other).median > 0
        return
    with pytest.raises(GateFailed, match=r"'y' is off by 2.* where 1.0e-01 is allowed"):
        ring.ratio(ring.baseline, other)


def test_a_result_in_float_is_held_to_the_original(ring: Ring) -> None:
    with pytest.raises(GateFailed, match=r"'y' is off by .* where 1.0e-02 is allowed"):
        ring.ratio(ring.baseline, replace(coarse(ring), is_quantized=False))


def test_the_least_ratio_is_of_the_shapes_where_one_is_slowest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "open.onnx"
    onnx.save(onnx.parser.parse_model(FLOAT.replace("[1, 8]", "[n, 8]")), path)
    inputs = [{"x": np.ones((rows, 8), np.float32)} for rows in (1, 1, 3, 2)]
    found = Ring(load(path), path, {}, 1, 1e-2, inputs)
    speeds = iter([2.0, 0.5, 1.5])
    monkeypatch.setattr(trial, "alternate", lambda *_: {"one": [[next(speeds)]], "other": [[1.0]]})
    assert found.least_ratio(found.baseline, found.baseline).median == 0.5
    assert next(speeds, None) is None


def test_an_interval_takes_in_what_the_fastest_runs_say(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed = {"one": [[9.0, 9.0, 1.1]] * 6, "other": [[3.0, 3.0, 1.0]] * 6}
    monkeypatch.setattr(trial, "alternate", lambda *_: disturbed)
    found = ring.least_ratio(ring.baseline, ring.baseline)
    assert (found.median, found.low, found.high) == (3.0, 1.1, 3.0)
    assert ring.ratio(ring.baseline, ring.baseline).low == 3.0


def coarse(ring: Ring) -> Contender:
    return Contender("ort", ring.source.with_name("coarse.onnx"), is_quantized=True)
