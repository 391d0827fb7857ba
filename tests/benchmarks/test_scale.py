"""Generated graphs, and what optimizing them takes."""

from __future__ import annotations

import onnx
import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.generated import GENERATORS, NESTING, count_nodes
from benchmarks.scale import Sized, measure_scale
from burnish.ir import Graph
from burnish.ir.verify import verify


@pytest.mark.parametrize("kind", GENERATORS)
def test_graphs_are_valid_and_of_the_size_that_was_asked_for(kind: str) -> None:
    model = GENERATORS[kind](400)
    onnx.checker.check_model(model, full_check=True)
    assert 400 <= count_nodes(model.graph) <= 400 + 4 * NESTING + 10
    verify(Graph.from_onnx(model))


def test_the_same_graph_each_time() -> None:
    for make in GENERATORS.values():
        assert make(60) == make(60)


@pytest.mark.slow
def test_growth_is_measured() -> None:
    small, large = measure_scale(["constants"], [400, 200])
    assert (small.nodes, large.nodes) == (200, 400)
    assert small.ratio is None
    assert large.ratio is not None
    assert min(small.seconds, small.peak_mib) > 0
    assert str(Sized("chain", 10, 1.0, 20.0, 1.5)) == "chain 10: 1.0 s, 20 MiB, 1.50 of linear"


@pytest.mark.parametrize("arguments", [["--kinds", "knot"], ["--nodes", "none"], ["--nodes", "0"]])
def test_what_cannot_be_measured(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["scale", *arguments]).exit_code == 2
