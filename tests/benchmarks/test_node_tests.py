"""ONNX's own cases: what is counted, and what becomes of a process that dies."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from benchmarks.node_tests import batch, pool, report
from benchmarks.node_tests.batch import merge
from benchmarks.node_tests.cases import Case, bound, differences
from benchmarks.node_tests.checks import EQUAL, REFUSED, check_export, check_optimize
from benchmarks.node_tests.pool import Job, Result
from benchmarks.node_tests.worker import STAGES
from burnish.testing import graph


def case(text: str, name: str = "test_case", **arrays: Any) -> Case:
    model = onnx.parser.parse_model('<ir_version: 10, opset_import: ["": 21]>\n' + text)
    outputs = arrays.pop("outputs", [])
    return Case(name, model, [np.asarray(v) for v in arrays.values()], outputs, 1e-3, 1e-7)


DOUBLED = "g (float[2] x) => (float[2] y) { y = Add(x, x) }"


def test_a_model_that_survives() -> None:
    assert check_export(case(DOUBLED, x=np.float32([1, 2]))) == (EQUAL, "")
    assert check_optimize(case(DOUBLED, x=np.float32([1, 2]))) == (EQUAL, "")


def test_a_model_that_burnish_refuses() -> None:
    bad = case(DOUBLED, x=np.float32([1, 2]))
    bad.model.graph.node[0].input[0] = "nothing"
    assert check_export(bad)[0] == REFUSED


def test_differences_know_the_scale_of_the_result() -> None:
    wanted = case(DOUBLED, x=np.float32([1, 2]), outputs=[np.float32([2, 4e6])])
    assert not list(differences(wanted, [np.float32([2, 4e6 + 1])]))
    assert list(differences(wanted, [np.float32([2, 4.1e6])]))
    assert list(differences(wanted, [np.float64([2, 4e6])]))
    assert list(differences(wanted, [np.float32([[2, 4e6]])]))


def test_what_gives_shapes_can_be_bound() -> None:
    text = "g (float[6] x, int64[2] s) => (float[2, 3] y) { y = Reshape(x, s) }"
    reshape = bound(case(text, x=np.ones(6, "f"), s=np.int64([2, 3])))
    assert reshape is not None
    assert list(reshape.feeds) == ["x"]
    assert bound(case(DOUBLED, x=np.float32([1, 2]))) is None


def test_what_draws_random_numbers_has_no_right_answer() -> None:
    text = "g (float[9] x, float r, bool t) => (float[9] y) { y = Dropout<seed = 1>(x, r, t) }"
    drawn = case(text, x=np.ones(9, "f"), r=np.float32(0.5), t=True, outputs=[np.zeros(9, "f")])
    assert batch._blame(drawn) == batch.CHANCE
    fixed = case(DOUBLED, x=np.float32([1, 2]), outputs=[np.float32([9, 9])])
    assert batch._blame(fixed) == batch.ENGINE
    right = case(DOUBLED, x=np.float32([1, 2]), outputs=[np.float32([2, 4])])
    assert batch._blame(right) == batch.WRONG


def test_merged_graphs_keep_apart() -> None:
    first, second = (graph("g (float[2] x) => (float[2] y) { y = Neg(x) }") for _ in range(2))
    merged, owners = merge([first, second])
    assert len(merged) == 2
    assert sorted(owners.values()) == [0, 1]


def converse_of(deadly: str, stage: str) -> Any:
    """A process that dies of one case: at once while checking, at some point while compiling."""

    def converse(job: Job, _: Path) -> tuple[list[Mapping[str, Any]], str]:
        replies: list[Mapping[str, Any]] = []
        for step in job.stages:
            if step == "compile":
                replies.append({"begin": step})
                if deadly in job.cases and step == stage:
                    return replies, "exit status -11"
            for name in job.cases:
                if step != "compile":
                    replies.append({"begin": step, "case": name})
                    if (name, step) == (deadly, stage):
                        return replies, "exit status -11"
                replies.append({"stage": step, "case": name, "kind": "native", "reason": ""})
        return [*replies, {"done": True}], "exit status 0"

    return converse


@pytest.mark.parametrize("stage", STAGES)
def test_one_deadly_case_takes_no_other_with_it(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_converse", converse_of("test_3", stage))
    cases = [replace(case(DOUBLED), name=f"test_{number}") for number in range(9)]
    results = list(pool.run_cases(cases, tmp_path / "state"))
    assert len(results) == len({(r.case, r.stage) for r in results}) == 9 * len(STAGES)
    assert [r for r in results if r.kind == pool.DIED] == [
        Result("test_3", stage, pool.DIED, "exit status -11")
    ]


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    state.write_text('{"case": "test_0", "stage": "export", "kind": "equal"}\n{"case": "te')
    asked: list[Job] = []

    def converse(job: Job, path: Path) -> Any:
        asked.append(job)
        return converse_of("none", "none")(job, path)

    monkeypatch.setattr(pool, "_converse", converse)
    results = list(pool.run_cases([replace(case(DOUBLED), name="test_0")], state))
    assert [job.stages for job in asked] == [("optimize", "compile")]
    assert results[0] == Result("test_0", "export", "equal")
    assert len(results) == 3
    assert len(pool.read_state(state)) >= 2


def test_a_real_process_that_dies_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "cases").write_bytes(b"no pickle")
    replies, fate = pool._converse(Job(("test_0",)), tmp_path / "cases")
    assert replies == []
    assert "exit status 1" in fate


def results_of(**kinds: Sequence[str]) -> list[Result]:
    return [
        Result(f"test_{number}", stage, kind, f"'{number}' has {number} sizes")
        for stage, found in kinds.items()
        for number, kind in enumerate(found)
    ]


def test_counts() -> None:
    results = results_of(
        export=["equal", "wrong", "refused"], optimize=["equal", "equal", "unchecked"],
        compile=["native", "region", "engine"],
    )  # fmt: skip
    results += [Result("test_1/bound", "compile", "native"), Result("test_0/bound", "compile",
                                                                    "native")]  # fmt: skip
    found = report.counts(results)
    assert (found["cases"], found["export"], found["export_wrong"]) == (3, 1, 1)
    assert (found["optimize"], found["optimize_wrong"]) == (2, 0)
    assert (found["compile"], found["compile_wrong"], found["native"]) == (2, 1, 1)
    assert found["native_bound"] == 2


def test_goals_are_not_met_while_anything_is_wrong() -> None:
    found = {"export": 1500, "compile": 1300, "native": 950, "compile_wrong": 0}
    assert report.holds(found)
    assert not report.holds({**found, "compile_wrong": 1})
    assert not report.holds({**found, "native": 899})


def test_refusals_are_grouped_by_reason() -> None:
    groups = report.refusals(results_of(compile=["refused"] * 5 + ["native"]))
    assert len(groups) == 1
    assert groups[0]["reason"] == "'…' has # sizes"
    lines = list(report.refusal_lines(groups))
    assert "5 times" in lines[1]
    assert lines[2].strip() == "test_0, test_1, test_2 and 2 more"
    assert json.dumps(groups)
