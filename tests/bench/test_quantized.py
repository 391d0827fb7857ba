"""A bench of the methods of quantization, on small models; nothing is asserted of times."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from burnish.bench import ladder, study, subjects
from burnish.bench.builders import ModelBuilder
from burnish.bench.document import Document, Variant
from burnish.bench.methods import BASE, item_distances, method_names, method_pipeline
from burnish.bench.report import write_report
from burnish.bench.study import Request
from burnish.bench.subjects import NotEquivalent, require_near
from burnish.bench.variants import Pipeline
from burnish.cli import main
from burnish.cli.bench_tables import show
from burnish.cli.session import Session
from burnish.oracle import Oracle
from burnish.passes import get_pass
from burnish.quantization.request import Quantization
from burnish.wording import counted
from tests.depth import slow

TEXT = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[N, 6] x) => (float[N, 4] y) {
  a = MatMul (x, w)  b = Relu (a)  y = MatMul (b, v)
}
"""
PLAIN = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[N, 6] x) => (float[N, 6] y) { y = Relu (x) }
"""
SKIPPED: dict[str, tuple[str, ...]] = {
    "ort": (),
    # Compiling takes its time, and what is compiled is alike.
    "tvm": (
        "equalize-channels",
        "smooth-activations",
        "scale-channels",
        "correct-bias",
        "compensate-channels",
    ),
}
QUICK = ("--time", "0", "--threads", "1")


class Watch:
    """Time that passes only where a test says so."""

    seconds = 0.0


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures do not matter here, so nothing waits for the machine to be free, or is late."""
    monkeypatch.setattr(study, "machine_to_ourselves", nullcontext)
    monkeypatch.setattr(study, "Stopwatch", Watch)


def written(folder: Path, text: str = TEXT, opset: int = 17) -> Path:
    made = onnx.parser.parse_model(text)
    made.opset_import[0].version = opset
    random = np.random.default_rng(0)
    for name, shape in (("w", (6, 32)), ("v", (32, 4))):
        if text == TEXT:
            values = random.normal(size=shape).astype(np.float32)
            made.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    path = folder / "model.onnx"
    onnx.save(made, path)
    return path


def data(folder: Path, items: int = 24, **others: Any) -> Path:
    made = folder / "data"
    made.mkdir()
    x = np.random.default_rng(1).normal(size=(items, 6)).astype(np.float32)
    np.savez(made / "0.npz", x=x, **others)
    return made


def labels(folder: Path, model: Path, *, calibrated: bool = True) -> Path:
    """A task whose labels the model itself gave."""
    made = folder / "task"
    made.mkdir()
    x = np.random.default_rng(2).normal(size=(8, 6)).astype(np.float32)
    y = Oracle(onnx.load(model)).run({"x": x})["y"]
    np.savez(made / "0.npz", x=x, labels=y.argmax(axis=1))
    if calibrated:
        (made / "calibration").mkdir()
        np.savez(made / "calibration" / "0.npz", x=x[::-1].copy())
    return made


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@pytest.fixture
def bench(capfd: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: object) -> Said:
        code = main(["bench", *map(str, arguments), *QUICK])
        return Said(code, *capfd.readouterr())

    return run


def variant(document: Document, id: str) -> Variant:
    return next(one for one in document.variants if one.id == id)


