"""Residual blocks go as a whole, and what comes behind makes up for them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from burnish.analysis.axis_graph import axis_graph
from burnish.calibration import Calibration
from burnish.errors import UsageError
from burnish.ir import Graph
from burnish.ir.verify import verify
from burnish.passes import get_pass
from burnish.passes.pruning.blocks import blocks
from burnish.pipeline import PassContext, PassReport, run_pass
from tests.passes.conftest import build
from tests.passes.pruning.thinned import answers, data, noise, residual, weights

SHAPES = {"w": (4, 6), "v": (6, 4), "u": (4, 4), "p": (4, 3), "o": (4,)}
INPUTS = ", ".join(f"float[{', '.join(map(str, of))}] {name}" for name, of in SHAPES.items())


def made(body: str, **changed: np.ndarray) -> Graph:
    """A model of a token's four channels."""
    text = f"g (float[8, 4] x, {INPUTS}) => (float[8, 3] y) {{ {body} y = MatMul(s, p) }}"
    graph = build(text, 21, {**weights(**SHAPES), **changed})
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    return graph


def remove(graph: Graph, *sums: str) -> PassReport:
    """Run the pass; the result is a model that ONNX takes."""
    context = PassContext(calibration=Calibration(data(graph)))
    names = tuple(found(graph)[each] for each in sums)
    report = run_pass(graph, get_pass("remove-blocks", names=names), context)
    verify(graph)
    onnx.checker.check_model(graph.to_onnx(), full_check=True)
    return report


def found(graph: Graph) -> dict[str, str]:
    """The names of blocks by what the sum is called in the text."""
    every = blocks(graph, axis_graph(graph))
    return {block.sum.output.name: block.name for block in every}


def kinds(graph: Graph) -> list[str]:
    return [node.op_type for node in graph]


FEED_FORWARD = "h = MatMul(x, w) r = Relu(h) f = MatMul(r, v) s = Add(x, f)"
BLOCKS = [
    (FEED_FORWARD, ["s"]),
    (FEED_FORWARD.replace("Add(x, f)", "Add(f, x)"), ["s"]),
    ("n = LayerNormalization(x, o) h = MatMul(n, u) s = Add(x, h)", ["s"]),
    # Both read one normalization, as attention and feed-forward network of GPT-J do.
    ("n = LayerNormalization(x, o) f = MatMul(n, u) a = Add(x, f) h = MatMul(n, u) "
     "s = Add(a, h)", ["a"]),
    ("f = MatMul(x, u) a = Add(x, f) h = MatMul(a, u) s = Add(a, h)", ["a", "s"]),
    ("f = MatMul(x, u) a = Add(x, f) h = MatMul(a, u) s = Add(x, h)", ["a", "s"]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "sums"), BLOCKS)
def test_what_is_a_block(body: str, sums: list[str]):
    assert list(found(made(body))) == sums


NEAR_MISSES = [
    "f = MatMul(x, u) s = Add(f, f)",
    "f = Relu(x) s = Add(x, f)",
    "f = MatMul(x, u) h = MatMul(x, u) s = Add(f, h)",
    "f = MatMul(x, u) t = Add(x, f) s = Mul(t, f)",
    "f = MatMul(x, u) s = Mul(x, f)",
    "f = MatMul(x, u) s = Sub(x, f)",
    "a = Relu(x) f = MatMul(x, u) s = Add(a, f)",
    "f = MatMul(x, u) m = ReduceMean(f) s = Add(x, m)",
]


@pytest.mark.parametrize("body", NEAR_MISSES)
def test_what_is_no_block(body: str):
    assert found(made(body)) == {}


def test_only_what_nothing_else_reads_goes():
    graph = made(FEED_FORWARD.replace("s = ", "a = ") + " s = Add(a, x)")
    remove(graph, "a")
    assert kinds(graph) == ["Add", "Add", "MatMul"]


def test_the_mean_takes_the_place_of_a_block():
    graph = made("f = MatMul(x, u) c = Add(f, o) s = Add(x, c)", u=np.zeros((4, 4), np.float32))
    before = made("f = MatMul(x, u) c = Add(f, o) s = Add(x, c)", u=np.zeros((4, 4), np.float32))
    assert remove(graph, "s").fired
    assert kinds(graph) == ["Add", "MatMul"]
    assert noise(before, graph, data(before, 4, seed=3)) < 1e-9


def test_what_comes_behind_makes_up_for_a_linear_block():
    body = "f = MatMul(x, u) s = Add(x, f)"
    graph, before = made(body), made(body)
    remove(graph, "s")
    assert noise(before, graph, data(before, 4, seed=3)) < 5e-3


def test_convolutions_have_means_by_channel():
    graph = residual()
    remove(graph, *found(graph))
    constants = [v.constant.shape for n in graph if n.is_op("Add") for v in n.inputs if v.constant]
    assert constants == [(8, 1, 1)]
    assert noise(residual(), graph, data(residual(), 8, seed=7)) < 0.5


def test_a_block_within_another_goes_with_it():
    graph = made("h = MatMul(x, u) g = MatMul(h, u) k = Add(h, g) f = MatMul(k, u) s = Add(x, f)")
    assert list(found(graph)) == ["k", "s"]
    remove(graph, "s", "k")
    assert kinds(graph) == ["Add", "MatMul"]


def test_without_names_nothing_changes():
    graph = made(FEED_FORWARD)
    samples = data(graph, 2)
    assert not remove(graph).changed
    assert np.array_equal(answers(graph, samples), answers(made(FEED_FORWARD), samples))


def test_without_data_nothing_goes():
    graph = made(FEED_FORWARD)
    report = run_pass(graph, get_pass("remove-blocks", names=("Add_3:block",)), PassContext())
    assert not report.changed
    assert "no calibration data" in report.notes[0]


def test_a_block_that_does_not_exist():
    step = get_pass("remove-blocks", names=("Add_4:block",))
    graph = made(FEED_FORWARD)
    with pytest.raises(UsageError, match="Add_3:block"):
        run_pass(graph, step, PassContext(calibration=Calibration(data(graph))))
