"""Channels go from everything that knows of them, and readers make up for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from burnish.analysis.axis_graph import axis_graph
from burnish.errors import UsageError
from burnish.ir import Graph
from burnish.passes import get_pass
from burnish.passes.pruning.structures import structures
from burnish.pipeline import PassContext, run_pass
from tests.passes.conftest import build
from tests.passes.pruning.thinned import answers, data, noise, prune, residual, weights


def shapes(graph) -> dict[str, list[tuple[int, ...]]]:
    return {
        node.output.name: [v.constant.shape for v in node.inputs if v and v.constant]
        for node in graph
        if any(v and v.constant for v in node.inputs)
    }


def test_every_reader_and_writer_of_a_group_shrinks():
    before, after = residual(), residual()
    report = prune(after, keep=0.5, align=1)
    assert len(report.fired) == 2
    found = shapes(after)
    assert found["h"] == [(8, 3, 3, 3), (8,)]
    assert found["s"] == [(4, 8, 3, 3), (4,)]
    assert found["k"] == [(4, 4, 1, 1), (4,)]
    assert found["y"] == [(4, 4), (4,)]
    assert [value.name for value in after.outputs] == [value.name for value in before.outputs]
    assert after.outputs[0].shape == before.outputs[0].shape


def test_refitted_readers_lose_less():
    fresh = data(residual(), 8, seed=7)
    lost = {}
    for fit in ("all", "readers", "none"):
        graph = residual()
        prune(graph, keep=0.5, align=1, fit=fit)
        lost[fit] = noise(residual(), graph, fresh)
    assert lost["all"] < 0.5 * lost["none"]
    assert lost["all"] <= lost["readers"] < lost["none"]


@pytest.mark.parametrize(
    ("options", "hint"),
    [({"fit": "reader"}, "readers"), ({"criterion": "l3"}, "l1"), ({"align": 0}, "from 1, not 0"),
     ({"keep": float("nan")}, "above 0, up to 1, not nan"), ({"keep": -1}, "not -1"),
     ({"keep": 0}, "not 0"), ({"keep": 1.5}, "not 1.5"),
     ({"kept": {"Conv_1": (0,)}}, "unknown structure 'Conv_1'; did you mean Conv_"),
     ({"kept": {"Conv_0": ()}}, "units 0 to 15"), ({"kept": {"Conv_0": (0, 16)}}, "not .0, 16."),
     ({"kept": {"Conv_0": (-1, 3)}}, "units 0 to 15")],
)  # fmt: skip
def test_options_that_do_not_exist(options: dict[str, Any], hint: str):
    with pytest.raises(UsageError, match=hint):
        prune(residual(), **options)


def test_channels_that_others_add_up_to_cost_nothing():
    given = weights(w=(16, 3, 1, 1), v=(4, 16))
    # What is left of sixteen linear channels of three inputs are three.
    text = """g (float[2, 3, 4, 4] x, float[16, 3, 1, 1] w, float[4, 16, 1, 1] v)
        => (float[2, 4, 4, 4] y) { h = Conv(x, w) y = Conv(h, v) }"""
    given["v"] = given["v"].reshape(4, 16, 1, 1)
    before, after = build(text, 21, given), build(text, 21, given)
    prune(after, keep=0.25, align=1)
    assert shapes(after)["y"] == [(4, 4, 1, 1), (4,)]
    assert noise(before, after, data(before, 4, seed=9)) < 1e-4


def test_keeping_all_changes_nothing():
    before, after = residual(), residual()
    assert not prune(after, keep=1.0).changed
    samples = data(before, 2)
    assert np.array_equal(answers(before, samples), answers(after, samples))


def test_dead_channels_go_exactly():
    given = weights(w=(16, 3, 3, 3), b=(16,))
    given["w"][::2], given["b"][::2] = 0, 0
    before, after = residual(**given), residual(**given)
    name = structures(axis_graph(after))[0].name
    prune(after, kept={name: tuple(range(1, 16, 2))})
    assert shapes(after)["h"] == [(8, 3, 3, 3), (8,)]
    assert noise(before, after, data(before, 4, seed=3)) < 1e-9


def test_only_what_is_named_is_thinned_out():
    graph = residual()
    found = [one for one in structures(axis_graph(graph)) if not one.reason]
    prune(graph, kept={found[1].name: (0, 3, 5)})
    assert shapes(graph)["h"] == [(16, 3, 3, 3), (16,)]
    assert shapes(graph)["s"] == [(3, 16, 3, 3), (3,)]


def test_widths_stay_multiples_of_what_kernels_like():
    graph = residual()
    prune(graph, keep=0.6, align=8)
    assert shapes(graph)["h"][0] == (8, 3, 3, 3)
    assert shapes(graph)["s"][0] == (8, 8, 3, 3)


def test_without_data_nothing_happens():
    graph = residual()
    report = run_pass(graph, get_pass("prune-channels"), PassContext(explain=True))
    assert not report.changed
    assert "no calibration data" in report.notes[0]


NEAR_MISSES = [
    ("w = Conv(x, k) y = Relu(w)", "the graph returns it"),
    ("w = Conv(x, k) s = Softmax<axis = 1>(w) y = Conv(s, m)", "Softmax looks at all channels"),
    ("w = Conv(x, k) s = Shape(w) t = Cast<to = 1>(s) u = ReduceSum<keepdims = 0>(t) "
     "z = Conv(w, m) y = Mul(z, u)", "Shape measures the channels"),
    ("w = Conv(x, k) y = Conv<group = 2>(w, n)", "Conv works on groups of channels"),
    ("w = Conv(x, k) v = Relu(w) a = Mul(v, v) y = ConvTranspose<group = 2>(a, o)",
     "ConvTranspose reads it"),
    ("w = Conv(x, k) p = Conv(w, q) s = Add(p, w) t = Conv(s, q) u = Add(t, s) y = Conv(u, m)",
     "its weights are used more than once"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "reason"), NEAR_MISSES)
def test_what_stays_whole(body: str, reason: str):
    given = weights(k=(4, 3, 1, 1), m=(2, 4, 1, 1), n=(2, 2, 1, 1), o=(4, 1, 1, 1),
                    q=(4, 4, 1, 1))  # fmt: skip
    outputs = {"Relu": "float[2, 4, 4, 4] y"}.get(body.split("y = ")[1][:4], "float[2, 2, 4, 4] y")
    text = f"""g (float[2, 3, 4, 4] x, float[4, 3, 1, 1] k, float[2, 4, 1, 1] m,
        float[2, 2, 1, 1] n, float[4, 1, 1, 1] o, float[4, 4, 1, 1] q)
        => ({outputs}) {{ {body} }}"""
    graph = build(text, 21, given)
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    report = prune(graph, keep=0.5, align=1)
    assert not report.changed
    assert report.missed
    assert reason in report.missed[0].reason


def test_the_name_of_a_structure_is_its_own():
    names = [one.name for one in structures(axis_graph(residual()))]
    assert len(names) == len(set(names))


def test_the_data_decide_which_channels_stay():
    """Channels that no sample excites go first."""
    given = weights(w=(16, 3, 3, 3), b=(16,))
    given["w"][:8], given["b"][:8] = 0.0, -1.0
    graph = residual(**given)
    prune(graph, keep=0.5, align=1)
    first = next(iter(graph)).constant_input(1)
    assert first is not None
    assert np.array_equal(first.numpy(), given["w"][8:])


CHAIN = """g (float[2, 3, 8, 8] x, float[16, 3, 3, 3] w, float[16, 16, 1, 1] v,
    float[4, 16, 1, 1] u) => (float[2, 4, 6, 6] y) {
  h = Conv(x, w) r = Relu(h) s = Conv(r, v) t = Relu(s) y = Conv(t, u) }"""
PRODUCTS = """g (float[8, 3] x, float[3, 16] w, float[16, 16] v, float[16, 4] u)
    => (float[8, 4] y) { h = Gemm(x, w) r = Relu(h) s = Gemm(r, v) t = Relu(s) y = Gemm(t, u) }"""


@pytest.mark.parametrize("text", [CHAIN, PRODUCTS])
def test_layers_without_bias_get_one_as_wide_as_they_are_left(text: str):
    shapes_of = {"w": (16, 3, 3, 3), "v": (16, 16, 1, 1), "u": (4, 16, 1, 1)}
    if text is PRODUCTS:
        shapes_of = {"w": (3, 16), "v": (16, 16), "u": (16, 4)}
    before, after = (build(text, 21, weights(**shapes_of)) for _ in range(2))
    run_pass(after, get_pass("infer-shapes"), PassContext())
    prune(after, keep=0.5)
    assert shapes(after)["h"][1:] == []
    assert shapes(after)["s"][1] == (8,)
    assert noise(before, after, data(before, 4, seed=2)) < 1


def test_what_is_left_alone_gets_no_bias():
    graph = build(CHAIN, 21, weights(w=(16, 3, 3, 3), v=(16, 16, 1, 1), u=(4, 16, 1, 1)))
    assert not prune(graph, keep=1.0).changed
    assert all(len(found) == 1 for found in shapes(graph).values())


def test_data_that_never_vary_are_no_obstacle():
    graph = residual()
    constant = [{"x": np.full((2, 3, 8, 8), 1e3, np.float32)}] * 8
    assert prune(graph, constant, keep=0.5).fired
    assert np.isfinite(answers(graph, constant)).all()


UP = """g (float[2, 3, 6, 6] x, float[16, 3, 3, 3] w, float[16] b, float[16, 4, 2, 2] v, float[4] c)
    => (float[2, 4, 12, 12] y) {
  h = Conv<pads = [1, 1, 1, 1]>(x, w, b) r = Relu(h) y = ConvTranspose<strides = [2, 2]>(r, v, c)
}"""


def test_what_transposed_convolutions_read_is_made_up_for():
    shapes_of = {"w": (16, 3, 3, 3), "b": (16,), "v": (16, 4, 2, 2), "c": (4,)}
    fresh, lost = None, {}
    for fit in ("all", "none"):
        before, after = (build(UP, 21, weights(**shapes_of)) for _ in range(2))
        run_pass(after, get_pass("infer-shapes"), PassContext())
        fresh = data(before, 4, seed=2) if fresh is None else fresh
        prune(after, keep=0.5, fit=fit)
        lost[fit] = noise(before, after, fresh)
    assert lost["all"] < 0.8 * lost["none"]


def test_the_factor_of_a_product_counts_where_its_results_are_added():
    text = """g (float[8, 6] x, float[6, 32] w, float[32] b, float[32, 6] v, float[6] c,
        float[6, 4] u) => (float[8, 4] y) {
      g = Gemm(x, w, b) h = Relu(g) s = Gemm<alpha = ALPHA>(h, v, c) a = Add(x, s)
      k = Gemm(a, k1) m = Relu(k) n = Gemm<alpha = ALPHA>(m, k2) z = Add(a, n) y = MatMul(z, u)
    }""".replace("float[6, 4] u", "float[6, 32] k1, float[32, 6] k2, float[6, 4] u")
    lost = []
    for alpha in (1.0, 8.0):
        given = weights(w=(6, 32), b=(32,), v=(32, 6), c=(6,), k1=(6, 32), k2=(32, 6), u=(6, 4))
        given["v"], given["k2"] = given["v"] / np.float32(alpha), given["k2"] / np.float32(alpha)
        before, after = (build(text.replace("ALPHA", f"{alpha}"), 21, given) for _ in range(2))
        run_pass(after, get_pass("infer-shapes"), PassContext())
        prune(after, keep=0.25)
        lost.append(noise(before, after, data(before, 8, seed=2)))
    assert lost[1] == pytest.approx(lost[0], rel=0.05)


INSIDE = """g (float[2, 4] x, bool c, float[4, 16] w, float[16, 4] v) => (float[2, 4] y) {
  y = If (c) <
    then_branch = yes () => (float[2, 4] o) { h = MatMul(x, w) r = Relu(h) o = MatMul(r, v) },
    else_branch = no () => (float[2, 4] p) { p = Identity(x) }> }"""
STACKED = """g (float[2, 3, 4] x, float[1, 4, 16] w, float[1, 16, 4] v) => (float[2, 3, 4] y) {
  h = MatMul(x, w) r = Relu(h) y = MatMul(r, v) }"""


@pytest.mark.parametrize(
    ("text", "sizes", "reason"),
    [
        (INSIDE, {"w": (4, 16), "v": (16, 4)}, "inside the body of another operator"),
        (STACKED, {"w": (1, 4, 16), "v": (1, 16, 4)}, "weights that are no matrix"),
    ],
)
def test_layers_that_cannot_be_fitted_are_named(text: str, sizes: dict, reason: str):
    graph = build(text, 21, weights(**sizes))
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    names = {value.name for value in graph.inputs}
    samples = [{**feeds, **({"c": np.array(True)} if "c" in names else {})} for feeds in few(graph)]
    report = prune(graph, samples, keep=0.5)
    assert not report.changed
    assert any(reason in miss.reason for miss in report.missed), report.missed


def few(graph: Graph) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    shape = [int(size) for size in graph.inputs[0].shape]
    return [{"x": random.standard_normal(shape).astype(np.float32)} for _ in range(4)]
