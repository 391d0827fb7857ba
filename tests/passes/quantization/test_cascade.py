"""Two versions of a graph side by side, from layer to layer."""

from __future__ import annotations

import numpy as np

from burnish.calibration import Calibration
from burnish.ir import Constant, Graph, VariableNode
from burnish.ir.clone import clone
from burnish.oracle import Oracle
from burnish.passes import get_pass
from burnish.passes.quantization.cascade import FEWEST_SAMPLES, cascade
from burnish.pipeline import PassContext, run_pass
from tests.passes.conftest import build

TEXT = """g (float[2, 4] x, float[4, 4] w, float[4, 4] v, bool c) => (float[2, 4] y) {
    a = MatMul(x, w) s = Sigmoid(a) k = Exp(v) b = MatMul(s, k) t = Add(b, a)
    i = If (c) <then_branch = yes () => (float[2, 4] o) { o = Add(t, s) },
                else_branch = no () => (float[2, 4] p) { p = Identity(t) }>
    z = MatMul(i, w) y = Add(z, x) }"""


def model() -> Graph:
    random = np.random.default_rng(1)
    w, v = (random.standard_normal((4, 4)).astype(np.float32) for _ in range(2))
    return build(TEXT, 21, {"w": w, "v": v})


def samples(count: int = 6) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(2)
    return [
        {"x": random.standard_normal((2, 4)).astype(np.float32), "c": np.array(n % 2 == 0)}
        for n in range(count)
    ]


def seen(graph: Graph, names: str, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    copy, made = clone(graph)
    values = {value.name: made.values[value] for node in graph for value in node.outputs}
    copy.outputs = [values[name] for name in names.split()]
    copy.output_names = tuple(names.split())
    run_pass(copy, get_pass("infer-shapes"), PassContext())
    return list(Oracle(copy).run(feeds).values())


def test_layers_see_what_the_graph_computes() -> None:
    graph = model()
    twin, made = clone(graph)
    layers = [node for node in graph if node.op_type == "MatMul"]
    data = samples()
    stops = list(cascade(graph, twin, made.nodes, layers, Calibration(data)))
    assert [stop.node for stop in stops] == layers
    for index, feeds in enumerate(data):
        for stop, wanted in zip(stops[1:], seen(graph, "s i", feeds), strict=True):
            np.testing.assert_allclose(stop.found[index], wanted, rtol=1e-5)
            np.testing.assert_allclose(stop.wanted[index], wanted, rtol=1e-5)


def test_changes_reach_what_comes_after() -> None:
    graph = model()
    twin, made = clone(graph)
    layers = [node for node in graph if node.op_type == "MatMul"]
    for stop in cascade(graph, twin, made.nodes, layers, Calibration(samples())):
        if stop.node is layers[0]:
            twice = stop.node.constant_input(1).numpy() * 2  # type: ignore[union-attr]
            stop.node.replace_input(1, VariableNode.of(Constant.of(twice)))
        elif stop.node is layers[1]:
            for feeds, found, wanted in zip(samples(), stop.found, stop.wanted, strict=True):
                np.testing.assert_allclose(found, seen(graph, "s", feeds)[0], rtol=1e-5)
                np.testing.assert_allclose(wanted, seen(twin, "s", feeds)[0], rtol=1e-5)
                assert np.abs(found - wanted).max() > 1e-3


def test_samples_are_dropped_where_there_is_no_room() -> None:
    graph = model()
    twin, made = clone(graph)
    layers = [node for node in graph if node.op_type == "MatMul"]
    stops = list(cascade(graph, twin, made.nodes, layers, Calibration(samples(9)), limit=700))
    assert len(stops[0].found) == 9
    assert len(stops[-1].found) < 9
    assert len(stops[-1].found) >= FEWEST_SAMPLES
    assert all(len(stop.found) == len(stop.wanted) for stop in stops)


def test_a_layer_at_the_start_is_given_the_inputs() -> None:
    graph = model()
    twin, made = clone(graph)
    layers = [next(iter(graph))]
    (stop,) = cascade(graph, twin, made.nodes, layers, Calibration(samples(2)))
    np.testing.assert_array_equal(stop.found[1], samples(2)[1]["x"])


def test_what_results_are_added_to_is_seen_once_both_graphs_have_it() -> None:
    graph = model()
    twin, made = clone(graph)
    layers = [node for node in graph if node.op_type == "MatMul"]
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    run_pass(twin, get_pass("infer-shapes"), PassContext())
    stops = list(cascade(graph, twin, made.nodes, layers, Calibration(samples())))
    # The first is read by two, the second is added to it, the last to an input, at the very end.
    assert stops[0].beside is None
    assert stops[2].beside is not None
    np.testing.assert_array_equal(stops[2].beside[0][0], samples()[0]["x"])
    assert stops[1].beside is not None
    for feeds, (found, wanted) in zip(samples(), stops[1].beside, strict=True):
        np.testing.assert_allclose(found, seen(graph, "a", feeds)[0], rtol=1e-5)
        np.testing.assert_array_equal(wanted, found)
