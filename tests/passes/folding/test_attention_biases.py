"""Biases of keys vanish, those of values go behind attention."""

from __future__ import annotations

from typing import Any

import numpy as np

NAME = "fold-attention-biases"
RNG = np.random.default_rng(2)


def f32(**shapes: tuple[int, ...]) -> dict[str, Any]:
    return {name: RNG.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}


TEXT = """g (float[2, 5, 6] x, float[6, 6] wq, float[6] bq, float[6, 6] wk, float[6] bk,
    float[6, 6] wv, float[6] bv, float[6, 4] wo, float[4] bo) => (float[2, 5, 4] y) {
    heads = Constant<value = int64[4] {2, 5, 3, 2}>()
    together = Constant<value = int64[3] {2, 5, 6}>()
    root = Constant<value = float {0.7}>()
    mq = MatMul(x, wq)  q = Add(mq, bq)  rq = Reshape(q, heads)
    mk = MatMul(x, wk)  k = Add(bk, mk)  rk = Reshape(k, heads)
    mv = MatMul(x, wv)  v = Add(mv, bv)  rv = Reshape(v, heads)
    tq = Transpose<perm = [0, 2, 1, 3]>(rq)
    tk = Transpose<perm = [0, 2, 3, 1]>(rk)
    tv = Transpose<perm = [0, 2, 1, 3]>(rv)
    s = MatMul(tq, tk)  scaled = Mul(s, root)  p = Softmax(scaled)  w = MatMul(p, tv)
    tw = Transpose<perm = [0, 2, 1, 3]>(w)  r = Reshape(tw, together)
    o = MatMul(r, wo)  y = Add(o, bo) }"""
SHAPES: dict[str, tuple[int, ...]] = {
    "wq": (6, 6), "bq": (6,), "wk": (6, 6), "bk": (6,), "wv": (6, 6), "bv": (6,), "wo": (6, 4),
    "bo": (4,),
}  # fmt: skip

OPERATOR = """g (float[2, 5, 6] x, float[6, 6] wq, float[6, 2] wk, float[2] bk, float[6, 2] wv,
    float[2] bv, float[6, 4] wo, float[4] bo) => (float[2, 5, 4] y) {
    q = MatMul(x, wq)  mk = MatMul(x, wk)  k = Add(mk, bk)  mv = MatMul(x, wv)  v = Add(mv, bv)
    a = Attention<q_num_heads = 3, kv_num_heads = 1>(q, k, v)
    o = MatMul(a, wo)  y = Add(o, bo) }"""
GROUPED: dict[str, tuple[int, ...]] = {
    "wq": (6, 6), "wk": (6, 2), "bk": (2,), "wv": (6, 2), "bv": (2,), "wo": (6, 4), "bo": (4,),
}  # fmt: skip


def masked(line: str, given: str = "") -> str:
    """The spelled-out attention with ``line`` making ``p`` from ``scaled``."""
    head = given and f", {given}"
    return TEXT.replace("p = Softmax(scaled)", line).replace("float[4] bo)", f"float[4] bo{head})")


def test_spelled_out(fires):
    after = fires(NAME, TEXT, "key-bias", "value-bias", **f32(**SHAPES))
    assert [node.op_type for node in after].count("Add") == 2


def test_exact_in_double_precision(exact):
    text = TEXT.replace("float[", "double[").replace("value = float {", "value = double {")
    kinds = (
        "MatMul Add Reshape MatMul Reshape MatMul Reshape Transpose Transpose Transpose MatMul"
        " Mul Softmax MatMul Transpose Reshape MatMul Add"
    )
    exact(NAME, text, kinds, **{name: RNG.normal(size=shape) for name, shape in SHAPES.items()})


def test_one_head_of_keys_for_several_of_queries(fires):
    after = fires(NAME, OPERATOR, "key-bias", "value-bias", opset=23, **f32(**GROUPED))
    assert len(after) == 6


def test_a_mask_is_added(fires):
    text = masked("m = Add(scaled, mask)  p = Softmax(m)", "float[2, 1, 5, 5] mask")
    fires(NAME, text, "key-bias", "value-bias", **f32(**SHAPES))


