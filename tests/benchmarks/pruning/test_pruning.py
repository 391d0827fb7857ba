from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import burnish
from benchmarks.cache import Zoo
from benchmarks.cli import app
from benchmarks.int8.samples import write
from benchmarks.partial import Partial
from benchmarks.plan import Plan
from benchmarks.pruning import accuracy, cli, speed
from benchmarks.pruning.accuracy import ALLOCATED, UNFITTED, UNIFORM, AccuracyRow, Variant
from benchmarks.pruning.speed import BOTH, INT8, PLAIN, PRUNED, Made, SpeedRow
from benchmarks.pruning.table import accuracy_cells, speed_cells, together_cells
from benchmarks.tasks.table import Judged
from burnish.analysis.axis_graph import axis_graph
from burnish.bench.document import Interval, Metric
from burnish.bench.stats import Estimate
from burnish.bench.task import Scores
from burnish.passes.pruning.structures import structures
from tests.pruning.conftest import made, samples

ONE = Estimate(1.8, 1.7, 1.9)


def metric(value: float, change: float | None = None) -> Metric:
    by = None if change is None else Interval(value=change, low=change - 0.01, high=change + 0.01)
    return Metric(
        name="exact-match", higher_is_better=True, items=10, difference=by,
        value=Interval(value=value, low=value - 0.1, high=value + 0.1),
    )  # fmt: skip


def accuracy_row() -> AccuracyRow:
    variants = {
        ALLOCATED: Variant([metric(0.89, -0.01)], 0.013, 0.1, 0.5, 0.49, ONE),
        UNFITTED: Variant([metric(0.1, -0.8)], None, 0.9, 0.5, 0.49),
    }
    return AccuracyRow("net", "0.5", 16, [metric(0.9)], variants, ALLOCATED, 86.0, 2**30)


def speed_row() -> SpeedRow:
    each = Made(60.0, 2**30, 500, Estimate(0.002, 0.002, 0.002))
    ways = dict.fromkeys((PLAIN, PRUNED, INT8, BOTH), each)
    return SpeedRow("net", "1x3", 2, 0.5, 4000, "KL 0.1 nats", ways, ONE, ONE)


@pytest.mark.parametrize("row", [
    accuracy_row(), speed_row(), AccuracyRow("a", "0.5", failure="no"),
    SpeedRow("a", "1x3", 2, failure="no"),
])  # fmt: skip
def test_rows_come_back(row: AccuracyRow | SpeedRow) -> None:
    assert type(row).from_json(json.loads(json.dumps(row.as_json()))) == row
    assert str(row).startswith(row.model)


def test_variants_are_laid_out() -> None:
    _, cells = accuracy_cells([accuracy_row(), AccuracyRow("a", "0.5", failure="no")])
    assert [row[2:6] for row in cells] == [
        ["**allocated**", "exact match 90.00", "-1.00 (-2.00 to +0.00)", "KL 0.013"],
        [UNFITTED, "exact match 90.00", "-80.00 (-81.00 to -79.00)", "noise 0.9"],
    ]
    assert [row[7] for row in cells] == ["1.80 (1.70 to 1.90)", "-"]
    assert cells[0][-1].startswith("86 s, ") and not cells[1][-1]


def test_speed_is_held_to_what_operations_promise() -> None:
    _, (cells, failed) = speed_cells([speed_row(), SpeedRow("a", "1x3", 2, failure="no")])
    assert cells[2:4] == ["50 %", "2.00"]
    assert cells[6] == cells[9] == "0.90"
    assert failed[2] == "failed"


def test_weights_are_held_to_the_original() -> None:
    _, cells = together_cells([speed_row()])
    assert [row[2] for row in cells] == [PLAIN, PRUNED, INT8, BOTH]
    assert {row[5] for row in cells} == {"1/8.0"}


