"""``burnish build`` on small models; what is measured is stood in for where timing would decide."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from burnish.bench.folder_task import FolderTask
from burnish.bench.stats import Estimate
from burnish.building import optional
from burnish.building.trial import Contender, Ring
from burnish.building.workshop import Made, Workshop
from burnish.source import load
from tests.cli.conftest import Burnish, small_model

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a configuration of one model; keys with their values as TOML."""
    monkeypatch.chdir(tmp_path)
    onnx.save(small_model(), tmp_path / "small.onnx")

    def make(output: str = "out/small.burnish", **keys: str) -> Path:
        lines = ["[models.small]", 'path = "small.onnx"', f'output = "{output}"']
        if not output.endswith(".onnx"):
            lines += ["threads = 1", 'tune = "off"']
        lines += [f"{key.replace('_', '-')} = {value}" for key, value in keys.items()]
        path = tmp_path / "burnish.toml"
        path.write_text("\n".join(lines))
        return path

    return make


def two_steps() -> onnx.ModelProto:
    """Has a value between two kernels."""
    text = """<ir_version: 10, opset_import: ["": 21]>
    agraph (float[32, 32] x) => (float[32, 32] y) { a = Softmax (x)  y = MatMul (a, x) }"""
    return onnx.parser.parse_model(text)


def test_an_artifact_is_built(write: Write, burnish: Burnish, tmp_path: Path) -> None:
    write(budgets='{ size = "1 MB", arena = "100 kB" }')
    done = burnish("build")
    assert done.code == 0, done.err
    assert "small: wrote" in done.out
    # All of the file counts, not only what lies in it.
    size = (tmp_path / "out" / "small.burnish").stat().st_size
    assert f"size: {size} B, at most 1.00 MB" in done.out
    assert burnish("run", tmp_path / "out" / "small.burnish", "--self-test").code == 0


def test_onnx_is_built(write: Write, burnish: Burnish, tmp_path: Path) -> None:
    write("out/small.onnx", budgets='{ size = "1 MB" }')
    done = burnish("build", "--json")
    assert done.code == 0, done.err
    (entry,) = json.loads(done.out)["models"]
    assert entry["files"] == {"small.onnx": (tmp_path / "out" / "small.onnx").stat().st_size}
    assert [gate["passed"] for gate in entry["budgets"]] == [True]


@pytest.mark.parametrize("budget", ["size = 1000", "arena = 1"])
def test_a_budget_that_fails_leaves_nothing(
    write: Write, burnish: Burnish, tmp_path: Path, budget: str
) -> None:
    write(budgets=f"{{ {budget} }}")
    onnx.save(two_steps(), tmp_path / "small.onnx")
    done = burnish("build")
    assert done.code == 3
    assert "1 of 1 budgets failed, nothing was written" in done.err
    assert list((tmp_path / "out").iterdir()) == []


def test_what_stood_there_stays_where_a_budget_fails(
    write: Write, burnish: Burnish, tmp_path: Path
) -> None:
    write("small2.onnx", budgets="{ size = 10 }")
    (tmp_path / "small2.onnx").write_text("before")
    assert burnish("build").code == 3
    assert (tmp_path / "small2.onnx").read_text() == "before"


def test_the_original_is_timed_against_the_result(
    write: Write, burnish: Burnish, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"ort": 3.0, "burnish": 2.0}
    monkeypatch.setattr(
        Ring, "ratio",
        lambda _, one, other: Estimate(*[times[one.engine] / times[other.engine]] * 3),
    )  # fmt: skip
    write(budgets="{ min-speedup = 1.5 }")
    assert burnish("build").code == 0
    write(budgets="{ min-speedup = 1.6 }")
    done = burnish("build")
    assert done.code == 3
    assert "1.50x [1.50x, 1.50x], at least 1.60x" in done.err


def test_a_speedup_is_measured(write: Write, burnish: Burnish) -> None:
    write(budgets="{ min-speedup = 0.0001 }")
    done = burnish("build")
    assert done.code == 0, done.err
    assert "min-speedup: " in done.out
    write(budgets="{ min-speedup = 1e9 }")
    assert burnish("build").code == 3


def test_an_optional_pass_stays_only_if_it_pays(
    write: Write, burnish: Burnish, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"gain": 1.5}
    monkeypatch.setattr(
        Ring, "ratio", lambda *_: Estimate(found["gain"], found["gain"] - 0.1, found["gain"] + 0.1)
    )
    write("o.onnx", optional="{ remove-no-ops = 1.2, merge-slices = 1.0 }")
    first = json.loads(burnish("build", "--json").out)["models"][0]
    assert first["dropped"] == {"merge-slices": "it changes nothing"}
    assert "remove-no-ops" in {entry["name"] for entry in first["passes"]}
    for gain, words in ((1.15, "1.2x is asked for"), (1.0, "1.2x is asked for")):
        found["gain"] = gain
        done = burnish("build", "--json")
        assert words in json.loads(done.out)["models"][0]["dropped"]["remove-no-ops"]
        assert "left out remove-no-ops: measured" in done.err
        assert "Identity" in {node.op_type for node in onnx.load("o.onnx").graph.node}


