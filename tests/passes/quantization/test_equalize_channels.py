"""equalize-channels: ranges of weights are balanced where a scale per channel changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from burnish.testing import assert_equivalent
from tests.passes.conftest import build

NAME, RULE = "equalize-channels", "channel-ranges"

MLP = """g (float[2, 4] x, float[4, 6] w, float[6] b, float[6, 3] v) => (float[2, 3] y) {{
    m = MatMul(x, w)  h = Add(m, b)  {}  y = MatMul(a, v) }}"""
INVERTED = """g (float[1, 4, 6, 6] x, float[8, 4, 1, 1] w, float[8] b, float[8, 1, 3, 3] d,
    float[8] e, float[4, 8, 1, 1] v, float zero, float six) => (float[1, 4, 6, 6] y) {
    i = Conv(x, w, b)  r = Clip(i, zero, six)
    j = Conv<group = 8, pads = [1, 1, 1, 1]>(r, d, e)  s = Relu(j)  y = Conv(s, v) }"""


def uneven(seed: int, *shape: int, axis: int) -> np.ndarray:
    """Weights whose channels along ``axis`` differ up to a hundredfold."""
    rng = np.random.default_rng(seed)
    sizes = [1] * len(shape)
    sizes[axis] = shape[axis]
    return np.float32(rng.normal(size=shape) * 10 ** rng.uniform(-1, 1, sizes))


def mlp(**changes: Any) -> dict[str, Any]:
    found = {"w": uneven(1, 4, 6, axis=1), "v": uneven(2, 6, 3, axis=0)}
    return found | {"b": uneven(3, 6, axis=0)} | changes


def inverted() -> dict[str, Any]:
    return {
        "w": uneven(1, 8, 4, 1, 1, axis=0), "b": uneven(2, 8, axis=0),
        "d": uneven(3, 8, 1, 3, 3, axis=0), "e": uneven(4, 8, axis=0),
        "v": uneven(5, 4, 8, 1, 1, axis=1), "zero": np.float32(0), "six": np.float32(6),
    }  # fmt: skip


def spread(weight: np.ndarray, axis: int) -> np.ndarray:
    """The largest weight of each channel."""
    others = tuple(a for a in range(weight.ndim) if a != axis)
    return np.abs(weight).max(axis=others)


@pytest.mark.parametrize("between", ["a = Relu(h)", "a = LeakyRelu(h)", "a = Identity(h)"])
def test_products(fires, between):
    after = fires(NAME, MLP.format(between), RULE, **mlp())
    w, v = (node.constant_input(1).numpy() for node in after if node.op_type == "MatMul")
    np.testing.assert_allclose(spread(w, 1), spread(v, 0), rtol=0.01)


def test_chain_with_depthwise_and_clip(fires):
    after = fires(NAME, INVERTED, RULE, RULE, **inverted())
    assert [node.op_type for node in after] == ["Conv", "Relu", "Min", "Conv", "Relu", "Conv"]
    w, d, v = (node.constant_input(1).numpy() for node in after if node.op_type == "Conv")
    np.testing.assert_allclose(spread(w, 0), spread(d, 0), rtol=0.02)
    np.testing.assert_allclose(spread(d, 0), spread(v, 1), rtol=0.02)


def test_bounds_that_are_not_zero():
    text = MLP.format("lo = Constant<value = float {-1}>()  a = Clip(h, lo)")
    graph = build(text, 21, mlp())
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    run_pass(graph, get_pass("fold-constants"), PassContext())
    assert run_pass(graph, get_pass(NAME), PassContext()).changed
    assert [n.op_type for n in graph] == ["MatMul", "Add", "Max", "MatMul"]


def test_channels_that_nothing_writes_or_reads_keep_their_scale(fires):
    weights = mlp()
    weights["w"][:, 2], weights["v"][4] = 0, 0
    after = fires(NAME, MLP.format("a = Relu(h)"), RULE, **weights)
    w, v = (node.constant_input(1).numpy() for node in after if node.op_type == "MatMul")
    np.testing.assert_array_equal(v[2], weights["v"][2])
    np.testing.assert_array_equal(w[:, 4], weights["w"][:, 4])


@pytest.mark.parametrize("kind", ["Sigmoid", "HardSwish", "Softplus", "Tanh"])
def test_what_is_not_linear(misses, kind):
    misses(NAME, MLP.format(f"a = {kind}(h)"), f"{kind} is not linear", **mlp())


def test_softmax_over_the_channels(misses):
    misses(NAME, MLP.format("a = Softmax(h)"), "Softmax is not linear", **mlp())


def test_normalization_over_the_channels(misses):
    ones = np.ones(6, np.float32)
    text = MLP.replace("float[6] b", "float[6] b, float[6] g")
    text = text.format("a = LayerNormalization(h, g)")
    misses(NAME, text, "LayerNormalization is not linear", **mlp(g=ones))


def test_computed_bounds(misses):
    text = MLP.replace("float[4, 6] w", "float top, float[4, 6] w").format("a = Clip(h, , top)")
    misses(NAME, text, "Clip", **mlp())


def test_results_that_the_model_returns(misses):
    text = MLP.replace("float[2, 3] y)", "float[2, 3] y, float[2, 6] a)").format("a = Relu(h)")
    misses(NAME, text, "returns it", **mlp())


def test_balanced_weights(misses):
    w = np.ones((4, 6), np.float32)
    misses(NAME, MLP.format("a = Relu(h)"), None, **mlp(w=w, v=np.ones((6, 3), np.float32)))


def test_clips_may_be_left_alone():
    before, after = build(INVERTED, 21, inverted()), build(INVERTED, 21, inverted())
    report = run_pass(after, get_pass(NAME, clips=False), PassContext(explain=True))
    assert [miss.reason for miss in report.missed] == [
        "no scale for each channel gets past: Clip is not linear in it"
    ]
    assert [node.op_type for node in after] == ["Conv", "Clip", "Conv", "Relu", "Conv"]
    assert_equivalent(before, after, get_pass(NAME).numerics)


def test_half_precision_does_not_overflow():
    weights = {n: a.astype(np.float16) for n, a in mlp().items()}
    weights["w"][:] = 2e-4
    weights["v"][:] = 6e4
    weights["b"][:] = 1
    text = MLP.format("a = Relu(h)").replace("float[", "float16[")
    after = build(text, 21, weights)
    run_pass(after, get_pass("infer-shapes"), PassContext())
    report = run_pass(after, get_pass(NAME), PassContext(explain=True))
    for node in after:
        for value in node.inputs:
            assert (
                value is None or value.constant is None or np.isfinite(value.constant.numpy()).all()
            )
    assert report.changed != any("fit" in miss.reason for miss in report.missed)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 1000), st.integers(1, 4))
def test_any_chain(seed, length):
    rng = np.random.default_rng(seed)
    lines, weights, x = [], {}, "x"
    for place in range(length):
        kind = ("Relu", "LeakyRelu", "Abs", "Clip", "Sigmoid", "Identity")[rng.integers(6)]
        lines.append(f"m{place} = MatMul({x}, w{place})  a{place} = {kind}(m{place})")
        weights[f"w{place}"] = uneven(seed + place, 4, 4, axis=int(rng.integers(2)))
        x = f"a{place}"
    given_weights = ", ".join(f"float[4, 4] {name}" for name in weights)
    body = " ".join([*lines, f"y = Neg({x})"])
    text = f"g (float[2, 4] x, {given_weights}) => (float[2, 4] y) {{ {body} }}"
    before, after = build(text, 21, weights), build(text, 21, weights)
    for each in (before, after):
        run_pass(each, get_pass("infer-shapes"), PassContext())
    if run_pass(after, get_pass(NAME), PassContext()).changed:
        assert_equivalent(before, after, get_pass(NAME).numerics)
    assert not run_pass(after, get_pass(NAME), PassContext()).changed


def test_weights_that_others_use_too():
    shared = uneven(1, 600, 600, axis=1)
    text = """g (float[2, 600] x, float[600, 600] w, float[600, 3] v, float[1] two)
        => (float[2, 3] y, float[2, 600] z) {
        m = MatMul(x, w)  a = Relu(m)  y = MatMul(a, v)  n = Mul(w, two)  z = MatMul(x, n) }"""
    after = build(text, 21, {"w": shared, "v": uneven(2, 600, 3, axis=0)})
    run_pass(after, get_pass("infer-shapes"), PassContext())
    report = run_pass(after, get_pass(NAME), PassContext(explain=True))
    assert not report.changed
    assert any("used elsewhere" in miss.reason for miss in report.missed)
