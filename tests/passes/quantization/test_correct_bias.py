"""correct-bias: outputs are right on average."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.calibration import Calibration
from burnish.ir.printer import to_text
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from tests.passes.quantization.conftest import Judged, correlated, randoms

MODELS = {
    "product": ("y = MatMul(x, w)", (64,), (64, 8), 8),
    "product and sum": ("p = MatMul(x, w) y = Add(b, p)", (64,), (64, 8), 8),
    "gemm": ("y = Gemm<transB = 1>(x, w, b)", (64,), (8, 64), 8),
    "gemm without bias": ("y = Gemm(x, w)", (64,), (64, 8), 8),
    "convolution": ("y = Conv<pads = [1, 1, 1, 1]>(x, w, b)", (8, 7, 7), (6, 8, 3, 3), 6),
    "convolution without bias": ("y = Conv<group = 8>(x, w)", (8, 7, 7), (8, 1, 3, 3), 8),
    "transposed": ("y = ConvTranspose<strides = [2, 2]>(x, w, b)", (16, 3, 3), (16, 3, 2, 2), 3),
    "transposed in groups": (
        "y = ConvTranspose<strides = [1, 1], group = 2>(x, w, b)", (16, 9, 9), (16, 3, 2, 2), 6,
    ),
}  # fmt: skip


def judged(model: str, samples: int = 60) -> Judged:
    body, data, weights, channels = MODELS[model]
    given, shape = {"w": randoms(*weights)}, ", ".join(map(str, weights))
    inputs = f"float[1, {', '.join(map(str, data))}] x, float[{shape}] w"
    if ", b)" in body or "(b," in body:
        given["b"], inputs = randoms(channels, seed=4), f"{inputs}, float[{channels}] b"
    return Judged(f"g ({inputs}) => (float y) {{ {body} }}", correlated(samples, *data), **given)


def mean_error(case: Judged) -> float:
    errors = case.errors()
    return float(np.abs(errors.mean(tuple(a for a in range(errors.ndim) if a != 1))).max())


@pytest.mark.parametrize("model", MODELS)
def test_errors_have_no_mean(model: str) -> None:
    case = judged(model)
    before = mean_error(case)
    report = case.run("correct-bias")
    assert [fired.rule for fired in report.fired] == ["correct-bias"]
    assert mean_error(case) < 0.5 * before


def test_layers_make_up_for_those_before() -> None:
    text = """g (float[1, 64] x, float[64, 64] w, float[64, 8] v) => (float y) {
        p = MatMul(x, w) h = Relu(p) y = MatMul(h, v) }"""
    case = Judged(text, correlated(200, 64), w=randoms(64, 64), v=randoms(64, 8, seed=4))
    before = mean_error(case)
    assert len(case.run("correct-bias").fired) == 2
    assert mean_error(case) < 0.5 * before


def test_a_second_time_finds_little_left() -> None:
    case = judged("convolution")
    case.run("correct-bias")
    first = mean_error(case)
    case.run("correct-bias")
    assert mean_error(case) < 1.5 * first


def test_errors_that_samples_disagree_about_stay() -> None:
    case = judged("product")
    text = to_text(case.graph)
    zeros = [{"x": np.zeros((1, 64), np.float32)}] * 4
    report = run_pass(
        case.graph, get_pass("correct-bias"),
        PassContext(calibration=Calibration(zeros), explain=True),
    )  # fmt: skip
    assert to_text(case.graph) == text
    assert [miss.reason for miss in report.missed] == ["its mean error is too small to tell"]


@pytest.mark.parametrize("name", ["correct-bias", "round-weights"])
def test_layers_stay_once_time_is_up(name: str) -> None:
    text = """g (float[1, 64] x, float[64, 64] w, float[64, 8] v) => (float y) {
        p = MatMul(x, w) h = Relu(p) y = MatMul(h, v) }"""
    case = Judged(text, correlated(20, 64), w=randoms(64, 64), v=randoms(64, 8, seed=4))
    asked: list[bool] = []

    def is_late() -> bool:
        asked.append(len(asked) == 1)
        return asked[-1]

    context = PassContext(calibration=Calibration(correlated(20, 64)), is_late=is_late)
    report = run_pass(case.graph, get_pass(name), context)
    assert len(report.fired) == 1
    assert report.notes == ["stopped after 1 of 2 layers: time is up"]


def test_nothing_happens_without_data() -> None:
    case = judged("gemm")
    report = run_pass(case.graph, get_pass("correct-bias"), PassContext())
    assert not report.changed
    assert "calibration" in report.notes[0]
