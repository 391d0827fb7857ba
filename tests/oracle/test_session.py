"""Running models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from burnish.backends.regions import RegionEngine
from burnish.errors import UnsupportedModel, UsageError
from burnish.ir import DType
from burnish.oracle import Oracle, session
from burnish.testing import graph

ADD = """g (float["N", 2] x) => (float["N", 2] y) {
  w = Constant <value = float[2] {1, 2}> ()  y = Add(x, w) }"""
X = np.array([[1, 2], [3, 4]], np.float32)
W = np.array([1, 2], np.float32)


def test_runs_graphs_messages_and_files(tmp_path: Path) -> None:
    source = graph(ADD)
    source.save(tmp_path / "m.onnx")
    source.save(tmp_path / "e.onnx", external=True)
    for model in (source, source.to_onnx(), tmp_path / "m.onnx", str(tmp_path / "e.onnx")):
        result = Oracle(model).run({"x": X})
        np.testing.assert_array_equal(result["y"], X + W)


def test_models_too_large_for_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "EXTERNAL_ABOVE", 1)
    np.testing.assert_array_equal(Oracle(graph(ADD)).run({"x": X})["y"], X + W)


def test_large_weights_are_read_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LENT_ABOVE", 1)
    oracle = Oracle(graph(ADD))
    assert len(oracle._engine._lent) == 1
    np.testing.assert_array_equal(oracle.run({"x": X})["y"], X + W)


def test_large_weights_of_a_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LENT_ABOVE", 1)
    model = graph(
        """g (bool c, float[2] x) => (float[2] y) {
          v = Constant <value = float[2] {3, 4}> ()
          y = If (c) <
            then_branch = t () => (float[2] a) {
              w = Constant <value = float[2] {1, 2}> ()  b = Add(x, w)  a = Add(b, v) },
            else_branch = e () => (float[2] d) { d = Mul(x, v) }> }"""
    )
    for condition, expected in ((True, [5, 8]), (False, [3, 8])):
        given = {"c": np.array(condition), "x": np.array([1, 2], np.float32)}
        np.testing.assert_array_equal(Oracle(model).run(given)["y"], expected)


def test_onnx_runtime_reports_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    name = "disable_telemetry_events"
    monkeypatch.setattr(onnxruntime, name, lambda: calls.append(name), raising=False)
    Oracle(graph(ADD))
    RegionEngine({}, 1)
    assert calls == [name, name]
    monkeypatch.delattr(onnxruntime, name)
    Oracle(graph(ADD))
    RegionEngine({}, 1)


def test_names() -> None:
    oracle = Oracle(graph(ADD))
    assert (oracle.input_names, oracle.output_names) == (("x",), ("y",))


def test_wrong_inputs_are_named() -> None:
    oracle = Oracle(graph(ADD))
    with pytest.raises(UsageError, match="missing: x unknown: z"):
        oracle.run({"z": X})
    with pytest.raises(UnsupportedModel, match="cannot run the model on these inputs"):
        oracle.run({"x": np.ones((2, 5), np.float32)})


@pytest.mark.parametrize("reference", [False, True])
def test_refusal_is_clear(reference: bool) -> None:
    strange = graph("g (float x) => (float y) { y = acme.Strange(x) }", domains=("acme",))
    with pytest.raises(UnsupportedModel, match="Strange"):
        Oracle(strange, reference=reference).run({"x": np.float32(1)})


def test_refusal_is_silent_on_the_source_of_onnx_runtime() -> None:
    shaped = graph("g (float[2, 3] x, int64[2] s) => (float[a, b] y) { y = Reshape(x, s) }")
    inputs = {"x": np.zeros((2, 3), np.float32), "s": np.array([4, 5])}
    with pytest.raises(UnsupportedModel, match=r"Input shape:\{2,3\}") as refused:
        Oracle(shaped).run(inputs)
    assert "onnxruntime_src" not in str(refused.value)
    assert "[ONNXRuntimeError]" not in str(refused.value)


def test_reference_knows_float64() -> None:
    text = "g (double[2] x) => (double[2] y) { y = Erf(x) }"
    feed = {"x": np.array([0.5, -1])}
    with pytest.raises(UnsupportedModel):
        Oracle(graph(text)).run(feed)
    result = Oracle(graph(text), reference=True).run(feed)["y"]
    np.testing.assert_allclose(result, [0.5204998778130465, -0.8427007929497149], rtol=1e-10)


@pytest.mark.parametrize("name", ["bfloat16", "float8e4m3fn", "float8e5m2"])
def test_types_that_numpy_lacks(name: str) -> None:
    dtype = DType[name.upper()]
    source = graph(f"g ({name}[3] x, float[3] b) => ({name}[3] y, float[3] f) {{"
                   " y = Identity(x) c = Cast <to = 1> (x) f = Add(c, b) }")  # fmt: skip
    feed = np.array([1, -2, 0.5]).astype(dtype.numpy)
    result = Oracle(source).run({"x": feed, "b": np.ones(3, np.float32)})
    assert result["y"].dtype == dtype.numpy
    np.testing.assert_array_equal(result["y"], feed)
    np.testing.assert_array_equal(result["f"], np.float32([2, -1, 1.5]))


def test_sequences() -> None:
    source = graph("g (float[2] x) => (seq(float[2]) s) { s = SequenceConstruct(x, x) }")
    result = Oracle(source).run({"x": X[0]})["s"]
    assert len(result) == 2
