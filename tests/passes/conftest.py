"""How a pass is tested: it fires, keeps the values, and is done; or it declines and says why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx.parser
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from burnish.ir import Graph
from burnish.ir.printer import to_text
from burnish.ir.verify import verify
from burnish.oracle import random_inputs
from burnish.passes import get_pass
from burnish.pipeline import PassContext, PassReport, run_pass
from burnish.target import resolve
from burnish.testing import HEADER, assert_equivalent

Run = Callable[..., Graph]


def build(text: str, opset: int, weights: dict[str, np.ndarray]) -> Graph:
    """A graph from ONNX's text form; inputs named in ``weights`` become constants."""
    domains = ', "com.microsoft": 1' if "com.microsoft" in text else ""
    header = HEADER.format(opset=opset, domains=domains)
    model = onnx.parser.parse_model(header + text)
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    for name, array in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return Graph.from_onnx(model)


def run(name: str, graph: Graph, *, target: bool) -> PassReport:
    context = PassContext(target=resolve("x86-64-v3") if target else None, explain=True)
    run_pass(graph, get_pass("infer-shapes"), context)
    return run_pass(graph, get_pass(name), context)


@pytest.fixture
def fires() -> Run:
    """Run a pass; the named rules fire, in any order, and nothing else changes."""

    def check(
        name: str, text: str, *rules: str, opset: int = 21, target: bool = False,
        inputs: dict[str, Any] | None = None, **weights: Any,
    ) -> Graph:  # fmt: skip
        before, after = build(text, opset, weights), build(text, opset, weights)
        report = run(name, after, target=target)
        assert Counter(firing.rule for firing in report.fired) == Counter(rules), report.missed
        assert report.changed
        assert all(node.provenance for node in after.walk())
        assert_equivalent(before, after, get_pass(name).numerics, inputs=inputs)
        assert not run(name, after, target=target).changed
        assert [(v.name, v.dtype) for v in after.outputs] == [
            (v.name, v.dtype) for v in before.outputs
        ]
        return after

    return check


@pytest.fixture
def misses() -> Callable[..., None]:
    """Run a pass; the graph stays as it was, and ``reason`` is among the near misses.

    ``reason`` is None where too little fits for the user to be told.
    """

    def check(
        name: str,
        text: str,
        reason: str | None,
        *,
        opset: int = 21,
        target: bool = False,
        **weights: Any,
    ) -> None:
        graph = build(text, opset, weights)
        context = PassContext(target=resolve("x86-64-v3") if target else None)
        run_pass(graph, get_pass("infer-shapes"), context)
        before = to_text(graph)
        report = run(name, graph, target=target)
        assert not report.fired
        assert not report.changed
        assert to_text(graph) == before
        reasons = [miss.reason for miss in report.missed]
        assert reason is None or any(reason in found for found in reasons), reasons

    return check


@pytest.fixture
def exact() -> Run:
    """Run a pass on a model in double precision; the reference evaluator sees no difference.

    The operators that are left are ``kinds``, in order.
    """

    def check(
        name: str, text: str, kinds: str, *, opset: int = 21, target: bool = False, **weights: Any
    ) -> Graph:
        before, after = build(text, opset, weights), build(text, opset, weights)
        report = run(name, after, target=target)
        verify(after)
        assert [node.op_type for node in after] == kinds.split(), report.missed
        assert all(node.provenance for node in after.walk())
        feeds = random_inputs(before, 0)
        wanted, found = (ReferenceEvaluator(g.to_onnx()).run(None, feeds) for g in (before, after))
        for a, b in zip(wanted, found, strict=True):
            assert a.dtype == b.dtype == np.float64
            assert np.abs(a - b).max() <= 1e-9 * max(np.abs(a).max(), 1.0)
        assert not run(name, after, target=target).changed
        return after

    return check
