"""``burnish bench`` on small models; nothing is asserted of how long anything takes."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from burnish.bench import study, subjects
from burnish.bench.client import Engine, EngineFailed
from burnish.bench.document import SCHEMA, Document
from burnish.bench.subjects import NotEquivalent, Seating
from tests.cli.conftest import Burnish, expected


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures do not matter here, so nothing waits for the machine to be free."""
    monkeypatch.setattr(study, "machine_to_ourselves", nullcontext)


QUICK = ("--time", "0", "--threads", "1")


@pytest.mark.parametrize("engine", ["ort", "tvm"])
def test_a_bench_of_a_small_model(
    burnish: Burnish, model: Path, tmp_path: Path, engine: str
) -> None:
    out = tmp_path / "bench.json"
    page = tmp_path / "report.html"
    done = burnish("bench", model, "--engine", engine, *QUICK, "-o", out, "--report", page)
    assert done.code == 0, done.err
    document = Document.model_validate_json(out.read_text())
    assert document.schema_version == SCHEMA
    assert document.engine == engine
    assert document.preset == ("default" if engine == "ort" else None)
    known = {variant.id: variant for variant in document.variants}
    assert {document.whole, document.cleanup, document.original} <= set(known)
    whole, original = known[document.whole], known[document.original]
    assert whole.operators < original.operators
    assert whole.latency is not None
    assert whole.fidelity[0].error < 1e-4
    assert (whole.arena_bytes is None) == (engine == "ort")
    assert {step.view for step in document.steps} == {"alone", "cumulative", "without"}
    assert all({step.variant, step.against} <= set(known) for step in document.steps)
    removal = [step for step in document.steps if step.name == "remove-no-ops"]
    assert [step.operators for step in removal if step.view == "without"] == [1]
    assert [column.name for column in document.columns] == ["onnxruntime"]
    assert [node.op_type for node in document.before] == ["MatMul", "Identity", "Sigmoid"]
    assert document.fired
    assert bool(document.kernels) == (engine == "tvm")
    assert (document.ceiling is not None) == (engine == "tvm")
    assert max(map(len, done.out.splitlines())) <= 80
    assert "remove-no-ops" in done.out
    assert 'data-pass="remove-no-ops"' in page.read_text()


def test_the_document_goes_to_standard_output(burnish: Burnish, model: Path) -> None:
    done = burnish("bench", model, "--engine", "ort", *QUICK, "--passes", "remove-no-ops", "--json")
    assert json.loads(done.out)["model"]["path"] == str(model)


def test_open_shapes_are_refused(burnish: Burnish, open_model: Path) -> None:
    done = burnish("bench", open_model, *QUICK)
    assert done.code == 2
    assert "timing needs fixed shapes" in done.message
    assert "--input-shape" in done.message


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf"])
def test_time_that_is_no_time(burnish: Burnish, model: Path, seconds: str) -> None:
    done = burnish("bench", model, "--time", seconds)
    assert done.code == 2
    assert "--time takes a number of seconds" in done.message


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_nowhere_to_write(burnish: Burnish, model: Path, tmp_path: Path, option: str) -> None:
    done = burnish("bench", model, option, tmp_path / "absent" / "bench")
    assert done.code == 2
    assert "there is no folder" in done.message


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A task on which the small model has three of four right."""
    folder = tmp_path / "task"
    folder.mkdir()
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    labels = expected(x).argmax(axis=1)
    labels[3] = (labels[3] + 1) % 4
    for number in range(2):
        half = slice(2 * number, 2 * number + 2)
        np.savez(folder / f"{number}.npz", x=x[half], labels=labels[half])
    return folder


@pytest.mark.parametrize("engine", ["ort", "tvm"])
def test_a_task_scores_the_original_and_the_whole(
    burnish: Burnish, open_model: Path, labelled: Path, engine: str
) -> None:
    """The shapes are those of the task."""
    few = () if engine == "tvm" else ("--preset", "minimal")
    done = burnish(
        "bench", open_model, "--engine", engine, *QUICK, *few, "--eval", labelled, "--json",
        "--max-drop", "0",
    )  # fmt: skip
    assert done.code == 0, done.err
    document = Document.model_validate_json(done.out)
    assert document.shapes == {"x": [2, 6]}
    metrics = {one.id: one.metrics for one in document.variants if one.metrics}
    assert set(metrics) == {document.original, document.whole}
    (whole,) = metrics[document.whole]
    assert (whole.name, whole.value.value, whole.items) == ("accuracy", 0.75, 4)
    assert whole.difference is not None
    assert whole.difference.value == 0.0


def test_a_task_that_cannot_be_used(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    done = burnish("bench", model, "--eval", tmp_path / "absent", *QUICK)
    assert done.code == 2
    assert "no folder of that name" in done.message


def test_a_task_for_another_model(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", z=np.zeros((2, 5), np.float32), labels=np.zeros(2, int))
    few = ("--engine", "ort", "--passes", "remove-no-ops", "--input-shape", "x=2,6")
    done = burnish("bench", model, "--eval", tmp_path, *few, *QUICK)
    assert done.code == 1
    assert f"cannot be run on what the task {tmp_path.name} feeds it: ort: " in done.message


def test_what_is_wrong_is_never_timed(
    burnish: Burnish, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variant that is wrong has a failure and no figures; the others are timed."""
    right = subjects.check

    def check(seating: Seating, *arguments: Any) -> Any:
        if "Identity" in onnx_types(seating.path):
            raise NotEquivalent("not equivalent, so not timed: y is off")
        return right(seating, *arguments)

    monkeypatch.setattr(subjects, "check", check)
    done = burnish("bench", model, "--engine", "ort", "--preset", "minimal", *QUICK, "--json")
    assert done.code == 0, done.err
    document = Document.model_validate_json(done.out)
    wrong = [one for one in document.variants if one.failure]
    assert document.original in [one.id for one in wrong]
    assert document.whole not in [one.id for one in wrong]
    assert all(one.latency is None and one.blocks == 0 for one in wrong)
    verdicts = {(one.name, one.view): one.verdict for one in document.steps}
    assert verdicts["remove-no-ops", "without"] == "needed"
    assert verdicts["infer-shapes", "cumulative"] == "failed"


