"""expand-quantized: operators on quantized numbers as those on floats, to a step at ties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from burnish.ir import Graph
from burnish.oracle import Oracle
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from tests.passes.conftest import build

NAME = "expand-quantized"
RNG = np.random.default_rng(11)


def u8(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def s8(*shape: int) -> np.ndarray:
    return RNG.integers(-128, 128, shape).astype(np.int8)


def f(value: Any) -> np.ndarray:
    return np.asarray(value, np.float32)


IMAGE, ROWS = u8(1, 4, 6, 6), u8(2, 3, 4)
C = {"s": f(0.11), "z": np.uint8(120), "t": f(0.013), "o": np.int8(0), "u": f(0.37),
     "p": np.uint8(77), "v": f(0.05), "q": np.uint8(9)}  # fmt: skip
"""Scale and zero point of the data, of weights, of the result, and of another value."""
EACH = {"t": f([0.01, 0.02, 0.005]), "o": np.zeros(3, np.int8)}
MS = "com.microsoft."
CASES: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "conv": ("QLinearConv<pads = [1, 1, 1, 1]>(x, s, z, w, t, o, u, p)",
             {"x": IMAGE, "w": s8(3, 4, 3, 3)}, ["Conv"]),
    "conv by channel": ("QLinearConv<strides = [2, 2]>(x, s, z, w, t, o, u, p, b)",
                        {"x": IMAGE, "w": s8(3, 4, 3, 3), "b": np.int32([100, -3000, 9])} | EACH,
                        ["Conv"]),
    "channels last": (f"{MS}QLinearConv<channels_last = 1>(x, s, z, w, t, o, u, p)",
                      {"x": u8(1, 6, 6, 4), "w": s8(3, 4, 3, 3)},
                      ["Transpose", "Conv", "Transpose"]),
    "product": ("QLinearMatMul(x, s, z, w, t, o, u, p)", {"x": ROWS, "w": s8(4, 5)}, ["MatMul"]),
    "product by column": ("QLinearMatMul(x, s, z, w, t, o, u, p)",
                          {"x": ROWS, "w": s8(4, 3)} | EACH, ["MatMul"]),
    "gemm": (f"{MS}QGemm<transB = 1, alpha = 0.5>(x, s, z, w, t, o, b, u, p)",
             {"x": u8(3, 4), "w": s8(5, 4), "b": np.arange(5, dtype=np.int32) * 50}, ["Gemm"]),
    "gemm to floats": (f"{MS}QGemm(x, s, z, w, t, o)", {"x": u8(3, 4), "w": s8(4, 5)}, ["Gemm"]),
    "add": (f"{MS}QLinearAdd(x, s, z, w, v, q, u, p)", {"x": ROWS, "w": u8(3, 4)}, ["Add"]),
    "mul": (f"{MS}QLinearMul(x, s, z, w, v, q, u, p)", {"x": ROWS, "w": u8(2, 1, 4)}, ["Mul"]),
    "signed": (f"{MS}QLinearAdd(x, s, o, w, v, o, u, o)", {"x": s8(2, 3), "w": s8(2, 3)},
               ["Add"]),
    "sigmoid": (f"{MS}QLinearSigmoid(x, s, z, u, p)",
                {"x": ROWS, "u": f(1 / 256), "p": np.uint8(0)}, ["Sigmoid"]),
    "leaky": (f"{MS}QLinearLeakyRelu<alpha = 0.2>(x, s, z, u, p)", {"x": ROWS}, ["LeakyRelu"]),
    "average": (f"{MS}QLinearAveragePool<kernel_shape = [2, 3], pads = [1, 0, 0, 1], "
                "count_include_pad = 1>(x, s, z, u, p)", {"x": IMAGE}, ["AveragePool"]),
    "global average": (f"{MS}QLinearGlobalAveragePool<channels_last = 0>(x, s, z, u, p)",
                       {"x": IMAGE}, ["GlobalAveragePool"]),
    "last average": (f"{MS}QLinearGlobalAveragePool<channels_last = 1>(x, s, z, u, p)",
                     {"x": IMAGE}, ["Transpose", "GlobalAveragePool", "Transpose"]),
    "softmax": (f"{MS}QLinearSoftmax<axis = -1, opset = 13>(x, s, z, u, p)",
                {"x": ROWS, "u": f(1 / 256), "p": np.uint8(0)}, ["Softmax"]),
    "softmax in whole steps": (f"{MS}QLinearSoftmax<axis = -1, opset = 13>(x, s, z, u, p)",
                               {"x": u8(2, 3, 2), "u": f(1 / 9.9), "p": np.uint8(3)}, ["Softmax"]),
    "mean": (f"{MS}QLinearReduceMean<axes = [1], keepdims = 0>(x, s, z, u, p)", {"x": ROWS},
             ["ReduceMean"]),
    "concat": (f"{MS}QLinearConcat<axis = 1>(u, p, x, s, z, w, v, q)",
               {"x": ROWS, "w": u8(2, 1, 4)}, ["Concat"]),
    "where": (f"{MS}QLinearWhere(c, x, s, z, w, v, q, u, p)",
              {"x": ROWS, "w": u8(2, 1, 4), "c": np.array([True, False, True, True])}, ["Where"]),
}  # fmt: skip
UNKNOWN_TO_ORACLE = {"mean"}
"""ONNX Runtime has no kernel on processors."""


def model(call: str, values: dict[str, Any]) -> Graph:
    names = {name: np.asarray(v) for name, v in (C | values).items()}
    dtype = {"float32": "float", "bool": "bool"}
    read = [n for n in names if f" {n}," in f" {call.replace('(', '( ').replace(')', ',')}"]
    kinds = ", ".join(
        f"{dtype.get(str(names[n].dtype), str(names[n].dtype))}"
        f"{list(names[n].shape) if n == 'x' else ''} {n}" for n in read
    )  # fmt: skip
    wanted = "float" if "QGemm(x" in call else "int8" if "u, o)" in call else "uint8"
    text = f"g ({kinds}) => ({wanted} y) {{ y = {call} }}"
    return build(text, 21, {n: names[n] for n in read if n != "x"})


@pytest.mark.parametrize("name", CASES)
def test_expanded(name: str) -> None:
    call, values, wanted = CASES[name]
    before, after = model(call, values), model(call, values)
    report = run_pass(after, get_pass(NAME), PassContext(explain=True))
    assert len(report.fired) == 1, report.missed
    kinds = [node.op_type for node in after if not node.op_type.endswith("quantizeLinear")]
    conversions = {"DequantizeLinear", "QuantizeLinear"}
    assert [kind for kind in kinds if kind not in conversions] == wanted
    assert not any(node.domain for node in after)
    assert not run_pass(after, get_pass(NAME), PassContext()).changed
    feeds = {"x": values["x"]}
    found = Oracle(after).run(feeds)["y"].astype(np.float64)
    if name in UNKNOWN_TO_ORACLE:
        data = (values["x"].astype(np.float64) - 120) * 0.11
        expected = np.clip(np.rint(data.mean(1) / 0.37) + 77, 0, 255)
    else:
        expected = Oracle(before).run(feeds)["y"].astype(np.float64)
    assert found.shape == expected.shape
    if "floats" in name:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    else:
        assert np.abs(found - expected).max() <= 1
        assert (found == expected).mean() >= 0.9


@pytest.mark.parametrize(("call", "values", "reason"), [
    (f"{MS}QLinearSoftmax<axis = 1, opset = 11>(x, s, z, u, p)", {"x": ROWS}, "several axes"),
    ("QLinearMatMul(x, t, o, w, t, o, t, o)",
     {"x": s8(3, 4), "w": s8(4, 3), "t": f([0.1, 0.2, 0.3]), "o": np.zeros(3, np.int8)},
     "each row"),
])  # fmt: skip
def test_stays(call: str, values: dict[str, Any], reason: str) -> None:
    graph = model(call, values)
    report = run_pass(graph, get_pass(NAME), PassContext(explain=True))
    assert not report.changed
    assert any(reason in miss.reason for miss in report.missed), report.missed
