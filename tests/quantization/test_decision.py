from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from burnish.errors import GateFailed
from burnish.ir import Graph
from burnish.quantization.deadline import Deadline
from burnish.quantization.decision import Candidate, Decision, decide
from burnish.quantization.guard import Loss


@dataclass
class Costs:
    """A guard to which each quantized layer costs a known share of the bound."""

    costs: Mapping[str, float]
    asked: list[frozenset[str]] = field(default_factory=list)
    bound: str = "one"
    is_asked: bool = True

    def loss(self, graph: Graph) -> Loss:
        quantized: frozenset[str] = graph  # type: ignore[assignment]
        self.asked.append(quantized)
        return Loss(sum(self.costs[name] for name in quantized), "some")


def decided(
    costs: Mapping[str, float], keep: Mapping[str, str] | None = None,
    gains: Mapping[str, float] | None = None,
) -> tuple[Decision, Costs]:  # fmt: skip
    guard = Costs(costs)

    def attempt(floats: Sequence[str]) -> Graph:
        return frozenset(costs) - frozenset(floats)  # type: ignore[return-value]

    candidates = [Candidate(name, (gains or {}).get(name, 1.0)) for name in costs]
    found = decide(
        candidates, attempt, guard, lambda floats: guard.loss(attempt(floats)), keep=keep or {},
        time=Deadline(60, lambda *_: None),
    )  # fmt: skip
    return found, guard


def test_all_are_quantized_where_that_holds() -> None:
    found, guard = decided({"a": 0.3, "b": 0.3})
    assert found.floats == ()
    assert found.sensitivities == {}
    assert len(guard.asked) == 1


def test_the_one_that_costs_too_much_stays_in_float() -> None:
    found, _ = decided({"a": 0.1, "b": 5.0, "c": 0.1})
    assert found.floats == ("b",)
    assert "alone it takes 500 % of the allowed loss" in found.reasons["b"]
    assert found.chosen is not None
    assert found.chosen.loss.holds


def test_what_gains_more_is_given_up_later() -> None:
    gains = {"a": 10.0, "b": 1.0}
    assert decided({"a": 0.9, "b": 0.8}, gains=gains)[0].floats == ("b",)
    assert decided({"a": 0.9, "b": 0.8})[0].floats == ("a",)


def test_what_breaks_the_bound_by_itself_stays_whatever_it_gains() -> None:
    gains = {"a": 1000.0, "b": 1.0, "c": 1.0, "d": 1.0}
    costs = {"a": 2.0, "b": 0.1, "c": 0.1, "d": 0.1}
    assert decided(costs, gains=gains)[0].floats == ("a",)


def test_what_is_kept_is_never_quantized() -> None:
    found, guard = decided({"a": 0.1, "b": 0.1}, keep={"a": "gains nothing"})
    assert found.reasons == {"a": "gains nothing"}
    assert guard.asked == [frozenset({"b"})]


def test_nothing_is_measured_where_all_is_kept() -> None:
    found, guard = decided({"a": 0.1}, keep={"a": "gains nothing"})
    assert found.floats == ("a",)
    assert guard.asked == []


def test_a_bound_that_cannot_be_met_is_refused_with_the_best_point() -> None:
    with pytest.raises(GateFailed, match=r"int8 cannot keep to one: .* loses some with 1 of 2"):
        decided({"a": 3.0, "b": 2.0})


def test_only_groups_that_cost_something_are_looked_into() -> None:
    costs = {f"l{index}": 0.0 for index in range(80)} | {"l37": 5.0}
    found, guard = decided(costs)
    assert found.floats == ("l37",)
    alone = [one for one in guard.asked if len(one) == 1]
    assert len(alone) == 10  # those of its group of 80 / 8
    assert len([one for one in guard.asked if len(one) == 10]) == 8


def test_a_group_shares_what_it_costs() -> None:
    costs = {f"l{index}": 0.001 for index in range(16)} | {"l15": 5.0}
    found, _ = decided(costs)
    assert found.sensitivities["l0"] == pytest.approx(0.001)
    assert found.sensitivities["l15"] == 5.0


@settings(suppress_health_check=[HealthCheck.too_slow])  # a loaded machine is no mistake
@given(st.lists(st.floats(0.0, 2.0), min_size=1, max_size=12))
def test_what_is_chosen_holds(costs: list[float]) -> None:
    named = {f"l{index}": cost for index, cost in enumerate(costs)}
    try:
        found, _ = decided(named)
    except GateFailed:
        assert all(cost > 1 for cost in sorted(costs)[:1])
        return
    assert sum(cost for name, cost in named.items() if name not in found.floats) <= 1
    assert len(found.floats) < len(costs)


