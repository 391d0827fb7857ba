from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import worth
from benchmarks.cache import Zoo
from benchmarks.cli import app
from benchmarks.partial import Partial
from benchmarks.readme import WORTH_PAGE
from benchmarks.readme import worth_page as recorded_page
from benchmarks.worth import (
    MODELS,
    Effort,
    Recorded,
    Worth,
    measure_worth,
    worth_page,
    worth_table,
    worth_tables,
)
from benchmarks.zoo import find
from burnish.bench.document import BASELINE, Document, Interval, Step, Verdict, View
from burnish.bench.study import Request
from burnish.errors import UnsupportedModel
from tests.bench.documents import synthetic


def step(name: str, verdict: Verdict, value: float = 1.0, view: View = "without") -> Step:
    by = Interval(value=value, low=value - 0.01, high=value + 0.01)
    return Step(view=view, name=name, variant="a", against="b", speedup=by, operators=2,
                verdict=verdict)  # fmt: skip


def row(model: str, *steps: Step) -> Worth:
    ratio = Interval(value=1.5, low=1.4, high=1.6)
    return Worth(model=model, case="1x3", engine="ort", threads=2, baseline=ratio, steps=steps)


ROWS = (
    row("one", step("fold", "faster", 1.25), step("tidy", "noise"), step("move", "same")),
    row("two", step("fold", "noise", 1.004), step("tidy", "noise"), step("infer", "needed")),
)


def test_the_eight_models_differ() -> None:
    assert len(MODELS) == len({name.removesuffix("-dynamo") for name in MODELS}) == 8


def test_a_table_names_passes_that_some_model_gains_by() -> None:
    lines = worth_table(ROWS).splitlines()
    assert lines[0] == "| pass | one | two |"
    assert lines[2:] == [
        "| `fold` | **1.25** | 1.00? |",
        "| `infer` |  | needed |",
        "| all of them, against ONNX Runtime | 1.50 | 1.50 |",
    ]


def test_a_page_has_all_that_is_not_the_same() -> None:
    record = Recorded({}, 10.0, (ROWS[0], Worth(model="bad", case="1", engine="ort", threads=2,
                                                failure="it has no kernel")))  # fmt: skip
    page = worth_page(record)
    assert "| `fold` |  |  | **1.250 (1.240 to 1.260)** | -2 |" in page
    assert "| `tidy` |" in page
    assert "`move`" not in page
    assert "### bad 1\n\nit has no kernel" in page


def test_each_engine_has_a_table_of_its_own() -> None:
    versions = {"burnish": "1", "onnxruntime": "2", "apache-tvm": "3"}
    environment = {"cpu": "a processor", "versions": versions, "date": "2026-11-22T10:00"}
    compiled = ROWS[1].model_copy(update={"engine": "tvm"})
    text = worth_tables(Recorded(environment, 10.0, (*ROWS, compiled)))
    first, second = text.index("**Compiled**"), text.index("**In ONNX Runtime**")
    assert first < text.index("| pass | two |") < second < text.index("| pass | one | two |")
    assert text.endswith("10 s of timing for each model and engine, 2026-11-22, burnish 1, "
                         "onnxruntime 2, apache-tvm 3.")  # fmt: skip
    alone = worth_tables(Recorded(environment, 10.0, (compiled,)))
    assert "ONNX Runtime**" not in alone


def test_the_page_is_current() -> None:
    assert WORTH_PAGE.read_text() == recorded_page(), "run `make docs`"


def test_a_document_is_condensed() -> None:
    document = synthetic(operators=20, passes=4)
    column = document.columns[0].model_copy(update={"name": BASELINE})
    found = Worth.of(find("magika"), document.model_copy(update={"columns": [column]}))
    assert found.steps == tuple(document.steps)
    assert Worth.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_another_version_is_measured_anew() -> None:
    with pytest.raises(KeyError):
        Worth.from_json({**ROWS[0].as_json(), "more": 1})


def test_a_model_that_fails_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(request: Request) -> Document:
        raise UnsupportedModel(f"{request.model.name} at {dict(request.shapes)}")

    monkeypatch.setattr(worth, "bench", fail)
    monkeypatch.setattr(Zoo, "path", lambda _, model: tmp_path / f"{model.name}.onnx")
    models = [find("magika"), find("ppocr-v4-cls")]
    found = list(measure_worth(models, Effort("ort", 1, 1.0), Zoo(tmp_path), Partial(tmp_path)))
    assert [one.model for one in found] == ["magika", "ppocr-v4-cls"]
    assert found[1].failure == "ppocr-v4-cls.onnx at {'x': (1, 3, 48, 192)}"


def test_the_command_refuses_other_engines() -> None:
    assert CliRunner().invoke(app, ["worth", "--engine", "torch"]).exit_code == 2
