"""Scale and shift of normalizations go into the weights that read them."""

from __future__ import annotations

from typing import Any

import numpy as np

NAME = "fold-layer-norm"
RULE = "scale-and-shift"
RNG = np.random.default_rng(0)
GAMMA, BETA = RNG.normal(1, 0.5, 4), RNG.normal(0, 1, 4)
W, V, B, C = (RNG.normal(size=s) for s in ((4, 6), (4, 3), (6,), (3,)))


def f32(**arrays: np.ndarray) -> dict[str, Any]:
    return {name: array.astype(np.float32) for name, array in arrays.items()}


TWO_READERS = """g (float[2, 5, 4] x, float[4] gamma, float[4] beta, float[4, 6] w, float[6] b,
    float[4, 3] v, float[3] c) => (float[2, 5, 6] y, float[2, 5, 3] z) {
    n = LayerNormalization<axis = -1>(x, gamma, beta)
    m = MatMul(n, w)  y = Add(m, b)  k = MatMul(n, v)  z = Add(c, k) }"""
WEIGHTS = f32(gamma=GAMMA, beta=BETA, w=W, b=B, v=V, c=C)


def test_two_products(fires):
    after = fires(NAME, TWO_READERS, RULE, **WEIGHTS)
    norm = next(node for node in after if node.op_type == "LayerNormalization")
    assert len(norm.inputs) == 2
    assert (norm.constant_input(1).numpy() == 1).all()
    assert len(after) == 5


def test_exact_in_double_precision(exact):
    text = TWO_READERS.replace("float[", "double[")
    exact(
        NAME,
        text,
        "LayerNormalization MatMul Add MatMul Add",
        gamma=GAMMA,
        beta=BETA,
        w=W,
        b=B,
        v=V,
        c=C,
    )


def test_gemm_with_alpha_and_beta_behind_a_chosen_row(fires):
    text = """g (float[2, 5, 4] x, float[4] gamma, float[4] beta, float[6, 4] w, float[6] b)
        => (float[2, 6] y) {
        n = LayerNormalization(x, gamma, beta)
        first = Constant<value = int64 {0}>()
        r = Gather<axis = 1>(n, first)
        y = Gemm<transB = 1, alpha = 0.5, beta = 2.0>(r, w, b) }"""
    fires(NAME, text, RULE, **f32(gamma=GAMMA, beta=BETA, w=W.T.copy(), b=B))


def test_a_gemm_without_bias_gets_one(fires):
    text = """g (float[5, 4] x, float[4] gamma, float[4] beta, float[4, 6] w)
        => (float[5, 6] y) { n = LayerNormalization(x, gamma, beta)
        y = Gemm<beta = 0.0>(n, w) }"""
    after = fires(NAME, text, RULE, **f32(gamma=GAMMA, beta=BETA, w=W))
    assert len(after) == 2


def test_a_scale_alone_needs_no_bias(fires):
    text = """g (float[5, 4] x, float[4] gamma, float[4, 6] w)
        => (float[5, 6] y) { n = RMSNormalization(x, gamma)  y = MatMul(n, w) }"""
    fires(NAME, text, RULE, opset=23, **f32(gamma=GAMMA, w=W))


def test_a_convolution_behind_views(fires):
    text = """g (float[2, 9, 4] x, float[4] gamma, float[4] beta, float[6, 4, 1, 1] w)
        => (float[2, 6, 3, 3] y) { n = LayerNormalization(x, gamma, beta)
        t = Transpose<perm = [0, 2, 1]>(n)
        shape = Constant<value = int64[4] {2, 4, 3, 3}>()
        i = Reshape(t, shape)  y = Conv(i, w) }"""
    fires(NAME, text, RULE, **f32(gamma=GAMMA, beta=BETA, w=W.T[:, :, None, None].copy()))


def test_a_padded_convolution_takes_a_scale(fires):
    text = """g (float[2, 9, 4] x, float[4] gamma, float[6, 4, 3, 3] w) => (float[2, 6, 3, 3] y) {
        n = LayerNormalization(x, gamma)
        t = Transpose<perm = [0, 2, 1]>(n)
        shape = Constant<value = int64[4] {2, 4, 3, 3}>()
        i = Reshape(t, shape)  y = Conv<pads = [1, 1, 1, 1]>(i, w) }"""
    fires(NAME, text, RULE, **f32(gamma=GAMMA, w=RNG.normal(size=(6, 4, 3, 3))))


def test_a_weight_read_twice_is_scaled_once(fires):
    text = """g (float[2, 5, 4] x, float[4] gamma, float[4, 6] w)
        => (float[2, 5, 6] y, float[2, 4, 6] z) {
        n = LayerNormalization(x, gamma)
        start = Constant<value = int64[1] {1}>()
        end = Constant<value = int64[1] {5}>()
        axis = Constant<value = int64[1] {1}>()
        tail = Slice(n, start, end, axis)
        y = MatMul(n, w)  z = MatMul(tail, w) }"""
    after = fires(NAME, text, RULE, **f32(gamma=GAMMA, w=W))
    products = [node for node in after if node.op_type == "MatMul"]
    assert products[0].inputs[1] is products[1].inputs[1]


KEYS = """g (float[2, 5, 4] x, float[4] gamma, float[4] beta, float[4, 6] w, float[6] b,
    float[4, 6] k, float[4, 6] v, float[6] c) => (float[2, 5, 6] y) {
    n = LayerNormalization(x, gamma, beta)
    q0 = MatMul(n, w)  q = Add(q0, b)  keys = MatMul(n, k)  v0 = MatMul(n, v)  u = Add(v0, c)
    t = Transpose<perm = [0, 2, 1]>(keys)  s = MatMul(q, t)  p = Softmax(s)
    y = MatMul(p, u) }"""


