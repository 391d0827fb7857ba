"""Verdicts on passes, from variants and times that are made up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx.parser
import pytest

from burnish.bench.answers import Answers
from burnish.bench.builders import Built, program
from burnish.bench.document import Interval
from burnish.bench.sittings import Timings
from burnish.bench.subjects import Subject
from burnish.bench.variants import Form, Names, Pipeline
from burnish.ir import Graph
from burnish.optimization import infer
from burnish.passes import get_pass

STEPS = ("infer-shapes", "remove-no-ops", "merge-slices")


class Named:
    """Forms by the passes that lead to them."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def of(self, names: Names) -> Form:
        return Form("+".join(n for n in STEPS if n in names), sorted(names), "digest")


def answers(idle: str, native: Mapping[str, float] | None = None) -> Answers:
    """Of a pipeline that needs its first pass and in which ``idle`` does nothing."""
    pipeline = Pipeline([get_pass(name) for name in STEPS], frozenset(STEPS[:1]))
    forms = Named(pipeline)
    questions = pipeline.questions()
    subjects = {}
    for each in questions:
        for names in (each.having, each.lacking):
            id = forms.of(names).id
            content = "+".join(sorted(names - {idle}))
            share = (native or {}).get(id, 1.0)
            built = Built(Path(id), 0.0, [], content, 0, share)
            subjects[id] = Subject(forms.of(names), built=built)
    return Answers(questions, forms, subjects)  # type: ignore[arg-type]


def words(asked: Answers, name: str, speedup: Interval | None) -> dict[str, str]:
    timings = Timings("whole", [])
    return {q.view: asked.verdict(q, timings, speedup) for q in asked.questions if q.name == name}


@pytest.mark.parametrize("low", [0.9, 1.1])
def test_a_needed_pass_that_does_nothing_is_the_same_in_every_view(low: float) -> None:
    found = words(answers("infer-shapes"), "infer-shapes", Interval(value=1.2, low=low, high=1.3))
    assert found == {"alone": "same", "cumulative": "same", "without": "same"}


def test_a_needed_pass_that_does_something_is_needed_where_it_is_always_there() -> None:
    gain = Interval(value=1.2, low=1.1, high=1.3)
    found = words(answers("merge-slices"), "infer-shapes", gain)
    assert found == {"alone": "faster", "cumulative": "needed", "without": "faster"}


def test_what_was_not_timed_is_no_noise() -> None:
    found = words(answers("merge-slices"), "remove-no-ops", None)
    assert set(found.values()) == {"untimed"}
    assert set(words(answers("merge-slices"), "merge-slices", None).values()) == {"same"}


def test_passes_that_make_kernels_possible_are_named() -> None:
    found = answers("", {"remove-no-ops+merge-slices": 0.4}).fallbacks()
    assert found == ["infer-shapes (40% to 100%)"]
    found = answers(
        "", {"": 0.4, "infer-shapes": 0.4, "infer-shapes+merge-slices": 0.5}
    ).fallbacks()
    assert found == ["remove-no-ops (40% to 100%)", "merge-slices (40% to 50%)"]
    assert answers("").fallbacks() == []


def test_inferred_shapes_make_no_other_program() -> None:
    text = """<ir_version: 10, opset_import: ["": 21]>
    agraph (float[n, 4] x) => (float[a, b] y) { h = Relu (x)  y = %s (h) }"""
    relu, neg = (Graph.from_onnx(onnx.parser.parse_model(text % op)) for op in ("Relu", "Neg"))
    assert program(relu) == program(infer(relu))
    assert program(relu) != program(neg)
    # Sizes of inputs are a matter of the engine.
    assert program(relu) != program(infer(relu, {"x": (2, 4)}))
