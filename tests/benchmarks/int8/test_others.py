"""Models that others quantized: what counts as right, and how it is laid out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from typer.testing import CliRunner

from benchmarks.cache import Zoo
from benchmarks.cli import app
from benchmarks.int8 import cli, others, quantizers
from benchmarks.int8.others import EQUAL, Material, Near, OthersPlan, OthersRow, near
from benchmarks.int8.samples import write
from benchmarks.int8.table import others_cells
from benchmarks.latency import Versus
from benchmarks.partial import Partial
from benchmarks.plan import Plan
from burnish.bench.stats import Estimate

TEXT = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[1, 8, 6, 6] x) => (float[1, 16, 4, 4] y) { c = Conv (x, w) y = Relu (c) }
"""
RIGHT, FAR = Near(40.0, 1.0), Near(5.0, None)


def row(
    to_ort: Near, optimized: float, moved: float, to_plain: Near = FAR, agreed: float | None = None
) -> OthersRow:
    itself = {"oracle": Near(optimized, None), "moved": Near(moved, agreed)}
    return OthersRow("m", "qdq", 1.0, 1.0, {"ort": to_ort, "oracle": to_plain}, itself)


@pytest.mark.parametrize(("given", "wanted"), [
    (row(RIGHT, EQUAL, EQUAL), True),
    (row(Near(29.9, 1.0), EQUAL, EQUAL), False),
    (row(Near(40.0, 0.98), EQUAL, EQUAL), False),
    (row(Near(40.0, None), EQUAL, EQUAL), True),
    (row(Near(20.0, 0.99), 19.0, EQUAL), True),
    (row(Near(20.0, None), EQUAL, 20.9), True),
    (row(Near(20.0, None), EQUAL, 21.1), False),
    (row(Near(20.0, 0.98), EQUAL, 20.0), False),
    (row(Near(20.0, 0.98), EQUAL, 20.0, agreed=0.97), True),
    (row(Near(20.0, 0.96), EQUAL, 20.0, agreed=0.97), False),
    (row(Near(3.0, None), EQUAL, EQUAL, to_plain=RIGHT), True),
    (OthersRow("m", "qdq", failure="it failed"), False),
])  # fmt: skip
def test_what_is_right_is_as_near_as_onnx_runtime_to_itself(given: OthersRow, wanted: bool) -> None:
    assert given.is_right is wanted


def test_nearness_is_that_of_the_output_farthest_off() -> None:
    rows = np.eye(4, 10, dtype=np.float32) * 20
    swapped = rows[[1, 0, 2, 3]]
    found = near([{"a": rows, "b": rows}], [{"a": rows, "b": swapped}])
    assert found.agreement == 0.5
    assert near([{"a": rows}], [{"a": rows}]) == Near(EQUAL, 1.0)
    empty = np.zeros((0, 3))
    assert near([{"a": empty}], [{"a": empty}]) == Near(EQUAL, None)


def test_classes_of_quantized_probabilities_are_compared() -> None:
    rows = np.full((1, 4, 10), 1 / 256, np.float32)
    rows[0, np.arange(4), np.arange(4)] = 220 / 256
    other = rows[:, [0, 1, 2, 0]]
    assert near([{"a": rows}], [{"a": rows}]).agreement == 1.0
    assert near([{"a": rows}], [{"a": other}]).agreement == 0.75
    assert near([{"a": rows}], [{"a": other[:, :2]}]).agreement is None
    assert near([{"a": rows / 2}], [{"a": other}]).agreement is None
    assert near([{"a": -rows}], [{"a": other}]).agreement is None
    assert near([{"a": rows * np.nan}], [{"a": rows}]).agreement is None
    assert near([{"a": rows}, {"a": rows[:, :0]}], [{"a": other}, {"a": rows[:, :0]}]) == Near(
        near([{"a": rows}], [{"a": other}]).sqnr, 0.75
    )
    assert near([{"a": rows[0, 0]}], [{"a": rows[0, 0]}]).agreement is None


@pytest.mark.parametrize(("moved", "agreement", "holds"), [(0, 1.0, True), (1, 0.75, False)])
def test_integers_are_compared_where_no_output_is_float(
    moved: int, agreement: float, holds: bool
) -> None:
    integers = np.arange(4)
    found = near([{"a": integers}], [{"a": integers + moved * (integers == 2)}])
    assert found == Near(EQUAL, agreement)
    assert found.holds is holds