def test_what_was_judged_is_not_made_again(
    write: Write, burnish: Burnish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ring, "ratio", lambda *_: Estimate(1.5, 1.4, 1.6))
    made: list[tuple[str, ...]] = []
    once = Workshop._made

    def counted(shop: Workshop, skip: tuple[str, ...], sets: Any) -> Made:
        made.append(skip)
        return once(shop, skip, sets)

    monkeypatch.setattr(Workshop, "_made", counted)
    write("o.onnx", optional="{ merge-slices = 1.0, remove-no-ops = 1.2 }")
    assert burnish("build").code == 0
    both = ("merge-slices", "remove-no-ops")
    assert made == [(), ("merge-slices",), both]


def test_a_gain_that_may_be_none_does_not_count(
    write: Write, burnish: Burnish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ring, "ratio", lambda *_: Estimate(1.1, 0.99, 1.2))
    write("o.onnx", optional="{ remove-no-ops = 1.0 }")
    assert "may be no gain" in burnish("build").err


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
    monkeypatch.setattr(Ring, "drop", lambda *_: (2.0, 1.5, 2.5))
    done = burnish("build")
    assert done.code == 3
    assert "+2.00 points [+1.50 points, +2.50 points], at most +1.00 points" in done.err


def test_other_models_are_built_where_one_fails(
    write: Write, burnish: Burnish, tmp_path: Path
) -> None:
    path = write("a.onnx", budgets="{ size = 10 }")
    more = '\n[models.other]\npath = "small.onnx"\noutput = "b.onnx"\n'
    path.write_text(path.read_text() + more)
    done = burnish("build", "--json")
    assert done.code == 3
    first, second = json.loads(done.out)["models"]
    assert (first["name"], first["code"]) == ("small", 3)
    assert second["name"] == "other"
    assert (tmp_path / "b.onnx").exists()
    assert not (tmp_path / "a.onnx").exists()


def test_other_models_are_built_where_one_has_no_place(
    write: Write, burnish: Burnish, tmp_path: Path
) -> None:
    path = write("burnish.toml/a.onnx")
    more = '\n[models.other]\npath = "small.onnx"\noutput = "b.onnx"\n'
    path.write_text(path.read_text() + more)
    done = burnish("build")
    assert done.code == 1
    assert "models.small: cannot make the folder" in done.err
    assert (tmp_path / "b.onnx").exists()


def test_an_interrupted_build_says_what_is_not_written(
    write: Write, burnish: Burnish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("a.onnx")
    more = '\n[models.other]\npath = "small.onnx"\noutput = "b.onnx"\noptional.merge-slices = 1\n'
    path.write_text(path.read_text() + more)

    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(optional, "_judged", interrupted)
    done = burnish("build")
    assert done.code == 130
    assert "interrupted; models.other was not written, nor what follows" in done.message
    assert (tmp_path / "a.onnx").exists()
    assert not (tmp_path / "b.onnx").exists()


UNUSABLE = """
import itertools
import numpy as np
from burnish.bench.task import Scores

class Task:
    name, calls = "t", itertools.count(1)
    def __init__(self, name="x", rows=2, grows=False):
        self.input_shapes = [{name: (2, 6)}]
        self._feeds, self._grows = {name: np.zeros((rows, 6), np.float32)}, grows
    def calibration(self):
        return []
    def evaluate(self, run):
        run(self._feeds)
        return {"accuracy": Scores.of([1.0] * (next(self.calls) if self._grows else 1))}

OTHER_INPUT, OTHER_ROWS, GROWS = Task("z"), Task(rows=3), Task(grows=True)
"""


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("OTHER_INPUT", 4, "unknown input 'z'"),
        ("OTHER_ROWS", 1, "the model cannot be run on what the task t feeds it"),
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


def test_a_task_without_a_budget_is_refused(burnish: Burnish, tmp_path: Path) -> None:
    onnx.save(small_model(), tmp_path / "m.onnx")
    done = burnish("optimize", tmp_path / "m.onnx", "-o", tmp_path / "o.onnx", "--eval", "a:B")
    assert done.code == 2
    assert "--max-drop" in done.err


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
    drop, low, high = ring.drop(task, Contender("ort", bad))
    assert drop == high == 100 > low
    assert ring.drop(task, Contender("ort", good)) == (0.0, 0.0, 0.0)


def test_a_model_can_be_built_alone(write: Write, burnish: Burnish, tmp_path: Path) -> None:
    path = write("a.onnx", budgets="{ size = 10 }")
    more = '\n[models.other]\npath = "small.onnx"\noutput = "b.onnx"\n'
    path.write_text(path.read_text() + more)
    assert burnish("build", "other", "-q").code == 0


def test_a_plan_does_nothing(write: Write, burnish: Burnish, tmp_path: Path) -> None:
    write(budgets='{ size = "1 MB" }', skip='["merge-slices"]')
    before = sorted(tmp_path.rglob("*"))
    done = burnish("build", "--plan")
    assert done.code == 0
    for part in ("small", "out/small.burnish", "size at most 1.00 MB", "fold-constants", "tune"):
        assert part in done.out
    assert "merge-slices" not in done.out
    assert json.loads(burnish("build", "--plan", "--json").out)["models"][0]["name"] == "small"
    assert sorted(tmp_path.rglob("*")) == before


def test_no_configuration(
    burnish: Burnish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert burnish("build").code == 4
    assert burnish("build", "--config", tmp_path / "none.toml").code == 4


def test_a_configuration_with_a_wrong_key(write: Write, burnish: Burnish) -> None:
    write(thread="1")
    done = burnish("build")
    assert done.code == 2
    assert "did you mean threads?" in done.message
