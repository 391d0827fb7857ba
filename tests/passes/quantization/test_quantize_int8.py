"""quantize-int8: products and convolutions multiply integers where calibration data allow it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from burnish.calibration import Calibration
from burnish.errors import UsageError
from burnish.ir import DType, Graph
from burnish.ir.printer import to_text
from burnish.oracle import Oracle, random_inputs
from burnish.passes import get_pass
from burnish.passes.quantization.quantize_int8 import QuantizeInt8
from burnish.pipeline import PassContext, run_pass
from tests.passes.conftest import build
from tests.passes.quantization.conftest import (
    data_for,
    kinds,
    quantize,
    randoms,
    rounded_values,
    scale_of,
)

CONV = """g (float[1, 4, 6, 6] x, float[8, 4, 3, 3] w, float[8] b) => (float[1, 8, 6, 6] y) {
    y = Conv<pads = [1, 1, 1, 1]>(x, w, b) }"""


def integer_types(graph: Graph) -> list[str]:
    """What ONNX Runtime runs of ``graph`` once it has joined operators."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = ""
    options.log_severity_level = 4
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(
            graph.to_onnx().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        model = onnx.load(options.optimized_model_filepath)
    return [node.op_type for node in model.graph.node]


def test_a_convolution_multiplies_integers() -> None:
    before = build(CONV, 21, {"w": (w := randoms(8, 4, 3, 3)), "b": (b := randoms(8))})
    graph, report = quantize(CONV, w=w, b=b)
    assert kinds(graph) == "Q DQ DQ DQ Conv"
    conv = next(node for node in graph if node.op_type == "Conv")
    held = [conv.input(index).producer.constant_input(0) for index in (1, 2)]  # type: ignore[union-attr]
    assert [each.dtype for each in held if each] == [DType.INT8, DType.INT32]
    assert [fired.rule for fired in report.fired] == ["quantize-int8"]
    feeds = random_inputs(before, 0)
    wanted, found = Oracle(before).run(feeds)["y"], Oracle(graph).run(feeds)["y"]
    assert np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()


def test_onnx_runtime_computes_with_integers() -> None:
    text = """g (float[1, 4, 6, 6] x, float[8, 4, 3, 3] w, float[8] b, float[8, 8, 1, 1] v,
        float[8, 3] f, float[3] c) => (float[1, 3] y) {
        p = Conv<pads = [1, 1, 1, 1]>(x, w, b) h = Relu(p) q = Conv(h, v) s = Add(q, h)
        m = MaxPool<kernel_shape = [2, 2]>(s) r = Conv(m, v) a = GlobalAveragePool(r)
        t = Flatten(a) y = Gemm(t, f, c) }"""
    graph, _ = quantize(
        text, w=randoms(8, 4, 3, 3), b=randoms(8), v=randoms(8, 8, 1, 1), f=randoms(8, 3),
        c=randoms(3),
    )  # fmt: skip
    found = integer_types(graph)
    for kind in ("QLinearConv", "QLinearAdd", "QLinearGlobalAveragePool", "QGemm"):
        assert kind in found, found
    assert not {"Conv", "Add", "GlobalAveragePool", "Gemm", "MaxPool", "Relu"} & set(found)


def test_biases_are_in_units_of_the_products() -> None:
    w, b = randoms(8, 4, 3, 3), randoms(8)
    graph, _ = quantize(CONV, w=w, b=b)
    data, weights, bias = (n for n in graph if n.op_type == "DequantizeLinear")
    sx = scale_of(data)[0]
    sw, sb, integers = (
        node.constant_input(index).numpy()  # type: ignore[union-attr]
        for node, index in ((weights, 1), (bias, 1), (bias, 0))
    )
    np.testing.assert_array_equal(sb, np.float32(sx) * sw)
    assert np.abs(integers * sb - b).max() <= 0.51 * sb.max()


def test_a_bias_that_is_large_beside_its_weights_fits() -> None:
    w, b = randoms(8, 4, 3, 3), np.zeros(8, np.float32)
    w[2] *= 1e-12
    b[2] = 50
    graph, _ = quantize(CONV, w=w, b=b)
    feeds = random_inputs(build(CONV, 21, {"w": w, "b": b}), 0)
    np.testing.assert_allclose(Oracle(graph).run(feeds)["y"][:, 2], 50, rtol=1e-3)


def test_every_channel_has_its_own_scale() -> None:
    w = randoms(8, 4, 3, 3) * np.geomspace(1e-3, 1e3, 8, dtype=np.float32).reshape(8, 1, 1, 1)
    _, report = quantize(CONV, w=w, b=randoms(8))
    (layer,) = report.layers
    assert layer.weights is not None
    assert layer.weights.channels == 8
    assert layer.weights.sqnr is not None
    assert layer.weights.sqnr > 40
    assert layer.data is not None
    assert layer.data.dtype == "uint8"
    assert not layer.reason


@pytest.mark.parametrize(
    ("op", "shape", "axis", "attributes"),
    [
        ("Gemm", (4, 8), 1, ""),
        ("Gemm", (8, 4), 0, "<transB = 1>"),
        ("MatMul", (4, 8), 1, ""),
    ],
)
def test_products(op: str, shape: tuple[int, int], axis: int, attributes: str) -> None:
    text = f"""g (float[2, 4] x, float[{shape[0]}, {shape[1]}] w) => (float[2, 8] y) {{
        y = {op}{attributes}(x, w) }}"""
    graph, _ = quantize(text, w=randoms(*shape))
    weights = next(node for node in graph if node.op_type == "DequantizeLinear" and
                   node.attribute("axis") is not None)  # fmt: skip
    assert weights.attribute("axis") == axis
    assert weights.constant_input(1).shape == (8,)  # type: ignore[union-attr]


def test_factors_of_a_gemm_go_into_its_operands() -> None:
    text = """g (float[2, 4] x, float[4, 8] w, float[8] c) => (float[2, 8] y) {
        y = Gemm<alpha = 0.5, beta = 2.0>(x, w, c) }"""
    w, c = randoms(4, 8), randoms(8)
    graph, _ = quantize(text, w=w, c=c)
    before = build(text, 21, {"w": w, "c": c})
    feeds = random_inputs(before, 1)
    wanted, found = Oracle(before).run(feeds)["y"], Oracle(graph).run(feeds)["y"]
    assert np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()
    assert "QGemm" in integer_types(graph)


def test_transposed_convolutions_have_a_scale_for_each_output_of_a_group() -> None:
    text = """g (float[1, 4, 5, 5] x, float[4, 3, 2, 2] w) => (float[1, 6, 6, 6] y) {
        y = ConvTranspose<group = 2>(x, w) }"""
    graph, _ = quantize(text, w=randoms(4, 3, 2, 2))
    weights = [node for node in graph if node.op_type == "DequantizeLinear"][1]
    assert weights.attribute("axis") == 1
    assert weights.constant_input(1).shape == (3,)  # type: ignore[union-attr]


def test_formats_follow_the_target() -> None:
    graph, report = quantize(CONV, target="arm64:cortex-a76", w=randoms(8, 4, 3, 3), b=randoms(8))
    assert rounded_values(graph)[0].output.dtype is DType.INT8
    assert report.layers[0].data is not None
    assert report.layers[0].data.dtype == "int8"


def test_seven_bits_for_engines_that_saturate() -> None:
    graph, _ = quantize(CONV, options={"reduce_range": True}, w=randoms(8, 4, 3, 3), b=randoms(8))
    weights = [node for node in graph if node.op_type == "DequantizeLinear"][1]
    assert np.abs(weights.constant_input(0).numpy()).max() == 63  # type: ignore[union-attr]


def test_kept_layers_stay() -> None:
    text = """g (float[2, 8] x, float[8, 8] w) => (float[2, 8] y) {
        [first] h = MatMul(x, w) [second] y = MatMul(h, w) }"""
    graph = build(text, 21, {"w": randoms(8, 8)})
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    context = PassContext(calibration=data_for(graph), explain=True)
    report = run_pass(graph, QuantizeInt8(keep=("first",)), context)
    assert kinds(graph) == "MatMul Q DQ DQ MatMul"
    assert [miss.reason for miss in report.missed] == ["it is to be kept"]
    assert [(layer.layer, bool(layer.reason)) for layer in report.layers] == [
        ("first", True), ("second", False),
    ]  # fmt: skip


def test_ranges_can_be_given() -> None:
    graph, report = quantize(
        CONV, options={"ranges": {"x": (-1.0, 4.1)}}, w=randoms(8, 4, 3, 3), b=randoms(8)
    )
    assert scale_of(rounded_values(graph)[0]) == (pytest.approx(5.1 / 255), 50)
    assert report.layers[0].data is not None
    assert report.layers[0].data.method == "given"


def test_an_unknown_method_is_a_clear_error() -> None:
    with pytest.raises(UsageError, match="min-max"):
        quantize(CONV, options={"method": "minmax"}, w=randoms(8, 4, 3, 3), b=randoms(8))


def test_nothing_happens_without_data() -> None:
    graph = build(CONV, 21, {"w": randoms(8, 4, 3, 3), "b": randoms(8)})
    report = run_pass(graph, QuantizeInt8(), PassContext())
    assert not report.changed
    assert "calibration" in report.notes[0]


def test_a_second_time_changes_nothing() -> None:
    graph, _ = quantize(CONV, w=randoms(8, 4, 3, 3), b=randoms(8))
    text = to_text(graph)
    report = run_pass(graph, QuantizeInt8(), PassContext(calibration=data_for(graph)))
    assert not report.changed
    assert to_text(graph) == text
    assert "quantized already" in report.notes[0]


def test_an_old_model_is_upgraded() -> None:
    graph, _ = quantize(CONV, opset=11, w=randoms(8, 4, 3, 3), b=randoms(8))
    assert graph.opset == 13
    assert kinds(graph) == "Q DQ DQ DQ Conv"


NEAR = {
    "weights computed": (
        "g (float[2, 8] x, float[8, 8] v) => (float[2, 8] y) { w = Exp(v) y = MatMul(x, w) }",
        {}, "its weights are computed",
    ),
    "weights on the left": (
        "g (float[8, 2] x, float[8, 8] w) => (float[8, 2] y) { y = MatMul(w, x) }",
        {"w": randoms(8, 8)}, "its weights are computed",
    ),
    "weights read by others": (
        """g (float[2, 8] x, float[8, 8] w) => (float[2, 8] y, float[8, 8] z) {
            y = MatMul(x, w) z = Exp(w) }""",
        {"w": randoms(8, 8)}, "Exp needs its weights as well",
    ),
    "weights read the other way": (
        """g (float[2, 8] x, float[8, 8] w) => (float[2, 8] y) {
            h = MatMul(x, w) y = Gemm<transB = 1>(h, w) }""",
        {"w": randoms(8, 8)}, "Gemm needs its weights as well",
    ),
    "a batch of weights": (
        "g (float[2, 3, 8] x, float[2, 8, 8] w) => (float[2, 3, 8] y) { y = MatMul(x, w) }",
        {"w": randoms(2, 8, 8)}, "its weights have 3 axes",
    ),
    "weights not finite": (
        "g (float[2, 8] x, float[8, 8] w) => (float[2, 8] y) { y = MatMul(x, w) }",
        {"w": np.full((8, 8), np.inf, np.float32)}, "no finite numbers",
    ),
    "double precision": (
        "g (double[2, 8] x, double[8, 8] w) => (double[2, 8] y) { y = MatMul(x, w) }",
        {"w": randoms(8, 8).astype(np.float64)}, "only float32",
    ),
    "data not finite": (
        "g (float[2, 8] x, float[8, 8] w) => (float[2, 8] y) { l = Log(x) y = MatMul(l, w) }",
        {"w": randoms(8, 8)}, "are not finite",
    ),
    "data empty": (
        "g (float[0, 8] x, float[8, 8] w) => (float[0, 8] y) { y = MatMul(x, w) }",
        {"w": randoms(8, 8)}, "no number of it was seen",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NEAR)
def test_near_misses(case: str) -> None:
    text, weights, reason = NEAR[case]
    _, report = quantize(text, **weights)
    assert reason in next(layer.reason for layer in report.layers if layer.reason)
    assert any(reason in miss.reason for miss in report.missed)


def test_control_flow_is_left_alone() -> None:
    text = """g (float[2, 8] x, bool c, float[8, 8] w) => (float[2, 8] y) {
        y = If (c) <then_branch = yes () => (float[2, 8] a) { a = MatMul(x, w) },
                    else_branch = no () => (float[2, 8] b) { b = Exp(x) }> }"""
    _, report = quantize(text, w=randoms(8, 8))
    assert not report.changed
    assert report.layers[0].reason == "it is part of control flow"


def test_a_constant_value_and_channels_of_zeros() -> None:
    w = randoms(8, 4, 3, 3)
    w[1] = 0
    data = Calibration([{"x": np.zeros((1, 4, 6, 6), np.float32)}])
    graph, _ = quantize(CONV, data=data, w=w, b=np.zeros(8, np.float32))
    found = Oracle(graph).run({"x": np.zeros((1, 4, 6, 6), np.float32)})["y"]
    np.testing.assert_array_equal(found, 0)
