"""Budgets and optional passes through the functions of the package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import burnish
from burnish.bench.stats import Estimate
from burnish.bench.task import Feeds, Run, Scores, TaskFailed
from burnish.building.trial import Ring
from burnish.errors import GateFailed, UsageError

TEXT = """<ir_version: 10, opset_import: ["": 21]>
agraph (float[8, 16] x) => (float[8, 16] y) { a = Identity (x)  b = Softmax (a)  y = MatMul (b, w) }
"""


@pytest.fixture
def model() -> onnx.ModelProto:
    made = onnx.parser.parse_model(TEXT)
    weight = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    made.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    return made


class Largest:
    """Whether the largest output is where the original has it, which is right by definition."""

    name = "largest"
    input_shapes: Sequence[Mapping[str, tuple[int, ...]]] = ({"x": (8, 16)},)

    def calibration(self) -> Iterable[Feeds]:
        """Nothing is calibrated."""
        return ()

    def evaluate(self, run: Run) -> Mapping[str, Scores]:
        """All rows of one input."""
        x = np.random.default_rng(1).normal(size=(8, 16)).astype(np.float32)
        return {"share": Scores.of((run({"x": x})["y"].argmax(1) >= 0).astype(float))}


def test_compile_holds_against_budgets(model: onnx.ModelProto) -> None:
    options: dict[str, Any] = {"tune": "off", "threads": 1, "budget_size": "1MB"}
    artifact = burnish.compile(model, **options, max_drop=0.0, eval=Largest())
    assert artifact.self_test()
    assert [(gate.name, gate.passed) for gate in artifact.budgets] == [
        ("size", True), ("max-drop", True),
    ]  # fmt: skip
    with pytest.raises(GateFailed, match=r"arena +failed") as failure:
        burnish.compile(model, **options, budget_arena=16)
    assert [(gate.name, gate.passed) for gate in failure.value.gates] == [
        ("size", True), ("arena", False),
    ]  # fmt: skip


class OneDict(Largest):
    """States its shapes as one dict."""

    input_shapes = {"x": (8, 16)}  # type: ignore[assignment]  # noqa: RUF012


class NoShapes(Largest):
    """States something else."""

    input_shapes = ("x", 8, 16)  # type: ignore[assignment]


def test_shapes_of_a_task_may_be_one_dict(model: onnx.ModelProto) -> None:
    options: dict[str, Any] = {"tune": "off", "threads": 1, "max_drop": 0.0}
    assert burnish.compile(model, **options, eval=OneDict()).budgets
    with pytest.raises(TaskFailed, match="make it a list of dicts"):
        burnish.compile(model, **options, eval=NoShapes())


def test_optimize_holds_against_budgets(model: onnx.ModelProto) -> None:
    graph, report = burnish.optimize(model, budget_size="1MB")
    assert [gate.name for gate in report.budgets] == ["size"]
    assert "Identity" not in {node.op_type for node in graph.walk()}
    with pytest.raises(GateFailed, match=r"1 of 1 budgets failed"):
        burnish.optimize(model, budget_size=10)


def test_optimize_keeps_only_what_pays(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Ring, "ratio", lambda *_: Estimate(0.9, 0.8, 1.0))
    graph, _ = burnish.optimize(model, optional=["remove-no-ops"])
    assert "Identity" in {node.op_type for node in graph.walk()}
    assert "left out remove-no-ops: measured 0.900x" in caplog.text


def test_what_is_timed_are_the_samples(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def ratio(ring: Ring, *_: object) -> Estimate:
        seen.append(ring.reference.feeds[0]["x"])
        return Estimate(1.0, 1.0, 1.0)

    monkeypatch.setattr(Ring, "ratio", ratio)
    samples = [{"x": np.full((8, 16), 3.0, np.float32)}]
    burnish.optimize(model, samples=samples, min_speedup=0.5)
    np.testing.assert_array_equal(seen[0], samples[0]["x"])


def test_errors_name_parameters(model: onnx.ModelProto) -> None:
    with pytest.raises(UsageError, match=r"^max_drop is about a task: name one with eval"):
        burnish.optimize(model, max_drop=1.0)
    with pytest.raises(UsageError, match=r"^budget_size takes a size"):
        burnish.optimize(model, budget_size="much")
    with pytest.raises(UsageError, match=r"^eval takes a task, or what names one"):
        burnish.optimize(model, max_drop=1.0, eval=Largest)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="keep and optional take a list"):
        burnish.optimize(model, optional="merge-slices")
    with pytest.raises(UsageError, match=r"^optional names merge-slices"):
        burnish.optimize(model, skip=["merge-slices"], optional=["merge-slices"])
