"""What widths cost: equal to what a model costs that is really thinned out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.analysis.axis_graph import AxisGraph, ChannelGroup, axis_graph
from burnish.analysis.cost import node_flops
from burnish.ir import Graph
from burnish.optimization import infer
from burnish.pruning.costs import Cost, flops, size
from burnish.pruning.shapes import Table, choices_of
from burnish.pruning.thinning import thinned
from tests.pruning.graphs import Part, build, channels

RESIDUAL = """g (float[2, 3, 9, 9] x, float[4, 3, 3, 3] w, float[4, 4, 3, 3] u, float[4, 1, 3, 3] d,
    float[4] scale, float[6, 4, 1, 1] v, float[294, 5] m, float[5] b) => (float y) {
    h = Conv(x, w)
    p = Conv<pads = [1, 1, 1, 1]>(h, u)
    q = Conv<group = 4, pads = [1, 1, 1, 1]>(h, d)
    a = Add(p, q)
    r = Sigmoid(a)
    c = Conv(r, v)
    shape = Constant<value = int64[2] {2, 294}>()
    f = Reshape(c, shape)
    y = Gemm(f, m, b) }"""
CONCAT = """g (float[1, 3, 4, 4] x, float[6, 3, 1, 1] w, float[6, 1, 3, 3] d, float[4, 3, 1, 1] u,
    float[5, 10, 1, 1] v, float[2, 5, 1, 1] t) => (float y) {
    a = Conv(x, w)
    b = Conv<group = 6, pads = [1, 1, 1, 1]>(a, d)
    c = Conv(x, u)
    s = Concat<axis = 1>(b, c)
    e = Relu(s)
    k = Conv(e, v)
    y = Conv(k, t) }"""
MLP = """g (float[7, 6] x, float[6, 8] w, float[8] b, float[8, 12] u, float[12, 3] v) => (float y) {
    h = MatMul(x, w)  i = Add(h, b)  j = Gelu(i)  k = MatMul(j, u)  l = Softmax(k)
    y = MatMul(l, v) }"""
GRAPHS = {
    "residual": build(
        RESIDUAL, w=(4, 3, 3, 3), u=(4, 4, 3, 3), d=(4, 1, 3, 3), v=(6, 4, 1, 1), m=(294, 5), b=(5,)
    ),
    "concat": build(
        CONCAT, w=(6, 3, 1, 1), d=(6, 1, 3, 3), u=(4, 3, 1, 1), v=(5, 10, 1, 1), t=(2, 5, 1, 1)
    ),
    "mlp": build(MLP, w=(6, 8), b=(8,), u=(8, 12), v=(12, 3)),
}


def prepared(made: Graph) -> tuple[AxisGraph, list[Part], dict[str, tuple[int, ...]]]:
    axes = axis_graph(made)
    parts = channels(axes)
    return axes, parts, {part.name: choices_of(len(part.units), 1) for part in parts}


def counted(made: Graph) -> int:
    return sum(node_flops(node) or 0 for node in made.walk())


def weighed(made: Graph) -> int:
    # Deleting writes constants anew that nodes shared before.
    found = {value for node in made.walk() for value in node.inputs if value is not None}
    return sum(value.constant.nbytes for value in found if value.constant is not None)


@pytest.mark.parametrize("name", GRAPHS)
@given(data=st.data())
def test_costs_are_those_of_the_thinned_model(name: str, data: st.DataObject) -> None:
    made = GRAPHS[name]
    axes, parts, choices = prepared(made)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    shuffled = [
        replace(part, units=tuple(part.units[i] for i in rng.permutation(len(part.units))))
        for part in parts
    ]
    widths = {key: data.draw(st.sampled_from(allowed)) for key, allowed in choices.items()}
    thin = thinned(made, axes, shuffled, widths)
    assert flops(made, shuffled, choices)(widths) == counted(thin)
    assert size(made, shuffled, choices)(widths) == weighed(thin)


@pytest.mark.parametrize("name", GRAPHS)
def test_all_units_cost_what_the_model_does(name: str) -> None:
    _, parts, choices = prepared(GRAPHS[name])
    assert parts
    assert flops(GRAPHS[name], parts, choices).full == counted(GRAPHS[name])
    assert size(GRAPHS[name], parts, choices).full == weighed(GRAPHS[name])


ATTENTION = """g (float[1, 5, 12] x, float[12, 12] wq, float[12, 12] wk, float[12, 12] wv,
    float[12, 12] wo) => (float y) {
    shape = Constant<value = int64[4] {1, 5, 3, 4}>()
    flat = Constant<value = int64[3] {1, 5, 12}>()
    q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)
    q4 = Reshape(q, shape)  k4 = Reshape(k, shape)  v4 = Reshape(v, shape)
    qt = Transpose<perm = [0, 2, 1, 3]>(q4)
    kt = Transpose<perm = [0, 2, 3, 1]>(k4)
    vt = Transpose<perm = [0, 2, 1, 3]>(v4)
    s = MatMul(qt, kt)  p = Softmax(s)  o = MatMul(p, vt)
    ot = Transpose<perm = [0, 2, 1, 3]>(o)
    f = Reshape(ot, flat)
    y = MatMul(f, wo) }"""


def attention_flops(heads: int, inner: int, outer: int) -> int:
    projections = 2 * 5 * 12 * heads * (2 * inner + 2 * outer)
    return projections + heads * (2 * 25 * (inner + outer) + 25 * 19)


def attention() -> tuple[Graph, AxisGraph, list[ChannelGroup]]:
    """Three heads of four channels, and the groups of the heads, of the scores, of the values."""
    made = build(ATTENTION, wq=(12, 12), wk=(12, 12), wv=(12, 12), wo=(12, 12))
    axes = axis_graph(made)
    names = {group: {member.value.name for member in group.members} for group in axes.groups}
    groups = [
        next(group for group in axes.groups if group.size == 3),
        next(group for group in axes.groups if "wq" in names[group]),
        next(group for group in axes.groups if "wv" in names[group]),
    ]
    return made, axes, groups


@pytest.mark.parametrize("of", [0, 1, 2])
def test_heads_and_their_widths(of: int) -> None:
    made, axes, groups = attention()
    each = np.arange(12).reshape(3, 4)
    parts = [
        Part("heads", groups[of], tuple(each) if of else tuple(np.arange(3)[:, None])),
        Part("inner", groups[1], tuple(each.T)),
        Part("outer", groups[2], tuple(each.T)),
    ]
    choices = {"heads": (1, 2, 3), "inner": (1, 2, 4), "outer": (3, 4)}
    found = flops(made, parts, choices)
    for n, i, o in [(3, 4, 4), (2, 4, 4), (3, 2, 3), (2, 1, 3), (2, 2, 4)]:
        widths = {"heads": n, "inner": i, "outer": o}
        assert found(widths) == attention_flops(n, i, o)
        assert found(widths) == counted(infer(thinned(made, axes, parts, widths)))


def test_open_sizes_are_suggested_or_given() -> None:
    text = """g (float["batch", 6] x, float[6, 8] w, float[8, 2] v) => (float y) {
        h = MatMul(x, w)  y = MatMul(h, v) }"""
    made = build(text, w=(6, 8), v=(8, 2))
    _, parts, choices = prepared(made)
    assert flops(made, parts, choices).full == 2 * (48 + 16)
    assert flops(made, parts, choices, {"x": (3, 6)})({"s0": 4}) == 3 * 2 * (24 + 8)


def test_sizes_without_names_are_suggested_too() -> None:
    text = """g (float[1, 3, *, *] x, float[4, 3, 3, 3] w, float[2, 4, 1, 1] v) => (float y) {
        h = Conv<strides = [2, 2]>(x, w)  y = Conv(h, v) }"""
    made = build(text.replace("*", '""'), w=(4, 3, 3, 3), v=(2, 4, 1, 1))
    assert all(node.output.static_shape is None for node in made)
    _, parts, choices = prepared(made)
    found = flops(made, parts, choices, {"x": (1, 3, 9, 9)})
    assert found({"s0": 2}) == 2 * 16 * (2 * 27 + 2 * 2)
    assert flops(made, parts, choices).full > found.full


def test_no_value_that_is_joined_to_others_loses_all_channels() -> None:
    axes, parts, choices = prepared(GRAPHS["concat"])
    joined = max(parts, key=lambda part: len(part.units))
    thin = thinned(GRAPHS["concat"], axes, parts, {joined.name: 2})
    assert flops(GRAPHS["concat"], parts, choices)({joined.name: 2}) == counted(thin)
    assert [node.output.static_shape[1] for node in thin][:4] == [1, 1, 2, 3]  # type: ignore[index]


def test_a_sum_of_tables() -> None:
    tables = (Table((0, 1), np.array([[1.0, 2], [3, 4]])), Table((1,), np.array([10.0, 20])))
    cost = Cost("operations", {"a": (1, 2), "b": (8, 16)}, tables, 100.0)
    assert cost({}) == cost.full == 124
    assert cost.least == 111
    assert cost({"b": 8}) == 113
    assert cost.totals(np.array([[0, 1], [1, 0]])).tolist() == [122, 113]
    assert cost.along(1, np.array([1, 0])).tolist() == [13, 24]
    assert cost.widths(np.array([0, 1])) == {"a": 1, "b": 16}


@pytest.mark.parametrize("widths", [{"c": 1}, {"a": 3}])
def test_what_is_no_choice_has_no_cost(widths: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"no structure 'c'|3 units of a"):
        Cost("operations", {"a": (1, 2)}, ())(widths)


@pytest.mark.parametrize("allowed", [(), (0, 8), (4,), (4, 2, 8), (4, 4, 8), (8, 16)])
def test_choices_ascend_to_all_units(allowed: tuple[int, ...]) -> None:
    _, parts, choices = prepared(GRAPHS["mlp"])
    with pytest.raises(ValueError, match="ascend"):
        flops(GRAPHS["mlp"], parts, {**choices, "s0": allowed})


@pytest.mark.parametrize(
    ("units", "align", "allowed"),
    [(32, 16, (16, 32)), (40, 16, (16, 32, 40)), (10, 16, (10,)), (3, 1, (1, 2, 3)), (1, 1, (1,))],
)
def test_widths_are_aligned(units: int, align: int, allowed: tuple[int, ...]) -> None:
    assert choices_of(units, align) == allowed
