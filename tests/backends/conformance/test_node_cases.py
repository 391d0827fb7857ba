"""ONNX's own cases of single operators, through the compiler.

Some need a region of the host's engine, or cannot be compiled at all and say so; none may give a
wrong answer or fail in another way.
"""

from __future__ import annotations

import os

import pytest

from benchmarks.node_tests.batch import CRASH, ENGINE, NATIVE, REFUSED, WRONG, Outcome, Runner
from benchmarks.node_tests.cases import Case, bound, node_cases

SAMPLE = 40
"""One in so many cases runs every time."""

FEWEST_NATIVE = 0.5
"""Share of the cases that has to need no region. Types without arithmetic (strings, sequences,
eight bits of floating point) and shapes that depend on data make up most of the others."""


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return node_cases()


def check(outcomes: dict[str, Outcome]) -> None:
    bad = [one for one in outcomes.values() if one.kind in (WRONG, ENGINE, CRASH)]
    assert not bad, "\n".join(map(str, bad))
    for outcome in outcomes.values():
        assert outcome.kind != REFUSED or outcome.reason


def test_sample(cases: list[Case]) -> None:
    outcomes = Runner().run(cases[::SAMPLE], batch=60)
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
