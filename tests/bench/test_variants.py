"""Selections of passes, and the graphs that they lead to."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.bench import ladder as ladder_module
from burnish.bench.ladder import Ladder, digest
from burnish.bench.variants import Forms, Pipeline
from burnish.errors import InvalidInput
from burnish.pipeline import PassContext, run_pipeline
from burnish.selection import Selection, choose
from burnish.testing import graph

EXAMPLES = Path(__file__).parent.parent / "examples"

MODEL = """
    g (float[2, 6] x) => (float[2, 6] y) {
        same = Identity(x)
        half = Constant<value = float {0.5}>()
        root = Constant<value = float {1.4142135}>()
        one = Constant<value = float {1.0}>()
        d = Div(same, root)
        e = Erf(d)
        p = Add(e, one)
        m = Mul(same, p)
        y = Mul(m, half)
    }
"""


def pipeline(selection: Selection | None = None) -> Pipeline:
    return Pipeline(choose(selection or Selection("default")), frozenset({"freeze-input-shapes"}))


def forms(settle: bool = True) -> Forms:
    return Forms(pipeline(), Ladder(graph(MODEL), PassContext(), settle))


def test_every_pass_is_asked_about_in_every_view() -> None:
    asked = pipeline().questions()
    names = pipeline().names
    assert [each.name for each in asked] == names * 3
    assert len(names) > 40


def test_views_add_and_leave_out() -> None:
    every = frozenset(pipeline().names)
    by = {(each.view, each.name): each for each in pipeline().questions()}
    gelu = by["without", "recognise-gelu"]
    assert (gelu.shown, gelu.against) == (every - {"recognise-gelu"}, every)
    alone = by["alone", "recognise-gelu"]
    assert alone.shown == pipeline().cleanup | {"recognise-gelu"}
    assert alone.against == pipeline().cleanup
    # A pass of cleanup is no addition to cleanup: it is looked at without the others.
    tidy = by["alone", "remove-no-ops"]
    assert tidy.shown == {"freeze-input-shapes", "remove-no-ops"}
    last = by["cumulative", pipeline().names[-1]]
    assert last.shown == every
    assert last.against == every - {pipeline().names[-1]}


def test_equal_graphs_are_one_form() -> None:
    found = forms()
    for each in pipeline().questions():
        found.of(each.having), found.of(each.lacking)
    assert 3 <= len(found.by_id) < 12
    every = frozenset(pipeline().names)
    assert found.of(every) is found.of(every - {"fuse-batch-norm"})
    assert found.of(every) is not found.of(every - {"recognise-gelu"})


@pytest.mark.parametrize("settle", [False, True])
def test_a_ladder_leads_where_a_pipeline_does(settle: bool) -> None:
    steps = choose(Selection("default"))
    for path in sorted(EXAMPLES.glob("*.txt")):
        try:
            model = graph(path.read_text())
        except InvalidInput:
            # An example that gets its constants elsewhere.
            continue
        wanted, _ = run_pipeline(model, steps, PassContext(), verify="off", settle=settle)
        assert Ladder(model, PassContext(), settle).climb(steps) == digest(wanted), path


def test_graphs_that_were_dropped_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder_module, "KEPT_BYTES", 0)
    found = forms()
    for each in pipeline().questions():
        for names in (each.having, each.lacking):
            form = found.of(names)
            assert form.digest is not None
            assert digest(found.ladder.graph(form.digest)) == form.digest


def test_what_a_pass_refuses_is_a_form_without_graph() -> None:
    selection = Selection("minimal", input_shapes={"nothing": (1,)})
    found = Forms(pipeline(selection), Ladder(graph(MODEL), PassContext()))
    form = found.of(frozenset(found.pipeline.names))
    assert form.digest is None
    assert form.failure is not None
    assert "nothing" in form.failure


def test_digests_are_of_values_not_of_names() -> None:
    one = graph("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    other = graph("g (float[2] a) => (float[2] b) { b = Relu(a) }")
    assert digest(one) == digest(other)
    weights = [
        graph(f"g (float[2] x) => (float[2] y) {{ c = Constant<value = float[2] {{1, {k}}}>() "
              "y = Add(x, c) }") for k in (2, 3)
    ]  # fmt: skip
    assert digest(weights[0]) != digest(weights[1])
