"""Quantizing through the functions of the package: ONNX out, and compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import burnish
from burnish.bench.stats import Estimate
from burnish.building import quantizing
from burnish.calibration.store import Calibration
from burnish.errors import GateFailed, InvalidInput, UsageError
from burnish.oracle import Oracle
from burnish.quantization import guard
from burnish.quantization.quantize import UNTIMED, quantize_model
from burnish.quantization.request import Quantization
from burnish.target import resolve

TEXT = """<ir_version: 10, opset_import: ["": 21]>
agraph (float[1, 8, 12, 12] x) => (float[1, 10] y) {
  a = Conv <pads = [1, 1, 1, 1]> (x, w)  b = Relu (a)  c = Conv (b, v)  d = GlobalAveragePool (c)
  e = Flatten (d)  y = MatMul (e, u)
}
"""
SHAPES = {"w": (32, 8, 3, 3), "v": (64, 32, 1, 1), "u": (64, 10)}


@pytest.fixture
def model() -> onnx.ModelProto:
    made = onnx.parser.parse_model(TEXT)
    random = np.random.default_rng(0)
    for name, shape in SHAPES.items():
        weights = (random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        made.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    return made


def samples(count: int = 4) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    return [{"x": random.normal(size=(1, 8, 12, 12)).astype(np.float32)} for _ in range(count)]


def types(graph: burnish.Graph) -> set[str]:
    return {node.op_type for node in graph}


def clock(monkeypatch: pytest.MonkeyPatch, gain: float) -> None:
    """Have nothing timed before artifacts are, which are found to gain so much."""
    monkeypatch.setattr(quantizing, "speedup_of", lambda *_: Estimate(gain, gain, gain))
    monkeypatch.setattr(quantizing, "timer_of", lambda *_: None)


def test_onnx_has_pairs_around_each_product_and_answers_alike(model: onnx.ModelProto) -> None:
    graph, report = burnish.optimize(model, quantize="int8", calibration=samples())
    assert {"QuantizeLinear", "DequantizeLinear"} <= types(graph)
    assert "quantize-int8" in [one.name for one in report if one.changed]
    feeds = samples()[0]
    want, have = Oracle(model).run(feeds)["y"], Oracle(graph).run(feeds)["y"]
    assert np.abs(want - have).max() < 0.05 * np.abs(want).max()


def test_a_layer_that_is_named_stays_in_float(model: onnx.ModelProto) -> None:
    model.graph.node[0].name = "first"
    asked = burnish.Quantization("int8", samples(), keep=("first",))
    graph, _ = burnish.optimize(model, quantize=asked)
    first = next(node for node in graph if node.op_type == "Conv")
    weights = first.input(1)
    assert weights is not None
    assert weights.is_constant


def test_compiled_code_multiplies_integers(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 2.0)
    artifact = burnish.compile(model, quantize="int8", calibration=samples(), tune="off", threads=1)
    assert artifact.self_test()
    assert artifact.manifest.native["operators"] == 1.0
    kernels = {name for call in artifact.calls() or () for name in call.operators}
    assert {"ConvInteger", "MatMulInteger"} <= kernels
    stated = artifact.manifest.quantization or {}
    assert (stated["format"], stated["layers"], stated["of"]) == ("int8", 3, 3)
    feeds = samples()[0]
    want = Oracle(model).run(feeds)["y"]
    assert np.abs(artifact.run(feeds)["y"] - want).max() < 0.05 * np.abs(want).max()


def test_what_is_slower_in_integers_is_compiled_in_float(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock(monkeypatch, 0.9)
    artifact = burnish.compile(model, quantize="int8", calibration=samples(), tune="off", threads=1)
    assert "left in float" in caplog.text
    stated = artifact.manifest.quantization or {}
    assert (stated["layers"], stated["of"], stated["loss"]) == (0, 3, "")
    feeds = samples()[0]
    np.testing.assert_allclose(
        artifact.run(feeds)["y"], Oracle(model).run(feeds)["y"], rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize(
    ("low", "median", "said"),
    [(1.2, 1.3, ""), (1.0, 1.01, "gains too little"), (0.98, 1.3, "gains too little"),
     (0.8, 0.8, "int8 takes 1.25 times as long")],
)  # fmt: skip
def test_what_gains_little_or_nothing_does_not_pay(low: float, median: float, said: str) -> None:
    reason = quantizing.slower(Estimate(median, low, median + 0.1), 1)
    assert bool(reason) == bool(said)
    assert said in reason


def test_that_all_layers_stay_is_said_with_the_reason(model: onnx.ModelProto) -> None:
    names = ("one", "two", "three")
    for node, name in zip(
        (one for one in model.graph.node if one.op_type in ("Conv", "MatMul")), names, strict=True
    ):
        node.name = name
    asked = burnish.Quantization("int8", samples(), keep=names)
    _, report = burnish.optimize(model, quantize=asked)
    assert "nothing is quantized: it is to be kept" in report.notices


@pytest.mark.parametrize(
    ("low", "is_tuned", "clear"),
    [(1.3, False, True), (1.3, True, False), (1.5, True, True), (1.05, False, False)],
)
def test_artifacts_need_no_comparison_where_the_gain_is_clear(
    low: float, is_tuned: bool, clear: bool
) -> None:
    assert quantizing.is_clear(Estimate(low, low, low), is_tuned=is_tuned) == clear
    assert not quantizing.is_clear(None, is_tuned=is_tuned)


@pytest.mark.parametrize("gain", [1.2, 9.0])
def test_float_is_compiled_only_where_it_may_be_faster(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, gain: float
) -> None:
    found = Estimate(gain, gain - 0.15, gain)
    plain: list[Any] = []
    monkeypatch.setattr(quantizing, "timer_of", lambda *_: Timer(found))
    monkeypatch.setattr(quantizing, "in_float", lambda shop, made: plain.append(made) or made)
    monkeypatch.setattr(quantizing, "speedup_of", lambda *_: Estimate(1.5, 1.4, 1.6))
    burnish.compile(model, quantize="int8", calibration=samples(), tune="off", threads=1)
    assert len(plain) == (gain < 2)


class Timer:
    """Says that each layer gains, and each model so much."""

    def __init__(self, speedup: Estimate) -> None:
        self._speedup = speedup

    def gains(self, before: Any, after: Any, layers: Sequence[str]) -> dict[str, Estimate]:
        return dict.fromkeys(layers, Estimate(1.0, 1.0, 1.0))

    def seconds(self, graph: Any) -> float:
        return 1.0

    def speedups(self, base: Any, others: Sequence[Any]) -> list[Estimate]:
        return [self._speedup for _ in others]


def test_where_nothing_is_quantized_the_code_is_that_of_float() -> None:
    nothing = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21]> agraph (float[4, 8] x) => (float[4, 8] y) {'
        " y = Relu (x) }"
    )
    plain = burnish.compile(nothing, tune="off", threads=1)
    artifact = burnish.compile(nothing, quantize="int8", tune="off", threads=1)
    assert (artifact.manifest.quantization or {})["layers"] == 0
    assert artifact.manifest.files["model.so"] == plain.manifest.files["model.so"]


def test_random_data_are_said_to_be_random(model: onnx.ModelProto) -> None:
    graph, report = burnish.optimize(model, quantize="int8")
    assert "QuantizeLinear" in types(graph)
    assert "quantized on random inputs" in str(report)
    assert "give calibration with a folder" in str(report)


def test_a_bound_that_cannot_be_met_is_refused(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard.DistanceGuard, "loss", lambda *_: guard.Loss(2.0, "too much"))
    monkeypatch.setattr(guard.DistanceGuard, "is_asked", True)
    with pytest.raises(GateFailed, match=r"the best of .* loses too much"):
        burnish.optimize(model, quantize="int8", calibration=samples())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"quantize": "int4"}, "no format 'int4'|unknown format"),
        ({"calibration": []}, "^calibration is about quantize"),
        ({"quantize": "int8", "calibration": "nowhere"}, "^calibration nowhere"),
        ({"quantize": "int8", "optional": ["fuse-pad"]}, "optional judges passes"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    model: onnx.ModelProto, options: Mapping[str, Any], text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        burnish.optimize(model, **options)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"kind": "int4"}, "format"),
        ({"seconds": -1.0}, "seconds=. is a number"),
        ({"samples": 0}, "samples=. is at least 1"),
    ],
)
def test_values_that_do_not_exist_are_refused(values: Mapping[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        burnish.Quantization(**{"kind": "int8", **values})


def test_data_without_samples_are_refused(model: onnx.ModelProto) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        burnish.optimize(model, quantize="int8", calibration=[])


def test_the_command_says_what_became_of_layers(
    model: onnx.ModelProto, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from burnish.cli import main

    onnx.save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=np.concatenate([each["x"] for each in samples()]))
    arguments = [
        "optimize", str(tmp_path / "model.onnx"), "-o", str(tmp_path / "out.onnx"), "-v",
        "--quantize", "int8", "--calibration", str(tmp_path / "data.npz"),
        "--report", str(tmp_path / "page.html"),
    ]  # fmt: skip
    assert main(arguments) == 0
    printed = capfd.readouterr().out
    assert "int8: 3 of 3 layers" in printed
    assert "\nbefore int8: " in printed
    page = (tmp_path / "page.html").read_text()
    assert "3 of 3 layers multiply integers" in page
    assert "http" not in page.replace("http://www.w3.org/", "").replace("http-equiv", "")


def test_a_page_about_nothing_is_refused(
    model: onnx.ModelProto, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from burnish.cli import main

    onnx.save(model, tmp_path / "model.onnx")
    out = tmp_path / "out.onnx"
    given = ["optimize", str(tmp_path / "model.onnx"), "-o", str(out)]
    assert main([*given, "--report", str(tmp_path / "page.html")]) == 2
    assert "--report is about --quantize" in capfd.readouterr().err
    assert main([*given, "--quantize", "int8", "--report", str(tmp_path)]) == 2
    assert not out.exists()


def test_layers_that_there_was_no_time_to_time_are_told_of(model: onnx.ModelProto) -> None:
    graph = burnish.Graph.from_onnx(model)
    found = quantize_model(
        graph, Calibration(samples()), target=resolve("cpu"), timer=Timer(Estimate(2.0, 2.0, 2.0)),
        seconds=1e-9, progress=lambda *_: None,
    )  # fmt: skip
    assert UNTIMED in found.notices


def test_layers_to_keep_are_about_quantize() -> None:
    with pytest.raises(UsageError, match="keep-float is about --quantize"):
        Quantization.of(None, keep=iter(["layer"]))
    assert Quantization.of(None, keep=iter(())) is None
    request = Quantization.of("int8", keep=iter(["layer"]))
    assert request is not None and request.keep == ("layer",)
