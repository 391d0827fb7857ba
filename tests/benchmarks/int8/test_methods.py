from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from typer.testing import CliRunner

from benchmarks.cache import Zoo
from benchmarks.cli import app
from benchmarks.int8.methods import (
    Effect,
    MethodsPlan,
    MethodsRow,
    View,
    helpful,
    measure_methods,
    verdict,
)
from benchmarks.int8.methods_table import (
    conclusion,
    method_cells,
    methods_table,
    recipe,
    totals,
)
from benchmarks.partial import Partial
from benchmarks.recorded import load_record
from benchmarks.tasks.table import Judged
from burnish.bench.document import Interval, Metric
from burnish.bench.loading import load_task
from burnish.bench.methods import method_names

TEXT = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[N, 6] x) => (float[N, 4] y) {
  a = MatMul (x, w)  b = Relu (a)  y = MatMul (b, v)
}
"""


def metric(name: str, change: float, half: float, *, higher: bool = False) -> Metric:
    by = Interval(value=change, low=change - half, high=change + half)
    value = Interval(value=0.5, low=0.4, high=0.6)
    return Metric(name=name, higher_is_better=higher, value=value, difference=by, items=9)


def effect(accuracy: float, noise: float, divergence: float = 0.0, view: View = "alone") -> Effect:
    """Of a method whose intervals are 0.1 to both sides."""
    return Effect("round-weights", view, [
        metric("accuracy", accuracy, 0.1, higher=True), metric("noise-to-signal", noise, 0.1),
        metric("divergence", divergence, 0.1),
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (effect(0.2, 0.0), "better"),
        (effect(-0.2, -0.3), "worse"),  # the metric decides
        (effect(0.05, -0.3), "better"),
        (effect(0.05, 0.3), "worse"),
        (effect(0.1, 0.0), "noise"),  # the interval ends at zero
        (effect(0.0, -0.3, 0.3), "noise"),  # distances contradict each other
        (Effect("round-weights", "alone"), "same"),
    ],
)
def test_what_a_method_does(found: Effect, told: str) -> None:
    assert verdict(found) == told


def test_a_method_that_hurts_in_a_view_does_not_help() -> None:
    good, bad = effect(0.2, 0.0), effect(-0.2, 0.0, view="without")
    assert helpful([MethodsRow("a", "t", effects=[good])]) == {"round-weights": ["a"]}
    assert helpful([MethodsRow("a", "t", effects=[good, bad])]) == {"round-weights": []}
    noise = effect(0.0, 0.0, view="without")
    both = [MethodsRow("a", "t", effects=[good, noise]), MethodsRow("b", "t", effects=[noise])]
    assert helpful(both) == {"round-weights": ["a"]}


def test_conclusions_tell_no_effect_from_no_help() -> None:
    same = MethodsRow("a", "t", effects=[Effect("fold", "alone"), Effect("fold", "without")])
    assert "changes none of these models" in conclusion([same])
    hurt = MethodsRow("a", "t", effects=[effect(-0.2, 0.0), effect(0.0, 0.0, view="without")])
    assert "helps none of these models" in conclusion([hurt])


def test_a_row_goes_through_json_and_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    made, random = onnx.parser.parse_model(TEXT), np.random.default_rng(0)
    for name, shape in (("w", (6, 16)), ("v", (16, 4))):
        values = random.normal(size=shape).astype(np.float32)
        made.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    path, folder = tmp_path / "model.onnx", tmp_path / "task"
    onnx.save(made, path)
    (folder / "calibration").mkdir(parents=True)
    x = random.normal(size=(16, 6)).astype(np.float32)
    np.savez(folder / "0.npz", x=x, labels=np.zeros(16, np.int64))
    for number in range(4):
        np.savez(folder / "calibration" / f"{number}.npz", x=x[4 * number : 4 * number + 4])
    judged = {"small": Judged("small", load_task(str(folder)), lambda _: path)}
    plan, kept = MethodsPlan(samples=8, compared=4, threads=1), Partial(tmp_path / "kept")
    (row,) = measure_methods(judged, plan, Zoo(tmp_path), kept)
    assert row.failure is None
    assert row.compared >= 1
    assert {one.name for one in row.effects} == set(method_names()) - {"quantize-int8"}
    assert MethodsRow.from_json(row.as_json()) == row
    (again,) = measure_methods(judged, plan, Zoo(tmp_path), kept)
    assert again == row
    assert len(method_cells([row])) == len(method_names()) - 1
    assert totals([row])[0][:3] == ["small", "accuracy", "16"]
    assert methods_table([row]).row_count == len(method_names()) - 1


def test_the_default_recipe_has_no_method_that_helps_on_no_task() -> None:
    found = helpful(load_record("int8-methods", MethodsRow).rows)
    assert recipe()
    assert [name for name in recipe() if not found.get(name)] == []


def test_a_model_without_a_task_is_refused() -> None:
    done = CliRunner().invoke(app, ["int8", "methods", "--models", "resnet"])
    assert done.exit_code == 2
    assert "no task for" in done.output
