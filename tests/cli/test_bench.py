"""``burnish bench`` on small models; nothing is asserted of how long anything takes."""

from __future__ import annotations

import io
import json
import math
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from burnish.bench import ablation, scoring, study, subjects
from burnish.bench.client import Engine, EngineFailed
from burnish.bench.document import SCHEMA, Document, Fidelity
from burnish.bench.subjects import NotEquivalent, Seating
from burnish.cli import main
from burnish.errors import UnsupportedModel
from tests.cli.conftest import Burnish, Outcome, expected, small_model


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures do not matter here, so nothing waits for the machine to be free."""
    monkeypatch.setattr(study, "machine_to_ourselves", nullcontext)


QUICK = ("--time", "0", "--threads", "1")


def labelled_items(folder: Path) -> Path:
    """Four items, three of which the small model has right, in two files of a new folder."""
    made = folder / "task"
    made.mkdir()
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    labels = expected(x).argmax(axis=1)
    labels[3] = (labels[3] + 1) % 4
    for number in range(2):
        half = slice(2 * number, 2 * number + 2)
        np.savez(made / f"{number}.npz", x=x[half], labels=labels[half])
    return made


@dataclass(frozen=True)
class Ran:
    """One bench that several tests look at."""

    engine: str
    outcome: Outcome
    document: Document
    page: str


@pytest.fixture(scope="module", params=["ort", "tvm"])
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A small model with everything that a bench writes, at the shapes of a task."""
    folder = tmp_path_factory.mktemp(f"bench-{request.param}")
    path, out, page = folder / "open.onnx", folder / "bench.json", folder / "report.html"
    onnx.save(small_model("batch"), path)
    said, complained = io.StringIO(), io.StringIO()
    command = ["bench", path, "--engine", request.param, *QUICK, "--eval", labelled_items(folder),
               "--max-drop", "0", "-o", out, "--report", page]  # fmt: skip
    with (
        pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(complained)
    ):  # fmt: skip
        patch.setattr(study, "machine_to_ourselves", nullcontext)
        code = main([str(argument) for argument in command])
    outcome = Outcome(code, said.getvalue(), complained.getvalue())
    assert code == 0, outcome.err
    document = Document.model_validate_json(out.read_text())
    return Ran(request.param, outcome, document, page.read_text())


def test_a_bench_of_a_small_model(ran: Ran) -> None:
    document, engine = ran.document, ran.engine
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
    assert [(budget.name, budget.passed) for budget in document.budgets] == [("max-drop", True)]
    assert (document.ceiling is not None) == (engine == "tvm")


def widest(out: str) -> int:
    """Characters of the longest line but the first, which is a path."""
    return max(map(len, out.splitlines()[1:]))


def test_tables_and_the_page_of_a_small_model(ran: Ran) -> None:
    assert widest(ran.outcome.out) <= 80
    assert "remove-no-ops" in ran.outcome.out
    lines = [line.split() for line in ran.outcome.out.splitlines()]
    assert ["accuracy", "0.7500", "0.7500"] in [line[:3] for line in lines]
    assert ["to", "the", "original,", "95%", "+0.0000"] in [line[:5] for line in lines]
    assert 'data-pass="remove-no-ops"' in ran.page


def test_a_task_scores_the_original_and_the_whole(ran: Ran) -> None:
    """The shapes are those of the task."""
    document = ran.document
    assert document.shapes == {"x": [2, 6]}
    metrics = {one.id: one.metrics for one in document.variants if one.metrics}
    assert set(metrics) == {document.original, document.whole}
    (whole,) = metrics[document.whole]
    assert (whole.name, whole.value.value, whole.items) == ("accuracy", 0.75, 4)
    assert whole.difference is not None
    assert whole.difference.value == 0.0
    assert "max-drop: 0.00 points lost" in ran.outcome.out


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
    return labelled_items(tmp_path)


