"""compensate-channels: a scale for each channel of what only channel-wise operators read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from burnish.ir import Graph
from burnish.oracle import Oracle, random_inputs
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from tests.passes.conftest import build
from tests.passes.quantization.calibrated import applied, on, uneven

NAME = "compensate-channels"
ROUNDED = """g (float[4, 8] x, float[8, 16] w, float[16] b, float s, uint8 z, float[16] g,
    float[16, 3] v) => (float[4, 3] y) {{
    m = MatMul(x, w)  h = Add(m, b)  q = QuantizeLinear(h, s, z)  d = DequantizeLinear(q, s, z)
    {}  y = MatMul(a, v) }}"""
STREAM = """g (float[4, 16] x, float[16, 16] w, float[16] g) => (float[4, 16] y) {{
    m = MatMul(x, w)  n = Relu(m)  h = Add(m, n)  {} }}"""


def rounded(**changes: Any) -> dict[str, Any]:
    found = {
        "w": uneven(1, 8, 16, axis=1), "b": uneven(2, 16, axis=0, decades=0),
        "s": np.float32(2), "z": np.uint8(128), "g": np.ones(16, np.float32),
        "v": uneven(3, 16, 3, axis=0, decades=0),
    }  # fmt: skip
    return found | changes


def stream() -> dict[str, Any]:
    return {"w": uneven(1, 16, 16, axis=1), "g": np.ones(16, np.float32)}


def error(before: Graph, after: Graph, number: int = 0) -> float:
    """Relative root mean square error of an output."""
    feeds = random_inputs(before, 0)
    wanted, found = (list(Oracle(g).run(feeds).values())[number] for g in (before, after))
    return float(np.sqrt(np.mean((wanted - found) ** 2) / np.mean(wanted**2)))


def without_rounding(text: str, weights: dict[str, Any]) -> Graph:
    plain = text.replace("q = QuantizeLinear(h, s, z)  d = DequantizeLinear(q, s, z)", "d = Neg(h)")
    graph = build(plain.replace("d = Neg(h)", "d = Identity(h)"), 21, weights)
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    return graph


@pytest.mark.parametrize(
    "line", ["a = LayerNormalization(d, g)", "a = Relu(d)", "a = Mul(d, g)", "a = Add(d, b)"]
)
def test_channel_wise_readers(line):
    text = ROUNDED.format(line)
    before, after, report = applied(NAME, text, rounded())
    assert report.changed
    quantize = next(node for node in after if node.op_type == "QuantizeLinear")
    assert quantize.constant_input(1).shape == (16,)
    assert quantize.attribute("axis") == 1
    plain = without_rounding(text, rounded())
    assert error(plain, after) < error(plain, before) / 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a = Relu(d)  z2 = MatMul(d, v)", "MatMul takes channels together"),
        ("a = Softmax(d)", "Softmax takes channels together"),
        ("r = Constant<value = int64[2] {4, 16}>()  a = Reshape(d, r)", "Reshape takes"),
    ],
)
def test_what_takes_channels_together(line, reason):
    text = ROUNDED.replace("float[4, 3] y)", "float[4, 3] y, float[4, 3] z2)")
    text = (text if "z2" in line else ROUNDED).format(line)
    *_, report = applied(NAME, text, rounded())
    assert not report.changed
    assert any(reason in miss.reason for miss in report.missed), report.missed


JOINED = ROUNDED.replace(
    "{}", "k = Sigmoid(h)  i = QuantizeLinear(k, s, z)  e = DequantizeLinear(i, s, z)  {}"
)


@pytest.mark.parametrize("op", ["Mul", "Add"])
def test_what_onnx_runtime_computes_with_integers(op):
    """It refuses such a model as it loads it, if there are scales of channels."""
    line = f"p = {op}(d, e)  j = QuantizeLinear(p, s, z)  a = DequantizeLinear(j, s, z)"
    *_, report = applied(NAME, JOINED.format(line), rounded())
    assert not report.changed
    reasons = [miss.reason for miss in report.missed]
    assert reasons.count(f"{op} of integers has one scale in ONNX Runtime") >= 2, reasons


@pytest.mark.parametrize("op", ["Mul", "Add"])
def test_what_onnx_runtime_computes_with_floats(op):
    *_, report = applied(NAME, JOINED.format(f"a = {op}(d, e)"), rounded())
    assert len(report.fired) == 2


def test_integers_that_a_product_gives():
    text = ROUNDED.replace("h = Add(m, b)", "h = Identity(m)").format("a = Relu(d)")
    graph = build(text.replace("h = Identity(m)  q = QuantizeLinear(h", "q = QuantizeLinear(m"),
                  21, rounded())  # fmt: skip
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    report = run_pass(graph, get_pass(NAME), on(graph))
    assert not report.changed
    assert any("one zero point" in miss.reason for miss in report.missed)


def test_what_is_returned():
    text = ROUNDED.replace("float[4, 3] y)", "float[4, 3] y, float[4, 16] d)").format("a = Relu(d)")
    *_, report = applied(NAME, text, rounded())
    assert not report.changed
    assert any("returns it" in miss.reason for miss in report.missed)


def test_integers_that_are_returned():
    text = ROUNDED.replace("float[4, 3] y)", "float[4, 3] y, uint8[4, 16] q)").format("a = Relu(d)")
    assert not applied(NAME, text, rounded())[2].changed


def test_sums_on_request():
    text = STREAM.format("y = LayerNormalization(h, g)")
    assert not applied(NAME, text, stream())[2].changed
    before, after, report = applied(NAME, text, stream(), sums=True)
    assert len(report.fired) == 1
    kinds = [node.op_type for node in after]
    assert kinds == [
        "MatMul",
        "Relu",
        "Add",
        "QuantizeLinear",
        "DequantizeLinear",
        "LayerNormalization",
    ]
    assert 0 < error(before, after) < 0.01


@pytest.mark.parametrize("line", ["y = MatMul(h, w)", "y = Softmax(h)"])
def test_sums_that_something_contracts(line):
    *_, report = applied(NAME, STREAM.format(line), stream(), sums=True)
    assert not report.changed
    assert any("takes channels together" in miss.reason for miss in report.missed)


def test_biases_are_no_sums():
    text = """g (float[4, 16] x, float[16, 16] w, float[16] g) => (float[4, 16] y) {
        m = MatMul(x, w)  h = Add(m, g)  y = LayerNormalization(h, g) }"""
    assert not applied(NAME, text, stream(), sums=True)[2].changed


def test_unknown_channels():
    text = STREAM.replace("float[4, 16]", 'float["N", "M"]').format("y = Relu(h)")
    text = text.replace("m = MatMul(x, w)", "m = Neg(x)")
    graph = build(text, 21, stream())
    report = run_pass(graph, get_pass(NAME, sums=True), PassContext(explain=True))
    assert not report.changed


def test_without_data_and_in_old_opsets():
    graph = build(ROUNDED.format("a = Relu(d)"), 21, rounded())
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    assert not run_pass(graph, get_pass(NAME), PassContext()).changed
