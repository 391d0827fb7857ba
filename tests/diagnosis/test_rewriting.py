"""Defects planted in passes are found, down to the one application of a rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import pytest

import burnish
from burnish.bench.task import Scores
from burnish.errors import BurnishError
from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.oracle import Oracle, compare
from burnish.pipeline import PassContext, RulePass, run_pass
from burnish.rewrite import Any, Op, Rule
from burnish.testing import graph
from tests.depth import slow
from tests.diagnosis.planted import ByHand, Planted, deep_model

BEFORE = ("infer-shapes", "fold-constants", "remove-no-ops")
AFTER = ("simplify-elementwise", "remove-dead-code")


def diagnose(model: onnx.ModelProto | Graph, *steps: object, **options: object):
    return burnish.diagnose(model, passes=[*BEFORE, *steps, *AFTER], engine="ort", **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def deep() -> onnx.ModelProto:
    return deep_model(400)


@pytest.fixture(scope="module")
def small() -> onnx.ModelProto:
    return deep_model(36)


def test_one_wrong_application_among_hundreds(deep: onnx.ModelProto) -> None:
    found = diagnose(deep, Planted())
    assert (found.kind, found.guilty, found.rule) == ("numerics", "planted", "rewrite-sigmoid")
    assert found.sources == ("layer77/sigmoid77",)
    assert found.reproducer is not None
    assert found.reproducer.nodes == ["Sigmoid layer77/sigmoid77"]
    assert found.reproducer.is_confirmed
    assert "the result is right without it" in found.workaround
    assert found.is_complete


def test_the_application_is_the_one_that_is_counted(small: onnx.ModelProto) -> None:
    found = diagnose(small, Planted(layer=5))
    report = run_pass(Graph.from_onnx(small), Planted(layer=5), PassContext())
    assert found.number is not None
    assert found.count == len(report.fired)
    assert report.fired[found.number - 1].provenance == found.sources == ("layer5/sigmoid5",)


def test_the_files_show_it(small: onnx.ModelProto, tmp_path: Path) -> None:
    found = diagnose(small, Planted(layer=5))
    found.save(tmp_path / "out")
    model = burnish.load(tmp_path / "out" / "reproducer.onnx")
    inputs = dict(np.load(tmp_path / "out" / "inputs.npz"))
    expected = dict(np.load(tmp_path / "out" / "expected.npz"))
    assert compare(expected, Oracle(model).run(inputs), Numerics.EXACT)
    again = burnish.diagnose(model, engine="ort", passes=[Planted(layer=5)], samples=[inputs])
    assert (again.kind, again.guilty) == ("numerics", "planted")
    command = found.command(tmp_path / "out")
    assert command is not None
    assert command.startswith("burnish.diagnose(")
    assert "Planted(layer=5" in command


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("raise", "exception IndexError"),
        slow("refuse", "exception UnsupportedModel"),
        ("invalid", "invalid"),
    ],
)
def test_rewrites_that_fail(small: onnx.ModelProto, how: str, kind: str) -> None:
    found = diagnose(small, Planted(layer=5, how=how))
    assert (found.kind, found.guilty, found.rule) == (kind, "planted", "rewrite-sigmoid")
    assert found.sources == ("layer5/sigmoid5",)
    assert found.reproducer is not None
    assert found.reproducer.nodes == ["Sigmoid layer5/sigmoid5"]


def test_a_guard_that_fails(small: onnx.ModelProto) -> None:
    found = diagnose(small, Planted(layer=5, how="guard"))
    assert found.kind == "exception KeyError"
    assert (found.guilty, found.rule, found.number) == ("planted", "rewrite-sigmoid", None)
    assert found.reproducer is not None
    assert found.reproducer.nodes == ["Sigmoid layer5/sigmoid5"]


@pytest.mark.parametrize(("how", "number"), [("crash", True), slow("crashing guard", False)])
def test_a_pass_that_ends_the_process(small: onnx.ModelProto, how: str, number: bool) -> None:
    found = diagnose(small, Planted(layer=5, how=how))
    assert (found.kind, found.guilty) == ("crash: SIGABRT", "planted")
    assert found.symptom == "planted crashes (SIGABRT)"
    assert (found.number is not None) == number
    assert found.reproducer is not None
    assert found.reproducer.nodes == ["Sigmoid layer5/sigmoid5"]
    assert found.reproducer.is_confirmed
    assert found.workaround == "--skip planted: the result is right without it"


def test_rules_that_never_come_to_rest() -> None:
    found = diagnose(deep_model(20), Planted(layer=2, how="loop"))
    assert (found.kind, found.guilty, found.number) == ("loop", "planted", None)
    assert "rewrite-sigmoid" in found.symptom
    assert found.reproducer is not None
    assert found.reproducer.nodes == ["Sigmoid layer2/sigmoid2"]


def test_a_pass_without_rules(deep: onnx.ModelProto) -> None:
    found = diagnose(deep, ByHand())
    assert (found.guilty, found.rule, found.number) == ("by-hand", "by-hand", 34)
    assert found.sources == ("layer33/sigmoid33",)
    assert found.reproducer is not None
    assert found.reproducer.nodes == ["Sigmoid layer33/sigmoid33"]


@pytest.mark.parametrize("is_last", [False, slow(True)])
def test_a_pass_that_does_not_say_what_it_did(small: onnx.ModelProto, is_last: bool) -> None:
    steps = ["infer-shapes", ByHand(3, honest=False)]
    if not is_last:
        steps.append("simplify-elementwise")
    found = burnish.diagnose(small, engine="ort", passes=steps)
    assert (found.guilty, found.rule) == ("by-hand", None)
    assert found.reproducer is not None
    assert found.reproducer.nodes == ["Sigmoid layer3/sigmoid3"]


def test_nothing_is_wrong(small: onnx.ModelProto) -> None:
    found = diagnose(small, Planted(layer=99))
    assert not found
    assert found.reproducer is None
    assert found.command("out") is None


def test_a_tolerance_of_the_users_own(small: onnx.ModelProto) -> None:
    exact = replace(Planted(layer=5))
    assert not diagnose(small, exact, tolerance=10.0)
    found = diagnose(small, exact, tolerance=1e-3)
    command = found.command("out")
    assert command is not None
    assert command.endswith(", tolerance=0.001)")


def test_two_defects_are_not_hidden_by_the_first(small: onnx.ModelProto) -> None:
    found = diagnose(small, ByHand(2), Planted(layer=5))
    assert found.guilty == "by-hand"
    assert "something else is wrong without it" in found.workaround


def test_a_metric_finds_what_no_tolerance_would(small: onnx.ModelProto) -> None:
    def wrong(found: Graph) -> str | None:
        negations = sum(node.op_type == "Neg" for node in found)
        return f"accuracy is {1 - negations:.0%}" if negations else None

    found = diagnose(small, Planted(layer=5), wrong=wrong)
    assert (found.kind, found.symptom) == ("metric", "accuracy is 0%")
    assert (found.guilty, found.sources) == ("planted", ("layer5/sigmoid5",))
    assert found.reproducer is not None
    assert found.reproducer.nodes == ["Sigmoid layer5/sigmoid5"]
    # The reproducer has no metric: any difference counts.
    assert found.reproducer.tolerance == 1e-6


def test_a_judgement_is_not_asked_about_what_does_not_run(small: onnx.ModelProto) -> None:
    def wrong(found: Graph) -> str | None:
        Oracle(found)
        return None

    found = diagnose(small, Planted(layer=5, how="invalid"), wrong=wrong)
    assert (found.kind, found.guilty, found.sources) == ("invalid", "planted", ("layer5/sigmoid5",))


def test_a_metric_that_the_model_misses_itself(small: onnx.ModelProto) -> None:
    found = diagnose(small, Planted(layer=99), wrong=lambda graph: "no better than chance")
    assert found.is_model
    assert found.guilty is None
    assert found.reproducer is None
    assert "before any pass" in found.notes[0]


class Signs:
    """A task: are the signs of the outputs those that the original has?"""

    name = "signs"
    input_shapes = ({"x": (4, 8)},)

    def __init__(self, model: onnx.ModelProto) -> None:
        self._feeds = [
            {"x": np.random.default_rng(seed).standard_normal((4, 8)).astype(np.float32)}
            for seed in range(5)
        ]
        oracle = Oracle(Graph.from_onnx(model))
        self._labels = [np.sign(next(iter(oracle.run(feeds).values()))) for feeds in self._feeds]

    def calibration(self):
        return self._feeds

    def evaluate(self, run):
        found = [np.sign(next(iter(run(feeds).values()))) for feeds in self._feeds]
        right = np.concatenate([
            (a == b).ravel() for a, b in zip(found, self._labels, strict=True)
        ])  # fmt: skip
        return {"top-1": Scores.of(right.astype(float))}


def test_a_task_tells_what_its_metric_suffers_from(small: onnx.ModelProto) -> None:
    found = diagnose(small, Planted(layer=5), eval=Signs(small), max_drop=0.5)
    assert (found.kind, found.guilty, found.sources) == ("metric", "planted", ("layer5/sigmoid5",))
    assert "top-1 of signs goes from 1.0000 to 0." in found.symptom
    assert not diagnose(small, Planted(layer=5), eval=Signs(small), max_drop=100.0)
    assert not diagnose(small, Planted(layer=99), eval=Signs(small))


class Means(Signs):
    """A task whose metric is no number where an output is none."""

    def evaluate(self, run):
        return {"mean": Scores.of(float(next(iter(run(f).values())).mean()) for f in self._feeds)}


def test_a_metric_that_is_no_number(small: onnx.ModelProto) -> None:
    found = diagnose(small, Planted(layer=5, how="nan"), eval=Means(small))
    assert (found.kind, found.guilty, found.sources) == ("metric", "planted", ("layer5/sigmoid5",))
    assert "mean of signs goes from " in found.symptom
    assert "to none: task signs: mean: the value of item 0 is nan" in found.symptom
    assert found.reproducer is not None
    assert found.reproducer.nodes == ["Sigmoid layer5/sigmoid5"]


@dataclass(frozen=True)
class Coarse(RulePass):
    """Adds a little to every Tanh: none of it is too much, all of it is."""

    name: ClassVar[str] = "coarse"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES
    factor: float = 0.99997

    def rules(self, context: PassContext):
        def write(rw, match, facts):
            root = match.root
            new = rw.op("Atan", root.inputs, like=root.output)
            little = rw.constant(np.asarray(self.factor, np.float32))
            undone = rw.op("Tanh", [rw.op("Tan", [new], like=new)], like=root.output, name="new")
            rw.replace(root.output, rw.op("Mul", [undone, little], like=root.output))

        def guard(match):
            from burnish.rewrite import Miss

            return Miss("done", match.root) if match.root.name == "new" else None

        return (Rule("coarse", Op("Tanh", Any("x")), write, guard),)


def test_errors_that_add_up() -> None:
    model = graph(
        "g (float[4] x) => (float[4] y) {"
        " a = Tanh(x) b = Tanh(a) c = Tanh(b) d = Tanh(c) e = Tanh(d) y = Tanh(e) }"
    )
    found = burnish.diagnose(model, engine="ort", passes=["infer-shapes", Coarse()])
    assert found.guilty == "coarse"
    assert found.number is not None
    assert found.number > 1
    assert found.reproducer is not None
    assert len(found.reproducer.nodes) > 1
    assert found.reproducer.is_confirmed


@dataclass(frozen=True)
class Jitter(Coarse):
    """Moves less than any promise but its own allows."""

    name: ClassVar[str] = "jitter"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    factor: float = 0.9999999


def test_bits_that_moved_before_are_not_the_defect(small: onnx.ModelProto) -> None:
    found = burnish.diagnose(small, engine="ort", passes=["infer-shapes", Jitter(), ByHand(3)])
    assert (found.guilty, found.sources) == ("by-hand", ("layer3/sigmoid3",))
    # Nothing else moves more than is promised then but this.
    assert "something else is wrong without it" in found.workaround


def test_tools_that_are_packaged_under_another_name(
    small: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = metadata.version

    def look_up(name: str) -> str:
        if name == "onnxruntime":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    found = diagnose(small, Planted(layer=99))
    monkeypatch.setattr(metadata, "version", look_up)
    assert set(found.as_json()["tools"]) == {"burnish", "apache-tvm", "onnx"}


def test_open_sizes_stay_open() -> None:
    model = graph(
        'g (float["N", 4] x) => (float["N", 4] y) { a = Neg(x) [sigmoid1] y = Sigmoid(a) }'
    )
    found = burnish.diagnose(model, engine="ort", passes=["infer-shapes", Planted(layer=1)])
    assert found.reproducer is not None
    (value,) = found.reproducer.part.graph.inputs
    assert value.shape == ("N", 4)


def test_defects_inside_of_a_branch() -> None:
    model = graph(
        """g (bool c, float[4] x) => (float[4] y) {
             a = Neg(x)
             b = If (c) <
               then_branch = p () => (float[4] e) { [sigmoid1] e = Sigmoid(a) },
               else_branch = q () => (float[4] f) { f = Exp(a) }>
             y = Tanh(b)
        }"""
    )
    samples = [{"c": np.array(True), "x": np.arange(4, dtype=np.float32)}]
    found = burnish.diagnose(model, engine="ort", passes=[Planted(layer=1)], samples=samples)
    assert (found.rule, found.sources) == ("rewrite-sigmoid", ("sigmoid1",))
    assert found.reproducer is not None
    assert [node.op_type for node in found.reproducer.part.graph] == ["If"]


def test_a_later_round_of_passes_is_searched_as_well(
    small: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    from burnish.passes import PASSES

    monkeypatch.setitem(PASSES, "planted", "tests.diagnosis.planted:Planted")
    monkeypatch.setattr(
        "burnish.passes.presets.PRESETS", {"default": lambda: ["infer-shapes", "planted"],
                                           "compile": list}
    )  # fmt: skip
    found = burnish.diagnose(small, engine="ort", set={"planted.layer": 5})
    assert (found.guilty, found.sources) == ("planted", ("layer5/sigmoid5",))
    assert found.command("out") == (
        "burnish diagnose out/reproducer.onnx --engine ort --passes planted "
        "--inputs out/inputs.npz --set planted.layer=5"
    )


def test_progress_says_what_is_tried(small: onnx.ModelProto) -> None:
    said: list[tuple[str, int, int]] = []
    diagnose(small, Planted(layer=5), time=50.0, progress=lambda *each: said.append(each))
    words = " ".join(what for what, _, _ in said)
    assert "running planted" in words
    assert "applications in planted" in words
    assert "shrinking" in words
    assert {total for *_, total in said} == {50}


def test_no_time_at_all(small: onnx.ModelProto) -> None:
    with pytest.raises(BurnishError, match="raise time"):
        diagnose(small, Planted(layer=5), time=1e-9)


def test_time_that_ends_before_the_search_does(
    small: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    from burnish.diagnosis.clock import Clock, OutOfTime

    begin = Clock.begin

    def begin_nothing_small(clock: Clock, what: str) -> None:
        if what.startswith("shrinking"):
            raise OutOfTime
        begin(clock, what)

    monkeypatch.setattr(Clock, "begin", begin_nothing_small)
    found = diagnose(small, Planted(layer=5))
    assert (found.guilty, found.sources) == ("planted", ("layer5/sigmoid5",))
    assert not found.is_complete
    assert "raise" in found.notes[0]
