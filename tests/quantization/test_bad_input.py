"""What is wrong, odd or missing in models and data: one clear message each, or a defined result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx.parser
import pytest

import burnish
from burnish.backends.artifact import Artifact
from burnish.building import starting
from burnish.building.job import Job
from burnish.cli import main
from burnish.errors import BurnishError, InvalidInput, UnsupportedModel, UsageError
from burnish.oracle import Oracle
from burnish.pipeline import PipelineReport, silent
from burnish.quantization import guard
from burnish.quantization.request import Quantization
from burnish.selection import Selection
from burnish.target import resolve

Samples: TypeAlias = list[dict[str, np.ndarray]]
TEXT = """<ir_version: 10, opset_import: ["": 21]>
agraph (float[n, 16] x) => (float[n, 8] y) {
  a = MatMul (x, w)  b = Relu (a)  y = MatMul (b, v)
}
"""


def made(text: str = TEXT, **shapes: tuple[int, ...]) -> onnx.ModelProto:
    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    for name, shape in (shapes or {"w": (16, 32), "v": (32, 8)}).items():
        weights = random.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    return model


def samples(count: int = 4) -> Samples:
    random = np.random.default_rng(1)
    return [{"x": random.normal(size=(1, 16)).astype(np.float32)} for _ in range(count)]


def quantized(model: onnx.ModelProto, data: Any, **more: Any) -> tuple[burnish.Graph, str]:
    graph, report = burnish.optimize(
        model, quantize=burnish.Quantization("int8", data, **more), input_shapes={"x": (1, 16)}
    )
    return graph, str(report)


def count(graph: burnish.Graph, op_type: str = "QuantizeLinear") -> int:
    return sum(node.op_type == op_type for node in graph)


def spoiled(value: float) -> Samples:
    found = samples()
    found[2]["x"][0, 3] = value
    return found


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (spoiled(np.nan), InvalidInput, "sample 2 .*'x'"),
        (spoiled(np.inf), InvalidInput, "sample 2 .*'x'"),
        ([{"z": np.zeros((1, 16), np.float32)}], UsageError, "input 'z'"),
        ([{}], UsageError, "nothing for input 'x'"),
        ([{"x": np.zeros((1, 15), np.float32)}], UsageError, "sample 0 .*'x'"),
        ([{"x": np.zeros((1, 16), np.int32)}], UsageError, "sample 0 .*'x'"),
        ([{"x": np.zeros((0, 16), np.float32)}], BurnishError, "'x'"),
        ([7], InvalidInput, "is a int"),
    ],
)
def test_data_that_do_not_fit_are_refused(
    data: Sequence[Any], error: type[BurnishError], text: str
) -> None:
    with pytest.raises(error, match=text):
        quantized(made(), data)


@pytest.mark.parametrize("value", [0.0, 3.0, 1e-38, 1e30])
def test_data_that_never_change_give_finite_results(value: float) -> None:
    data = [{"x": np.full((1, 16), value, np.float32)}] * 3
    graph, _ = quantized(made(), data)
    for feeds in (*data, *samples(1)):
        assert np.isfinite(Oracle(graph).run(feeds)["y"]).all()


def test_larger_numbers_than_were_seen_saturate() -> None:
    graph, _ = quantized(made(), samples())
    assert count(graph) > 0
    large = {"x": np.full((1, 16), 1e6, np.float32)}
    larger = {"x": np.full((1, 16), 1e30, np.float32)}
    found = Oracle(graph).run(large)["y"]
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, Oracle(graph).run(larger)["y"])


def test_fewer_samples_than_asked_are_noted() -> None:
    _, report = quantized(made(), samples(), samples=9)
    assert "uses 4 samples, as there are no 9" in report


def test_what_is_quantized_already_is_left_alone() -> None:
    once, _ = quantized(made(), samples())
    asked = burnish.Quantization("int8", samples())
    twice, found = burnish.optimize(once.to_onnx(), quantize=asked)
    report = str(found)
    assert "nothing is quantized: the model is quantized already (QuantizeLinear" in report
    assert "leave quantize out" in report
    assert [one for one in [*found.notices, *notes(found)] if "quantized already" in one] == [
        one for one in found.notices if one.startswith("nothing is quantized")
    ]
    assert count(twice) == count(once)


def test_a_model_without_products_is_left_alone() -> None:
    model = made(
        '<ir_version: 10, opset_import: ["": 21]> '
        "agraph (float[1, 16] x) => (float[1, 16] y) { y = Relu (x) }",
        w=(1,),
    )
    graph, report = quantized(model, samples())
    assert "nothing is quantized: no product or convolution has constant weights" in report
    assert count(graph) == 0


TABLE = """<ir_version: 10, opset_import: ["": 21]>
agraph (float[1, 16] x, int64[3] i) => (float[1, 16] y, float[3, 4] z) {
  l = Log (x)  y = MatMul (l, w)  g = Gather (t, i)  z = Relu (g)
}
"""


def notes(report: PipelineReport) -> list[str]:
    return [note for one in report for note in one.notes]


@pytest.mark.parametrize("number", [1.0, np.inf])
def test_why_layers_are_left_alone_is_said_once(number: float) -> None:
    model = made(TABLE, w=(16, 16))
    table = np.full((5000, 4), number, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(table, "t"))
    feeds = [{**each, "i": np.arange(3)} for each in samples()]
    asked = burnish.Quantization("int8", feeds)
    graph, report = burnish.optimize(model, quantize=asked)
    (said,) = [one for one in report.notices if "nothing is quantized" in one]
    assert "numbers seen are not finite" in said
    assert not any("its table" in one for one in [*report.notices, *notes(report)])
    assert not any(one.changed for one in report if one.name == "quantize-int8")
    assert count(graph, "DequantizeLinear") == 0


def test_only_products_with_constant_weights_are_layers() -> None:
    model = made(
        '<ir_version: 10, opset_import: ["": 21]> '
        "agraph (float[1, 16] x) => (float[1, 8] y) { s = Transpose (x)  t = MatMul (s, x) "
        "a = MatMul (x, t)  y = MatMul (a, v) }",
        v=(16, 8),
    )
    job = burnish.Quantization("int8", samples(), keep=("MatMul_3",))
    graph, _ = burnish.optimize(model, quantize=job)
    assert sum(node.op_type == "MatMul" for node in graph) == 3


def test_a_bound_that_nobody_asked_for_leaves_the_model_in_float(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard.DistanceGuard, "loss", lambda *_: guard.Loss(2.0, "12.3 dB"))
    graph, report = quantized(made(), samples())
    assert "left in float: int8 cannot keep to" in report
    assert count(graph) == 0


@pytest.mark.parametrize("opset", [7, 11, 13])
def test_a_model_of_an_old_opset_is_upgraded(opset: int) -> None:
    graph, _ = quantized(made(TEXT.replace("21", str(opset))), samples())
    assert count(graph) > 0
    feeds = samples(1)[0]
    want, have = Oracle(made()).run(feeds)["y"], Oracle(graph).run(feeds)["y"]
    assert np.abs(want - have).max() < 0.05 * np.abs(want).max()


def test_a_bound_that_cannot_be_met_ends_with_its_code_and_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard.DistanceGuard, "loss", lambda *_: guard.Loss(2.0, "12.3 dB"))
    monkeypatch.setattr(guard.DistanceGuard, "is_asked", True)
    onnx.save(made(), tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=np.concatenate([each["x"] for each in samples()]))
    out, page = tmp_path / "out.onnx", tmp_path / "page.html"
    arguments = [
        "optimize", str(tmp_path / "model.onnx"), "-o", str(out), "--input-shape", "x=1,16",
        "--quantize", "int8", "--calibration", str(tmp_path / "data.npz"), "--report", str(page),
    ]  # fmt: skip
    assert main(arguments) == 3
    told = capfd.readouterr().err
    assert "loses 12.3 dB with" in told
    assert "Traceback" not in told
    assert not out.exists()
    assert not page.exists()


def compiled(model: onnx.ModelProto, **more: Any) -> Artifact:
    return burnish.compile(
        model, quantize="int8", calibration=samples(), tune="off", threads=1, verify="off", **more
    )


@pytest.mark.parametrize("target", ["arm64", "x86-64-v3"])
def test_code_for_other_machines_is_quantized_without_times(target: str) -> None:
    artifact = compiled(made(), target=target, input_shapes={"x": (1, 16)})
    stated = artifact.manifest.quantization or {}
    assert stated["layers"] == stated["of"] == 2


def test_bfloat16_beside_int8_needs_a_target_that_has_it() -> None:
    with pytest.raises(UnsupportedModel, match="x86-64-v4 has no avx512bf16"):
        compiled(made(), target="x86-64-v4", precision="bf16", input_shapes={"x": (1, 16)})


def test_several_sets_of_shapes_are_quantized_alike() -> None:
    artifact = compiled(made(), input_shapes=[{"x": (1, 16)}, {"x": (3, 16)}], target="x86-64-v3")
    assert len(artifact.manifest.entries) == 2
    assert (artifact.manifest.quantization or {})["layers"] == 2


def test_each_set_of_shapes_is_compared_on_samples_that_have_it() -> None:
    sizes, data = (1, 3, 2), [{"x": np.full((rows, 16), rows, np.float32)} for rows in (1, 3, 1, 3)]
    sets = tuple({"x": (rows, 16)} for rows in sizes)
    asked, target = Quantization("int8", data), resolve("x86-64-v3")
    job = Job(None, Path("out"), Selection(), sets, target, quantization=asked)
    graph = burnish.Graph.from_onnx(made())
    found = starting.prepare(job, graph, None, silent, Selection("default")).samples
    assert [len(feeds["x"]) for feeds in found] == [1, 1, 3, 3, 2, 2]
    assert all((feeds["x"] == len(feeds["x"])).all() for feeds in found[:4])


@pytest.mark.parametrize(("name", "text"), [("layr", "did you mean layer"), ("r", "there are")])
def test_a_layer_to_keep_that_does_not_exist_is_refused(name: str, text: str) -> None:
    model = made()
    model.graph.node[0].name, model.graph.node[1].name = "layer", "r"
    with pytest.raises(UsageError, match=f"keep=.: unknown layer '{name}'; {text}"):
        quantized(model, samples(), keep=(name,))
    assert count(quantized(model, samples(), keep=("layer",))[0]) > 0


@pytest.mark.parametrize(
    ("last", "is_float"),
    [("ArgMax <axis = 1, keepdims = 1> (c)", False), ("Cast <to = 7> (c)", True)],
)
def test_integers_alone_are_held_to_a_share_that_differs(last: str, is_float: bool) -> None:
    text = TEXT.replace("float[n, 8] y", "int64[n, k] y").replace(
        "y = MatMul (b, v)", f"c = MatMul (b, v)  y = {last}"
    )
    graph, report = quantized(made(text, w=(16, 32), v=(32, 8)), samples(64))
    assert (count(graph) == 0) is is_float
    stated = "left in float: int8 cannot keep to 2 % of integers that differ, as no output is float"
    assert (stated in report) is is_float
