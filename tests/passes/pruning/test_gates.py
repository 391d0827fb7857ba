"""What lowering the gate of a unit does to the answers."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.analysis.axis_graph import axis_graph
from burnish.calibration import Calibration
from burnish.passes.pruning.gates import LOWERED, fisher_information
from burnish.passes.pruning.structures import structures
from burnish.quantization.distance import farthest
from tests.passes.pruning.thinned import SHAPES, answers, data, prune, residual, weights


def information(graph, number: int = 0) -> np.ndarray:
    structure = structures(axis_graph(graph))[number]
    return fisher_information(graph, structure, Calibration(data(graph)))


def test_a_unit_that_does_nothing_has_no_information():
    given = {"v": own("v")}
    given["v"][:, ::2] = 0
    found = information(residual(**given))
    assert (found[::2] == 0).all()
    assert (found[1::2] > 0).all()


@pytest.mark.parametrize(("number", "readers"), [(0, ["v"]), (1, ["u", "p"])])
def test_units_have_what_changing_their_weights_does(number: int, readers: list[str]):
    graph, unit = residual(), 3
    changed = {name: own(name) for name in readers}
    for name, array in changed.items():
        np.moveaxis(array, 0 if name == "p" else 1, 0)[unit] *= 1 - LOWERED
    samples = data(graph)
    want, have = answers(graph, samples), answers(residual(**changed), samples)
    distance = farthest([{"y": want}], [{"y": have}])
    assert distance is not None
    lost = distance.noise if distance.divergence is None else distance.divergence
    assert information(graph, number)[unit] == pytest.approx(2 * lost / LOWERED**2, rel=1e-3)


def test_the_graph_stays_as_it_is():
    graph, before = residual(), residual()
    information(graph)
    assert [value.name for value in graph.inputs] == [value.name for value in before.inputs]
    assert len(list(graph)) == len(list(before))


def test_units_that_matter_least_go():
    given = {"v": own("v")}
    given["v"][:, :8] = 0
    graph = residual(**given)
    prune(graph, keep=0.5, criterion="fisher")
    first = next(iter(graph)).constant_input(1)
    assert first is not None
    assert np.array_equal(first.numpy(), own("w")[8:])


def test_structures_of_many_units_are_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("burnish.passes.pruning.prune_channels.UNITS", 8)
    graph = residual()
    report = prune(graph, keep=0.5, align=1, criterion="fisher")
    assert len(report.fired) == 1
    assert any("8 at most" in one.reason for one in report.missed)


def own(name: str) -> np.ndarray:
    """What `residual` has."""
    return weights(**SHAPES)[name].copy()
