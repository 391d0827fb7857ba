"""Channels without effect go; those that only look like it stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from burnish.passes.folding import redundancy

NAME = "remove-redundant-channels"
DEAD, CONSTANT, TWIN = "dead-channels", "constant-channels", "duplicate-channels"
RNG = np.random.default_rng(3)

MLP = """g (float[2, 4] x, float[4, 6] w, float[6] b, float[6, 3] v, float[3] c)
    => (float[2, 3] y) { m = MatMul(x, w)  h = Add(m, b)  a = Relu(h)
    p = MatMul(a, v)  y = Add(p, c) }"""
CONV = """g (float[1, 3, 6, 6] x, float[6, 3, 3, 3] w, float[6] b, float[6, 1, 3, 3] d, float[6] e,
    float[2, 6, 1, 1] v) => (float[1, 2, 4, 4] y) {
    i = Conv(x, w, b)  r = HardSwish(i)
    j = Conv<group = 6, pads = [1, 1, 1, 1]>(r, d, e)  s = Sigmoid(j)  y = Conv(s, v) }"""


def mlp(**changes: np.ndarray) -> dict[str, Any]:
    shapes = {"w": (4, 6), "b": (6,), "v": (6, 3), "c": (3,)}
    return {n: RNG.normal(size=s).astype(np.float32) for n, s in shapes.items()} | changes


def conv() -> dict[str, Any]:
    shapes = {"w": (6, 3, 3, 3), "b": (6,), "d": (6, 1, 3, 3), "e": (6,), "v": (2, 6, 1, 1)}
    return {n: RNG.normal(size=s).astype(np.float32) for n, s in shapes.items()}


def width(after: Any, op_type: str = "MatMul") -> int:
    """Output channels of the first product."""
    first = next(node for node in after if node.op_type == op_type)
    weight = first.constant_input(1)
    return weight.shape[0 if op_type == "Conv" else -1]


def test_dead(fires):
    weights = mlp()
    weights["v"][[1, 4]] = 0
    assert width(fires(NAME, MLP, DEAD, **weights)) == 4


def test_constant(fires):
    weights = mlp()
    weights["w"][:, [0, 3]] = 0
    weights["b"][[0, 3]] = 2, -1
    assert width(fires(NAME, MLP, CONSTANT, **weights)) == 4


def test_duplicate(fires):
    weights = mlp()
    weights["w"][:, 5], weights["b"][5] = weights["w"][:, 2], weights["b"][2]
    assert width(fires(NAME, MLP, TWIN, **weights)) == 5


def test_multiples_past_relu(fires):
    weights = mlp()
    weights["w"][:, 5], weights["b"][5] = weights["w"][:, 2] * 1.7, weights["b"][2] * 1.7
    assert width(fires(NAME, MLP, TWIN, **weights)) == 5


def test_negative_multiples_where_nothing_is_in_between(fires):
    weights = mlp()
    weights["w"][:, 5], weights["b"][5] = weights["w"][:, 2] * -2, weights["b"][2] * -2
    text = MLP.replace("a = Relu(h)", "a = Identity(h)")
    assert width(fires(NAME, text, TWIN, **weights)) == 5


def test_all_kinds_at_once(exact):
    weights = {name: array.astype(np.float64) for name, array in mlp().items()}
    weights["w"][:, 0] = 0
    weights["v"][1] = 0
    weights["w"][:, 5], weights["b"][5] = weights["w"][:, 2] * 3, weights["b"][2] * 3
    kinds = "MatMul Add Relu MatMul Add"
    after = exact(NAME, MLP.replace("float[", "double["), kinds, **weights)
    assert width(after) == 3


def test_depthwise_convolutions_in_between(fires):
    weights = conv()
    for name in ("w", "b", "d", "e"):
        weights[name][4] = weights[name][1]
    after = fires(NAME, CONV, TWIN, **weights)
    assert width(after, "Conv") == 5
    depthwise = [node for node in after if node.op_type == "Conv"][1]
    assert depthwise.attribute("group") == 5


def test_constants_through_activations_and_zeros_through_padding(fires):
    weights = conv()
    weights["w"][2], weights["b"][2] = 0, 0
    assert width(fires(NAME, CONV, CONSTANT, **weights), "Conv") == 5


def test_a_batch_normalization_that_switches_channels_off(fires):
    text = """g (float[1, 3, 6, 6] x, float[6, 3, 1, 1] w, float[6] gamma, float[6] beta,
        float[6] mean, float[6] variance, float[2, 6, 3, 3] v) => (float[1, 2, 6, 6] y) {
        i = Conv(x, w)  n = BatchNormalization(i, gamma, beta, mean, variance)  r = Relu(n)
        y = Conv<pads = [1, 1, 1, 1]>(r, v) }"""
    shapes = {"w": (6, 3, 1, 1), "gamma": (6,), "beta": (6,), "mean": (6,), "v": (2, 6, 3, 3)}
    weights = {n: RNG.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    weights["variance"] = np.ones(6, np.float32)
    weights["w"][1], weights["mean"][1], weights["beta"][1] = 0, 0, -3
    assert width(fires(NAME, text, CONSTANT, **weights), "Conv") == 5


def test_flattened_images(fires):
    text = """g (float[2, 3, 4, 4] x, float[6, 3, 1, 1] w, float[96, 3] v) => (float[2, 3] y) {
        i = Conv(x, w)  r = Relu(i)  f = Flatten(r)  y = Gemm(f, v) }"""
    weights = {
        "w": RNG.normal(size=(6, 3, 1, 1)).astype(np.float32),
        "v": RNG.normal(size=(96, 3)).astype(np.float32),
    }
    weights["w"][5] = weights["w"][0]
    after = fires(NAME, text, TWIN, **weights)
    assert width(after, "Conv") == 5
    gemm = next(node for node in after if node.op_type == "Gemm")
    assert gemm.constant_input(1).shape == (80, 3)


def test_joined_and_split_channels(fires):
    text = """g (float[2, 4] x, float[4, 3] w, float[4, 4] u, float[7, 2] v) => (float[2, 2] y) {
        a = MatMul(x, w)  b = MatMul(x, u)  s = Concat<axis = 1>(a, b)  r = Relu(s)
        shape = Constant<value = int64[3] {2, 1, 7}>()  t = Reshape(r, shape)
        y3 = MatMul(t, v)  out = Constant<value = int64[2] {2, 2}>()  y = Reshape(y3, out) }"""
    shapes = {"w": (4, 3), "u": (4, 4), "v": (7, 2)}
    weights = {n: RNG.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    weights["v"][[1, 5]] = 0
    after = fires(NAME, text, DEAD, **weights)
    assert [n.constant_input(1).shape for n in after if n.op_type == "MatMul"] == [
        (4, 2), (4, 3), (5, 2),
    ]  # fmt: skip


def test_no_value_is_left_without_channels(misses):
    text = """g (float[2, 4] x, float[4, 3] w, float[4, 2] u, float[5, 2] v) => (float[2, 2] y) {
        a = MatMul(x, w)  b = MatMul(x, u)  s = Concat<axis = 1>(a, b)  r = Relu(s)
        y = MatMul(r, v) }"""
    weights = {"w": RNG.normal(size=(4, 3)), "u": RNG.normal(size=(4, 2)), "v": np.zeros((5, 2))}
    weights["v"][:3] = RNG.normal(size=(3, 2))
    misses(NAME, text, "no channel would be left",
           **{name: array.astype(np.float32) for name, array in weights.items()})  # fmt: skip


def test_widths_stay_a_multiple_of_what_kernels_take(fires):
    text = MLP.replace("6]", "24]").replace("[6,", "[24,")
    shapes = {"w": (4, 24), "b": (24,), "v": (24, 3), "c": (3,)}
    weights = {n: RNG.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    weights["v"][:11] = 0
    assert width(fires(NAME, text, DEAD, **weights)) == 16


def test_one_channel_is_always_left(fires):
    weights = mlp()
    weights["v"][:] = 0
    assert width(fires(NAME, MLP, DEAD, **weights)) == 1


def twin() -> dict[str, Any]:
    weights = mlp()
    weights["w"][:, 5], weights["b"][5] = weights["w"][:, 2], weights["b"][2]
    return weights


def test_too_few_to_pay(misses):
    text = MLP.replace("6]", "8]").replace("[6,", "[8,")
    shapes = {"w": (4, 8), "b": (8,), "v": (8, 3), "c": (3,)}
    weights = {n: RNG.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    weights["v"][0] = 0
    misses(NAME, text, "no multiple of 8", **weights)


def test_another_bias(misses):
    weights = twin()
    weights["b"][5] += 1
    misses(NAME, MLP, None, **weights)


def test_a_difference_at_the_end(misses):
    weights = twin()
    weights["w"][3, 5] += 1
    misses(NAME, MLP, None, **weights)


def test_negative_multiples_past_relu(misses):
    weights = twin()
    weights["w"][:, 5] *= -1
    weights["b"][5] *= -1
    misses(NAME, MLP, None, **weights)


@pytest.mark.parametrize("kind", ["Sigmoid", "Gelu", "Tanh", "Clip"])
def test_multiples_past_other_activations(misses, kind):
    weights = twin()
    weights["w"][:, 5] *= 2
    weights["b"][5] *= 2
    misses(NAME, MLP.replace("Relu(h)", f"{kind}(h)"), None, **weights)


def test_another_slope(misses):
    text = MLP.replace("a = Relu(h)", "a = PRelu(h, slope)").replace(
        "float[3] c", "float[3] c, float[6] slope"
    )
    misses(NAME, text, None, **twin(), slope=np.linspace(0, 1, 6, dtype=np.float32))


def test_a_constant_before_padding(misses):
    weights = conv()
    weights["w"][2] = 0
    misses(NAME, CONV, None, **weights)


def test_a_constant_without_a_bias_to_go_to(misses):
    weights = mlp()
    weights["w"][:, 0], weights["b"][0] = 0, 1
    text = MLP.replace("p = MatMul(a, v)  y = Add(p, c)", "y = MatMul(a, v)")
    del weights["c"]
    misses(NAME, text.replace(", float[3] c", ""), None, **weights)


def test_the_graph_returns_the_channels(misses):
    text = MLP.replace("float[2, 3] y)", "float[2, 3] y, float[2, 6] a)")
    misses(NAME, text, None, **twin())


def test_channels_are_normalized_together(misses):
    text = MLP.replace("a = Relu(h)", "a = LayerNormalization(h, b)")
    misses(NAME, text, None, **twin())


def test_softmax_over_channels(misses):
    misses(NAME, MLP.replace("Relu(h)", "Softmax(h)"), None, **twin())


def test_something_else_is_added(misses):
    text = MLP.replace("a = Relu(h)", "g = Add(h, z)  a = Relu(g)").replace(
        "(float[2, 4] x,", "(float[2, 4] x, float[2, 6] z,"
    )
    misses(NAME, text, None, **twin())


def test_another_reader_uses_a_dead_channel(misses):
    weights = mlp()
    weights["v"][1] = 0
    text = MLP.replace("y = Add(p, c)", "q = Add(p, c)  s = MatMul(a, u)  y = Add(q, s)").replace(
        "float[3] c", "float[3] c, float[6, 3] u"
    )
    misses(NAME, text, None, **weights, u=RNG.normal(size=(6, 3)).astype(np.float32))


def test_a_residual_brings_other_values(misses):
    text = """g (float[2, 4] x, float[4, 6] w, float[4, 6] u, float[6, 3] v) => (float[2, 3] y) {
        m = MatMul(x, w)  n = MatMul(x, u)  s = Add(m, n)  a = Relu(s)  y = MatMul(a, v) }"""
    weights = mlp()
    weights["w"][:, 0] = 0
    weights["w"][:, 5] = weights["w"][:, 2]
    u = RNG.normal(size=(4, 6)).astype(np.float32)
    misses(NAME, text, None, w=weights["w"], u=u, v=weights["v"])


def test_a_size_that_is_computed(misses):
    text = """g (float[2, 4] x, float[4, 6] w, int64[2] shape, float[6, 3] v) => (float[2, 3] y) {
        m = MatMul(x, w)  a = Relu(m)  size = Shape(a)  r = Reshape(a, size)
        y = MatMul(r, v) }"""
    weights = twin()
    misses(NAME, text.replace(" int64[2] shape,", ""), None, w=weights["w"], v=weights["v"])


def test_negative_multiples_that_differ_late(misses):
    weights = mlp()
    text = MLP.replace("h = Add(m, b)  a = Relu(h)", "a = Relu(m)").replace(" float[6] b,", "")
    del weights["b"]
    weights["w"] = np.float32([[0] * 6, [0] * 6, [0] * 6, [1, -1, 0, 0, 0, 0]])
    weights["w"][:, 2:] = RNG.normal(size=(4, 4))
    misses(NAME, text, None, **weights)


def test_multiples_that_differ_late(fires):
    weights = mlp()
    weights["w"] = np.float32([[0] * 6, [0] * 6, [0] * 6, [1, 3, 0, 0, 0, 0]])
    weights["w"][:, 2:] = RNG.normal(size=(4, 4))
    del weights["b"]
    text = MLP.replace("h = Add(m, b)  a = Relu(h)", "a = Relu(m)").replace(" float[6] b,", "")
    assert width(fires(NAME, text, TWIN, **weights)) == 5


def test_kernels_that_differ_late(misses):
    weights = conv()
    for name in ("w", "b", "d", "e"):
        weights[name][4] = weights[name][1]
    weights["d"][4, 0, 2, 2] += 1
    misses(NAME, CONV, None, **weights)


PADDED = """g (float[1, 3, 4, 4] x, float[6, 3, 1, 1] w, float[6] b, float[2, 6, 3, 3] v,
    float[2] c) => (float[1, 2, 4, 4] y) { i = Conv(x, w, b)  r = Relu(i)
    y = Conv<pads = [1, 1, 1, 1]>(r, v, c) }"""
PADDED_SHAPES = {"w": (6, 3, 1, 1), "b": (6,), "v": (2, 6, 3, 3), "c": (2,)}


def padded(bias: float) -> dict[str, Any]:
    weights = {n: RNG.normal(size=s).astype(np.float32) for n, s in PADDED_SHAPES.items()}
    weights["w"][3], weights["b"][3] = 0, bias
    return weights


def test_zeros_before_a_reader_that_pads(fires):
    assert width(fires(NAME, PADDED, CONSTANT, **padded(-1.0)), "Conv") == 5


def test_constants_before_a_reader_that_pads(misses):
    misses(NAME, PADDED, None, **padded(1.0))


def test_constants_before_an_average_that_pads(misses):
    text = PADDED.replace("r = Relu(i)", "r = AveragePool<kernel_shape = [3, 3], "
                          "pads = [1, 1, 1, 1], count_include_pad = 1>(i)")  # fmt: skip
    text = text.replace("Conv<pads = [1, 1, 1, 1]>", "Conv").replace("2, 4, 4] y", "2, 2, 2] y")
    misses(NAME, text, None, **padded(1.0))


def test_channels_are_normalized_together_without_scale(misses):
    weights = mlp()
    weights["v"][1] = 0
    text = MLP.replace("a = Relu(h)", "a = RMSNormalization(h, one)").replace(
        "float[3] c", "float[3] c, float[6] one"
    )
    misses(NAME, text, None, opset=23, **weights, one=np.ones(6, np.float32))


def test_what_is_added_differs_between_rows(misses):
    weights = mlp()
    weights["w"][:, [0, 3]] = 0
    text = MLP.replace("float[6] b", "float[2, 6] b")
    misses(NAME, text, None, **(weights | {"b": RNG.normal(size=(2, 6)).astype(np.float32)}))


def test_sparse_weights_are_not_compared_in_pairs(misses, monkeypatch):
    compared = []
    monkeypatch.setattr(redundancy, "_multiple", lambda *lines: compared.append(lines))
    rng = np.random.default_rng(0)
    w, v = (rng.normal(size=s) * (rng.random(s) < 0.2) for s in ((16, 128), (128, 16)))
    text = """g (float[2, 16] x, float[16, 128] w, float[128, 16] v) => (float[2, 16] y) {
        m = MatMul(x, w)  a = Relu(m)  y = MatMul(a, v) }"""
    w[0], v[:, 0] = 1, 1
    misses(NAME, text, None, w=w.astype(np.float32), v=v.astype(np.float32))
    assert len(compared) < 128