@pytest.mark.parametrize("engine", ["ort", slow("tvm")])
def test_methods_are_the_steps(bench: Any, tmp_path: Path, engine: str) -> None:
    model, out, page = written(tmp_path), tmp_path / "out.json", tmp_path / "out.html"
    said = bench(model, "--engine", engine, "--quantize", "int8", "--calibration", data(tmp_path),
                 "--calibration-samples", 12, "--eval", labels(tmp_path, model), "-o", out,
                 "--report", page, "--skip", ",".join(SKIPPED[engine]))  # fmt: skip
    assert said.code == 0, said.err
    document = Document.model_validate_json(out.read_text())
    assert {step.name for step in document.steps} == set(method_names()) - set(SKIPPED[engine])
    assert document.base == BASE
    first = [step.name for step in document.steps if step.view == "cumulative"]
    assert first[0] == BASE
    whole, original = variant(document, document.whole), variant(document, document.original)
    assert whole.failure is None
    assert whole.latency is not None
    assert whole.constant_bytes < original.constant_bytes
    assert "quantize-int8" not in original.passes
    rounding = next(s for s in document.steps if (s.view, s.name) == ("alone", BASE))
    names = [metric.name for metric in rounding.metrics]
    assert original.metrics[0].difference is None
    assert names[0] == "accuracy"
    assert any("quantized on 12 samples of the data at most" in note for note in document.notes)
    changed = [s for s in document.steps if s.name == "round-weights" and s.view == "without"]
    assert {"noise-to-signal"} <= {metric.name for metric in changed[0].metrics}
    assert "one pass on top of quantize-int8" in page.read_text()
    assert "What each pass does to accuracy" in page.read_text()
    assert max(map(len, said.out.splitlines()[1:])) <= 80
    assert "noise-to-signal" in said.out


@pytest.mark.parametrize("seconds", [slow(0.5), 6.0, slow(20.0), 1000.0])
def test_making_variants_ends_with_the_time_and_what_is_left_out_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seconds: float
) -> None:
    watch, building = Watch(), 1.0
    build, run_pass, measure = ModelBuilder.build, ladder.run_pass, study.Table.measure

    def slowly(graph: Any, step: Any, context: Any) -> Any:
        watch.seconds += step.name in method_names()
        return run_pass(graph, step, context)

    def built(self: ModelBuilder, graph: Any, name: str) -> Any:
        watch.seconds += building
        return build(self, graph, name)

    spent: list[float] = []

    def timed(table: Any, *arguments: Any) -> Any:
        spent.append(watch.seconds)
        return measure(replace(table, pace=replace(table.pace, seconds=0.0)), *arguments)

    monkeypatch.setattr(study, "Stopwatch", lambda: watch)
    monkeypatch.setattr(ladder, "run_pass", slowly)
    monkeypatch.setattr(ModelBuilder, "build", built)
    monkeypatch.setattr(study.Table, "measure", timed)
    methods = len(method_names())
    document = study.bench(Request(
        written(tmp_path), "ort", threads=1, seconds=seconds,
        quantization=Quantization("int8", str(data(tmp_path))),
    ))  # fmt: skip
    # The result, what all others are about, and one more, which may begin just in time.
    assert spent[0] <= max(seconds, methods + 3 * building + 1) + methods + building
    every, left = 3 * methods, [n for n in document.notes if "left out, as there was no time" in n]
    assert len(document.steps) < every if seconds < 100 else len(document.steps) == every
    assert bool(left) is (len(document.steps) < every)
    if left:
        assert left[0].startswith(f"{counted(every - len(document.steps), 'comparison')} left out")
    assert f"{seconds:g} s" in "".join(left) or not left
    assert document.result.failure is None
    ids = {one.id for one in document.variants}
    assert {document.whole, document.original, document.cleanup} <= ids
    assert all({step.variant, step.against} <= ids for step in document.steps)
    write_report(document, tmp_path / "page.html")
    show(Session(), document)


def test_an_old_opset_is_raised_by_the_method(bench: Any, tmp_path: Path) -> None:
    model = written(tmp_path, opset=11)
    said = bench(model, "--engine", "ort", "--quantize", "int8", "--calibration", data(tmp_path),
                 "--skip", "round-weights,correct-bias,smooth-activations,scale-channels,"
                 "equalize-channels", "--json")  # fmt: skip
    assert said.code == 0, said.err
    document = Document.model_validate(json.loads(said.out))
    assert {step.name for step in document.steps} == {BASE, "compensate-channels"}
    assert document.result.failure is None


