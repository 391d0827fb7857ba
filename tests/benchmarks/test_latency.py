"""Engines in worker processes: loaded, compared and only then timed. No test asserts a time."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks import checking, latency
from benchmarks.cache import Zoo
from benchmarks.checking import check_engine, expected_outputs
from benchmarks.comparison import Disagreement
from benchmarks.inputs import Array, draw_feeds
from benchmarks.latency import Figures, Row, Versus, figures_of, measure_case
from benchmarks.latency_table import as_table, geometric_mean, means, remarks
from benchmarks.peer_engines import PEERS
from benchmarks.plan import Plan
from benchmarks.zoo import MODELS, Model, find
from burnish.bench.client import Engine, EngineFailed, _shortened
from burnish.bench.engines import ENGINES
from burnish.bench.seats import ORT, PeerEngine, Seat
from burnish.bench.stats import Estimate
from burnish.bench.timing import FEWEST, alternate, ratio

QUICK = Plan(blocks=2, seconds=0.0, warm=1)
HERE = Path(sys.executable)
SEATS = (Seat(ORT, HERE),)


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


def test_long_messages_keep_both_ends_on_one_line() -> None:
    short = _shortened("place:\n  " + "x" * 1000 + "\ncause")
    assert len(short) < 410
    assert short.startswith("place: x")
    assert short.endswith("x cause")
    assert _shortened("a\n b") == "a b"


def test_figures_come_from_alternating_blocks(built: tuple[Model, Path]) -> None:
    model, path = built
    with Engine("oracle") as one, Engine("ort") as other:
        for engine in (one, other):
            engine.load(path, threads=1)
            assert check_engine(engine, list(expected_outputs(model, model.cases[0], path))) == 0.0
        figures = figures_of(alternate({"burnish": one, "ort": other}, QUICK, "burnish"))
    assert figures.burnish.median > 0
    ratio = figures.peers["ort"].ratio
    assert ratio.low <= ratio.median <= ratio.high


class Fixed(Engine):
    """An engine whose runs always take as long; there is no worker behind it."""

    def __init__(self, seconds: float) -> None:
        self.name, self.seconds, self.calls = "fixed", seconds, 0

    def time(self, count: int, *, warm: int) -> list[float]:
        self.calls += 1
        return [self.seconds] * count


def test_blocks_end_when_the_ratio_is_known() -> None:
    slow, fast = Fixed(0.02), Fixed(0.01)
    blocks = alternate({"slow": slow, "fast": fast}, Plan(blocks=50), "fast")
    assert len(blocks["slow"]) == len(blocks["fast"]) == FEWEST
    assert [len(block) for block in blocks["fast"]] == [10] * FEWEST  # of 0.2 s at the slower one
    assert ratio(blocks["slow"], blocks["fast"]) == Estimate(2.0, 2.0, 2.0)


class Wrong(Engine):
    """An engine whose outputs are a little off; it counts how often it is timed."""

    timed = 0

    def outputs(self) -> dict[str, Array]:
        found = super().outputs()
        return {**found, "masked": found["masked"] * np.float32(1.01)}

    def time(self, count: int, *, warm: int) -> list[float]:
        Wrong.timed += 1
        return super().time(count, warm=warm)


def replace_engines(monkeypatch: pytest.MonkeyPatch, *wrong: str) -> None:
    """Load the ONNX file into ONNX Runtime in place of an artifact; let some be wrong."""

    def start(name: str, python: Path = HERE) -> Engine:
        return (Wrong if name in wrong else Engine)("ort" if name == "burnish" else name, python)

    Wrong.timed = 0
    monkeypatch.setattr(latency, "Engine", start)
    monkeypatch.setattr(checking, "Engine", start)


def test_wrong_results_are_not_timed(
    built: tuple[Model, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = built
    replace_engines(monkeypatch, "burnish")
    with pytest.raises(Disagreement, match="masked is off by"):
        latency.check_and_time(model, model.cases[0], 1, QUICK, path, path, SEATS)
    assert Wrong.timed == 0


def test_peers_that_fail_or_are_wrong_are_left_out(
    built: tuple[Model, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = built
    replace_engines(monkeypatch, "ort")
    absent = Seat(PeerEngine("abacus", "Abacus", "abacus"), HERE)
    seats = (Seat(PeerEngine("ort", "ONNX Runtime", "onnxruntime"), HERE), absent)
    checked = latency.check_and_time(model, model.cases[0], 1, QUICK, path, path, seats)
    assert checked.figures.peers == {}
    assert "masked is off by" in checked.untimed["ort"]
    assert "KeyError" in checked.untimed["abacus"]
    assert Wrong.timed == 0


def test_a_peer_is_timed_at_the_highest_level_that_is_right(
    built: tuple[Model, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = built
    replace_engines(monkeypatch, "ort", "ort-layout")
    checked = latency.check_and_time(model, model.cases[0], 1, QUICK, path, path, SEATS)
    assert checked.untimed == {}
    assert set(checked.figures.peers) == {"ort"}
    said = "extended optimizations, since with all masked is off by"
    assert checked.lowered["ort"].startswith(said)
    row = checked.row(model, model.cases[0], 1, None, 1.0)
    assert f"ort has {said}" in str(row)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(as_table([row]))
    assert f"edges: ONNX Runtime has {said}" in " ".join(console.export_text().split())
    assert Wrong.timed == 0


def test_levels_are_engines() -> None:
    assert {level.loader for peer in PEERS.values() for level in peer.lower} <= ENGINES.keys()


def test_remarks_say_once_what_is_missing() -> None:
    rows = [Row("m", "1", threads, untimed={"openvino": "no [x]"}) for threads in (1, 2)]
    assert remarks(rows) == ["m: OpenVINO is not timed: no [x]"]


def test_a_failing_compiler_is_a_row(tmp_path: Path) -> None:
    missing = tmp_path / "missing.onnx"
    model = find("edges")
    row = measure_case(model, model.cases[0], 1, QUICK, missing, SEATS, tmp_path)
    assert row.figures is None
    assert row.failure is not None
    assert "exit code" in row.failure


def figures(**ratios: Estimate) -> Figures:
    time = Estimate(0.1234567, 0.1, 0.2)
    return Figures(time, {name: Versus(time, ratio, 1.0) for name, ratio in ratios.items()})


def test_rows_read_as_lines() -> None:
    even = Estimate(1.0, 1.0, 1.0)
    good = Row("m", "1x3", 2, figures=figures(ort=even), untimed={"torch": "no g++"})
    assert str(good) == "m 1x3, 2 threads: 123 ms; ort takes 1.00, no torch: no g++"
    assert str(Row("m", "1x3", 2, failure="no")) == "m 1x3, 2 threads: no"


def test_rows_survive_json() -> None:
    even = Estimate(1.0, 0.5, 1.5)
    for row in (
        Row("m", "1x3", 2, 1.0, 1.0, 1e-6, figures(ort=even), untimed={"torch": "no g++"}),
        Row("m", "1x3", 2, failure="no"),
    ):
        assert Row.from_json(json.loads(json.dumps(row.as_json()))) == row


@pytest.mark.parametrize("engines", [("ort",), ("ort", "openvino"), ("ort", "openvino", "torch")])
def test_tables_fit_100_columns(engines: tuple[str, ...]) -> None:
    wide = Estimate(12.34, 11.11, 13.33)
    name = max((model.name for model in MODELS), key=len)
    label = max((case.label for model in MODELS for case in model.cases), key=len)
    row = Row(name, label, 16, 50.0, 1.0, 1e-5, figures(**dict.fromkeys(engines, wide)))
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(as_table([row, Row(name, "1x1", 1, failure="wrong")]))
    text = console.export_text()
    assert "…" not in text
    assert name in text
    assert "fails" in text
    assert text.count("12.34±9%") == 2 * len(engines)


def test_means_are_geometric_and_know_the_least() -> None:
    rows = [
        Row(name, "1", 2, figures=figures(ort=Estimate(ratio, ratio, ratio)))
        for name, ratio in (("a", 0.5), ("b", 8.0))
    ]
    (mean,) = means([*rows, Row("c", "1", 2, failure="no")])
    assert (mean.engine, mean.threads, mean.count, mean.least) == ("ort", 2, 2, 0.5)
    assert mean.ratio.median == pytest.approx(2.0)
    with pytest.raises(ValueError, match="at least one"):
        geometric_mean([])
