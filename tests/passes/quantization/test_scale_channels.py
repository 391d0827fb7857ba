"""scale-channels: channels become even behind functions that no scale passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from burnish.calibration import Calibration, Channels
from burnish.ir import Graph, OperatorNode
from burnish.oracle import Oracle, random_inputs
from burnish.passes import get_pass
from burnish.passes.quantization.channel_scales import (
    balanced_scales,
    even_scales,
    smoothing_scales,
)
from burnish.pipeline import PassContext, copy_of, run_pass
from burnish.testing import assert_equivalent
from tests.passes.conftest import build
from tests.passes.quantization.calibrated import applied, on, uneven

NAME = "scale-channels"
HEAD = """g (float[1, 4, 6, 6] x, float[8, 4, 1, 1] w, float[8] b, float[8, 1, 3, 3] d,
    float[8, 8, 1, 1] v, float[8] s, float[16, 1, 3, 3] t) => (float y"""
DEPTHWISE = HEAD + ") {{ c = Conv(x, w, b) {}  y = Conv<group = 8, pads = [1, 1, 1, 1]>(h, d) }}"
LINE = "h = HardSwish(c)"


def weights(**changes: Any) -> dict[str, Any]:
    found = {
        "w": uneven(1, 8, 4, 1, 1, axis=0), "b": uneven(2, 8, axis=0, decades=0),
        "d": uneven(3, 8, 1, 3, 3, axis=0, decades=0), "s": np.ones(8, np.float32),
        "v": uneven(4, 8, 8, 1, 1, axis=1, decades=0),
        "t": uneven(5, 16, 1, 3, 3, axis=0, decades=0),
    }  # fmt: skip
    return found | changes


def kinds(graph: Graph) -> list[str]:
    return [node.op_type for node in graph]


def scaling(graph: Graph) -> OperatorNode:
    """The multiplication that the pass has put in."""
    return next(node for node in graph if node.op_type == "Mul")


def noise(graph: Graph) -> float:
    """Error of the results over their size, by channel on average, with 8 bits."""
    quantized = copy_of(graph)
    step = get_pass("quantize-int8", method="min-max", keep=(graph.first.name,))
    assert run_pass(quantized, step, on(graph)).changed
    feeds = random_inputs(graph, 0)
    wanted, found = (next(iter(Oracle(g).run(feeds).values())) for g in (graph, quantized))
    axes = (0, *range(2, wanted.ndim))
    error = np.sqrt(np.square(wanted - found).mean(axes) / (np.square(wanted).mean(axes) + 1e-9))
    return float(error.mean())


@pytest.mark.parametrize(
    "line",
    [LINE, "h = Gelu(c)", "h = Clip(c)", "u = HardSigmoid(c)  h = Mul(c, u)",
     "u = HardSwish(c)  h = AveragePool<kernel_shape = [3, 3]>(u)"],
)  # fmt: skip
def test_a_multiplication_where_no_weights_take_it(line):
    before, after, report = applied(NAME, DEPTHWISE.format(line), weights())
    assert [firing.rule for firing in report.fired] == [NAME]
    assert len(after) == len(before) + 1
    depthwise = after.outputs[0].producer
    assert depthwise.input(0).producer.is_op("Mul")
    assert depthwise.input(0).producer.constant_input(1).shape == (8, 1, 1)
    assert_equivalent(before, after, get_pass(NAME).numerics)
    assert noise(after) < 0.8 * noise(before)


@pytest.mark.parametrize("line", ["h = Relu(c)", "h = LeakyRelu(c)", "r = Relu(c) h = Relu(r)"])
def test_weights_of_the_convolution_before(line):
    before, after, report = applied(NAME, DEPTHWISE.format(line), weights())
    assert report.changed
    assert kinds(after) == kinds(before)
    assert not np.array_equal(after.first.constant_input(2).numpy(), weights()["b"])
    assert_equivalent(before, after, get_pass(NAME).numerics)
    assert noise(after) < 0.8 * noise(before)


def test_what_the_convolution_before_gives():
    text = DEPTHWISE.replace("(h, d)", "(c, d)").format("")
    before, after, report = applied(NAME, text, weights())
    assert report.changed
    assert kinds(after) == ["Conv", "Conv"]
    assert_equivalent(before, after, get_pass(NAME).numerics)


@pytest.mark.parametrize("line", [
    "r = Relu(c)  z = Neg(r)  h = Relu(r)", "r = Relu(c)  z = Identity(c)  h = Relu(r)",
    "z = Relu(c)  h = Relu(z)",
])  # fmt: skip
def test_weights_whose_results_something_else_reads(line):
    """They stay as they are: what is read on the way is multiplied by itself."""
    text = DEPTHWISE.replace("(float y)", "(float y, float[1, 8, 6, 6] z)").format(line)
    before, after, report = applied(NAME, text, weights())
    assert report.changed
    assert kinds(after) != kinds(before)
    np.testing.assert_array_equal(after.first.constant_input(1).numpy(), weights()["w"])
    assert_equivalent(before, after, get_pass(NAME).numerics)


def test_two_results_for_each_channel():
    text = DEPTHWISE.replace("(h, d)", "(h, t)").format(LINE)
    before, after, report = applied(NAME, text, weights())
    assert report.changed
    assert_equivalent(before, after, get_pass(NAME).numerics)


def test_two_depthwise_convolutions_read_one_value():
    text = (HEAD + ", float z) {{ c = Conv(x, w, b) {} y = Conv<group = 8>(h, d) "
            "z = Conv<group = 8>(h, t) }}").format(LINE)  # fmt: skip
    before, after, report = applied(NAME, text, weights())
    assert report.changed
    assert kinds(after).count("Mul") == 1
    assert_equivalent(before, after, get_pass(NAME).numerics)


@pytest.mark.parametrize(
    ("op", "weight"),
    [("Conv", "float[5, 8, 3, 3]"), ("ConvTranspose", "float[8, 5, 3, 3]")],
)
def test_what_sums_up_channels(op, weight):
    text = f"""g (float[1, 8, 6, 6] x, float[8, 1, 1] s, {weight} v) => (float y) {{
        m = Mul(x, s)  h = HardSwish(m)  y = {op}(h, v) }}"""
    scales = uneven(6, 8, 1, 1, axis=0)
    shape, read = ((5, 8, 3, 3), scales[:, 0, 0]) if op == "Conv" else ((8, 5, 3, 3), scales)
    values = np.float32(np.random.default_rng(7).normal(size=shape))
    values /= read[..., None, None] if op == "Conv" else read[..., None]
    before, after, report = applied(NAME, text, {"v": values, "s": scales})
    assert report.changed
    assert_equivalent(before, after, get_pass(NAME).numerics)


@pytest.mark.parametrize(
    "read",
    ["y = Gemm(h, v)", "y = Gemm<transB = 1>(h, t)", "y = MatMul(h, v)",
     "y = Gemm<alpha = 0.5>(h, v)"],
)  # fmt: skip
def test_products(read):
    text = f"""g (float[16, 8] x, float[8, 8] w, float[8, 5] v, float[5, 8] t) => (float y) {{
        m = MatMul(x, w)  h = Gelu(m)  {read} }}"""
    values = uneven(6, 8, 5, axis=0, decades=2)
    given = {"w": uneven(7, 8, 8, axis=1, decades=0), "v": values, "t": values.T.copy()}
    before, after, report = applied(NAME, text, given)
    assert report.changed
    assert scaling(after).constant_input(1).shape == (8,)
    assert_equivalent(before, after, get_pass(NAME).numerics)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (DEPTHWISE.replace("float y", "float y, float z").format(LINE + "  z = Neg(h)"),
         "Neg reads the channels as they are"),
        (DEPTHWISE.replace("float y", "float y, float[1, 8, 6, 6] h").format(LINE),
         "the model returns the channels"),
        (DEPTHWISE.format("u = HardSwish(c)  h = MaxPool<kernel_shape = [2, 2]>(u)"),
         "what moves the channels"),
        (DEPTHWISE.replace("(h, d)", "(h, d, s)").replace("float y", "float y, float z").format(
            LINE + "  z = Conv<group = 8>(c, d)"), "its weights are used elsewhere"),
        (DEPTHWISE.replace("float y", "float y, float z").format(
            LINE + "  z = Conv(h, v)"), "it is not known"),
        (DEPTHWISE.replace("group = 8", "group = 4").replace("(h, d)", "(h, q)").replace(
            "float[8] s", "float[8] s, float[8, 2, 3, 3] q").format(LINE),
         "each group of channels"),
    ],
)  # fmt: skip
def test_near_misses(text, reason):
    given = weights(q=uneven(5, 8, 2, 3, 3, axis=0)) if " q" in text else weights()
    *_, report = applied(NAME, text, given)
    assert not report.changed
    assert any(reason in miss.reason for miss in report.missed), report.missed


@pytest.mark.parametrize(("channels", "width"), [(8, 8), (8, 6), (4, 8)])
def test_a_product_over_the_last_axis_reads_no_channels_of_a_convolution(channels, width):
    text = f"""g (float[2, 3, {width}] x, float[{channels}, 3, 1] w, float[{width}, 5] m) =>
        (float y) {{ c = Conv(x, w)  h = Relu(c)  y = MatMul(h, m) }}"""
    given = {
        "w": uneven(1, channels, 3, 1, axis=0, decades=0),
        "m": uneven(2, width, 5, axis=0),
    }
    before, after, _ = applied(NAME, text, given)
    assert_equivalent(before, after, get_pass(NAME).numerics)


def test_values_without_a_known_rank_stay():
    text = """g (float[2, 8] x, int64[k] s, float[8, 5] m) => (float y) {
        r = Reshape(x, s)  h = HardSwish(r)  y = MatMul(h, m) }"""
    graph = build(text, 21, {"m": uneven(2, 8, 5, axis=0)})
    feeds = [{"x": np.ones((2, 8), np.float32), "s": np.array([2, 8], np.int64)}]
    context = PassContext(calibration=Calibration(feeds))
    report = run_pass(graph, get_pass(NAME), context)
    assert not report.changed


def test_what_the_model_gets():
    text = """g (float[1, 8, 6, 6] x, float[8, 1, 3, 3] d) => (float y) {
        y = Conv<group = 8>(x, d) }"""
    *_, report = applied(NAME, text, weights(), least_gain=0.0)
    assert not report.changed
    assert "nothing that could multiply" in report.missed[0].reason


def test_even_channels_stay():
    even = weights(w=np.ones((8, 4, 1, 1), np.float32), b=np.zeros(8, np.float32))
    assert not applied(NAME, DEPTHWISE.format(LINE), even)[2].changed


def test_less_than_the_least_gain():
    assert not applied(NAME, DEPTHWISE.format(LINE), weights(), least_gain=1.0)[2].changed


def test_channels_stay_once_time_is_up():
    graph = build(DEPTHWISE.format(LINE), 18, weights())
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    report = run_pass(graph, get_pass(NAME), replace(on(graph), is_late=lambda: True))
    assert not report.changed
    assert report.notes == ["stopped after 0 of 1 value: time is up"]


def test_without_data():
    graph = build(DEPTHWISE.format(LINE), 21, weights())
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    assert not run_pass(graph, get_pass(NAME), PassContext()).changed


def seen(low: Any, high: Any) -> Channels:
    found = Channels(1)
    found.update(np.array([low, high], np.float32))
    return found


def test_even_scales_make_ranges_equal():
    scales = even_scales(seen([0, 0, 0], [10, 1, 5]), 0.5)
    np.testing.assert_allclose(scales, [1, 0.1, 0.5])


def test_both_signs_have_room():
    scales = even_scales(seen([-10, -0.1, -0.2], [10, 0.1, 0.2]), 0.5)
    np.testing.assert_allclose(scales, [1, 0.01, 0.02], rtol=1e-5)


@pytest.mark.parametrize(
    ("low", "high"),
    [([0, 0], [0, 0]), ([0, 0], [3, 3]), ([-1, -1], [1, 1]), ([1, np.nan], [2, 2]),
     ([0, 0], [1, np.inf])],
)  # fmt: skip
def test_nothing_to_even_out(low, high):
    assert even_scales(seen(low, high), 0.5) is None


def test_a_channel_that_is_nothing_is_not_blown_up():
    """Other data may have more in it than these."""
    scales = even_scales(seen([0, 0, 0, 0], [1, 1e-30, 0, 0.01]), 0.1)
    np.testing.assert_allclose(scales, [1, 1, 1, 0.01])


def test_nothing_is_known():
    assert even_scales(Channels(0), 0.5) is None
    assert balanced_scales(Channels(0), [], 0.5) is None
    assert balanced_scales(seen([0, 0], [10, 1]), [], 0.5) is None


def test_strength_of_smoothing():
    values, read = np.array([4.0, 1.0, 0.0]), np.array([1.0, 1.0, 1.0])
    np.testing.assert_allclose(smoothing_scales(values, read, 1.0), [2, 0.5, 1])
    np.testing.assert_allclose(smoothing_scales(values, read, 0.0), [1, 1, 1])
    np.testing.assert_allclose(smoothing_scales(values[:2], values[:2], 0.0), [0.5, 2])