@dataclass
class Slow:
    """A watch that goes on by so much each time a model is judged or probed."""

    seen: float = 1.0
    """Part of the loss that probes see."""
    seconds: float = 0.0
    told: list[str] = field(default_factory=list)

    def decided(self, costs: Mapping[str, float], judging: float, probing: float) -> Decision:
        guard = Costs(costs)
        names = frozenset(costs)

        def takes(seconds: float, floats: Sequence[str]) -> Graph:
            self.seconds += seconds
            return names - frozenset(floats)  # type: ignore[return-value]

        def probed(floats: Sequence[str]) -> Loss:
            loss = guard.loss(takes(probing, floats))
            return replace(loss, share=loss.share**self.seen)

        return decide(
            [Candidate(name, 1.0) for name in costs], lambda floats: takes(judging, floats), guard,
            probed, keep={},
            time=Deadline(100, lambda doing, *_: self.told.append(doing), self),
        )  # fmt: skip


@pytest.mark.parametrize(("judging", "probing"), [(10.0, 1.0), (30.0, 0.1), (1.0, 8.0)])
def test_time_is_kept_to_within_one_judgement(judging: float, probing: float) -> None:
    costs = {f"l{index}": 0.1 * index for index in range(12)}
    watch = Slow()
    found = watch.decided(costs, judging, probing)
    assert found.chosen is not None
    assert sum(costs[name] for name in costs if name not in found.floats) <= 1
    assert watch.seconds <= 100 + judging + 5 * probing


@pytest.mark.parametrize("seen", [0.2, 0.5, 1.0, 2.0])
@pytest.mark.parametrize(("judging", "probing"), [(10, 5), (12, 4), (8, 5), (5, 5), (20, 2)])
@pytest.mark.parametrize("layers", [12, 64, 256])
def test_something_that_holds_is_found_before_time_is_over(
    layers: int, judging: float, probing: float, seen: float
) -> None:
    costs = {f"l{index}": 6 * index / layers**2 for index in range(layers)}
    watch = Slow(seen)
    found = watch.decided(costs, judging, probing)
    assert found.chosen is not None
    assert len(found.floats) < layers


def test_how_much_time_is_left_is_told() -> None:
    watch = Slow()
    watch.decided({f"l{index}": 0.1 * index for index in range(12)}, 10, 1)
    assert watch.told[0] == "judging int8 in all layers, at most 100 s more"
    left = [int(doing.split("at most ")[1].split()[0]) for doing in watch.told]
    assert left == sorted(left, reverse=True)


def test_that_time_is_over_is_told_in_words_of_no_option() -> None:
    with pytest.raises(GateFailed, match="the 100 s that deciding may take are over") as raised:
        Slow().decided({"a": 3.0, "b": 2.0}, judging=60.0, probing=1.0)
    assert "--time" not in str(raised.value)


LARGE = {f"l{index:02}": 0.2 for index in range(16)}


def test_layers_that_were_not_measured_are_not_said_to_cost_accuracy() -> None:
    # Four groups of two until 80 s are over, and two layers would be next.
    found = Slow().decided(LARGE, judging=10.0, probing=18.0)
    assert found.unmeasured == 8
    reasons = [found.reasons[name] for name in found.floats if name not in found.sensitivities]
    assert reasons
    assert set(reasons) == {"not measured in the time that deciding may take: raise --time"}


def test_a_search_that_time_cuts_short_says_how_far_it_came() -> None:
    found = Slow().decided(LARGE, judging=10.0, probing=18.0)
    assert found.cut.startswith(
        "the 100 s that deciding may take cut the search short: 8 of 16 layers measured, "
        f"{len(found.points)} selections judged; "
    )


def test_layers_that_are_only_known_with_their_neighbours_count_as_measured() -> None:
    found = Slow().decided(LARGE, judging=10.0, probing=8.0)
    assert found.groups
    assert found.unmeasured == 0
    assert "16 of 16 layers measured" in found.cut


@pytest.mark.parametrize("costs", [{"a": 0.3, "b": 0.3}, {"a": 0.1, "b": 5.0, "c": 0.1}, LARGE])
def test_a_search_that_ends_by_itself_says_nothing_of_time(costs: Mapping[str, float]) -> None:
    found, _ = decided(costs)
    assert (found.cut, found.unmeasured) == ("", 0)


def test_reasons_agree_with_the_costs_that_they_name() -> None:
    found, _ = decided({"a": 3.0, **{f"b{index}": 0.3 for index in range(6)}})
    assert found.reasons.pop("a").startswith("costs too much accuracy: alone it takes 300 % of")
    assert found.reasons
    for reason in found.reasons.values():
        assert reason == "too much is lost with the others: alone it takes 30 % of the allowed loss"


def test_a_group_is_named_where_it_costs_too_much() -> None:
    costs = {f"l{index:02}": 0.6 if index < 2 else 0.02 for index in range(16)}
    found = Slow().decided(costs, judging=10.0, probing=7.0)
    whole = "costs too much accuracy: with its neighbours, 2 layers, it takes 120 % of the"
    assert found.reasons["l00"].startswith(whole)


def test_few_selections_are_judged_where_probes_tell() -> None:
    costs = {f"l{index:02}": 0.01 * index for index in range(64)}
    found, _ = decided(costs)
    assert found.chosen is not None
    assert len(found.points) <= 4
    assert 1 - found.chosen.loss.share < 0.1
