"""ONNX's own cases of single operators, through the compiler; models of each, through the IR.

Some need a region of the host's engine, or cannot be compiled at all and say so; none may give a
wrong answer or fail in another way.
"""

from __future__ import annotations

import os

import onnx
import pytest

from benchmarks.node_tests.batch import CRASH, ENGINE, NATIVE, REFUSED, WRONG, Outcome, Runner
from benchmarks.node_tests.cases import Case, bound, node_cases
from tests.depth import slow
from tests.ir.test_round_trip import check_all as check_round_trips

SAMPLE, LARGER_SAMPLE = 160, 40
"""One in so many cases runs every time, and with the slow tests."""

FEWEST_NATIVE = 0.5
"""Share of the cases that has to need no region. Types without arithmetic (strings, sequences,
eight bits of floating point) and shapes that depend on data make up most of the others."""


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return node_cases()


def test_a_model_of_each_operator_is_written_as_it_was_read(cases: list[Case]) -> None:
    """The first of each, and of each type of data.

    It is here as it takes seconds to make the cases.
    """
    first: dict[object, onnx.ModelProto] = {}
    for case in cases:
        graph = case.model.graph
        types = {
            value.type.WhichOneof("value") or value.type.tensor_type.elem_type
            for value in (*graph.input, *graph.output)
        }
        for fact in (*types, *((node.domain, node.op_type) for node in graph.node)):
            first.setdefault(fact, case.model)
    models = {id(model): model for model in first.values()}
    assert len(models) > 150
    check_round_trips(list(models.values()))


def check(outcomes: dict[str, Outcome]) -> None:
    bad = [one for one in outcomes.values() if one.kind in (WRONG, ENGINE, CRASH)]
    assert not bad, "\n".join(map(str, bad))
    for outcome in outcomes.values():
        assert outcome.kind != REFUSED or outcome.reason


@pytest.mark.parametrize("step", [SAMPLE, slow(LARGER_SAMPLE)])
def test_sample(cases: list[Case], step: int) -> None:
    outcomes = Runner().run(cases[::step], batch=60)
    check(outcomes)
    native = sum(outcome.kind == NATIVE for outcome in outcomes.values())
    assert native >= FEWEST_NATIVE * len(outcomes)


ALL = pytest.mark.skipif(
    "BURNISH_CONFORMANCE" not in os.environ, reason="takes half an hour: set BURNISH_CONFORMANCE"
)


@ALL
def test_all(cases: list[Case]) -> None:
    outcomes = Runner().run(cases, batch=60)
    check(outcomes)
    native = sum(outcome.kind == NATIVE for outcome in outcomes.values())
    assert native >= FEWEST_NATIVE * len(outcomes)


@ALL
def test_all_with_settled_shapes(cases: list[Case]) -> None:
    check(Runner().run([each for each in map(bound, cases) if each is not None], batch=60))
