"""int8, bfloat16 and float32 in one model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.parser
import pytest

import burnish
from burnish.backends.artifact import Artifact
from burnish.bench.stats import Estimate
from burnish.building import quantizing
from burnish.errors import GateFailed
from burnish.layer_formats import LayerFormat
from burnish.oracle import Oracle
from burnish.quantization.decision import Decision
from burnish.quantization.result import Layer, Quantized
from burnish.target import BFLOAT16, VNNI

TARGET = "x86-64-v4+avx512vnni+avx512bf16"
TEXT = """<ir_version: 10, opset_import: ["": 21]>
agraph (float[4, 64] x) => (float[4, 64] y) {
  [first] a = MatMul (x, u)  b = Relu (a)  [second] c = MatMul (b, v)  d = Tanh (c)
  [third] y = MatMul (d, w)
}
"""


@pytest.fixture
def model() -> onnx.ModelProto:
    made = onnx.parser.parse_model(TEXT)
    random = np.random.default_rng(0)
    for name in "uvw":
        weights = (random.normal(size=(64, 64)) / 8).astype(np.float32)
        made.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    return made


def samples() -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    return [{"x": random.normal(size=(4, 64)).astype(np.float32)} for _ in range(4)]


def compiled(model: onnx.ModelProto, *keep: str, **more: Any) -> Artifact:
    asked = burnish.Quantization("int8", samples(), keep=keep)
    return burnish.compile(model, quantize=asked, **{"tune": "off", "threads": 1, **more})


def test_what_stays_in_float_is_rounded_to_bfloat16(model: onnx.ModelProto) -> None:
    artifact = compiled(model, "second", target=TARGET, precision="bf16")
    stated = artifact.manifest.quantization or {}
    assert (stated["layers"], stated["of"], stated["bf16"]) == (2, 3, 1)
    precision = artifact.manifest.precision or {}
    assert (precision["products"], precision["rounded"]) == ("bf16", 1)
    assert 0 < precision["errors"]["y"] <= precision["tolerance"]
    assert {BFLOAT16, VNNI} <= set(artifact.manifest.target.features)
    assert artifact.manifest.native["operators"] == 1


@pytest.mark.slow
def test_nothing_is_left_where_all_is_in_int8(model: onnx.ModelProto) -> None:
    artifact = compiled(model, target=TARGET, precision="bf16")
    stated = artifact.manifest.quantization or {}
    assert (stated["layers"], stated["bf16"]) == (3, 0)
    assert (artifact.manifest.precision or {})["rounded"] == 0


@pytest.mark.slow
def test_a_model_that_nothing_quantizes_is_rounded_as_without(model: onnx.ModelProto) -> None:
    names = "first", "second", "third"
    artifact = compiled(model, *names, target=TARGET, precision="bf16")
    plain = burnish.compile(model, TARGET, precision="bf16", tune="off", threads=1)
    assert (artifact.manifest.quantization or {})["bf16"] == 3
    assert artifact.manifest.files["model.so"] == plain.manifest.files["model.so"]


def test_rounding_beside_integers_is_held_to_the_tolerance(model: onnx.ModelProto) -> None:
    with pytest.raises(GateFailed, match=r"bf16. moves the output 'y' .* raise tolerance"):
        compiled(model, "second", target=TARGET, precision="bf16", tolerance=1e-6)


@pytest.mark.parametrize("gain", [2.0, 0.5])
def test_weights_are_stored_in_half_beside_integers(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, gain: float
) -> None:
    monkeypatch.setattr(quantizing, "timer_of", lambda *_: None)
    monkeypatch.setattr(quantizing, "speedup_of", lambda *_: Estimate(gain, gain, gain))
    artifact = compiled(model, "second", weights="bf16")
    assert (artifact.manifest.precision or {})["rounded"] == (1 if gain > 1 else 3)
    feeds = samples()[0]
    want = Oracle(burnish.Graph.from_onnx(model)).run(feeds)["y"]
    assert np.abs(artifact.run(feeds)["y"] - want).max() < 0.1 * np.abs(want).max()


def test_formats_of_layers_are_told() -> None:
    layers = [
        Layer(LayerFormat("a", "MatMul")), Layer(LayerFormat("b", "MatMul", reason="slow")),
        Layer(LayerFormat("c", "MatMul", reason="slow"), is_narrowed=True),
    ]  # fmt: skip
    assert [layer.kind for layer in layers] == ["int8", "float", "bf16"]
    assert layers[2].as_json()["format"] == "bf16"
    found = Quantized(burnish.Graph("g"), [], layers, Decision(), "")
    assert found.summary()["bf16"] == 1