def test_keys_need_no_bias(fires):
    weights = WEIGHTS | f32(k=RNG.normal(size=(4, 6)), v=RNG.normal(size=(4, 6)))
    after = fires(NAME, KEYS, RULE, **weights | f32(c=RNG.normal(size=6)))
    assert len(after) == 10


def test_keys_that_are_returned_do(misses):
    text = KEYS.replace("float[2, 5, 6] y)", "float[2, 5, 6] y, float[2, 6, 5] t)")
    weights = WEIGHTS | f32(k=RNG.normal(size=(4, 6)), v=RNG.normal(size=(4, 6)))
    misses(NAME, text, "MatMul has no bias", **weights | f32(c=RNG.normal(size=6)))


def test_another_reader_keeps_it(misses):
    text = TWO_READERS.replace("z = Add(c, k)", "z = Add(c, k)  r = Relu(n)").replace(
        "float[2, 5, 3] z", "float[2, 5, 3] z, float[2, 5, 4] r"
    )
    misses(NAME, text, "Relu reads it", **WEIGHTS)


def test_the_graph_returns_it(misses):
    text = TWO_READERS.replace("float[2, 5, 3] z)", "float[2, 5, 3] z, float[2, 5, 4] n)")
    misses(NAME, text, "the graph returns it", **WEIGHTS)


def test_no_bias_to_take_the_shift(misses):
    text = TWO_READERS.replace("k = MatMul(n, v)  z = Add(c, k)", "z = MatMul(n, v)").replace(
        ", float[3] c", ""
    )
    weights = {name: array for name, array in WEIGHTS.items() if name != "c"}
    misses(NAME, text, "MatMul has no bias", **weights)


def test_a_bias_that_is_computed(misses):
    weights = {name: array for name, array in WEIGHTS.items() if name != "b"}
    misses(NAME, TWO_READERS, "MatMul has no bias", **weights)


def test_weights_that_are_computed(misses):
    weights = {name: array for name, array in WEIGHTS.items() if name != "v"}
    misses(NAME, TWO_READERS, "MatMul reads it", **weights)


def test_weights_used_elsewhere(misses):
    text = TWO_READERS.replace("z = Add(c, k)", "z = Add(c, k)  o = MatMul(x, v)").replace(
        "float[2, 5, 3] z", "float[2, 5, 3] z, float[2, 5, 3] o"
    )
    text = text.replace("5, 3]", "5, 1200]").replace("4, 3]", "4, 1200]").replace("[3]", "[1200]")
    wide = f32(v=RNG.normal(size=(4, 1200)), c=RNG.normal(size=1200))
    misses(NAME, text, "used elsewhere", **WEIGHTS | wide)


def test_a_shift_before_a_convolution_that_pads(misses):
    text = """g (float[2, 9, 4] x, float[4] gamma, float[4] beta, float[6, 4, 3, 3] w)
        => (float[2, 6, 3, 3] y) { n = LayerNormalization(x, gamma, beta)
        t = Transpose<perm = [0, 2, 1]>(n)
        shape = Constant<value = int64[4] {2, 4, 3, 3}>()
        i = Reshape(t, shape)  y = Conv<pads = [1, 1, 1, 1]>(i, w) }"""
    weights = f32(gamma=GAMMA, beta=BETA, w=RNG.normal(size=(6, 4, 3, 3)))
    misses(NAME, text, "differs at the border", **weights)


def test_norms_over_more_than_channels(misses):
    text = """g (float[2, 5, 4] x, float[5, 4] gamma, float[4, 6] w) => (float[2, 5, 6] y) {
        n = LayerNormalization<axis = 1>(x, gamma)  y = MatMul(n, w) }"""
    misses(
        NAME, text, "does not go over the channels alone", **f32(gamma=RNG.normal(size=(5, 4)), w=W)
    )


def test_a_subgraph_reads_it(misses):
    text = """g (float[5, 4] x, bool flag, float[4] gamma, float[4, 6] w)
        => (float[5, 6] y, float[5, 4] z) {
        n = LayerNormalization(x, gamma)  y = MatMul(n, w)
        z = If<then_branch = t () => (float[5, 4] a) { a = Neg(n) },
               else_branch = e () => (float[5, 4] b) { b = Abs(n) }>(flag) }"""
    misses(NAME, text, "Neg reads it", **f32(gamma=GAMMA, w=W))


def test_folded_weights_that_overflow(misses):
    text = TWO_READERS
    weights = WEIGHTS | f32(gamma=np.full(4, 1e30), w=np.full((4, 6), 1e30))
    misses(NAME, text, "would not fit", **weights)


def test_ones_and_zeros_are_left_alone(misses):
    weights = WEIGHTS | f32(gamma=np.ones(4), beta=np.zeros(4))
    misses(NAME, TWO_READERS, None, **weights)


def test_a_gemm_that_multiplies_its_bias_by_zero(misses):
    text = """g (float[2, 4] x, float[4] gamma, float[4] beta, float[4, 6] w, float[6] b)
        => (float[2, 6] y) {
        n = LayerNormalization(x, gamma, beta)  y = Gemm<beta = 0.0>(n, w, b) }"""
    misses(NAME, text, "multiplies its bias by 0", **f32(gamma=GAMMA, beta=BETA, w=W, b=B))
