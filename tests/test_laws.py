"""Laws that every registered pass and every preset obeys, on generated graphs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import onnx.parser
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from burnish.errors import UnsupportedModel
from burnish.ir import Graph
from burnish.ir.clone import clone
from burnish.ir.printer import to_text
from burnish.ir.verify import verify
from burnish.numerics import Numerics, loosest
from burnish.oracle import Oracle, random_inputs
from burnish.passes import PASSES, get_pass
from burnish.passes.presets import PRESETS, preset
from burnish.pipeline import Pass, PassContext, run_pass, run_pipeline
from burnish.target import resolve
from burnish.testing import HEADER, assert_equivalent
from tests.depth import part
from tests.snippets import SHAPES, SNIPPETS, Draft, Snippet

CONTEXTS = {"onnx": PassContext(), "native": PassContext(target=resolve("x86-64-v3"))}
MORE = settings(
    max_examples=part(40), deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
"""Others in each run, for the slow tests."""

Model = tuple[str, int, dict[str, np.ndarray]]


Number = Callable[[int], int]
"""Draws a number below another."""

LONGEST = 7
"""Snippets in a model."""


def follow(draft: Draft, kind: str, snippet: Snippet, number: Number) -> None:
    """One snippet more, behind the last one or an earlier one."""
    there = draft.values[kind]
    there.append(snippet(draft, there[-1] if number(4) else there[number(len(there))], number))


def finished(draft: Draft, number: Number) -> Model:
    """Text, opset and constants of the model; results may be returned midway."""
    results = [kind_values[-1] for kind_values in draft.values.values() if len(kind_values) > 1]
    for kind in sorted(SHAPES):
        made = draft.values[kind][1:]
        if made and number(3) == 0:
            results.append(made[number(len(made))])
    returned = dict.fromkeys(results)
    kinds = {value: kind for kind, values in draft.values.items() for value in values}
    outputs = ", ".join(f"{declared(kinds[name])} {name}" for name in returned)
    inputs = ", ".join(f"{declared(kind)} {kind[0]}" for kind in SHAPES)
    text = f"g ({inputs}) => ({outputs}) {{ {' '.join(draft.lines)} }}"
    return text, (18, 21, 23)[number(3)], draft.constants


@st.composite
def models(draw: st.DrawFn) -> Model:
    """A model of a few snippets."""
    draft = Draft()
    number = lambda below: draw(st.integers(0, below - 1))  # noqa: E731
    for _ in range(draw(st.integers(1, LONGEST))):
        kind = draw(st.sampled_from(sorted(SHAPES)))
        follow(draft, kind, SNIPPETS[kind][number(len(SNIPPETS[kind]))], number)
    return finished(draft, number)


@cache
def examples(rounds: int = 3) -> list[Model]:
    """The same in every run and for all passes, so few that each snippet comes up once a round."""
    rng = np.random.default_rng(0)
    number = lambda below: int(rng.integers(below))  # noqa: E731
    every = [(kind, snippet) for kind in sorted(SHAPES) for snippet in SNIPPETS[kind]]
    made = []
    for _ in range(rounds):
        places = rng.permutation(len(every))
        for start in range(0, len(every), LONGEST):
            draft = Draft()
            for place in places[start : start + LONGEST]:
                follow(draft, *every[place], number)
            made.append(finished(draft, number))
    return made


def declared(kind: str) -> str:
    return f"float[{', '.join(map(str, SHAPES[kind]))}]"


def build(text: str, opset: int, constants: dict[str, np.ndarray]) -> Graph:
    head, _, tail = text.partition(") => (")
    named = "".join(
        f", {'float' if a.dtype == np.float32 else 'bool' if a.dtype == np.bool_ else 'int64'} {n}"
        for n, a in constants.items()
    )
    header = HEADER.format(opset=opset, domains="")
    model = onnx.parser.parse_model(f"{header}{head}{named}) => ({tail}")
    del model.graph.input[len(SHAPES) :]
    for name, array in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return Graph.from_onnx(model)


def interface(graph: Graph) -> list[tuple[str, object, object]]:
    return [(v.name, v.dtype, v.static_shape) for v in (*graph.inputs, *graph.outputs)]


def require_runnable(graph: Graph) -> None:
    """Have Hypothesis draw another example, and count this one, if the oracle cannot run it.

    ONNX Runtime frees a value that a branch reads too early if a Reshape of it is dead.
    """
    try:
        Oracle(graph).run(random_inputs(graph))
    except UnsupportedModel:
        reject()


def inferred(model: Model, where: PassContext) -> Graph:
    graph = build(*model)
    run_pass(graph, get_pass("infer-shapes"), where)
    return graph


@cache
def known(number: int, context: str) -> tuple[Graph, str]:
    """An example and its text, which the passes share."""
    graph = inferred(examples()[number], CONTEXTS[context])
    return graph, to_text(graph, names=True)


def obeys(step: Pass, where: PassContext, before: Graph, text: str) -> None:
    """The law of one pass on one model, which stays as it is."""
    after, _ = clone(before)
    report = run_pass(after, step, where)
    verify(after)
    assert report.changed == (to_text(after, names=True) != text), "the flag is not honest"
    assert interface(after) == interface(before)
    if report.changed:
        assert_equivalent(before, after, step.numerics)
        again = run_pass(after, step, where)
        assert not again.changed, f"changes more the second time: {again.fired or again.edits}"


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("context", CONTEXTS)
def test_every_pass(name: str, context: str) -> None:
    for number, _ in enumerate(examples()):
        obeys(get_pass(name), CONTEXTS[context], *known(number, context))


@pytest.mark.slow
@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("context", CONTEXTS)
def test_every_pass_on_more(name: str, context: str) -> None:
    where = CONTEXTS[context]

    @MORE
    @given(models())
    def law(model: Model) -> None:
        graph = inferred(model, where)
        require_runnable(graph)
        obeys(get_pass(name), where, graph, to_text(graph, names=True))

    law()


def preset_obeys(name: str, model: Model) -> None:
    where = CONTEXTS["native" if name == "compile" else "onnx"]
    promise = loosest([Numerics.REASSOCIATES, *(step.numerics for step in preset(name))])
    before, after = build(*model), build(*model)
    # Code is generated after one round; the next ones come to rest all the same.
    for settle in (False, True) if name == "compile" else (True,):
        after, _ = run_pipeline(after, preset(name), where, verify="off", settle=settle)
        verify(after)
        assert_equivalent(before, after, promise)
        assert interface(after) == interface(before)
    for step in preset(name):
        again = run_pass(after, step, where)
        assert not again.changed, f"{step.name} changes more the second time: {again.edits}"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset(name: str) -> None:
    for model in examples():
        preset_obeys(name, model)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_on_more(name: str) -> None:
    @MORE
    @given(models())
    def law(model: Model) -> None:
        require_runnable(build(*model))
        preset_obeys(name, model)

    law()