def test_what_was_undone_is_not_scored(
    burnish: Burnish, open_model: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does an option of a pass that is left out stand in the way."""
    right, ran = study.run_pipeline, list[str]()

    def undoing(*arguments: Any, **options: Any) -> Any:
        result, report = right(*arguments, **options)
        report.passes = [
            replace(one, rolled_back="it is wrong") if one.name == "fuse-pad" else one
            for one in report.passes
        ]
        return result, report

    def spied(graph: Any, steps: Any, *arguments: Any, **options: Any) -> Any:
        ran.extend(step.name for step in steps)
        return right(graph, steps, *arguments, **options)

    monkeypatch.setattr(study, "run_pipeline", undoing)
    monkeypatch.setattr(scoring, "run_pipeline", spied)
    few = ("--passes", "infer-shapes,fold-constants,fuse-pad,remove-no-ops")
    done = burnish(
        "bench", open_model, "--engine", "ort", *QUICK, *few, "--eval", labelled, "--json",
        "--set", "fold-constants.max_bytes=1000",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert ran
    assert "fuse-pad" not in ran
    assert "fuse-pad was undone and is left out" in done.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max-drop", "0"), "--max-drop is about a task: name one with --eval"),
        (("--engine", "ort", "--budget-arena", "1MB"), "--budget-arena is about compiled"),
    ],
)
def test_budgets_that_nothing_will_be_held_against(
    burnish: Burnish, model: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...],
    words: str,
) -> None:  # fmt: skip
    """They are refused before minutes are spent."""
    monkeypatch.setattr(study, "bench", None)
    done = burnish("bench", model, *options)
    assert done.code == 2
    assert words in done.message


def test_the_machine_is_described_as_it_was_before(
    burnish: Burnish, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened, right = [], study.record_environment

    def recorded(*arguments: Any) -> Any:
        happened.append("recorded")
        return right(*arguments)

    monkeypatch.setattr(study, "record_environment", recorded)
    monkeypatch.setattr(study.Table, "measure", lambda *arguments: happened.append("timed"))
    burnish("bench", model, "--engine", "ort", "--passes", "remove-no-ops", *QUICK)
    assert happened == ["recorded", "timed"]


def test_budgets_that_fail_are_in_the_document(
    burnish: Burnish, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bench.json"
    few = ("--engine", "ort", "--passes", "remove-no-ops", "-o", out, *QUICK)
    done = burnish("bench", model, *few, "--budget-size", "10", "--json")
    assert done.code == 3
    assert "1 of 1 budgets failed, as measured above" in done.err
    for text in (out.read_text(), done.out):
        (gate,) = json.loads(text)["budgets"]
        assert (gate["name"], gate["limit"], gate["passed"]) == ("size", 10, False)


def test_short_of_time_the_result_is_timed_against_the_original(
    burnish: Burnish, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "_together", lambda _: 2)
    done = burnish("bench", model, "--engine", "ort", "--preset", "minimal", *QUICK, "--json")
    document = Document.model_validate_json(done.out)
    assert document.result.latency is not None
    assert document.baseline.latency is not None
    assert any("not timed in 0 s; raise --time" in note for note in document.notes)
    assert "untimed" in {step.verdict for step in document.steps}


def test_a_task_that_cannot_be_used(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    done = burnish("bench", model, "--eval", tmp_path / "absent", *QUICK)
    assert done.code == 2
    assert "no folder of that name" in done.message


def test_a_task_for_another_model(burnish: Burnish, model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", z=np.zeros((2, 5), np.float32), labels=np.zeros(2, int))
    few = ("--engine", "ort", "--passes", "remove-no-ops", "--input-shape", "x=2,6")
    done = burnish("bench", model, "--eval", tmp_path, *few, *QUICK)
    assert done.code == 4
    assert f"task {tmp_path.name} feeds an unknown input 'z'; there are: x" in done.message


def test_what_is_wrong_is_never_timed(
    burnish: Burnish, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variant that is wrong has a failure and no figures; the others are timed."""
    right = subjects.check

    def check(seating: Seating, *arguments: Any) -> Any:
        if "Identity" in onnx_types(seating.path):
            far = [Fidelity(output="y", error=0.5), Fidelity(output="z", error=math.inf)]
            raise NotEquivalent("not equivalent, so not timed: y is off", far)
        return right(seating, *arguments)

    monkeypatch.setattr(subjects, "check", check)
    done = burnish("bench", model, "--engine", "ort", "--preset", "minimal", *QUICK, "--json")
    assert done.code == 0, done.err
    document = Document.model_validate_json(done.out)
    wrong = [one for one in document.variants if one.failure]
    assert document.original in [one.id for one in wrong]
    assert document.whole not in [one.id for one in wrong]
    assert all(one.latency is None and one.blocks == 0 for one in wrong)
    # How far off it is, as far as numbers say it.
    assert all([each.error for each in one.fidelity] == [0.5] for one in wrong)
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
    done = burnish("bench", model, "--engine", "ort", "--preset", "minimal", *QUICK)
    assert done.code == 3
    assert "the result of the whole pipeline cannot be timed: y is off" in done.message


def test_an_engine_that_dies_leaves_its_variant_out(
    burnish: Burnish, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime may fail on a variant only when it is timed."""
    start = Seating.start

    def fragile(self: Seating, feeds: Any) -> Engine:
        if "Identity" in onnx_types(self.path):
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


def refuse(*arguments: Any) -> Any:
    raise UnsupportedModel("there is no compiler for what measures the machine")


@pytest.mark.slow
def test_what_has_no_kernel_is_noted(
    burnish: Burnish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "OPTIMIZERS", ablation.OPTIMIZERS[:6])
    monkeypatch.setattr(study, "profiled", refuse)
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
    assert "kernels are not profiled: there is no compiler for what measures" in text
    assert widest(done.out) <= 80
