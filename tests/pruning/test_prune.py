"""A model is pruned to a budget, and what came of it is told."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest

from burnish.analysis.cost import node_flops
from burnish.bench.stats import Estimate
from burnish.calibration import Calibration
from burnish.errors import GateFailed, UsageError
from burnish.ir import Graph
from burnish.ir.verify import verify
from burnish.pruning.plan import lost
from burnish.pruning.prune import planned, prune_model
from burnish.pruning.request import Pruning
from burnish.pruning.result import Pruned
from burnish.pruning.split import Split
from burnish.quantization.deadline import Deadline
from burnish.quantization.distance import Distance
from burnish.quantization.guard import Loss
from tests.passes.conftest import build
from tests.passes.pruning.test_prune_channels import CHAIN
from tests.passes.pruning.thinned import answers, data, noise, residual, weights
from tests.pruning.test_latency import Watch, alone


class Bound:
    """Allows so much noise on data of its own."""

    is_asked = True
    bound = "little noise"

    def __init__(self, allowed: float) -> None:
        self.allowed, self.fresh = allowed, data(residual(), 4, seed=5)

    def loss(self, graph: Graph) -> Loss:
        found = noise(residual(), graph, self.fresh)
        return Loss(found / self.allowed, f"{found:.3f} noise")


def prune(asked: str | float = 0.5, graph: Graph | None = None, **options: Any) -> Pruned:
    model = residual() if graph is None else graph
    request = Pruning.of(asked, seconds=options.pop("seconds", 60.0), keep=options.pop("keep", ()))
    assert request is not None
    given = {"target": None, "guard": None, "timer": None, **options}
    found = prune_model(
        model, Calibration(data(model)), asked=request, progress=lambda *_: None, **given
    )
    verify(found.graph)
    onnx.checker.check_model(found.graph.to_onnx(), full_check=True)
    return found


@cache
def half() -> Pruned:
    """The model at half of its operations."""
    return prune(0.5)


def flops(graph: Graph) -> int:
    return sum(node_flops(node) or 0 for node in graph.walk())


def stored(graph: Graph) -> int:
    return sum(value.constant.nbytes for value in graph.constants() if value.constant)


def test_the_budget_is_kept_and_what_is_told_is_true():
    before, found = residual(), half()
    assert found.flops.before == flops(before)
    assert found.flops.after == flops(found.graph) <= 0.5 * flops(before)
    assert found.weights.after == stored(found.graph)
    assert any(one.is_thinner for one in found.structures)
    assert found.structures[2].reason.endswith("the graph returns it")
    assert found.structures[3].kind == "blocks"
    assert found.chosen in found.trials
    assert found.distance is not None


def test_bytes_are_a_budget_too():
    found = prune("size:0.6")
    assert found.weights.share <= 0.6


def test_biases_that_layers_got_count():
    shapes = {"w": (16, 3, 3, 3), "v": (16, 16, 1, 1), "u": (4, 16, 1, 1)}
    graph = build(CHAIN, 21, weights(**shapes))
    found = prune(0.5, graph)
    assert sum(len(node.inputs) == 3 for node in found.graph.walk()) >= 1
    assert found.weights.after == stored(found.graph)
    assert found.weights.before == stored(graph)
    assert found.flops.after == flops(found.graph)


def test_no_trial_that_was_made_is_better_than_the_one_chosen():
    found = half()
    assert found.chosen is not None
    assert {trial.text for trial in found.trials} >= {"allocated", "uniform"}
    assert lost(found.chosen.distance) == min(lost(trial.distance) for trial in found.trials)
    assert found.loss.endswith(", on 2 items")


def test_equal_requests_give_equal_models_and_the_original_stays():
    graph = residual()
    one, other = prune(0.5, graph), half()
    samples = data(residual(), 2)
    assert np.array_equal(answers(graph, samples), answers(residual(), samples))
    assert one.chosen.widths == other.chosen.widths  # type: ignore[union-attr]
    assert np.array_equal(answers(one.graph, samples), answers(other.graph, samples))


def test_what_is_to_be_kept_is_kept():
    name = half().structures[0].name
    found = prune(0.2, keep=(name,))
    assert not found.structures[0].is_thinner
    assert found.structures[0].reason == "it is to be kept"


def test_a_layer_that_does_not_exist():
    with pytest.raises(UsageError, match=r"--keep-width: .*Conv_9"):
        prune(0.2, keep=("Conv_9",))


def test_more_than_can_go():
    with pytest.raises(GateFailed, match="the least that they can cost"):
        prune(0.99)


def test_a_bound_that_is_not_kept():
    with pytest.raises(GateFailed, match=r"little noise cannot be kept: the best of \d trials"):
        prune(0.7, guard=Bound(1e-6))


def test_as_much_as_a_bound_allows():
    found = prune("auto", guard=Bound(0.2))
    assert found.chosen is not None
    assert found.chosen.loss.holds
    assert any(not trial.loss.holds for trial in found.trials) or found.flops.share < 0.2
    tried = [trial.widths for trial in found.trials]
    assert all(one not in tried[:place] for place, one in enumerate(tried))


def test_a_bound_that_nobody_gave_is_not_broken():
    assert [trial.loss.share for trial in half().trials] == [0.0] * len(half().trials)


class Slow(Watch):
    """No model is faster than another."""

    def speedups(self, base: Graph, others: Sequence[Graph]) -> list[Estimate]:
        return [Estimate(1.0, 0.99, 1.01) for _ in others]


def test_time_that_is_not_saved_is_told():
    found = prune("latency:0.6", timer=Slow(alone))
    assert any("1.67x as fast was asked for" in notice for notice in found.notices)


def test_without_time_errors_at_readers_decide():
    found = prune(0.5, seconds=1e-6)
    assert found.flops.share <= 0.5
    assert any("were not probed" in notice for notice in found.notices)
    assert all(one.score is None for one in found.structures)
    assert found.structures[-1].reason == "there was no time to probe it"


def test_results_are_judged_on_what_nothing_is_fitted_to():
    model = residual()
    split = Split.of(model, Calibration(data(model, 16)))
    assert (split.judged, split.items) == (2, 28)
    last = [feeds["x"] for feeds in data(model, 16)][14:]
    seen = [feeds["x"] for feeds in split.fitted.feeds(model)]
    assert len(seen) == 14
    assert not any(np.array_equal(one, other) for one in seen for other in last)
    assert split.guard(model).distance(model).noise == 0  # type: ignore[union-attr]


def test_a_notice_where_data_are_few():
    model = residual()
    two = Split.of(model, Calibration(data(model, 2)))
    assert "judged on what layers were fitted to" in two.notices[-1]
    some = Split.of(model, Calibration(data(model, 8)))
    assert "fitted to 14 items" in some.notices[-1]
    assert Split.of(model, Calibration(data(model, 80))).notices == []


@pytest.mark.parametrize("layer", ["Conv_2", "Conv_4"])
def test_every_layer_that_writes_a_structure_names_it(layer: str):
    asked = Pruning.of(0.2, keep=(layer,))
    assert asked is not None
    graph, time = residual(), Deadline(9.0, lambda *_: None)
    found, _, _ = planned(graph, Calibration(data(graph)), asked=asked, target=None, time=time)
    assert list(found.choices) == ["Conv_0"]


def test_a_model_that_stays_whole_is_as_it_came():
    graph = residual()
    found = prune("auto", graph, guard=Bound(1e-9))
    assert not found.count
    assert not found.reports
    samples = data(graph, 2)
    assert np.array_equal(answers(found.graph, samples), answers(graph, samples))


def test_classes_tell_what_is_lost_where_nothing_else_is_returned():
    differing = Distance("y", None, None, 0.0, differing=0.25)
    assert lost(differing) == 0.25
    assert lost(Distance("y", 0.5, 0.9, 0.1)) == 0.5
    assert lost(Distance("y", None, None, 0.1)) == 0.1


class Cliff:
    """Time goes with operations, but models in which a block is gone run five times as long."""

    def calls(self, graphs: Sequence[Graph]) -> list[list[tuple[tuple[str, ...], float]]]:
        return [
            [(node.provenance, 1e-9 * (node_flops(node) or 0)) for node in graph.walk()]
            for graph in graphs
        ]

    def speedups(self, base: Graph, others: Sequence[Graph]) -> list[Estimate]:
        found = []
        for graph in others:
            is_slow = len(list(graph)) < len(list(base))
            ratio = 0.2 if is_slow else flops(base) / flops(graph)
            found.append(Estimate(ratio, ratio, ratio))
        return found


def test_what_is_slower_than_tables_say_is_not_taken_where_another_trial_is_fast():
    found = prune("latency:0.6", timer=Cliff())
    assert found.chosen is not None
    assert found.speedup is not None
    least = min(found.trials, key=lambda trial: lost(trial.distance))
    assert least.text == "allocated without some blocks"
    assert found.chosen.text == "allocated"
    assert found.speedup.median > 1
    assert not any("as fast was asked for" in notice for notice in found.notices)
