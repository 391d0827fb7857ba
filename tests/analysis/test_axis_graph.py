"""Which channels belong together, and what deleting some of them takes."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from burnish.analysis.axis_graph import ChannelGroup, axis_graph, channel_groups
from burnish.analysis.axis_graph_edits import delete, permute
from burnish.analysis.axis_graph_flow import readers
from burnish.analysis.axis_graph_sites import Site
from burnish.analysis.axis_graph_sizes import cannot_delete
from burnish.analysis.axis_graph_views import _reshaped
from burnish.ir import Graph, VariableNode
from burnish.ir.verify import verify
from burnish.numerics import Numerics
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from burnish.rewrite import Miss, Rewriter
from burnish.testing import assert_equivalent, graph

RNG = np.random.default_rng(0)


def build(text: str, **shapes: tuple[int, ...]) -> Graph:
    """A graph in which inputs named in ``shapes`` are constants."""
    model = graph(text, opset=23).to_onnx()
    kept = [value for value in model.graph.input if value.name not in shapes]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    for name, shape in shapes.items():
        array = RNG.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    result = Graph.from_onnx(model)
    run_pass(result, get_pass("fold-constants"), PassContext())
    run_pass(result, get_pass("infer-shapes"), PassContext())
    return result


def written_by(made: Graph, writer: str) -> ChannelGroup:
    """The group that the weight called ``writer`` writes."""
    return next(
        group
        for group in channel_groups(made)
        if any(member.value.name == writer for member in group.writers)
    )


def names(members: tuple[object, ...]) -> list[str]:
    return sorted(member.value.name for member in members)  # type: ignore[attr-defined]


RESIDUAL = """g (float[1, 3, 6, 6] x, float[4, 3, 1, 1] w, float[4] b, float[4, 4, 1, 1] u,
    float[4] slope, float[2, 4, 3, 3] v) => (float[1, 2, 4, 4] y) {
    s = Conv(x, w, b)  r = Relu(s)  t = Conv(r, u)  a = Add(s, t)
    q = Mul(a, k)  k = Relu(s)  y = Conv(q, v) }"""


def test_writers_readers_and_riders_of_a_residual_stream() -> None:
    text = RESIDUAL.replace("q = Mul(a, k)  k = Relu(s)", "q = PRelu(a, slope)").replace(
        "float[4] slope", "float[4, 1, 1] slope"
    )
    made = build(text, w=(4, 3, 1, 1), b=(4,), u=(4, 4, 1, 1), slope=(4, 1, 1), v=(2, 4, 3, 3))
    (group,) = [group for group in channel_groups(made) if group.size == 4]
    assert names(group.writers) == ["u", "w"]
    assert names(group.readers) == ["u", "v"]
    assert names(group.riders) == ["b", "slope"]


def test_heads_are_told_apart_and_shared_ones_are_the_same() -> None:
    text = """g (float[2, 5, 6] x, float[6, 8] wq, float[6, 4] wk, float[6, 4] wv, float[8, 3] wo)
        => (float[2, 5, 3] y) { q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)
        a = Attention<q_num_heads = 4, kv_num_heads = 2>(q, k, v)  y = MatMul(a, wo) }"""
    made = build(text, wq=(6, 8), wk=(6, 4), wv=(6, 4), wo=(8, 3))
    keys, values = written_by(made, "wk"), written_by(made, "wv")
    assert names(keys.writers) == ["wk", "wq"]
    assert keys.size == values.size == 4
    assert keys.labels.tolist() == [0, 0, 1, 1]
    (reader,) = values.readers
    assert values.channels_of(reader).tolist() == [0, 1, 0, 1, 2, 3, 2, 3]


def test_one_product_for_queries_keys_and_values() -> None:
    text = """g (float[2, 5, 6] x, float[6, 18] w, float[6, 3] wo) => (float[2, 5, 3] y) {
        h = MatMul(x, w)  shape = Constant<value = int64[5] {2, 5, 3, 2, 3}>()
        r = Reshape(h, shape)  t = Transpose<perm = [2, 0, 3, 1, 4]>(r)
        zero = Constant<value = int64 {0}>()  one = Constant<value = int64 {1}>()
        two = Constant<value = int64 {2}>()
        q = Gather(t, zero)  k = Gather(t, one)  v = Gather(t, two)
        kt = Transpose<perm = [0, 1, 3, 2]>(k)  s = MatMul(q, kt)  p = Softmax(s)
        a = MatMul(p, v)  ta = Transpose<perm = [0, 2, 1, 3]>(a)
        flat = Constant<value = int64[3] {2, 5, 6}>()  f = Reshape(ta, flat)
        y = MatMul(f, wo) }"""
    made = build(text, w=(6, 18), wo=(6, 3))
    group = written_by(made, "w")
    # Keys are queries by another name; values are channels of their own.
    assert group.size == 12
    (writer,) = group.writers
    channels = group.channels_of(writer)
    assert channels[:6].tolist() == channels[6:12].tolist()
    assert not set(channels[12:]) & set(channels[:12])


def test_windows_of_images_keep_channels_together() -> None:
    text = """g (float[1, 3, 4, 4] x, float[6, 3, 1, 1] w, float[6, 2] v) => (float[4, 4, 2] y) {
        i = Conv(x, w)  t = Transpose<perm = [0, 2, 3, 1]>(i)
        cut = Constant<value = int64[6] {1, 2, 2, 2, 2, 6}>()  c = Reshape(t, cut)
        m = Transpose<perm = [0, 1, 3, 2, 4, 5]>(c)
        flat = Constant<value = int64[3] {4, 4, 6}>()  r = Reshape(m, flat)
        y = MatMul(r, v) }"""
    made = build(text, w=(6, 3, 1, 1), v=(6, 2))
    group = written_by(made, "w")
    assert names(group.readers) == ["v"]
    permute(Rewriter(made), group, [5, 4, 3, 2, 1, 0])
    fresh = build(text, w=(6, 3, 1, 1), v=(6, 2))
    assert [n.op_type for n in made] == [n.op_type for n in fresh]


def test_permuting_changes_weights_and_not_results() -> None:
    shapes = {"w": (4, 3, 1, 1), "b": (4,), "u": (4, 4, 1, 1), "slope": (4,), "v": (2, 4, 3, 3)}
    text = RESIDUAL.replace("q = Mul(a, k)  k = Relu(s)", "k = Relu(s)  q = Mul(a, k)")
    made = build(text, **shapes)
    before = Graph.from_onnx(made.to_onnx())
    permute(Rewriter(made), written_by(made, "w"), [2, 0, 3, 1])
    assert_equivalent(before, made, Numerics.REASSOCIATES)
    assert not np.array_equal(
        next(iter(made)).constant_input(1).numpy(),  # type: ignore[union-attr]
        next(iter(before)).constant_input(1).numpy(),  # type: ignore[union-attr]
    )


def test_deleting_leaves_a_smaller_model_that_runs() -> None:
    text = """g (float[1, 3, 4, 4] x, float[6, 3, 1, 1] w, float[6, 1, 3, 3] d, float[4, 3, 1, 1] u,
        float[160, 5] v) => (float[1, 5] y) {
        a = Conv(x, w)  b = Conv<group = 6, pads = [1, 1, 1, 1]>(a, d)  c = Conv(x, u)
        s = Concat<axis = 1>(b, c)
        sizes = Constant<value = int64[2] {7, 3}>()
        p, q = Split<axis = 1>(s, sizes)  m = Relu(p)  n = Sigmoid(q)
        j = Concat<axis = 1>(m, n)
        shape = Constant<value = int64[2] {1, 160}>()
        f = Reshape(j, shape)  y = MatMul(f, v) }"""
    made = build(text, w=(6, 3, 1, 1), d=(6, 1, 3, 3), u=(4, 3, 1, 1), v=(160, 5))
    group = written_by(made, "w")
    assert group.size == 10
    assert cannot_delete(group) is None
    delete(Rewriter(made), group, [1, 6, 9])
    verify(made)
    assert_equivalent(made, Graph.from_onnx(made.to_onnx()), Numerics.EXACT)
    weight = next(node for node in made if node.op_type == "MatMul").constant_input(1)
    assert weight is not None
    assert weight.shape == (7 * 16, 5)
    assert [n.attribute("group", 1) for n in made if n.op_type == "Conv"] == [1, 5, 1]


@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_deleting_moves_cuts(kind: str) -> None:
    text = f"""g (float["B", 3] x, float[3, 6] w, float[2, 2] u, float[3, 2] v, float[3, 2] o)
        => (float y) {{ h = MatMul(x, w)  one = Constant<value = {kind}[1] {{1}}>()
        three = Constant<value = {kind}[1] {{3}}>()  s = Slice(h, one, three, one)
        p, q = Split<axis = 1, num_outputs = 2>(h)  a = MatMul(s, u)  b = MatMul(p, v)
        c = MatMul(q, o)  y = Sum(a, b, c) }}"""
    made = build(text, w=(3, 6), u=(2, 2), v=(3, 2), o=(3, 2))
    group = written_by(made, "w")
    assert cannot_delete(group) is None
    delete(Rewriter(made), group, [0, 2])
    verify(made)
    assert_equivalent(made, Graph.from_onnx(made.to_onnx()), Numerics.EXACT)
    cut = next(node for node in made if node.op_type == "Slice")
    assert [int(cut.constant_input(i).numpy()[0]) for i in (1, 2)] == [0, 1]  # type: ignore[union-attr]
    halves = next(node for node in made if node.op_type == "Split")
    assert halves.constant_input(1).numpy().tolist() == [1, 3]  # type: ignore[union-attr]
    assert "num_outputs" not in halves.attributes


def test_a_value_keeps_some_channels() -> None:
    text = """g (float[2, 4] x, float[4, 3] w, float[4, 2] u, float[5, 2] v) => (float[2, 2] y) {
        a = MatMul(x, w)  b = MatMul(x, u)  j = Concat<axis = 1>(a, b)  y = MatMul(j, v) }"""
    group = written_by(build(text, w=(4, 3), u=(4, 2), v=(5, 2)), "w")
    assert cannot_delete(group) is None
    assert cannot_delete(group, [3, 4]) == "no channel would be left"


def test_a_constant_of_several_channels_is_cut_once() -> None:
    text = """g (float[2, 4] x, float[4, 3] w, float[4, 3] u, float[3] c, float[3, 2] v)
        => (float[2, 2] y) { a = MatMul(x, w)  b = MatMul(x, u)  s = Sum(a, b, c)
        y = MatMul(s, v) }"""
    made = build(text, w=(4, 3), u=(4, 3), c=(3,), v=(3, 2))
    delete(Rewriter(made), written_by(made, "w"), [1])
    assert_equivalent(made, Graph.from_onnx(made.to_onnx()), Numerics.EXACT)


REFUSED = {
    "the graph returns it": ("y = Identity(h)", {}),
    "Reshape mixes": ("k = Shape(h)  j = Add(k, zero)  r = Reshape(h, j)  y = MatMul(r, v)", {}),
    "Shape measures": ("k = Shape(h)  f = Cast<to = 1>(k)  n = ReduceSum(f)  r = Mul(h, n)"
                       "  y = MatMul(r, v)", {}),
    "Slice chooses": ("o = Constant<value = int64[1] {0}>()  e = Constant<value = int64[1] {4}>()"
                      "  i = Constant<value = int64[1] {1}>()  t = Constant<value = int64[1] {2}>()"
                      "  r = Slice(h, o, e, i, t)  y = MatMul(r, u)", {"u": (2, 2)}),
    "Where chooses": ("n = IsNaN(h)  r = Where(n, z, h)  y = MatMul(r, v)", {}),
    "nothing writes": ("r = Add(h, z)  y = MatMul(r, v)", {}),
    "CumSum": ("one = Constant<value = int64 {1}>()  r = CumSum(h, one)  y = MatMul(r, v)", {}),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_deleted(reason: str) -> None:
    line, more = REFUSED[reason]
    text = f"""g (float["B", 3] x, float["B", 6] z, int64[2] zero, float[3, 6] w, float[6, 2] v,
        float[4, 2] u) => (float y) {{ h = MatMul(x, w)  {line} }}"""
    made = build(text, w=(3, 6), v=(6, 2), **({"u": (4, 2)} | more))
    group = written_by(made, "w")
    found = cannot_delete(group)
    assert found is not None
    assert reason in found
    with pytest.raises(ValueError, match=reason.split()[0]):
        delete(Rewriter(made), group, [0])


def test_shapes_that_are_measured_elsewhere_are_no_obstacle() -> None:
    text = """g (float["B", 3] x, float[3, 6] w, float[6, 2] v, float[1] one) => (float["B", 2] y) {
        h = MatMul(x, w)  k = Shape<end = 1>(h)  f = Cast<to = 1>(k)  n = Mul(f, one)
        r = Mul(h, n)  y = MatMul(r, v) }"""
    made = build(text, w=(3, 6), v=(6, 2), one=(1,))
    assert cannot_delete(written_by(made, "w")) is None


def test_open_sizes_in_front_of_channels() -> None:
    text = """g (float["B", "S", 4] x, float[4, 6] w, float[6, 2] v) => (float["B", "S", 2] y) {
        h = MatMul(x, w)  k = Shape(h)  front = Constant<value = int64[1] {0}>()
        shape = Constant<value = int64[4] {0, 0, 2, 3}>()  r = Reshape(h, shape)
        t = Transpose<perm = [0, 2, 1, 3]>(r)  b = Transpose<perm = [0, 2, 1, 3]>(t)
        flat = Constant<value = int64[3] {0, 0, -1}>()  f = Reshape(b, flat)
        y = MatMul(f, v) }"""
    made = build(text, w=(4, 6), v=(6, 2))
    group = written_by(made, "w")
    assert names(group.readers) == ["v"]
    assert group.channels_of(group.readers[0]).tolist() == list(range(6))


def test_readers_are_found_behind_views_and_the_rest_is_named() -> None:
    text = """g (float[2, 5, 4] x, float[4, 6] w, float[6, 2] v) => (float[2, 2] y, float z) {
        h = MatMul(x, w)  first = Constant<value = int64 {0}>()  r = Gather<axis = 1>(h, first)
        y = MatMul(r, v)  z = ReduceMax(q)  q = Exp(x) }"""
    made = build(text.replace("z = ReduceMax(q)  q = Exp(x)", "q = Exp(x)  z = ReduceMax(q)"),
                 w=(4, 6), v=(6, 2))  # fmt: skip
    axes = axis_graph(made)
    found = readers(axes, next(iter(made)).output, shift=True)
    assert not isinstance(found, Miss)
    assert [reader.member.value.name for reader in found] == ["v"]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_random_reshapes_keep_track_of_channels(seed: int) -> None:
    """Numbers of channels are moved by the analysis as a Reshape moves the channels themselves."""
    rng = np.random.default_rng(seed)
    factors = [int(n) for n in rng.choice([1, 2, 3], 6)]
    before, after = regroup(factors, rng), regroup(factors, rng)
    source = Site(VariableNode("x", shape=tuple(before)), (len(before) - 1,), np.arange(before[-1]))
    values = np.broadcast_to(source.numbers, before).reshape(after)
    moved = _reshaped(source, before, after)
    assert moved is not None
    axes, numbers = moved
    shape = [n if axis in axes else 1 for axis, n in enumerate(after)]
    assert np.array_equal(np.broadcast_to(numbers.reshape(shape), after), values)


def regroup(factors: list[int], rng: np.random.Generator) -> list[int]:
    """Sizes whose product is that of ``factors``: some neighbours multiplied."""
    cuts = sorted({0, len(factors), *rng.integers(1, len(factors), 3).tolist()})
    return [int(np.prod(factors[a:b])) for a, b in pairwise(cuts)]


def test_channels_of_joined_values_stay_in_their_value() -> None:
    text = """g (float[2, 4] x, float[4, 3] w, float[4, 2] u, float[5, 2] v) => (float[2, 2] y) {
        a = MatMul(x, w)  b = MatMul(x, u)  j = Concat<axis = 1>(a, b)  y = MatMul(j, v) }"""
    made = build(text, w=(4, 3), u=(4, 2), v=(5, 2))
    group = written_by(made, "w")
    before = Graph.from_onnx(made.to_onnx())
    permute(Rewriter(made), group, [2, 0, 1, 4, 3])
    assert_equivalent(before, made, Numerics.REASSOCIATES)
    with pytest.raises(ValueError, match="joined values"):
        permute(Rewriter(made), group, [3, 1, 2, 0, 4])


def test_what_no_rule_speaks_of_stays_where_it_is() -> None:
    text = """g (float[2, 5, 6] x, float[6, 8] w, float[1, 1, 5, 5] m, float[8, 3] wo)
        => (float[2, 5, 3] y) { q = MatMul(x, w)
        shape = Constant<value = int64[4] {2, 4, 5, 5}>()  mask = Expand(m, shape)
        a = Attention<q_num_heads = 4, kv_num_heads = 4>(q, q, q, mask)  y = MatMul(a, wo) }"""
    made = build(text.replace("Constant<value = int64[4] {2, 4, 5, 5}>()", "Shape(big)").replace(
        "float[8, 3] wo)", "float[8, 3] wo, float[2, 4, 5, 5] big)"), w=(6, 8), m=(1, 1, 5, 5),
        wo=(8, 3))  # fmt: skip
    masks = [g for g in channel_groups(made) if any(m.node.op_type == "Expand" for m in g.members)]
    assert all(group.fixed is not None for group in masks)


def test_time_is_linear_in_the_graph() -> None:
    def seconds(count: int) -> float:
        nodes = []
        for index in range(count):
            nodes += [
                helper.make_node("MatMul", [f"h{index}", "w"], [f"m{index}"]),
                helper.make_node("Relu", [f"m{index}"], [f"r{index}"]),
                helper.make_node("Add", [f"h{index}", f"r{index}"], [f"h{index + 1}"]),
            ]
        value = helper.make_tensor_value_info
        weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
        made = Graph.from_onnx(helper.make_model(helper.make_graph(
            nodes, "g", [value("h0", TensorProto.FLOAT, [2, 4])],
            [value(f"h{count}", TensorProto.FLOAT, [2, 4])], [weight],
        ), opset_imports=[helper.make_opsetid("", 21)], ir_version=10))  # fmt: skip
        run_pass(made, get_pass("infer-shapes"), PassContext())
        started = time.process_time()
        assert axis_graph(made).groups
        return time.process_time() - started

    small, large = min(seconds(300) for _ in range(3)), seconds(3000)
    # Ten times the graph, and room for a busy machine: a square would be a hundred times.
    assert large < 50 * small
