from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
import typer
from rich.table import Table
from typer.testing import CliRunner

from benchmarks import partial
from benchmarks.cli import app
from benchmarks.commands import finish
from benchmarks.int8 import cli, quantizers
from benchmarks.int8.accuracy import FLOAT, NNCF, OURS, AccuracyRow
from benchmarks.int8.latency import chosen_cases
from benchmarks.int8.samples import of_model, read, write
from benchmarks.int8.table import accuracy_cells, latency_cells
from benchmarks.latency import Figures, Row, Versus
from benchmarks.zoo import find
from burnish.bench.document import Interval, Metric
from burnish.bench.environment import record_environment
from burnish.bench.stats import Estimate

TEXT = """<ir_version: 7, opset_import: ["": 11]>
agraph (float[1, 8, 6, 6] x) => (float[1, 16, 6, 6] y) { y = Conv (x, w) }
"""


def metric(value: float, change: float | None = None) -> Metric:
    by = None if change is None else Interval(value=change, low=change - 0.01, high=change + 0.01)
    return Metric(
        name="exact-match", higher_is_better=True, items=10, difference=by,
        value=Interval(value=value, low=value - 0.1, high=value + 0.1),
    )  # fmt: skip


def test_samples_come_back_as_they_were_written(tmp_path: Path) -> None:
    model = find("magika")
    drawn = list(of_model(model, model.cases[1], 3))
    assert write(tmp_path / "new", iter(drawn)) == 3
    back = list(read(tmp_path / "new"))
    assert [np.array_equal(a["bytes"], b["bytes"]) for a, b in zip(drawn, back, strict=True)] == [
        True, True, True,
    ]  # fmt: skip


def test_calibration_samples_are_none_that_outputs_are_compared_on() -> None:
    from benchmarks.checking import SEEDS
    from benchmarks.inputs import draw_feeds

    model = find("resnet-50-dynamo")
    case = model.cases[0]
    (one,) = of_model(model, case, 1)
    for seed in SEEDS:
        compared = draw_feeds(model.inputs, case, seed)
        assert not any(np.array_equal(one[name], compared[name]) for name in one)


def test_a_model_of_an_old_opset_is_quantized_per_channel(tmp_path: Path) -> None:
    made = onnx.parser.parse_model(TEXT)
    weights = np.random.default_rng(0).normal(size=(16, 8, 1, 1)).astype(np.float32)
    made.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(made, tmp_path / "model.onnx")
    feeds = [{"x": np.random.default_rng(1).normal(size=(1, 8, 6, 6)).astype(np.float32)}]
    write(tmp_path / "samples", iter(feeds))
    quantizers.onnx_runtime(tmp_path / "model.onnx", tmp_path / "samples", tmp_path / "out.onnx")
    found = onnx.load(tmp_path / "out.onnx")
    sizes = [
        int(np.prod(one.dims)) for one in found.graph.initializer if one.name.endswith("_scale")
    ]
    assert 16 in sizes


