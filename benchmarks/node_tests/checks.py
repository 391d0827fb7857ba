"""Whether a case survives being loaded and written again, and being optimized."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.node_tests.cases import Case
from burnish import api
from burnish.errors import BurnishError, UnsupportedModel
from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.oracle import Oracle, compare

EQUAL, REFUSED, UNCHECKED, WRONG, CRASH = "equal", "refused", "unchecked", "wrong", "crash"
"""What can become of a case; ``unchecked`` is one whose results are no measure for another."""

Found = tuple[str, str]
"""What became of a case, and why."""


def check_export(case: Case) -> Found:
    """Load a model and write it again: its results must be the same, bit by bit."""
    return _check(case, lambda: Graph.from_onnx(case.model).to_onnx(), Numerics.EXACT)


def check_optimize(case: Case) -> Found:
    """Optimize a model: its results must be the same up to rounding."""

    def optimized() -> Graph:
        return api.optimize(case.model, verify="off")[0]

    return _check(case, optimized, Numerics.REASSOCIATES)


def _check(case: Case, make: Any, numerics: Numerics) -> Found:
    try:
        made = make()
    except BurnishError as error:
        return REFUSED, str(error)
    except Exception as error:  # whatever it is, it is no clear message
        return CRASH, f"{type(error).__name__}: {error}"
    try:
        reference, expected = _answers(case)
    except UnsupportedModel as error:
        return UNCHECKED, str(error)
    try:
        found = Oracle(made, reference=reference).run(case.feeds)
    except UnsupportedModel as error:
        return WRONG, str(error)
    same = compare(expected, found, numerics)
    if same:
        return EQUAL, ""
    if not compare(expected, Oracle(case.model, reference=reference).run(case.feeds), numerics):
        return UNCHECKED, "the model answers differently each time"
    return WRONG, str(same)


def _answers(case: Case) -> tuple[bool, Mapping[str, Any]]:
    """What the original answers, and whether the reference evaluator had to say it."""
    try:
        return False, Oracle(case.model).run(case.feeds)
    except UnsupportedModel:
        return True, Oracle(case.model, reference=True).run(case.feeds)