def test_rows_come_back_and_are_laid_out() -> None:
    one = Estimate(2.0, 1.9, 2.1)
    timed = OthersRow(
        "m", "dynamic", 3.0, 0.5, {"ort": RIGHT, "oracle": Near(EQUAL, None)},
        {"oracle": Near(21.0, None), "moved": Near(EQUAL, 0.98)},
        Estimate(0.004, 0.004, 0.004), Versus(one, one, 2.0),
    )  # fmt: skip
    assert OthersRow.from_json(json.loads(json.dumps(timed.as_json()))) == timed
    _, cells = others_cells([timed, OthersRow("n", "nncf", failure="it failed")])
    assert cells[0] == [
        "m", "dynamic", "50 %", "40.0 dB, 100.0 %", "same bits", "21.0 dB", "98.0 %",
        "-", "yes", "4", "2.00",
    ]  # fmt: skip
    assert cells[1][2] == "failed"
    assert cells[2][-1] == "2.00"
    assert "40.0 dB to ort" in str(timed)


def feeds(count: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(3)
    return [{"x": generator.normal(size=(1, 8, 6, 6)).astype(np.float32)} for _ in range(count)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    made = onnx.parser.parse_model(TEXT)
    weights = np.random.default_rng(0).normal(size=(16, 8, 3, 3)).astype(np.float32)
    made.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(made, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_a_model_of_quantized_operators_is_compiled_and_compared(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(others, "material", lambda *_: Material(model, feeds(3), feeds(2)))
    plan = OthersPlan(3, 2, 1, Plan(blocks=0, tune="off"), None)
    (found,) = others.measure_others(["m"], ["qoperator"], plan, Zoo(tmp_path), Partial(tmp_path))
    assert found.failure is None
    assert found.native_share == 1.0
    assert found.is_right
    assert found.near["ort"].sqnr >= 30
    (missing,) = others.measure_others(["m"], ["nncf"], plan, Zoo(tmp_path), Partial(tmp_path))
    assert missing.failure == "no interpreter here has NNCF"


@pytest.mark.parametrize("runs", [True, False])
def test_another_version_counts_where_it_runs_the_model(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: bool
) -> None:
    """Old ones have no kernels for some operators; what this one cannot run is a failure."""
    monkeypatch.setattr(others, "material", lambda *_: Material(model, feeds(3), feeds(2)))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n{"exec " + sys.executable if runs else "exit 3 #"} "$@"\n')
    python.chmod(0o755)
    plan = OthersPlan(3, 2, 1, Plan(blocks=0, tune="off"), None, python)
    (found,) = others.measure_others(["m"], ["qdq"], plan, Zoo(tmp_path), Partial(tmp_path))
    assert found.failure is None
    assert (others.ANOTHER in found.itself) is runs


def test_formats_are_those_of_onnx_runtime(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "samples", iter(feeds(2)))
    output = tmp_path / "out.onnx"
    quantizers.onnx_runtime(model, tmp_path / "samples", output, operators=True)
    assert "QLinearConv" in {node.op_type for node in onnx.load(output).graph.node}
    quantizers.onnx_runtime_dynamic(model, output)
    assert "ConvInteger" in {node.op_type for node in onnx.load(output).graph.node}


def test_feeds_that_are_compared_calibrate_nothing(tmp_path: Path) -> None:
    found = others.material("fashion-cnn", 64, 3, Zoo(tmp_path))
    assert 0 < len(found.compared) <= 3
    for one in found.compared:
        assert not any(np.array_equal(one["images"], each["images"]) for each in found.calibration)


@pytest.mark.parametrize("arguments", [["--models", "nothing"], ["--kinds", "qdq,nothing"]])
def test_what_does_not_exist_is_refused(arguments: list[str]) -> None:
    result: Any = CliRunner().invoke(app, ["int8", "others", *arguments])
    assert result.exit_code == 2
    assert "nothing" in result.output


def test_an_interpreter_that_cannot_be_started_is_no_peer(tmp_path: Path) -> None:
    assert cli._another([tmp_path / "python"]) == (None, {})
    assert cli._nncf([tmp_path / "python"]) == (None, {})