def test_the_best_of_each_kind_of_widths_counts() -> None:
    def trial(text: str, share: float, *, chosen: bool = False) -> dict[str, Any]:
        return {"text": text, "share": share, "chosen": chosen}

    first, other = trial("allocated", 0.2), trial("allocated with cross terms", 0.1, chosen=True)
    equal = trial("uniform", 0.3)
    assert accuracy._trials([first, equal, other]) == {ALLOCATED: other, UNIFORM: equal}
    assert accuracy._trials([first]) == {ALLOCATED: first}


def test_layers_that_stay_in_float_are_no_integers() -> None:
    layers = [{"reason": ""}, {"reason": "it does not pay"}, {"reason": ""}]
    assert speed._integers({"quantization": {"layers": layers}}) == 2
    assert speed._integers({"pruning": {}}) == 0


def test_larger_pictures_suit_the_larger_network(tmp_path: Path) -> None:
    case = speed.CASES["fashion-cnn-64"]
    model = onnx.load(case.locate(Zoo(tmp_path), tmp_path))
    feeds = next(case.samples())
    assert feeds["images"].shape == case.shapes["images"]
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_value for size in sizes][1:] == list(feeds["images"].shape[1:])
    small = next(iter(accuracy.FASHION.calibration()))["images"][:1]
    np.testing.assert_array_equal(feeds["images"][:, :, 4:-4:2, 4:-4:2], small)


class Ones:
    """A task of the small model."""

    name = "ones"
    input_shapes = ({"x": (1, 16)},)

    def calibration(self) -> Iterator[dict[str, np.ndarray]]:
        yield from samples(16)

    def evaluate(self, run: Any) -> dict[str, Scores]:
        return {"right": Scores.of(run(one)["y"].argmax() == 0 for one in samples(8))}


def test_what_the_command_did_not_write_is_made_beside_it(tmp_path: Path) -> None:
    onnx.save(made(), tmp_path / "model.onnx")
    write(tmp_path / "samples", iter(samples(16)))
    judged = Judged("small", Ones(), lambda _: tmp_path / "model.onnx")
    graph, _ = burnish.optimize(made())
    (name,) = {one.name for one in structures(axis_graph(graph)) if not one.reason}
    trials = {
        ALLOCATED: {"widths": {name: 16}, "flops": 0.5, "size": 0.5},
        UNIFORM: {"widths": {name: 8}, "flops": 0.25, "size": 0.25},
    }
    case = accuracy.Case(judged, "0.5", {"x": (1, 16)})
    found = accuracy._others(case, trials, ALLOCATED, tmp_path / "model.onnx", tmp_path / "samples")
    assert set(found) == {UNIFORM, UNFITTED}
    shapes = {
        name: {tuple(one.dims) for one in onnx.load(each.path).graph.initializer}
        for name, each in found.items()
    }
    assert shapes == {UNIFORM: {(16, 8), (8, 8)}, UNFITTED: {(16, 16), (16, 8)}}
    assert found[UNFITTED].distance[1] > 0


@pytest.mark.parametrize("command", ["accuracy", "speed"])
def test_cases_are_chosen_by_parts_of_their_names(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def measured(cases: Any, plan: Any, zoo: Zoo, partial: Partial) -> Iterator[Any]:
        asked.append(list(cases))
        assert isinstance(plan.timing, Plan) and plan.timing.tune == "10"
        assert partial.folder == tmp_path
        return iter(())

    for module, name in ((cli.accuracies, "accuracy"), (cli.speeds, "speed")):
        monkeypatch.setattr(module, f"measure_{name}", measured)
    arguments = ["prune", command, "--partial", str(tmp_path), "--cases"]
    assert CliRunner().invoke(app, [*arguments, "cnn"]).exit_code == 0
    assert asked and all("cnn" in name for name in asked[0])
    refused = CliRunner().invoke(app, [*arguments, "nothing"])
    assert refused.exit_code == 2
    assert "no case" in refused.output
