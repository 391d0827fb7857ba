"""Heads of attentions: whole ones and channels within them can go, and nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from burnish.analysis.axis_graph import ChannelGroup, channel_groups
from burnish.analysis.axis_graph_edits import delete, permute
from burnish.analysis.axis_graph_heads import heads_of, inner_ties, removal
from burnish.analysis.axis_graph_sites import Role, Variance
from burnish.analysis.axis_graph_sizes import cannot_delete
from burnish.ir import Array, Graph, OperatorNode
from burnish.ir.verify import verify
from burnish.numerics import Numerics
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from burnish.rewrite import Rewriter
from burnish.testing import assert_equivalent, graph

HEAD = 'g (float["B", 5, 6] x, {}) => (float y) {{ '
CORE = """q = Transpose<perm = [0, 2, 1, 3]>(q4)  k = Transpose<perm = [0, 2, 3, 1]>(k4)
    v = Transpose<perm = [0, 2, 1, 3]>(v4)  l = MatMul(q, k)
    scale = Constant<value = float {0.5}>()  s = Mul(l, scale)  t = Add(s, mask)
    p = Softmax(t)  a = MatMul(p, v)  ta = Transpose<perm = [0, 2, 1, 3]>(a) """
OUT = "flat = Constant<value = int64[3] {0, 0, -1}>()  f = Reshape(ta, flat)  y = MatMul(f, wo) }"
BEFORE, BEHIND = "Transpose<perm = [0, 2, 1, 3]>(a)", "Transpose<perm = [0, 2, 3, 1]>(a)"
"""Heads before and behind what is inside them."""
SHAPE = "shape = Constant<value = int64[4] {0, 0, 3, 4}>() "

MERGED = """m = MatMul(x, w)  b = Add(m, bias)
    five = Constant<value = int64[5] {0, -1, 3, 3, 4}>()  r = Reshape(b, five)
    t5 = Transpose<perm = [2, 0, 1, 3, 4]>(r)
    zero = Constant<value = int64 {0}>()  one = Constant<value = int64 {1}>()
    two = Constant<value = int64 {2}>()
    q4 = Gather(t5, zero)  k4 = Gather(t5, one)  v4 = Gather(t5, two) """
STACKED = """m = MatMul(x, w)  b = Add(m, bias)
    four = Constant<value = int64[4] {0, 0, -1, 4}>()  r = Reshape(b, four)
    q4, k4, v4 = Split<axis = 2, num_outputs = 3>(r) """
SPLIT = (
    SHAPE
    + """m = MatMul(x, w)  b = Add(m, bias)  q3, k3, v3 = Split<axis = 2, num_outputs = 3>(b)
    q4 = Reshape(q3, shape)  k4 = Reshape(k3, shape)  v4 = Reshape(v3, shape) """
)
SLICED = (
    SHAPE
    + """m = MatMul(x, w)  b = Add(m, bias)
    ends = Constant<value = int64[4] {0, 12, 24, 99}>()  at = Constant<value = int64[1] {2}>()
    e0, e1, e2, e3 = Split<num_outputs = 4>(ends)
    q3 = Slice(b, e0, e1, at)  k3 = Slice(b, e1, e2, at)  v3 = Slice(b, e2, e3, at)
    q4 = Reshape(q3, shape)  k4 = Reshape(k3, shape)  v4 = Reshape(v3, shape) """
)
APART = (
    SHAPE
    + """q3 = MatMul(x, wq)  k3 = MatMul(x, wk)  v3 = MatMul(x, wv)
    q4 = Reshape(q3, shape)  kb = Add(k3, bk)  k4 = Reshape(kb, shape)  v4 = Reshape(v3, shape) """
)
GUARD = """none = Constant<value = float {0.0}>()  s1 = Softmax(t)  empty = IsNaN(s1)
    p = Where(empty, none, s1)"""
ATTENTION = """q = MatMul(x, wq)  k = MatMul(x, wk)  v = MatMul(x, wv)
    a = Attention<q_num_heads = 3, kv_num_heads = 3>(q, k, v, mask)  y = MatMul(a, wo) }"""
SHARED = """q = MatMul(x, wq)  k = MatMul(x, wk2)  v = MatMul(x, wv2)
    a = Attention<q_num_heads = 4, kv_num_heads = 2>(q, k, v)  y = MatMul(a, wo) }"""
FORMS = {
    "merged": MERGED + CORE + OUT, "stacked": STACKED + CORE + OUT, "split": SPLIT + CORE + OUT,
    "guarded": APART + CORE.replace("p = Softmax(t)", GUARD) + OUT, "sliced": SLICED + CORE + OUT,
    "apart": APART + CORE + OUT, "attention": ATTENTION,
}  # fmt: skip
ANGLES = ', float["B", 5, 2] cosine, float["B", 5, 2] sine'
SIZES = {
    "w": (6, 36), "bias": (36,), "wq": (6, 12), "wk": (6, 12), "wv": (6, 12), "bk": (12,),
    "wo": (12, 4), "mask": (3, 1, 5),
}  # fmt: skip


def build(body: str, seed: int = 0, more: str = "", **sizes: tuple[int, ...]) -> Graph:
    """A graph whose inputs other than x and ``more`` are constants."""
    sizes = {name: size for name, size in (SIZES | sizes).items() if name in body}
    if "mask" in sizes and "Attention" in body:
        sizes["mask"] = (1, 3, 5, 5)
    given = ", ".join(f"float{list(size)} {name}" for name, size in sizes.items())
    model = graph(HEAD.format(given + more) + body, opset=23).to_onnx()
    kept = [value for value in model.graph.input if value.name not in sizes]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    rng = np.random.default_rng(seed)
    for name, size in sizes.items():
        array = rng.normal(size=size).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    result = Graph.from_onnx(model)
    run_pass(result, get_pass("fold-constants"), PassContext())
    run_pass(result, get_pass("infer-shapes"), PassContext())
    return result


def attention_groups(made: Graph) -> list[ChannelGroup]:
    """The groups with channels of heads, not the heads themselves."""
    return [group for group in channel_groups(made) if inner_ties(group)]


def kill(made: Graph, kept: dict[ChannelGroup, Array]) -> None:
    """Zero what writes the channels that are to go."""
    rw = Rewriter(made)
    for group, left in kept.items():
        for member in group.members:
            if member.role is Role.READER or member.variance is not Variance.COVARIANT:
                continue
            assert member.value.constant is not None
            array = np.moveaxis(
                member.value.constant.numpy().copy(), member.axes, range(len(member.axes))
            )
            array[~left[group.channels_of(member)]] = 0
            back = np.moveaxis(array, range(len(member.axes)), member.axes)
            rw.set_input(member.node, member.index, rw.constant(back))


def deleted(made: Graph, group: ChannelGroup, indices: Array) -> None:
    """Delete channels that are dead; nothing else may change."""
    kill(made, removal(group, indices))
    before = Graph.from_onnx(made.to_onnx())
    delete(Rewriter(made), group, indices)
    verify(made)
    onnx.checker.check_model(made.to_onnx(), full_check=True)
    assert_equivalent(before, made, Numerics.REASSOCIATES)


@pytest.mark.parametrize("form", FORMS)
def test_a_head_takes_queries_keys_and_values_along(form: str) -> None:
    made = build(FORMS[form])
    group = attention_groups(made)[0]
    heads = heads_of(group)
    assert heads is not None
    assert len(heads) == 3
    deleted(made, group, heads[1])
    assert all(len(heads_of(group) or ()) == 2 for group in attention_groups(made))
    assert sum(group.size for group in attention_groups(made)) == 2 * 2 * 4


@pytest.mark.parametrize("form", FORMS)
def test_places_within_heads(form: str) -> None:
    made = build(FORMS[form])
    for group in attention_groups(made):
        places = np.concatenate([tie.channels[:, [0, 2]].ravel() for tie in inner_ties(group)])
        deleted(made, group, places)
    assert all(
        tie.channels.shape == (3, 2)
        for group in attention_groups(made) for tie in inner_ties(group)
    )  # fmt: skip


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(FORMS)), st.integers(0, 999))
def test_any_regular_part_of_heads(form: str, seed: int) -> None:
    """Some heads go, and as many places, not the same ones, of each head that is left."""
    rng = np.random.default_rng(seed)
    made = build(FORMS[form], seed)
    heads, count = rng.random(3) < 0.4, rng.integers(0, 4)
    heads[rng.integers(3)] = False
    group = attention_groups(made)[0]
    gone = []
    for tie in inner_ties(group):
        cut = rng.permuted(np.tile(np.arange(4) < count, (3, 1)), axis=1)
        gone.append(tie.channels[cut | heads[:, None]])
    deleted(made, group, np.concatenate(gone))


def test_nothing_deleted_is_nothing_changed() -> None:
    made = build(FORMS["merged"])
    before = made.to_onnx().SerializeToString()
    for group in channel_groups(made):
        if group.fixed is None:
            delete(Rewriter(made), group, [])
    assert made.to_onnx().SerializeToString() == before


def test_values_may_be_narrower_than_queries_where_they_are_apart() -> None:
    made = build(FORMS["sliced"])
    (group,) = attention_groups(made)
    _, values = inner_ties(group)
    deleted(made, group, values.channels[:, 1])
    assert {t.channels.shape for t in inner_ties(attention_groups(made)[0])} == {(3, 4), (3, 3)}


def test_one_reshape_keeps_values_as_wide_as_queries() -> None:
    made = build(FORMS["merged"])
    (group,) = attention_groups(made)
    _, values = inner_ties(group)
    assert "differ from head to head" in str(cannot_delete(group, values.channels[:, 1]))


def test_heads_that_share_keys_go_together() -> None:
    made = build(SHARED, wq=(6, 16), wk2=(6, 8), wv2=(6, 8), wo=(16, 4))
    values = attention_groups(made)[1]
    deleted(made, values, values.ties[0].channels[0])
    (node,) = (node for node in made if node.op_type == "Attention")
    assert (node.attribute("q_num_heads"), node.attribute("kv_num_heads")) == (2, 1)
    assert [group.size for group in attention_groups(made)] == [4, 4]


def test_logits_keep_their_scale() -> None:
    made = build(ATTENTION)
    keys, _ = attention_groups(made)
    deleted(made, keys, keys.ties[0].channels[:, 0])
    (node,) = (node for node in made if node.op_type == "Attention")
    assert node.attribute("scale") == pytest.approx(0.5)


def test_masks_of_heads_go_with_them() -> None:
    made = build(FORMS["apart"])
    (heads,) = (group for group in channel_groups(made) if group.size == 3)
    assert [member.value.name for member in heads.riders] == ["mask"]
    delete(Rewriter(made), heads, [2])
    (mask,) = (
        node.constant_input(1)
        for node in made
        if node.op_type == "Add" and "t" in {v.name for v in node.outputs}
    )
    assert mask is not None
    assert mask.shape == (2, 1, 5)


def test_heads_are_not_mixed_with_what_has_none() -> None:
    (group,) = attention_groups(build(FORMS["merged"]))
    keys, values = inner_ties(group)
    assert not set(group.labels[keys.channels.ravel()]) & set(group.labels[values.channels.ravel()])
    assert len(set(group.labels.tolist())) == 6


def uneven(group: ChannelGroup) -> Array:
    return inner_ties(group)[0].channels[0, :1]


WHOLE = "what is left would differ from head to head"
NARROW_MISSES = {
    "one channel of one head": (FORMS["apart"], uneven, WHOLE),
    "one channel of one head of Attention": (ATTENTION, uneven, WHOLE),
    "all heads": (FORMS["merged"], lambda group: np.arange(group.size), "no channel would be left"),
    "scores are returned": (
        FORMS["apart"].replace("y = MatMul(f, wo)", "z = MatMul(f, wo)  y = Identity(p)"),
        lambda group: heads_of(group)[0], "the graph returns it"),
    "a mask is computed": (
        FORMS["apart"].replace("mask)", "given)"),
        lambda group: heads_of(group)[0], "nothing writes"),
    "a mask of Attention is computed": (
        ATTENTION.replace("mask)", "given)"),
        lambda group: heads_of(group)[0], "mask for each head"),
    "places change with heads": (
        FORMS["apart"].replace(BEFORE, BEHIND),
        lambda group: inner_ties(group)[0].channels[[0, 1, 2], [0, 1, 2]], WHOLE),
    "the width is measured": (
        FORMS["apart"].replace("s = Mul(l, scale)", "n = Shape(q)  c = Cast<to = 1>(n)"
            "  r = ReduceMax(c)  s = Mul(l, r)"),
        lambda group: inner_ties(group)[0].channels[:, 0], "Shape measures"),
    "pairs turn": (
        FORMS["apart"].replace("l = MatMul(q, k)", "u = RotaryEmbedding(q, cosine, sine)"
            "  l = MatMul(u, k)"),
        lambda group: inner_ties(group)[0].channels[:, [0, 2]].ravel(), "RotaryEmbedding turns"),
}  # fmt: skip


@pytest.mark.parametrize("name", NARROW_MISSES)
def test_what_heads_do_not_allow(name: str) -> None:
    body, indices, reason = NARROW_MISSES[name]
    more = ', float["B", 3, 5, 5] given' + ANGLES
    made = build(body, more=more)
    # Values come last, and what is behind them is at stake.
    group = attention_groups(made)[-1 if name.startswith("places") else 0]
    assert reason in str(cannot_delete(group, indices(group)))
    before = made.to_onnx().SerializeToString()
    with pytest.raises(ValueError, match=reason):
        delete(Rewriter(made), group, indices(group))
    assert made.to_onnx().SerializeToString() == before


def test_the_same_places_may_change_with_heads() -> None:
    made = build(FORMS["apart"].replace(
        BEFORE, BEHIND))  # fmt: skip
    values = attention_groups(made)[-1]
    deleted(made, values, inner_ties(values)[0].channels[:, 2])


def test_whole_heads_of_pairs_that_turn() -> None:
    made = build(FORMS["apart"].replace(
        "l = MatMul(q, k)", "u = RotaryEmbedding(q, cosine, sine)  l = MatMul(u, k)"),
        more=ANGLES)  # fmt: skip
    group = attention_groups(made)[0]
    deleted(made, group, (heads_of(group) or [])[2])


@pytest.mark.parametrize("norm", ["RMSNormalization(q, gain)", "LayerNormalization(q, gain, gain)"])
def test_whole_heads_whose_queries_are_normalized(norm: str) -> None:
    made = build(FORMS["apart"].replace("l = MatMul(q, k)", f"n = {norm}  l = MatMul(n, k)"),
                 gain=(4,))  # fmt: skip
    group = attention_groups(made)[0]
    places = inner_ties(group)[0].channels[:, 0]
    assert "a scale for each place" in str(cannot_delete(group, places))
    deleted(made, group, (heads_of(group) or [])[0])
    with pytest.raises(ValueError, match="normalized by themselves"):
        permute(Rewriter(made), attention_groups(made)[0], np.arange(8).tolist())


def test_heads_do_not_change_places() -> None:
    made = build(FORMS["apart"])
    (heads,) = (group for group in channel_groups(made) if group.size == 3)
    with pytest.raises(ValueError, match="channels of their own"):
        permute(Rewriter(made), heads, [1, 0, 2])


def test_plain_channels_have_no_heads() -> None:
    made = build("m = MatMul(x, wq)  r = Relu(m)  y = MatMul(r, wo) }")
    assert all(heads_of(group) is None for group in channel_groups(made))


def test_groups_of_a_normalization_stay_of_equal_size() -> None:
    body = """t = Transpose<perm = [0, 2, 1]>(x)  c = Conv(t, kernel)
        n = GroupNormalization<num_groups = 3>(c, ones, zeros)  y = Conv(n, last) }"""
    made = build(body, kernel=(12, 6, 1), ones=(12,), zeros=(12,), last=(2, 12, 1))
    (group,) = (group for group in channel_groups(made) if group.size == 12)
    assert "differ" in str(cannot_delete(group, [0, 1]))
    delete(Rewriter(made), group, [0, 5, 8, 9, 10, 11])
    verify(made)
    node: OperatorNode = next(n for n in made if n.op_type == "GroupNormalization")
    assert node.attribute("num_groups") == 2
