"""round-weights: weights make up for the rounding of others, where that helps on other samples."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.ir import Constant, Graph
from burnish.ir.printer import to_text
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from tests.passes.quantization.conftest import Judged, correlated, integers, randoms

MODELS = {
    "product": ("y = MatMul(x, w)", (64,), (64, 8)),
    "gemm": ("y = Gemm<transB = 1>(x, w)", (64,), (8, 64)),
    "convolution": ("y = Conv<pads = [1, 1, 1, 1]>(x, w)", (8, 7, 7), (6, 8, 3, 3)),
    "strided": ("y = Conv<strides = [2, 2], group = 2>(x, w)", (8, 7, 7), (6, 4, 3, 3)),
    "depthwise": ("y = Conv<group = 8>(x, w)", (8, 7, 7), (8, 1, 3, 3)),
    "transposed": ("y = ConvTranspose<strides = [2, 2], group = 2>(x, w)", (16, 3, 3),
                   (16, 3, 2, 2)),
}  # fmt: skip


def judged(model: str, samples: int = 24) -> Judged:
    body, data, weights = MODELS[model]
    text = f"""g (float[1, {", ".join(map(str, data))}] x, float[{", ".join(map(str, weights))}] w)
        => (float y) {{ {body} }}"""
    return Judged(text, correlated(samples, *data), w=randoms(*weights))


@pytest.mark.parametrize("model", MODELS)
def test_outputs_are_nearer_to_what_they_were(model: str) -> None:
    case = judged(model)
    before, old = case.noise, integers(case.graph)[0]
    report = case.run("round-weights")
    assert [fired.rule for fired in report.fired] == ["round-weights"]
    (new,) = integers(case.graph)
    assert new.dtype == old.dtype
    assert np.abs(new.astype(int)).max() <= 127
    assert np.abs(new.astype(int) - old).max() < 12, "not far from where they were"
    assert case.noise < 0.9 * before


def test_errors_of_the_data_are_made_up_for() -> None:
    symmetric, asymmetric = judged("product", 400), judged("product", 400)
    symmetric.run("round-weights", asymmetric=False)
    asymmetric.run("round-weights")
    assert asymmetric.noise <= 1.05 * symmetric.noise


def test_layers_see_what_those_before_give_by_now() -> None:
    text = """g (float[1, 64] x, float[64, 64] w, float[64, 8] v) => (float y) {
        p = MatMul(x, w) h = Relu(p) y = MatMul(h, v) }"""
    case = Judged(text, correlated(60, 64), w=randoms(64, 64), v=randoms(64, 8, seed=4))
    before = case.noise
    assert len(case.run("round-weights").fired) == 2
    assert case.noise < before


def test_a_second_time_keeps_what_is_best() -> None:
    case = judged("convolution")
    case.run("round-weights")
    noise = case.noise
    case.run("round-weights")
    assert case.noise <= 1.1 * noise


def test_one_sample_is_enough() -> None:
    case = judged("convolution", samples=1)
    before = case.noise
    case.run("round-weights")
    assert case.noise < before


def test_data_that_tell_nothing_change_nothing() -> None:
    case = judged("product")
    for node in case.graph:
        for value in node.inputs:
            if value is not None and value.constant is not None:
                assert value.constant.shape is not None
    zeros = [{"x": np.zeros((1, 64), np.float32)}] * 4
    text = to_text(case.graph)
    context = PassContext(calibration=type(case.context.calibration)(zeros), explain=True)  # type: ignore[misc, call-arg]
    report = run_pass(case.graph, get_pass("round-weights"), context)
    assert to_text(case.graph) == text
    assert [miss.reason for miss in report.missed] == ["each weight is best rounded by itself"]


def test_weights_whose_floats_are_not_known_stay() -> None:
    case = judged("product")
    loaded = Graph.from_onnx(case.graph.to_onnx())
    report = run_pass(loaded, get_pass("round-weights"), case.context)
    assert not report.changed
    assert not report.fired


def test_weights_of_several_layers_stay() -> None:
    text = """g (float[1, 64] x, float[64, 64] w) => (float y) {
        p = MatMul(x, w) h = Relu(p) y = MatMul(h, w) }"""
    case = Judged(text, correlated(8, 64), w=randoms(64, 64))
    assert not case.run("round-weights").changed


def test_nothing_happens_without_data() -> None:
    case = judged("product")
    report = run_pass(case.graph, get_pass("round-weights"), PassContext())
    assert not report.changed
    assert "calibration" in report.notes[0]


def test_floats_are_not_lost() -> None:
    case = judged("product")
    case.run("round-weights")
    held = [value.constant for value in case.graph.constants()]
    origins = [c.origin for c in held if isinstance(c, Constant) and c.origin is not None]
    assert [origin.numpy().dtype for origin in origins] == [np.float32]
