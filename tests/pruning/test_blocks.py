"""What it costs and what it loses to go without whole blocks."""

from __future__ import annotations

import pytest

from burnish.analysis.axis_graph import axis_graph
from burnish.analysis.cost import node_flops
from burnish.calibration import Calibration
from burnish.ir import Graph
from burnish.passes import get_pass
from burnish.passes.pruning.blocks import Block, blocks
from burnish.pipeline import PassContext, copy_of, run_pass
from burnish.pruning.costs import Cost, flops, size
from burnish.pruning.shapes import choices_of
from tests.passes.pruning.test_remove_blocks import FEED_FORWARD, made
from tests.passes.pruning.thinned import SHAPES, data, residual, weights
from tests.pruning.graphs import channels
from tests.pruning.test_prune import prune


def model() -> tuple[Graph, Block, tuple[Cost, Cost]]:
    """The model, its block, and what it costs: operations and bytes."""
    graph = residual()
    axes = axis_graph(graph)
    (block,) = blocks(graph, axes)
    parts = channels(axes)
    choices = {part.name: choices_of(len(part.units), 4) for part in parts}
    costs = flops(graph, parts, choices, blocks=[block]), size(graph, parts, choices, [block])
    return graph, block, costs


def test_a_block_costs_what_the_model_without_it_does_not():
    graph, block, (operations, stored) = model()
    less = copy_of(graph)
    context = PassContext(calibration=Calibration(data(graph)))
    run_pass(less, get_pass("remove-blocks", names=(block.name,)), context)
    count = sum(node_flops(node) or 0 for node in less.walk())
    assert operations({block.name: 0}) == count < operations.full
    kept = sum(value.constant.nbytes for value in less.constants() if value.constant)
    assert stored({block.name: 0}) == kept < stored.full


@pytest.mark.parametrize("number", [0, 1])
def test_a_cost_without_a_choice(number: int):
    _, block, costs = model()
    cost = costs[number]
    kept = cost.keeping([block.name])
    assert kept.full == cost.full
    for name, allowed in kept.choices.items():
        assert kept({name: allowed[0]}) == cost({name: allowed[0]})
        assert cost.keeping([name])({block.name: 0}) == cost({block.name: 0})
    assert cost.keeping(cost.choices).full == cost.full


def quiet() -> Graph:
    """A model whose block adds next to nothing."""
    return residual(u=1e-3 * weights(u=SHAPES["u"])["u"])


def test_a_block_that_does_little_goes():
    found = prune(0.03, quiet())
    assert found.chosen is not None
    assert found.chosen.text == "allocated without some blocks"
    assert (found.structures[-1].kind, found.structures[-1].kept) == ("blocks", 0)
    assert found.structures[-1].cost > 0.03  # type: ignore[operator]
    assert [report.name for report in found.reports] == ["remove-blocks"]
    assert not any(node.is_op("Conv") and node.output.name == "k" for node in found.graph)


def test_a_block_that_matters_stays():
    found = prune(0.1, made(FEED_FORWARD))
    assert found.structures[-1].kept == 1
    assert found.structures[-1].reason == "others lose less"


@pytest.mark.parametrize("suffix", ["", ":block"])
def test_a_block_that_is_to_be_kept(suffix: str):
    graph = quiet()
    (block,) = blocks(graph, axis_graph(graph))
    found = prune(0.03, graph, keep=(block.layer + suffix,))
    assert found.chosen is not None
    assert not any(one.kind == "blocks" for one in found.structures)
    assert "blocks" not in found.chosen.text
