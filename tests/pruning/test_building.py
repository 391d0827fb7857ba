"""Pruning as a stage of a build: what it is given, and what becomes of what it leaves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import burnish
from burnish.building import pruning, quantizing
from burnish.building.job import Job
from burnish.building.requests import requests
from burnish.building.workshop import MadeOnnx, Workshop
from burnish.errors import BurnishError, GateFailed, UnsupportedModel, UsageError
from burnish.gates import Budgets
from burnish.oracle import Oracle
from burnish.pruning import record
from burnish.pruning.request import RECIPE, Pruning
from burnish.pruning.result import Trial
from burnish.quantization.guard import Loss, TaskGuard
from burnish.quantization.request import Quantization
from burnish.selection import Selection
from burnish.target import resolve
from tests.pruning.conftest import TEXT, Half, found, made, samples


def widths(graph: burnish.Graph) -> list[tuple[int, ...]]:
    return [value.constant.shape for value in graph.constants() if value.constant is not None]


def test_a_model_keeps_its_interface_and_says_what_was_removed(half: Half) -> None:
    graph, report = burnish.optimize(made(), prune=0.5, calibration=samples())
    assert (16, 16) in widths(graph)
    before, after = made().graph, graph.to_onnx().graph
    assert (before.input, before.output) == (after.input, after.output)
    onnx.checker.check_model(graph.to_onnx(), full_check=True)
    assert Oracle(graph).run(samples(1)[0])["y"].shape == (1, 8)
    (read,) = record.read(burnish.load(graph.to_onnx()))
    assert [(one.kept, one.units) for one in read.thinned] == [(16, 32)]
    assert read.summary["asked"] == "0.5 of operations"
    assert "random" not in str(report)


def test_samples_are_those_of_pruning_and_those_of_quantization(
    half: Half, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    quantize = quantizing.quantize_model

    def spy(graph: burnish.Graph, calibration: Any, **more: Any) -> Any:
        seen.append((graph, calibration))
        return quantize(graph, calibration, **more)

    monkeypatch.setattr(quantizing, "quantize_model", spy)
    once = iter(samples(200))
    graph, _ = burnish.optimize(made(), prune=0.5, quantize="int8", calibration=once)
    (asked,), ((wide, data),) = half.asked, seen
    assert (16, 16) in widths(wide), "what is quantized is what was pruned"
    assert any(node.op_type == "QuantizeLinear" for node in graph)
    assert [len(list(each.feeds(wide))) for each in (asked["calibration"], data)] == [200, 128]


@pytest.mark.parametrize("of", [Pruning, Quantization])
def test_data_of_one_stage_serve_the_other(half: Half, of: type[Any]) -> None:
    own = {Pruning: Pruning("flops", 0.5), Quantization: Quantization("int8")}
    own[of] = type(own[of])(**{**vars(own[of]), "source": samples()})
    _, report = burnish.optimize(made(), prune=own[Pruning], quantize=own[Quantization])
    assert "random" not in str(report)


def test_random_data_are_said_to_be_random(half: Half) -> None:
    _, report = burnish.optimize(made(), prune=0.5)
    assert "pruned on random inputs, as there are no calibration data" in str(report)
    _, report = burnish.optimize(made(), prune=0.5, quantize="int8")
    assert "pruned and quantized on random inputs" in str(report)


def test_values_to_keep_are_still_there(half: Half) -> None:
    model = made()
    graph, _ = burnish.optimize(model, prune=0.5, calibration=samples(), keep=["b"])
    assert (16, 32) in widths(graph), "what is computed as before cannot be thinner"
    assert "b" in {value.name for node in graph for value in node.outputs}
    assert [value.name for value in graph.outputs] == ["y"]


RELU = """<ir_version: 10, opset_import: ["": 21]>
agraph (float[1, 16] x) => (float[1, 16] y) { y = Relu (x) }
"""


def test_where_nothing_can_be_pruned_the_model_comes_back_with_the_reason(half: Half) -> None:
    graph, report = burnish.optimize(made(RELU, w=(1,)), prune=0.5, calibration=samples())
    assert "nothing is pruned: the model has no channels, heads or blocks" in str(report)
    assert record.read(graph) == []
    returned = "(float[n, 32] b, float[n, 8] y)"
    model = made(TEXT.replace("(float[n, 8] y)", returned))
    graph, report = burnish.optimize(model, prune=0.5, calibration=samples())
    assert re.search("nothing is pruned: .* the graph returns it", str(report))
    assert (16, 32) in widths(graph)


def test_where_no_widths_keep_to_the_budget_the_best_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trials = [Trial({}, 0.9, 0.9, Loss(share, f"{share} points")) for share in (3.0, 2.0, 4.0)]
    monkeypatch.setattr(
        pruning, "prune_model", lambda graph, *_, **__: found(graph, [], trials=trials)
    )
    _, report = burnish.optimize(made(), prune=0.5, calibration=samples())
    assert "nothing is pruned: of 3 trials the best loses 2.0 points" in report.notices


def compiled(**more: Any) -> Any:
    return burnish.compile(
        made(), tune="off", threads=1, input_shapes={"x": (1, 16)}, calibration=samples(), **more
    )


def test_an_artifact_answers_as_the_pruned_model_and_says_so(half: Half) -> None:
    artifact = compiled(prune=0.5)
    assert artifact.manifest.pruning == {
        "structures": 1, "of": 2, "flops": 0.5, "weights": 0.5, "loss": "10 dB",
        "asked": "0.5 of operations",
    }  # fmt: skip
    thin, _ = burnish.optimize(made(), prune=0.5, calibration=samples())
    feeds = samples(1)[0]
    np.testing.assert_allclose(artifact.run(feeds)["y"], Oracle(thin).run(feeds)["y"], rtol=1e-4)


def test_what_is_left_in_float_is_pruned_once(half: Half) -> None:
    asked = requests("int8", 0.5, samples())
    job = Job(None, Path("out.onnx"), Selection("default"), quantization=asked[0], pruning=asked[1])
    shop = Workshop(job, burnish.load(made()))
    both = shop.make(())
    assert both.is_quantized
    plain = quantizing.in_float(shop, both)
    assert isinstance(plain, MadeOnnx)
    assert len(half.asked) == 1
    assert plain.pruned is both.pruned
    assert (16, 16) in widths(plain.graph)
    assert not plain.is_quantized


class Task:
    """Scores nothing: guards are made, and not asked."""

    name, input_shapes = "nothing", ()

    def calibration(self) -> Any:
        return samples()

    def evaluate(self, run: Any) -> Any:
        raise AssertionError


@pytest.mark.parametrize(
    ("prune", "quantize", "allowed"),
    [("auto", None, 1.0), ("auto", "int8", pruning.SHARE), (0.5, "int8", 1.0)],
)
def test_the_budget_holds_for_all_stages_together(
    monkeypatch: pytest.MonkeyPatch, prune: Any, quantize: str | None, allowed: float
) -> None:
    guards: list[Any] = []
    monkeypatch.setattr(TaskGuard, "_before", None)
    monkeypatch.setattr(
        pruning, "prune_model", lambda *_, guard, **__: guards.append(guard) or 1 / 0
    )
    job = Job(
        None, Path("out.onnx"), Selection("default"), task=Task(), budgets=Budgets(max_drop=1.0),
        pruning=Pruning.of(prune), quantization=Quantization.of(quantize),
    )  # fmt: skip
    monkeypatch.setattr(Workshop, "task", Task())
    with pytest.raises(ZeroDivisionError):
        Workshop(job, burnish.load(made())).make(())
    assert guards[0]._allowed == allowed


@pytest.mark.parametrize(("prune", "is_timed"), [("latency:0.7", True), ("size:0.7", False)])
def test_times_are_of_this_machine_where_onnx_goes_out(
    half: Half, prune: str, is_timed: bool
) -> None:
    burnish.optimize(made(), prune=prune, calibration=samples())
    (asked,) = half.asked
    assert (asked["timer"] is not None) == is_timed
    assert (asked["target"] is not None) == is_timed


def test_a_bound_that_cannot_be_met_is_a_gate(half: Half, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise GateFailed("--prune latency:0.1 cannot be met: the least is 0.4 of the time")

    monkeypatch.setattr(pruning, "prune_model", fails)
    with pytest.raises(GateFailed, match=r"prune latency:0\.1 cannot be met"):
        burnish.optimize(made(), prune="latency:0.1", calibration=samples())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"prune": "auto"}, r"^prune auto goes as far as a budget allows: give max_drop with eval"),
        ({"prune": 30}, r"^prune takes the share .* for 30 % give 0.3"),
        ({"prune": 0.5, "optional": ["fuse-pad"]}, r"optional judges passes .* prune decides"),
        *(({"prune": 0.5, "skip": [name]}, f"^skip {name}: prune takes") for name in RECIPE[1:]),
        ({"prune": Pruning("flops", 0.5, keep=("layr",))}, r"keep.?.?width.*unknown layer 'layr'"),
        ({"calibration": []}, "^calibration is about quantize and prune"),
        ({"prune": 0.5, "calibration": "nowhere"}, "^calibration nowhere"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        burnish.optimize(made(), **options)


def test_times_of_another_machine_are_refused() -> None:
    with pytest.raises(UsageError, match=r"prune latency:0.7 needs times, and arm64 cannot run"):
        Job(None, Path("out"), Selection(compiling=True), target=resolve("arm64"),
            pruning=Pruning("latency", 0.7))  # fmt: skip


def test_a_quantized_model_is_refused_before_any_work(
    half: Half, monkeypatch: pytest.MonkeyPatch
) -> None:
    once, _ = burnish.optimize(made(), quantize="int8", calibration=samples())
    monkeypatch.setattr("burnish.building.starting.optimize_model", None)
    with pytest.raises(
        UnsupportedModel, match=r"quantized already \(QuantizeLinear .*give the mod"
    ):
        burnish.optimize(once.to_onnx(), prune=0.5, calibration=samples())


def test_data_that_do_not_fit_are_refused_before_any_work(
    half: Half, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("burnish.building.starting.optimize_model", None)
    wrong = [{"x": np.zeros((1, 15), np.float32)}]
    with pytest.raises(BurnishError, match=r"sample 0 .*'x'"):
        burnish.optimize(made(), prune=0.5, calibration=wrong)