def test_hidden_scores_are_replaced(fires):
    low = "low = Constant<value = float {-100000.0}>()"
    text = masked(f"{low}  m = Where(mask, scaled, low)  p = Softmax(m)", "bool[2, 1, 5, 5] mask")
    mask = RNG.random((2, 1, 5, 5)) > 0.5
    mask[..., 0] = True
    fires(NAME, text, "key-bias", "value-bias", **f32(**SHAPES), mask=mask)


def test_products_with_bias_inside(fires):
    text = """g (float[5, 6] x, float[6, 6] wq, float[6, 6] wk, float[6] bk, float[6, 6] wv,
        float[6] bv, float[6, 4] wo) => (float[5, 4] y) {
        q = MatMul(x, wq)  k = Gemm<transB = 1>(x, wk, bk)  v = Gemm<beta = 0.5>(x, wv, bv)
        tk = Transpose<perm = [1, 0]>(k)  s = MatMul(q, tk)  p = Softmax(s)  a = MatMul(p, v)
        y = Gemm(a, wo) }"""
    shapes = {name: shape for name, shape in SHAPES.items() if name not in ("bq", "bo")}
    fires(NAME, text, "key-bias", "value-bias", **f32(**shapes))


def test_keys_turned_by_position(misses):
    text = TEXT.replace("rk = Reshape(k, heads)", "ck = Mul(k, angle)  rk = Reshape(ck, heads)")
    text = text.replace("float[4] bo)", "float[4] bo, float[5, 6] angle)").replace("bv)", "zero)")
    weights = f32(**SHAPES, angle=(5, 6))
    text = text.replace("v = Add(mv, zero)", "v = Neg(mv)")
    misses(NAME, text, "Mul is between the bias and the scores", **weights)


def only_keys(text: str) -> str:
    """The same without a bias of values."""
    return text.replace("v = Add(mv, bv)", "v = Neg(mv)")


def only_values(text: str) -> str:
    """The same without a bias of keys."""
    return text.replace("k = Add(bk, mk)", "k = Neg(mk)")


def test_normalized_keys(misses):
    text = only_keys(TEXT).replace(
        "rk = Reshape(k, heads)", "nk = LayerNormalization(k, bq)  rk = Reshape(nk, heads)"
    )
    misses(NAME, text, "LayerNormalization is between", **f32(**SHAPES))


def test_returned_keys(misses):
    text = only_keys(TEXT).replace("float[2, 5, 4] y)", "float[2, 5, 4] y, float[2, 3, 2, 5] tk)")
    misses(NAME, text, "keys are returned", **f32(**SHAPES))


def test_returned_scores(misses):
    text = only_keys(TEXT).replace("float[2, 5, 4] y)", "float[2, 5, 4] y, float[2, 3, 5, 5] s)")
    misses(NAME, text, "scores are read by others", **f32(**SHAPES))


def test_capped_scores(misses):
    text = only_keys(masked("c = Tanh(scaled)  p = Softmax(c)"))
    misses(NAME, text, "Tanh is between the scores and Softmax", **f32(**SHAPES))


def test_softmax_over_queries(misses):
    text = only_keys(masked("p = Softmax<axis = -2>(scaled)"))
    misses(NAME, text, "does not go over the keys", **f32(**SHAPES))


def test_sigmoid_instead_of_softmax(misses):
    text = only_keys(masked("p = Sigmoid(scaled)"))
    misses(NAME, text, "Sigmoid is between", **f32(**SHAPES))


def test_hidden_scores_that_are_not_low(misses):
    text = masked("zero = Constant<value = float {0}>()  m = Where(mask, scaled, zero)"
                  "  p = Softmax(m)", "bool[2, 1, 5, 5] mask")  # fmt: skip
    misses(NAME, only_keys(text), "Where is between", **f32(**SHAPES))


def test_a_bias_for_each_key(misses):
    misses(NAME, only_keys(TEXT).replace("float[6] bk", "float[5, 6] bk"), "not one number per",
           **f32(**(SHAPES | {"bk": (5, 6)})))  # fmt: skip


