"""``burnish build`` on small models; what is measured is stood in for where timing would decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import onnx.parser
import pytest

from burnish.bench.stats import Estimate
from burnish.bench.timing import Plan
from burnish.building import optional, trial
from burnish.building.trial import Ring
from burnish.building.workshop import Made, Workshop
from burnish.wording import data_size
from tests.cli.conftest import Burnish, Write, small_model


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
    assert f"size: {data_size(size)}, at most 1.0 MB" in done.out
    assert f"wrote {tmp_path / 'out' / 'small.burnish'} in " in done.out
    assert f" s, {data_size(size)}\n" in done.out
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


def test_a_speedup_is_measured(
    write: Write, burnish: Burnish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "SECONDS", Plan(blocks=3, seconds=0.001))
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
    assert first["kept"] == {
        "remove-no-ops": "measured 1.500x [1.400, 1.600], where 1.2x is asked for"
    }
    assert "kept remove-no-ops: measured 1.500x" in burnish("build").out
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


def test_a_model_can_be_built_alone(write: Write, burnish: Burnish, tmp_path: Path) -> None:
    path = write("a.onnx", budgets="{ size = 10 }")
    more = '\n[models.other]\npath = "small.onnx"\noutput = "b.onnx"\n'
    path.write_text(path.read_text() + more)
    assert burnish("build", "other", "-q").code == 0


def test_a_build_names_keys(write: Write, burnish: Burnish, tmp_path: Path) -> None:
    write("o.onnx", budgets="{ size = 10 }")
    done = burnish("build", "--json")
    assert done.code == 3
    (gate,) = json.loads(done.out)["models"][0]["budgets"]
    assert (gate["name"], gate["limit"], gate["passed"]) == ("size", 10, False)
    # Commands to type stay as they are.
    assert "`burnish bench --report`" in done.err
    assert 'weights = "bf16" halves' in done.err
    write("o.onnx", budgets="{ max-drop = 1 }")
    assert "budgets.max-drop is about a task: name one with eval" in burnish("build").message


def test_failed_budgets_are_data_too(burnish: Burnish, tmp_path: Path) -> None:
    onnx.save(small_model(), tmp_path / "m.onnx")
    budget = ("--json", "--budget-size", "10")
    for command, out, *more in (("compile", "c.burnish", "--tune", "off"), ("optimize", "o.onnx")):
        done = burnish(command, tmp_path / "m.onnx", "-o", tmp_path / out, *budget, *more)
        assert done.code == 3
        told = json.loads(done.out)
        assert (told["output"], told["code"]) == (None, 3)
        assert [(gate["name"], gate["passed"]) for gate in told["budgets"]] == [("size", False)]


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


def test_help_names_the_table(burnish: Burnish) -> None:
    assert "[tool.burnish]" in burnish("build", "--help").out
