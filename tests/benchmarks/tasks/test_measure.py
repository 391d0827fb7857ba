"""Models scored before and after, and how that is shown."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import burnish
from benchmarks.cache import Zoo
from benchmarks.partial import Partial
from benchmarks.tasks.measure import (
    COMPILED,
    DEFAULT,
    ORIGINAL,
    TaskRow,
    measure_task,
    measure_tasks,
)
from benchmarks.tasks.record import as_table, load_record, tasks_table
from benchmarks.tasks.table import JUDGED, Judged
from burnish.bench.document import Interval, Metric
from burnish.bench.task import Run, Scores
from burnish.errors import UnsupportedModel
from burnish.oracle import Oracle
from burnish.testing import graph

MODEL = "g (float[4] x) => (float[4] y) { z = Identity(x) y = Relu(z) }"


class Signs:
    """Whether numbers below zero become zero."""

    name = "signs"
    input_shapes = ({"x": (4,)},)

    def calibration(self) -> list[dict[str, np.ndarray]]:
        return []

    def evaluate(self, run: Run) -> Mapping[str, Scores]:
        x = np.float32([-1, 0, 1, 2])
        return {"accuracy": Scores.of(run({"x": x})["y"] == np.maximum(x, 0))}


@pytest.fixture
def judged(tmp_path: Path) -> Judged:
    path = tmp_path / "model.onnx"
    burnish.save(graph(MODEL), path)
    return Judged("relu", Signs(), lambda _: path)


class Broken:
    """An artifact that forgets one of the numbers."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": np.maximum(feeds["x"], 0) * np.float32([1, 1, 1, 0])}


def measured(judged: Judged, monkeypatch: pytest.MonkeyPatch, artifact: Any) -> TaskRow:
    def compile_(model: Any, **options: Any) -> Any:
        assert options == {"input_shapes": [{"x": (4,)}], "threads": 1, "tune": "off"}
        return artifact or Oracle(model, threads=1)

    monkeypatch.setattr(burnish, "compile", compile_)
    return measure_task(judged, Zoo(), 1, "off")


def test_the_same_metric_three_times(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    row = measured(judged, monkeypatch, None)
    assert list(row.metrics) == [ORIGINAL, DEFAULT, COMPILED]
    assert {one[0].value.value for one in row.metrics.values()} == {1.0}
    assert row.metrics[ORIGINAL][0].difference is None
    assert row.metrics[DEFAULT][0].difference == Interval(value=0, low=0, high=0)
    assert not row.complaints


def test_rows_can_be_read_again(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    row = measured(judged, monkeypatch, Broken())
    assert TaskRow.from_json(json.loads(json.dumps(row.as_json()))) == row
    assert str(row).startswith("relu: accuracy 1.0000 (original), accuracy 1.0000 (default)")


def test_what_fails_is_told(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise UnsupportedModel("no kernel for Relu")

    monkeypatch.setattr(burnish, "compile", refuse)
    row = measure_task(judged, Zoo(), 1, "off")
    assert row.complaints == ["relu: no kernel for Relu"]
    assert str(row) == "relu: no kernel for Relu"


def test_rows_are_kept(judged: Judged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(burnish, "compile", lambda model, **_: Oracle(model))
    for _ in range(2):
        rows = list(measure_tasks({"relu": judged}, Zoo(), 1, "off", Partial(tmp_path / "rows")))
        # The second time, nothing is there to measure.
        judged = replace(judged, locate=lambda _: tmp_path / "gone.onnx")
    assert rows[0].failure is None


def metric(value: float, by: tuple[float, float, float] | None) -> Metric:
    interval = None if by is None else Interval(value=by[0], low=by[1], high=by[2])
    value_ = Interval(value=value, low=value - 0.01, high=value + 0.01)
    return Metric(
        name="exact-match", higher_is_better=True, value=value_, difference=interval, items=1000
    )


def row_of(default: tuple[float, float, float], compiled: tuple[float, float, float]) -> TaskRow:
    pairs = {ORIGINAL: None, DEFAULT: default, COMPILED: compiled}
    return TaskRow("rec", "ocr", {name: [metric(0.9, by)] for name, by in pairs.items()})


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (row_of((0, 0, 0), (0, 0, 0)), None),
        (row_of((0, 0, 0), (-0.001, -0.001, 0.0009)), None),
        (row_of((0, 0, 0), (0, -0.01, 0.01)), None),
        (row_of((0, -0.01, 0.01), (0, 0, 0)), None),
        (row_of((-0.001, -0.001, 0.0009), (0, 0, 0)), "exact-match of default differs by -0.001"),
        (row_of((0, 0, 0), (-0.02, -0.03, -0.01)), "exact-match of compiled differs by -0.02"),
        (row_of((0, 0, 0), (0.02, 0.01, 0.03)), "exact-match of compiled differs by +0.02"),
    ],
)
def test_complaints(row: TaskRow, complaint: str | None) -> None:
    if complaint is None:
        assert not row.complaints
    else:
        (said,) = row.complaints
        assert said.startswith(f"rec: {complaint}")


def test_tables(tmp_path: Path) -> None:
    row = row_of((0, 0, 0), (-0.001, -0.002, 0.0015))
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps({"environment": {}, "rows": [row.as_json()]}))
    (line,) = tasks_table(load_record(path)).splitlines()[2:]
    assert line == (
        "| rec | ocr | 1000 | exact match | 90.00% (89.00% to 91.00%) | 0 "
        "| -0.10 (-0.20 to +0.15) |"
    )
    assert as_table([row]).row_count == 1


def test_every_task_is_named_once() -> None:
    assert len(JUDGED) == 5
    assert {one.task.name for one in JUDGED.values()} == {
        "fashion-mnist", "magika", "ocr", "retrieval",
    }  # fmt: skip
    assert all(name == one.name for name, one in JUDGED.items())


def test_models_come_from_the_zoo(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr_onnxruntime")
    assert JUDGED["ppocr-v4-rec"].locate(Zoo(tmp_path)).is_file()