def test_a_model_with_weights_in_a_file_of_their_own_is_quantized(tmp_path: Path) -> None:
    """As exporters write it, with the shapes of weights, which the quantizer transposes."""
    made = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[4, 64] x) => (float[4, 48] y) { y = Gemm <transB = 1> (x, w) }"""
    )
    weights = np.random.default_rng(0).normal(size=(48, 64)).astype(np.float32)
    made.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    told = onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [48, 64])
    made.graph.value_info.append(told)
    onnx.save(made, tmp_path / "m.onnx", save_as_external_data=True, location="m.data")
    write(tmp_path / "samples", iter([{"x": np.ones((4, 64), np.float32)}]))
    quantizers.onnx_runtime(tmp_path / "m.onnx", tmp_path / "samples", tmp_path / "static.onnx")
    quantizers.onnx_runtime_dynamic(tmp_path / "m.onnx", tmp_path / "dynamic.onnx")
    found = onnx.load(tmp_path / "dynamic.onnx")
    assert "MatMulInteger" in {node.op_type for node in found.graph.node}


def test_a_quantizer_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    write(tmp_path / "samples", iter(()))
    with pytest.raises(quantizers.QuantizerFailed, match="onnxruntime: "):
        quantizers.onnx_runtime(tmp_path / "broken.onnx", tmp_path / "samples", tmp_path / "o.onnx")
    with pytest.raises(quantizers.QuantizerFailed, match="nncf: "):
        quantizers.nncf(Path("/bin/false"), tmp_path, tmp_path, tmp_path, transformer=False)


def test_rows_of_accuracy_come_back_and_are_laid_out() -> None:
    row = AccuracyRow(
        "rec", "ocr", 8, {FLOAT: [metric(0.9)], OURS: [metric(0.89, -0.01)]},
        failures={NNCF: "it failed"},
    )  # fmt: skip
    assert AccuracyRow.from_json(json.loads(json.dumps(row.as_json()))) == row
    _, (cells,) = accuracy_cells([row])
    assert cells[:5] == ["rec", "10", "exact match", "90.00", "-1.00 (-2.00 to +0.00)"]
    assert cells[-1] == "failed"
    assert "burnish -1.00" in str(row)


def test_latency_is_laid_out_with_means() -> None:
    one = Estimate(2.0, 1.9, 2.1)
    figures = Figures(Estimate(0.004, 0.004, 0.004), {"ort": Versus(one, one, 2.0)})
    rows = [Row("a", "1x3", 2, figures=figures), Row("b", "1x3", 2, failure="broken")]
    _, cells = latency_cells(rows)
    assert [row[3:6] for row in cells] == [
        ["4", "2.00", "-"], ["failed", "-", "-"], ["", "2.00", "-"],
    ]  # fmt: skip


def test_cases_are_those_that_int8_is_held_to() -> None:
    assert len(chosen_cases()) == 6
    assert list(chosen_cases(["magika"])) == ["magika-1x2048"]


@pytest.mark.parametrize("arguments", [["accuracy", "--models", "nothing"], ["nothing"]])
def test_what_does_not_exist_is_refused(arguments: list[str]) -> None:
    result: Any = CliRunner().invoke(app, ["int8", *arguments])
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("command", "measure"),
    [("accuracy", "measure_accuracy"), ("latency", "measure_latency"), ("zoo", "measure_zoo"),
     ("others", "measure_others"), ("methods", "measure_methods")],
)  # fmt: skip
def test_rows_are_kept_for_one_code_and_its_options(
    command: str, measure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def measured(*arguments: Any) -> Iterator[Any]:
        folders.append(arguments[-1].folder)
        return iter(())

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cli, measure, measured)
    monkeypatch.setattr(cli, "_nncf", lambda _: (None, {}))
    monkeypatch.setattr(cli, "finish", lambda *_, **__: None)

    def run(*options: str, code: str = "a") -> Path:
        monkeypatch.setattr(partial, "fingerprint", lambda _: code)
        result = CliRunner().invoke(app, ["int8", command, *options])
        assert result.exit_code == 0, result.output
        return folders[-1]

    assert run() == run()
    others = [run(), run("--samples", "5"), run("--threads", "7"), run(code="b")]
    assert len(set(others)) == len(others)
    assert all(tmp_path / "cache" in folder.parents for folder in others)
    own = tmp_path / "own"
    assert run("--partial", str(own)) == run("--partial", str(own), code="b") == own


@pytest.mark.parametrize(("holds", "failure", "code"), [
    (True, None, 0), (False, None, 1), (True, "it failed", 1),
])  # fmt: skip
def test_a_command_fails_if_a_row_does(
    holds: bool, failure: str | None, code: int, tmp_path: Path
) -> None:
    rows = [Row("a", "1x3", 2, failure=failure)]
    output, environment = tmp_path / "rows.json", record_environment()
    command = typer.Typer()

    @command.command()
    def ends() -> None:
        finish(output, environment, {"threads": 2}, rows, Table(), "a remark", holds=holds)

    result = CliRunner().invoke(command)
    assert result.exit_code == code
    assert "a remark" in result.output
    assert json.loads(output.read_text())["rows"] == [rows[0].as_json()]
