"""convert-float16: products in half the bits where values bear it, and a reason where not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.calibration import Calibration
from burnish.errors import UsageError
from burnish.ir import DType, Graph
from burnish.oracle import Oracle, random_inputs
from burnish.passes import get_pass
from burnish.passes.quantization.half_range import HalfRange
from burnish.pipeline import PassContext, run_pass
from tests.passes.conftest import build
from tests.passes.quantization.calibrated import applied, uneven

NAME = "convert-float16"
MLP = """g (float[4, 8] x, float[8, 16] w, float[16] b, float[16, 3] v) => (float[4, 3] y) {{
    m = MatMul(x, w)  h = Add(m, b)  {}  y = MatMul(a, v) }}"""


def mlp(**changes: Any) -> dict[str, Any]:
    found = {"w": uneven(1, 8, 16, axis=1, decades=0), "b": uneven(2, 16, axis=0, decades=0)}
    return found | {"v": uneven(3, 16, 3, axis=0, decades=0)} | changes


def kinds(graph: Graph) -> dict[str, DType]:
    """The type that each operator gives, of the last of its kind."""
    return {node.op_type: node.output.dtype for node in graph}


def error(before: Graph, after: Graph) -> float:
    """Largest error of the first output in ONNX Runtime with all its optimizations."""
    feeds = random_inputs(before, 0)
    session = onnxruntime.InferenceSession(
        after.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    wanted = next(iter(Oracle(before).run(feeds).values()))
    found = session.run(None, feeds)[0]
    assert wanted.dtype == found.dtype
    return float(np.abs(wanted - found).max() / np.abs(wanted).max())


def test_all_that_lies_between_two_products():
    before, after, report = applied(NAME, MLP.format("a = Relu(h)"), mlp())
    assert [node.op_type for node in after] == ["Cast", "MatMul", "Add", "Relu", "MatMul", "Cast"]
    assert after.inputs[0].dtype is after.outputs[0].dtype is DType.FLOAT
    assert after.outputs[0].name == "y"
    assert len(report.fired) == 4
    assert 0 < error(before, after) < 2e-3


@pytest.mark.parametrize(
    "line",
    ["a = Softmax(h)", "ax = Constant<value = int64[1] {1}>()  s = ReduceSum(h, ax)  a = Mul(h, s)",
     "a = LayerNormalization(h, b)", "a = Exp(h)"],
)  # fmt: skip
def test_sums_and_powers_stay_wide(line):
    graph = build(MLP.format(line), 21, mlp())
    run_pass(graph, get_pass("fold-constants"), PassContext())
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    context = PassContext(calibration=Calibration([random_inputs(graph, 0)]))
    assert run_pass(graph, get_pass(NAME), context).changed
    found = kinds(graph)
    wide = next(k for k in ("Softmax", "ReduceSum", "LayerNormalization", "Exp") if k in found)
    assert found[wide] is DType.FLOAT
    assert found["MatMul"] is DType.FLOAT16


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"w": np.full((8, 16), 1e4, np.float32)}, "float16 ends at 65504"),
        ({"b": np.full(16, 4e4, np.float32)}, "reaches 40000"),
        ({"w": np.full((8, 16), 1e-6, np.float32)}, "so small"),
        ({"w": np.full((8, 16), np.inf, np.float32)}, "no numbers"),
    ],
)
def test_what_does_not_fit_is_named(change, reason):
    _, after, report = applied(NAME, MLP.format("a = Relu(h)"), mlp(**change))
    found = [miss.reason for miss in report.missed]
    assert any(reason in one for one in found), found
    assert after.outputs[0].dtype is DType.FLOAT
    first = next(node for node in after if node.op_type in ("MatMul", "Add"))
    assert first.output.dtype is DType.FLOAT or "reaches" in reason


def test_headroom_is_asked_for():
    weights = mlp(b=np.full(16, 2e4, np.float32), v=mlp()["v"] / 16)
    _, _, roomy = applied(NAME, MLP.format("a = Relu(h)"), weights)
    _, _, tight = applied(NAME, MLP.format("a = Relu(h)"), weights, headroom=4.0)
    assert not roomy.missed
    assert any("4 times that" in miss.reason for miss in tight.missed)


def test_nodes_to_keep():
    _, after, _ = applied(NAME, MLP.format("a = Relu(h)"), mlp(), keep=("MatMul_0",))
    products = [node.output.dtype for node in after if node.op_type == "MatMul"]
    assert products == [DType.FLOAT, DType.FLOAT16]


def test_arithmetic_alone_gains_nothing():
    text = "g (float[4, 8] x, float[8] b) => (float[4, 8] y) { h = Add(x, b)  y = Relu(h) }"
    assert not applied(NAME, text, {"b": np.ones(8, np.float32)})[2].changed


def test_a_result_that_is_read_as_both_widths():
    text = MLP.format("a = Relu(h)  z = Softmax(a)").replace("y)", "y, float[4, 16] z)")
    _, after, report = applied(NAME, text, mlp())
    assert report.changed
    assert [n.op_type for n in after].count("Cast") == 3
    assert kinds(after)["Softmax"] is DType.FLOAT


def test_results_that_are_no_floats():
    text = """g (float[1, 2, 8, 8] x, float[4, 2, 3, 3] w) => (float y, int64 i) {
        c = Conv(x, w)  y, i = MaxPool<kernel_shape = [2, 2]>(c) }"""
    before, after, report = applied(NAME, text, {"w": uneven(1, 4, 2, 3, 3, axis=0, decades=0)})
    assert report.changed
    assert [value.dtype for value in after.outputs] == [DType.FLOAT, DType.INT64]
    assert error(before, after) < 2e-3


def test_bodies_of_control_flow_read_what_they_did():
    text = """g (float[4, 8] x, float[8, 8] w, bool c) => (float[4, 8] y) {
        m = MatMul(x, w)  y = If<then_branch = a () => (float[4, 8] p) { p = Relu(m) },
        else_branch = b () => (float[4, 8] q) { q = Neg(m) }>(c) }"""
    weights = {"w": uneven(1, 8, 8, axis=0, decades=0)}
    before, after, report = applied(NAME, text, weights)
    assert report.changed
    assert error(before, after) < 2e-3


def test_without_data():
    graph = build(MLP.format("a = Relu(h)"), 21, mlp())
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    assert not run_pass(graph, get_pass(NAME), PassContext()).changed


def test_weights_as_bfloat16_take_no_data():
    before, after = (build(MLP.format("a = Relu(h)"), 21, mlp()) for _ in range(2))
    for graph in (before, after):
        run_pass(graph, get_pass("infer-shapes"), PassContext())
    assert run_pass(after, get_pass(NAME, dtype="bfloat16"), PassContext()).changed
    # A constant of 48 elements is not worth a Cast.
    assert [node.op_type for node in after] == ["Cast", "MatMul", "Add", "Relu", "MatMul"]
    assert after.first.inputs[0].dtype is DType.BFLOAT16
    assert 0 < error(before, after) < 1e-2
    assert not run_pass(after, get_pass(NAME, dtype="bfloat16"), PassContext()).changed


def test_weights_beyond_bfloat16_stay():
    weights = mlp(w=np.full((8, 16), np.finfo(np.float32).max, np.float32))
    graph = build(MLP.format("a = Relu(h)"), 21, weights)
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    report = run_pass(graph, get_pass(NAME, dtype="bfloat16"), PassContext(explain=True))
    assert not report.changed
    assert any("too large" in miss.reason for miss in report.missed)


def test_tables_that_rows_are_gathered_from():
    text = "g (int64[4] x, float[50, 8] w) => (float[4, 8] y) { y = Gather(w, x) }"
    _, after, report = applied(NAME, text, {"w": uneven(1, 50, 8, axis=1, decades=0)})
    assert report.changed
    assert [node.op_type for node in after] == ["Gather", "Cast"]


def test_an_unknown_type():
    graph = build(MLP.format("a = Relu(h)"), 21, mlp())
    with pytest.raises(UsageError, match="bfloat16"):
        run_pass(graph, get_pass(NAME, dtype="bfloat61"), PassContext())


def test_what_rounding_takes_away():
    numbers = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    assert seen(numbers).problem(2, 2**-9) is None
    assert "is so small" in (seen(numbers * 1e-6).problem(2, 2**-9) or "")
    assert seen(np.zeros(5, np.float32)).problem(2, 2**-9) is None
    assert seen(np.zeros(0, np.float32)).problem(2, 2**-9) is None
    assert "2 values" in (seen(np.float32([np.nan, 1, np.inf])).problem(2, 2**-9) or "")


def seen(numbers: np.ndarray) -> HalfRange:
    found = HalfRange()
    found.update(numbers)
    return found


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_any_chain(seed, length):
    rng = np.random.default_rng(seed)
    lines, weights, x = [], {}, "x"
    for place in range(length):
        kind = ("Relu(m{})", "Sigmoid(m{})", "Softmax(m{})", "Add(m{}, x)", "Exp(m{})",
                "LayerNormalization(m{}, b0)")[rng.integers(6)]  # fmt: skip
        lines.append(f"m{place} = Gemm({x}, w{place}, b{place})  a{place} = {kind.format(place)}")
        weights[f"w{place}"] = uneven(seed + place, 8, 8, axis=1, decades=0.2) / 4
        weights[f"b{place}"] = uneven(seed - place + 1000, 8, axis=0, decades=0.2)
        x = f"a{place}"
    constants = ", ".join(
        f"float[{', '.join(map(str, array.shape))}] {name}" for name, array in weights.items()
    )
    body = " ".join([*lines, f"y = Neg({x})"])
    text = f"g (float[4, 8] x, {constants}) => (float[4, 8] y) {{ {body} }}"
    before, after, report = applied(NAME, text, weights)
    if report.changed:
        assert error(before, after) < 0.05