def test_past_keys_are_in_front(misses):
    text = (
        only_keys(TEXT)
        .replace(
            "rk = Reshape(k, heads)",
            "past = Neg(mk)  all = Concat<axis = 1>(past, k)  more = Constant<value = "
            "int64[4] {2, 10, 3, 2}>()  rk = Reshape(all, more)",
        )
        .replace("w = MatMul(p, tv)", "vv = Concat<axis = 2>(tv, tv)  w = MatMul(p, vv)")
    )
    misses(NAME, text, "Concat is between", **f32(**SHAPES))


def test_one_bias_for_keys_and_values(misses):
    text = TEXT.replace("rv = Reshape(v, heads)", "rv = Reshape(k, heads)")
    misses(NAME, text, "cannot go on", **f32(**SHAPES))


def test_rows_without_weight(misses):
    text = masked(
        "m = Softmax(scaled)  bad = IsNaN(m)  zero = Constant<value = float {0}>()"
        "  p = Where(bad, zero, m)"
    )
    misses(NAME, only_values(text), "not sum to one", **f32(**SHAPES))


def test_weights_that_are_dropped(misses):
    text = only_values(masked("m = Softmax(scaled)  p = Mul(m, keep)", "float[2, 1, 5, 5] keep"))
    misses(NAME, text, None, **f32(**SHAPES))


def test_the_result_goes_elsewhere(misses):
    text = only_values(TEXT).replace("float[2, 5, 4] y)", "float[2, 5, 4] y, float[2, 5, 6] r)")
    misses(NAME, text, "the graph returns it", **f32(**SHAPES))


def test_no_bias_behind_attention(misses):
    text = only_values(TEXT).replace("o = MatMul(r, wo)  y = Add(o, bo)", "y = MatMul(r, wo)")
    misses(NAME, text, "no bias to take the shift", **f32(**SHAPES))


def test_an_operator_that_caps_its_scores(misses):
    text = OPERATOR.replace("kv_num_heads = 1", "kv_num_heads = 1, softcap = 2.0")
    text = text.replace("v = Add(mv, bv)", "v = Neg(mv)")
    misses(NAME, text, "caps its scores", opset=23, **f32(**GROUPED))


def test_an_operator_with_queries_made_alike(misses):
    text = OPERATOR.replace("q_num_heads = 3", "q_num_heads = 1").replace("(q, k, v)", "(k, k, v)")
    text = text.replace("float[6, 4] wo", "float[2, 4] wo").replace(
        "v = Add(mv, bv)", "v = Neg(mv)"
    )
    misses(NAME, text, "makes queries or values too", opset=23, **f32(**GROUPED | {"wo": (2, 4)}))


def test_an_operator_with_past_keys(misses):
    text = OPERATOR.replace("(q, k, v)", "(q, k, v, , past, past)")
    text = text.replace("v = Add(mv, bv)", "v = Neg(mv)")
    text = text.replace("float[4] bo)", "float[4] bo, float[2, 1, 7, 2] past)")
    misses(NAME, text, "takes or returns keys", opset=23, **f32(**GROUPED))


def test_softmax_over_channels(misses):
    text = """g (float[2, 5, 5] a, float[2, 5, 6] x, float[6, 6] wv, float[6] bv) => (float y) {
        mv = MatMul(x, wv)  v = Add(mv, bv)  s = MatMul(a, v)  y = Softmax(s) }"""
    misses(NAME, text, "not one of queries and keys", **f32(wv=(6, 6), bv=(6,)))


def test_a_mask_that_may_hide_whole_rows(misses):
    text = OPERATOR.replace("(q, k, v)", "(q, k, v, mask)").replace(
        "k = Add(mk, bk)", "k = Neg(mk)"
    )
    for kind in ("bool", "float"):
        given = text.replace("float[4] bo)", f"float[4] bo, {kind}[5, 5] mask)")
        misses(NAME, given, "not sum to one", opset=23, **f32(**GROUPED))


def test_a_bias_of_keys_that_adds_an_axis(misses):
    text = """g (float[3, 6] x, float[3, 6] q, float[6, 6] wk, float[1, 1, 6] bk)
        => (float[1, 3, 6] y) {
        mk = MatMul(x, wk)  k = Add(mk, bk)  tk = Transpose<perm = [0, 2, 1]>(k)
        s = MatMul(q, tk)  p = Softmax(s)  y = MatMul(p, x) }"""
    misses(NAME, text, "more axes than the data", **f32(wk=(6, 6), bk=(1, 1, 6)))