def test_without_data_there_is_nothing_to_tell(bench: Any, tmp_path: Path) -> None:
    said = bench(written(tmp_path), "--quantize", "int8", "--input-shape", "x=2,6")
    assert said.code == 2
    assert "give --calibration" in said.err


def test_a_task_without_a_calibration_split(bench: Any, tmp_path: Path) -> None:
    model = written(tmp_path)
    said = bench(model, "--quantize", "int8", "--eval", labels(tmp_path, model, calibrated=False))
    assert said.code == 4
    assert "calibration holds no .npz file" in said.err


def test_calibration_without_quantizing(bench: Any, tmp_path: Path) -> None:
    said = bench(written(tmp_path), "--calibration", data(tmp_path))
    assert said.code == 2
    assert "--calibration is about --quantize" in said.err


def test_nothing_to_quantize(bench: Any, tmp_path: Path) -> None:
    said = bench(written(tmp_path, PLAIN), "--engine", "ort", "--quantize", "int8",
                 "--calibration", data(tmp_path))  # fmt: skip
    assert said.code == 3
    assert "nothing is quantized" in said.err


def test_no_sample_has_the_shapes_that_are_timed(bench: Any, tmp_path: Path) -> None:
    said = bench(written(tmp_path), "--engine", "ort", "--quantize", "int8", "--calibration",
                 data(tmp_path), "--input-shape", "x=3,7")  # fmt: skip
    assert said.code == 2
    assert "x" in said.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--passes", "fuse-pad"), "--passes does not go with --quantize"),
        (("--skip", BASE), "leaves nothing to compare"),
        (("--skip", "round-weihgts"), "round-weights"),
        (("--input-shape", "z=1,6"), "z"),
    ],
)
def test_options_that_do_not_fit(
    bench: Any, tmp_path: Path, options: tuple[str, str], reason: str
) -> None:
    said = bench(written(tmp_path), "--engine", "ort", "--quantize", "int8", "--calibration",
                 data(tmp_path), *options)  # fmt: skip
    assert said.code == 2
    assert reason in said.err


def test_the_view_alone_starts_from_rounding() -> None:
    pipeline = method_pipeline([get_pass(name) for name in method_names()])
    questions = {(q.view, q.name): q for q in pipeline.questions()}
    alone = questions["alone", "round-weights"]
    assert alone.lacking == {"infer-shapes", BASE}
    assert alone.having - alone.lacking == {"round-weights"}
    assert questions["alone", BASE].lacking == {"infer-shapes"}
    first = questions["cumulative", "equalize-channels"]
    assert first.lacking == {"infer-shapes", BASE}


def test_other_pipelines_start_from_cleanup() -> None:
    steps = [get_pass(name) for name in ("infer-shapes", "remove-no-ops", "fuse-pad")]
    pipeline = Pipeline(steps, frozenset({"infer-shapes"}))
    assert pipeline.cleanup == {"infer-shapes", "remove-no-ops"}
    assert pipeline.studied == pipeline.names


def test_a_lossy_result_is_timed_within_its_bound_only() -> None:
    expected = [{"y": np.linspace(-1, 1, 8, dtype=np.float32)}]
    require_near(expected, [{"y": expected[0]["y"] * 1.2}])
    with pytest.raises(NotEquivalent, match="10 dB"):
        require_near(expected, [{"y": expected[0]["y"] * 1.5}])
    assert "10 dB" in subjects.LIMIT


def test_distances_are_of_items() -> None:
    want = np.ones((3, 4), np.float32)
    have = want.copy()
    have[1] *= 2
    found = item_distances([{"y": want}], [{"y": have}])
    assert found["noise-to-signal"].values.tolist() == [0.0, 1.0, 0.0]
    assert not found["noise-to-signal"].higher_is_better
    assert not item_distances([{"y": np.zeros(3, np.int64)}], [{"y": np.zeros(3, np.int64)}])
