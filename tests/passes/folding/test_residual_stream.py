"""LayerNormalization becomes RMSNormalization where all that writes the stream can be centred."""

from __future__ import annotations

from typing import Any

import numpy as np

NAME = "center-residual-stream"
RULE = "layer-norm-to-rms-norm"
RNG = np.random.default_rng(1)


def f32(**shapes: tuple[int, ...]) -> dict[str, Any]:
    return {name: RNG.normal(1, 1, shape).astype(np.float32) for name, shape in shapes.items()}


TEXT = """g (int64[2, 5] ids, float[9, 4] table, float[1, 5, 4] places, float[4] gamma,
    float[4, 6] w, float[6] b, float[6, 4] v, float[4] c, float[4] delta, float[4, 3] head)
    => (float[2, 5, 3] y) {
    words = Gather(table, ids)  s = Add(words, places)
    n = LayerNormalization<epsilon = 0.001>(s, gamma)
    m = MatMul(n, w)  h = Add(m, b)  a = Relu(h)  p = MatMul(a, v)  q = Add(p, c)
    t = Add(q, s)  o = LayerNormalization(t, delta)  y = MatMul(o, head) }"""
SHAPES = {
    "table": (9, 4), "places": (1, 5, 4), "gamma": (4,), "w": (4, 6), "b": (6,), "v": (6, 4),
    "c": (4,), "delta": (4,), "head": (4, 3),
}  # fmt: skip

VISION = """g (float[2, 3, 8, 8] x, float[4, 3, 4, 4] patch, float[4] pb, float[1, 1, 4] token,
    float[1, 5, 4] places, float[4] gamma, float[3, 4] head, float[3] hb) => (float[2, 3] y) {
    i = Conv<strides = [4, 4], kernel_shape = [4, 4]>(x, patch, pb)
    shape = Constant<value = int64[3] {2, 4, 4}>()
    r = Reshape(i, shape)  t = Transpose<perm = [0, 2, 1]>(r)
    batch = Constant<value = int64[3] {2, 1, 4}>()
    k = Expand(token, batch)  z = Concat<axis = 1>(k, t)  s = Add(z, places)
    n = LayerNormalization(s, gamma)
    first = Constant<value = int64 {0}>()
    o = Gather<axis = 1>(n, first)  y = Gemm<transB = 1>(o, head, hb) }"""
VISION_SHAPES = {
    "patch": (4, 3, 4, 4), "pb": (4,), "token": (1, 1, 4), "places": (1, 5, 4), "gamma": (4,),
    "head": (3, 4), "hb": (3,),
}  # fmt: skip


def test_a_transformer_that_normalizes_first(fires):
    after = fires(NAME, TEXT, RULE, RULE, opset=23, **f32(**SHAPES))
    assert [n.op_type for n in after].count("RMSNormalization") == 2
    norm = next(node for node in after if node.op_type == "RMSNormalization")
    assert norm.attribute("epsilon") == np.float32(0.001)


def test_exact_in_double_precision(exact):
    weights = {name: RNG.normal(1, 1, shape) for name, shape in SHAPES.items()}
    kinds = "Gather Add RMSNormalization MatMul Add Relu MatMul Add Add RMSNormalization MatMul"
    exact(NAME, TEXT.replace("float[", "double["), kinds, opset=23, **weights)


def test_patches_tokens_and_places(fires):
    after = fires(NAME, VISION, RULE, opset=23, **f32(**VISION_SHAPES))
    norm = next(node for node in after if node.op_type == "RMSNormalization")
    assert norm.inputs[0] is not None


def test_a_norm_with_a_shift_stays_and_the_others_go(fires):
    text = TEXT.replace("(t, delta)", "(t, delta, c)")
    after = fires(NAME, text, RULE, opset=23, **f32(**SHAPES))
    kinds = [node.op_type for node in after]
    assert kinds.count("RMSNormalization") == kinds.count("LayerNormalization") == 1


def test_inside_a_branch(fires):
    text = """g (bool flag, float[2, 3] x, float[3, 4] w, float[4] gamma, float[4, 3] v)
        => (float[2, 3] y) { y = If<
        then_branch = t () => (float[2, 3] a) {
            s = MatMul(x, w)  n = LayerNormalization(s, gamma)  a = MatMul(n, v) },
        else_branch = e () => (float[2, 3] b) { b = Neg(x) }>(flag) }"""
    fires(NAME, text, RULE, opset=23, **f32(w=(3, 4), gamma=(4,), v=(4, 3)))


def test_older_opsets_lack_the_operator(misses):
    misses(NAME, TEXT, "needs opset 23", opset=22, **f32(**SHAPES))


def test_networks_that_normalize_after_their_additions(misses):
    text = TEXT.replace("t = Add(q, s)", "t = Add(q, n)").replace("(s, gamma)", "(s, gamma, c)")
    misses(NAME, text, "written by LayerNormalization", opset=23, **f32(**SHAPES))


