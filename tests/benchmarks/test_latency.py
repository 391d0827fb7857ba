"""Engines in worker processes: loaded, compared and only then timed. No test asserts a time."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks import latency
from benchmarks.cache import Zoo
from benchmarks.client import Engine, EngineFailed
from benchmarks.comparison import Disagreement
from benchmarks.inputs import Array, draw_feeds
from benchmarks.latency import (
    Figures,
    Plan,
    Row,
    as_table,
    check_engines,
    measure_case,
    time_engines,
)
from benchmarks.stats import Estimate
from benchmarks.zoo import MODELS, Model, find

QUICK = Plan(blocks=2, seconds=0.0, warm=1)


@pytest.fixture
def built(tmp_path: Path) -> tuple[Model, Path]:
    model = find("edges")
    zoo = Zoo(tmp_path)
    zoo.build(model)
    return model, zoo.path(model)


def test_workers_give_what_the_model_gives(built: tuple[Model, Path]) -> None:
    model, path = built
    feeds = draw_feeds(model.inputs, model.cases[0])
    with Engine("ort") as engine:
        assert engine.foreign() == []
        engine.load(path, threads=1)
        engine.feed(feeds)
        outputs = engine.outputs()
        assert "onnxruntime" in engine.foreign()
        assert engine.resident() > 1 << 20
    np.testing.assert_array_equal(outputs["x"], feeds["x"])
    assert outputs["total"].shape == ()
    assert outputs["any"].dtype == bool


def test_a_worker_reports_failures_and_lives_on(built: tuple[Model, Path], tmp_path: Path) -> None:
    with Engine("oracle") as engine:
        with pytest.raises(EngineFailed, match="oracle: RuntimeError: no model is loaded"):
            engine.outputs()
        with pytest.raises(EngineFailed, match="oracle: "):
            engine.load(tmp_path / "missing.onnx", threads=1)
        engine.load(built[1], threads=1)


def test_unknown_engines_fail(tmp_path: Path) -> None:
    with Engine("abacus") as engine, pytest.raises(EngineFailed, match="KeyError: 'abacus'"):
        engine.load(tmp_path, threads=1)


def test_figures_come_from_alternating_blocks(built: tuple[Model, Path]) -> None:
    model, path = built
    with Engine("oracle") as one, Engine("ort") as other:
        for engine in (one, other):
            engine.load(path, threads=1)
        assert check_engines(model, model.cases[0], path, one, other) == 0.0
        figures = time_engines(one, other, QUICK)
    assert figures.burnish.median > 0
    assert figures.ratio.low <= figures.ratio.median <= figures.ratio.high


class Wrong(Engine):
    """An engine whose outputs are a little off; it counts how often it is timed."""

    timed = 0

    def outputs(self) -> dict[str, Array]:
        found = super().outputs()
        return {**found, "masked": found["masked"] * np.float32(1.01)}

    def time(self, count: int, *, warm: int) -> list[float]:
        Wrong.timed += 1
        return super().time(count, warm=warm)


def test_wrong_results_are_not_timed(
    built: tuple[Model, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, path = built

    def start(name: str) -> Engine:
        # The worker loads the ONNX file in place of an artifact.
        return Wrong("ort") if name == "burnish" else Engine(name)

    monkeypatch.setattr(latency, "Engine", start)
    with pytest.raises(Disagreement, match="masked is off by"):
        latency.check_and_time(model, model.cases[0], 1, QUICK, path, path)
    assert Wrong.timed == 0


def test_a_failing_compiler_is_a_row(tmp_path: Path) -> None:
    missing = tmp_path / "missing.onnx"
    model = find("edges")
    row = measure_case(model, model.cases[0], 1, QUICK, missing, tmp_path)
    assert row.figures is None
    assert row.failure is not None
    assert "exit code" in row.failure


def test_rows_read_as_lines() -> None:
    estimate = Estimate(1.0, 1.0, 1.0)
    good = Row("m", "1x3", 2, figures=Figures(estimate, estimate, estimate, 1.0))
    assert str(good) == "m 1x3, 2 threads: 1.00 of ONNX Runtime's time"
    assert str(Row("m", "1x3", 2, failure="no")) == "m 1x3, 2 threads: no"


def test_tables_fit_100_columns() -> None:
    estimate = Estimate(0.1234567, 0.1, 0.2)
    figures = Figures(estimate, estimate, Estimate(12.34, 11.11, 13.33), 12.0)
    name = max((model.name for model in MODELS), key=len)
    label = max((case.label for model in MODELS for case in model.cases), key=len)
    row = Row(name, label, 16, 50.0, 1.0, 1e-5, figures)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(as_table([row, Row(name, "1x1", 1, failure="wrong")]))
    text = console.export_text()
    assert "…" not in text
    assert name in text
    assert "fails" in text