def onnx_types(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def test_nothing_is_timed_against_a_wrong_whole(
    burnish: Burnish, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(*arguments: Any) -> Any:
        raise NotEquivalent("y is off")

    monkeypatch.setattr(subjects, "check", check)
    done = burnish("bench", model, "--engine", "ort", *QUICK)
    assert done.code == 3
    assert "the result of the whole pipeline cannot be timed: y is off" in done.message


def test_an_engine_that_dies_leaves_its_variant_out(
    burnish: Burnish, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime may fail on a variant only when it is timed."""
    start = Seating.start

    def fragile(self: Seating, feeds: Any) -> Engine:
        if "Identity" in onnx_types(self.path) and sys._getframe(1).f_code.co_name == "<lambda>":
            raise EngineFailed("ort: the worker died")
        return start(self, feeds)

    monkeypatch.setattr(Seating, "start", fragile)
    done = burnish("bench", model, "--engine", "ort", "--preset", "minimal", *QUICK, "--json")
    assert done.code == 0, done.err
    document = Document.model_validate_json(done.out)
    original = next(one for one in document.variants if one.id == document.original)
    assert original.failure == "ort: the worker died"
    (column,) = document.columns
    assert column.failure == "ort: the worker died"


def test_passes_that_do_not_exist(burnish: Burnish, model: Path) -> None:
    done = burnish("bench", model, "--skip", "remove-noops")
    assert done.code == 2
    assert "did you mean remove-no-ops" in done.message


def test_nothing_to_bench(burnish: Burnish, model: Path) -> None:
    done = burnish("bench", model, "--passes", "remove-no-ops", "--skip", "remove-no-ops", *QUICK)
    assert done.code == 2
    assert "no pass is left to bench" in done.message


def test_what_has_no_kernel_is_noted(burnish: Burnish, tmp_path: Path) -> None:
    text = """
        <ir_version: 10, opset_import: ["": 21]>
        g (float[4] x) => (float[4] y) { s = Det(m) k = Identity(x) y = Add(k, s) }
    """.replace("float[4] x", "float[4] x, float[3, 3] m")
    path = tmp_path / "foreign.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    few = ("--passes", "infer-shapes,remove-no-ops")
    done = burnish("bench", path, "--engine", "tvm", *QUICK, *few, "--ort-ablation", "--peers")
    assert done.code == 0, done.err
    text = " ".join(done.out.split())
    assert "50.0% of the operators have kernels of burnish; the others run in ONNX" in text
    assert "optimizers of ONNX Runtime do nothing to this model" in text
    assert max(map(len, done.out.splitlines())) <= 80
