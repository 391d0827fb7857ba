"""Tasks that judge what ``burnish build`` and ``burnish optimize`` make."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from burnish.bench.budgets import drop_of
from burnish.bench.document import Interval, Metric
from burnish.bench.folder_task import FolderTask
from burnish.building.execute import score_line
from burnish.building.trial import Contender, Ring
from burnish.source import load
from tests.cli.conftest import Burnish, Write, small_model


def lost(*difference: float) -> Metric:
    """A metric that differs so from the original's."""
    value, low, high = difference
    return Metric(
        name="accuracy", higher_is_better=True, value=Interval(value=0.9, low=0.8, high=0.95),
        difference=Interval(value=value, low=low, high=high), items=40,
    )  # fmt: skip


TASK = """
import numpy as np
from burnish.bench.task import Scores

class Threshold:
    name = "threshold"
    input_shapes = [{"x": (2, 6)}]
    def calibration(self):
        return []
    def evaluate(self, run):
        hits = []
        for seed in range(20):
            x = np.random.default_rng(seed).normal(size=(2, 6)).astype(np.float32)
            y = run({"x": x})["y"]
            hits += list((y.argmax(1) == WANTED(x)).astype(float))
        return {"accuracy": Scores.of(hits)}

def WANTED(x):
    w = np.linspace(-1, 1, 24, dtype=np.float32).reshape(6, 4)
    return (x @ w).argmax(1)

TASK = Threshold()
"""


def test_a_task_guards_accuracy(write: Write, burnish: Burnish, tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(TASK)
    write(eval='"judge.py:TASK"', budgets="{ max-drop = 0 }")
    done = burnish("build")
    assert done.code == 0, done.err
    assert "max-drop: " in done.out


def test_onnx_of_another_batch_is_scored_with_open_sizes(burnish: Burnish, tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(TASK)
    onnx.save(small_model("batch"), tmp_path / "open.onnx")
    task = ("--eval", f"{tmp_path / 'judge.py'}:TASK", "--max-drop", "0")
    out = tmp_path / "one.onnx"
    done = burnish("optimize", tmp_path / "open.onnx", "-o", out, "--input-shape", "x=1,6", *task)
    assert done.code == 0, done.err
    assert "max-drop: " in done.out
    assert onnx.load(out).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_a_drop_fails_the_build(
    write: Write, burnish: Burnish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "judge.py").write_text(TASK)
    write(eval='"judge.py:TASK"', budgets="{ max-drop = 1 }")
    monkeypatch.setattr(Ring, "metrics", lambda *_: [lost(-0.02, -0.025, -0.015)])
    done = burnish("build")
    assert done.code == 3
    assert "2.00 points lost [1.50, 2.50], at most 1.00 points lost" in done.err


UNUSABLE = """
import itertools
import numpy as np
from burnish.bench.task import Scores

class Task:
    name, calls = "t", itertools.count(1)
    def __init__(self, name="x", rows=2, grows=False, fed=None, kind=np.float32, columns=6):
        self.input_shapes = {name: (2, 6)}
        self._feeds, self._grows = {fed or name: np.zeros((rows, columns), kind)}, grows
        if fed == "":
            self._feeds = {}
    def calibration(self):
        return []
    def evaluate(self, run):
        run(self._feeds)
        return {"accuracy": Scores.of([1.0] * (next(self.calls) if self._grows else 1))}

OTHER_INPUT, OTHER_ROWS, GROWS = Task("z"), Task(rows=3), Task(grows=True)
OTHER_COLUMNS, DOUBLES = Task(columns=5), Task(kind=np.float64)
OTHER_NAME, NOTHING = Task(fed="X"), Task(fed="")
"""


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("OTHER_INPUT", 4, "unknown input 'z'"),
        ("OTHER_ROWS", 4, "feeds shapes {'x': (3, 6)}, which its input_shapes do not state"),
        ("OTHER_COLUMNS", 4, "feeds 'x' of shape (2, 5), where the model takes (n, 6)"),
        ("DOUBLES", 4, "feeds 'x' float64, where the model takes float32"),
        ("OTHER_NAME", 4, "feeds an unknown input 'X'; there are: x"),
        ("NOTHING", 4, "does not feed 'x'"),
        ("GROWS", 4, "the same items each time"),
    ],
)
def test_a_task_that_cannot_compare_is_refused(
    write: Write, burnish: Burnish, tmp_path: Path, name: str, code: int, message: str
) -> None:
    (tmp_path / "judge.py").write_text(UNUSABLE)
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21]>
        agraph (float[n, 6] x) => (float[n, 6] y) { a = Softmax (x)  y = Relu (a) }"""
    )
    write(eval=f'"judge.py:{name}"', budgets="{ max-drop = 0 }", input_shapes="{ x = [2, 6] }")
    onnx.save(model, tmp_path / "small.onnx")
    done = burnish("build")
    assert done.code == code, done.err
    assert message in done.err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_task_without_a_budget_shows_its_scores(burnish: Burnish, tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(TASK)
    onnx.save(small_model(), tmp_path / "m.onnx")
    command = ("optimize", tmp_path / "m.onnx", "-o", tmp_path / "o.onnx",
               "--eval", tmp_path / "judge.py")  # fmt: skip
    done = burnish(*command)
    assert done.code == 0, done.err
    assert "accuracy: 1.0000, as the original's, on 40 items" in done.out
    (metric,) = json.loads(burnish(*command, "--json").out)["metrics"]
    assert (metric["name"], metric["value"]["value"]) == ("accuracy", 1.0)


def test_a_build_shows_scores_without_a_budget(
    write: Write, burnish: Burnish, tmp_path: Path
) -> None:
    (tmp_path / "judge.py").write_text(TASK)
    write("o.onnx", eval='"judge.py"')
    done = burnish("build")
    assert done.code == 0, done.err
    assert "accuracy: 1.0000, as the original's" in done.out


def test_a_change_of_a_score_is_told() -> None:
    line = score_line(lost(-0.02, -0.025, -0.015))
    assert line == (
        "accuracy: 0.9000, the original's 0.9200: -0.0200 [-0.0250, -0.0150], on 40 items"
    )


def test_a_worse_model_drops(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 21]>
    agraph (float[4, 4] x) => (float[4, 4] y) {{ y = {} (x) }}"""
    for name, op in (("good", "Identity"), ("bad", "Neg")):
        onnx.save(onnx.parser.parse_model(text.format(op)), tmp_path / f"{name}.onnx")
    (tmp_path / "labels").mkdir()
    labels = np.arange(4)
    np.savez(tmp_path / "labels" / "a.npz", x=np.eye(4, dtype=np.float32), labels=labels)
    good, bad = (tmp_path / f"{name}.onnx" for name in ("good", "bad"))
    ring = Ring(load(good), good, {}, 1, 1e-2)
    task = FolderTask(tmp_path / "labels")
    drop, low, high = drop_of(ring.metrics(task, Contender("ort", bad)))
    assert drop == high == 100 > low
    assert drop_of(ring.metrics(task, Contender("ort", good))) == (0.0, 0.0, 0.0)
