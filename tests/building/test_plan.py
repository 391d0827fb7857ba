from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from burnish.building.config import Config
from burnish.building.job import Job
from burnish.building.plan import plan
from burnish.errors import InvalidInput, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m.onnx").touch()
    (tmp_path / "n.onnx").touch()
    return tmp_path


def planned(folder: Path, *names: str, **options: Any) -> list[Job]:
    keys = {name.replace("_", "-"): value for name, value in options.items()}
    table = {"path": "m.onnx", "output": "out/m.burnish", **keys}
    return list(plan(Config.model_validate({"models": {"m": table}}), folder, names).values())


def test_a_job_has_all_options_resolved(folder: Path) -> None:
    (job,) = planned(
        folder, input_shapes=[{"x": [1, 3]}, {"x": [2, 3]}], threads=1, skip=["merge-slices"],
        budgets={"size": "12 MB", "min-speedup": 1.5}, set={"fold-constants": {"max-bytes": 10}},
    )  # fmt: skip
    assert job.output == folder / "out" / "m.burnish"
    assert job.target is not None
    assert job.target.threads == 1
    assert job.shapes == ({"x": (1, 3)}, {"x": (2, 3)})
    assert (job.budgets.size, job.budgets.min_speedup) == (12_000_000, 1.5)
    assert "merge-slices" not in job.passes
    assert job.selection.settings == {"fold-constants.max_bytes": "10"}


def test_the_ending_decides_what_goes_out(folder: Path) -> None:
    (artifact,), (onnx,) = planned(folder), planned(folder, output="out/m.onnx")
    assert artifact.selection.compiling
    assert onnx.target is None
    assert not onnx.selection.compiling


def test_a_plan_says_what_would_run(folder: Path) -> None:
    (job,) = planned(folder, budgets={"arena": 1000}, skip=["merge-slices"], threads=1)
    told = job.describe()
    assert told["target"] == "cpu, 1 thread"
    assert told["budgets"] == ["arena at most 1.0 kB"]
    assert "fold-constants" in told["passes"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "absent.onnx"}, "there is no file"),
        ({"path": "m" * 300}, "cannot read"),
        ({"path": "m\0.onnx"}, "no path"),
        ({"output": "m\0.burnish"}, "no path"),
        ({"skip": ["merge-slice"]}, "did you mean merge-slices"),
        ({"passes": ["fold-constant"]}, "did you mean fold-constants"),
        ({"optional": {"fold-constant": 1.0}}, "optional: unknown pass 'fold-constant'"),
        (
            {"optional": {"merge-slices": 1.0}, "skip": ["merge-slices"]},
            "not among the passes that run",
        ),
        ({"set": {"fold-constants": {"max": 1}}}, "unknown option of fold-constants 'max'"),
        ({"target": "cpuu"}, "cpu"),
        ({"threads": 10_000}, "threads"),
        ({"budgets": {"size": "12 apples"}}, "budgets.size takes a size such as 12MB"),
        ({"budgets": {"size": 0}}, "at least one byte"),
        ({"budgets": {"max-drop": 1.0}}, "name one with eval"),
        ({"tolerance": 0.5}, "tolerance"),
        ({"output": "m2.onnx", "threads": 2}, "threads: only artifacts have that"),
        ({"output": "m2.onnx", "budgets": {"arena": 5}}, "arena is an artifact"),
        ({"output": "m2.onnx", "input_shapes": [{"x": [1]}, {"x": [2]}]}, "one set of shapes"),
        ({"input_shapes": {"x": [0]}}, "at least 1"),
        ({"input_shapes": [{"x": [1]}, {"x": [1]}]}, "given twice"),
        ({"target": "riscv64", "budgets": {"min-speedup": 1.0}}, "cannot run here"),
        ({"target": "riscv64", "optional": {"merge-slices": 1.0}}, "cannot run here"),
    ],
)
def test_what_does_not_fit_is_refused(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises((UsageError, InvalidInput)) as failure:
        planned(folder, **options)
    assert message in str(failure.value)
    assert str(failure.value).startswith("models.m: ")


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("judge.py:TASK", "{}/judge.py:TASK"),
        ("a/judge.py", "{}/a/judge.py"),
        ("labels", "{}/labels"),
        ("judge:TASK", "judge:TASK"),
    ],
)
def test_tasks_are_seen_from_the_file(folder: Path, text: str, task: str) -> None:
    (folder / "labels").mkdir()
    (job,) = planned(folder, eval=text, budgets={"max-drop": 1.0})
    assert job.task == task.format(folder)


def test_a_task_for_all_models_concerns_those_with_a_budget(folder: Path) -> None:
    models = {
        "a": {"path": "m.onnx", "output": "a.onnx"},
        "b": {"path": "n.onnx", "output": "b.onnx", "budgets": {"max-drop": 1.0}},
        "c": {"path": "n.onnx", "output": "c.onnx", "eval": "own:TASK"},
    }
    config = {"defaults": {"eval": "judge:TASK"}, "models": models}
    jobs = plan(Config.model_validate(config), folder)
    assert [job.task for job in jobs.values()] == [None, "judge:TASK", "own:TASK"]


def test_an_unknown_model_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="unknown model 'mm'; did you mean m"):
        planned(folder, "mm")


def test_two_models_do_not_share_an_output(folder: Path) -> None:
    table = {"output": "o.onnx"}
    models = {"a": {"path": "m.onnx", **table}, "b": {"path": "n.onnx", **table}}
    with pytest.raises(UsageError, match=r"models\.a and models\.b both write"):
        plan(Config.model_validate({"models": models}), folder)


def test_an_output_is_no_model_to_be_built(folder: Path) -> None:
    models = {
        "a": {"path": "m.onnx", "output": "x/../n.onnx"},
        "b": {"path": "n.onnx", "output": "o.onnx"},
    }
    with pytest.raises(UsageError, match=r"n\.onnx is itself to be built"):
        plan(Config.model_validate({"models": models}), folder)