def test_the_graph_returns_the_stream(misses):
    text = TEXT.replace("float[2, 5, 3] y)", "float[2, 5, 3] y, float[2, 5, 4] t)")
    misses(NAME, text, "the graph returns it", opset=23, **f32(**SHAPES))


def test_a_product_reads_the_stream_as_it_is(misses):
    text = TEXT.replace("y = MatMul(o, head)", "u = MatMul(t, head)  r = MatMul(o, head)"
                        "  y = Add(u, r)")  # fmt: skip
    misses(NAME, text, "feeds MatMul", opset=23, **f32(**SHAPES))


def test_an_activation_reads_the_stream(misses):
    text = TEXT.replace("y = MatMul(o, head)", "u = Relu(t)  r = MatMul(o, head)"
                        "  f = MatMul(u, head)  y = Add(f, r)")  # fmt: skip
    misses(NAME, text, "Relu", opset=23, **f32(**SHAPES))


def test_an_input_is_added_to_the_stream(misses):
    weights = f32(**SHAPES)
    del weights["places"]
    misses(NAME, TEXT, "inputs, or operators without weights", opset=23, **weights)


def test_an_activation_writes_the_stream(misses):
    text = TEXT.replace("t = Add(q, s)", "e = Relu(q)  t = Add(e, s)")
    misses(NAME, text, "written by Relu", opset=23, **f32(**SHAPES))


def test_a_scale_of_each_channel_on_the_way(misses):
    text = TEXT.replace("t = Add(q, s)", "e = Mul(q, delta)  t = Add(e, s)")
    misses(NAME, text, "written by Mul", opset=23, **f32(**SHAPES))


def test_one_number_is_added_to_all_channels(misses):
    text = TEXT.replace("t = Add(q, s)", "e = Add(q, one)  t = Add(e, s)").replace(
        "float[4] c,", "float[4] c, float one,"
    )
    misses(NAME, text, "Add", opset=23, **f32(**SHAPES, one=()))


def test_a_table_that_is_the_head_as_well(misses):
    text = TEXT.replace("y = MatMul(o, head)", "y = Gemm<transB = 1>(o2, table)").replace(
        "o = LayerNormalization(t, delta)",
        "o = LayerNormalization(t, delta)  flat = Constant<value = int64[2] {10, 4}>()"
        "  o2 = Reshape(o, flat)",
    )
    text = text.replace("float[2, 5, 3] y", "float[10, 1025] y").replace(", float[4, 3] head", "")
    text = text.replace("float[9, 4] table", "float[1025, 4] table")
    weights = f32(**{k: v for k, v in SHAPES.items() if k != "head"} | {"table": (1025, 4)})
    misses(NAME, text, "used elsewhere", opset=23, **weights)


def test_channels_are_joined_before_the_norm(misses):
    text = """g (float[2, 3] x, float[3, 2] w, float[3, 2] v, float[4] gamma, float[4, 3] head)
        => (float[2, 3] y) { a = MatMul(x, w)  b = MatMul(x, v)  s = Concat<axis = 1>(a, b)
        n = LayerNormalization(s, gamma)  y = MatMul(n, head) }"""
    weights = f32(w=(3, 2), v=(3, 2), gamma=(4,), head=(4, 3))
    misses(NAME, text, "written by Concat", opset=23, **weights)


def test_norms_over_more_than_channels(misses):
    text = TEXT.replace("LayerNormalization(t, delta)", "LayerNormalization<axis = 1>(t, wide)")
    text = text.replace("float[4] delta", "float[5, 4] wide")
    shapes = {k: v for k, v in SHAPES.items() if k != "delta"} | {"wide": (5, 4)}
    misses(NAME, text, "spans other axes", opset=23, **f32(**shapes))


def test_statistics_are_returned(misses):
    text = TEXT.replace(
        "o = LayerNormalization(t, delta)", "o, mean = LayerNormalization(t, delta)"
    )
    text = text.replace("float[2, 5, 3] y)", "float[2, 5, 3] y, float[2, 5, 1] mean)")
    misses(NAME, text, "LayerNormalization reads it", opset=23, **f32(**SHAPES))


def test_depthwise_convolutions_write_no_stream(misses):
    text = """g (float[1, 4, 3, 3] x, float[4, 4, 1, 1] w, float[4, 1, 3, 3] d, float[4] gamma,
        float[4, 3] head) => (float[1, 3, 3, 3] y) {
        i = Conv(x, w)  j = Conv<group = 4, pads = [1, 1, 1, 1]>(i, d)
        t = Transpose<perm = [0, 2, 3, 1]>(j)
        n = LayerNormalization(t, gamma)  y = MatMul(n, head) }"""
    weights = f32(w=(4, 4, 1, 1), d=(4, 1, 3, 3), gamma=(4,), head=(4, 3))
    misses(NAME, text, "written by Conv", opset=23, **weights)
