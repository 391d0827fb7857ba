"""``burnish bench`` on small models; nothing is asserted of how long anything takes."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from burnish.bench import study
from burnish.bench.document import SCHEMA, Document
from tests.cli.conftest import Burnish


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
