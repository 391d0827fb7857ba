"""Products of bytes, exact where ONNX Runtime's own kernels saturate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from burnish.ir import DType, Graph, OperatorNode
from burnish.oracle import Oracle, exact_products, fold_nodes, session
from tests.passes.conftest import build

RNG = np.random.default_rng(5)
X = np.concatenate([[[0] + [255] * 7], RNG.integers(0, 256, (2, 8))]).astype(np.uint8)
"""Both ends of bytes' range are in the first row, so that quantizing it again gives the same."""
W = RNG.integers(-128, 128, (8, 12)).astype(np.int8)
Z, V, S, U, P = np.uint8(120), np.int8(3), np.float32(0.25), np.float32(32), np.uint8(128)
SUMS = (X.astype(int) - Z) @ (W.astype(int) - V)
FLOATS = SUMS * S**2
BYTES = np.clip(np.rint(FLOATS / U) + P, 0, 255)
MS = "com.microsoft."


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm(sums: np.ndarray) -> np.ndarray:
    """The first state of an LSTM from the sums of its gates, in the order of ONNX."""
    inward, outward, _, cell = np.split(sums, 4, axis=-1)
    return sigmoid(outward) * np.tanh(sigmoid(inward) * np.tanh(cell))


ROW, IMAGE, KERNEL = X[:1], X.T.reshape(1, 8, 3, 1), W.T.reshape(12, 8, 1, 1)
LAST, MAP = {"x": IMAGE, "w": KERNEL}, (1, 12, 3, 1)
CASES: dict[str, tuple[str, dict[str, Any], np.ndarray]] = {
    "product": ("MatMulInteger(x, w, z, o)", {}, SUMS),
    "no zero points": ("MatMulInteger(x, w)", {}, X.astype(int) @ W.astype(int)),
    "zero point of the data": ("MatMulInteger(x, w, z)", {}, (X.astype(int) - Z) @ W.astype(int)),
    "zero points of columns": ("MatMulInteger(x, w, z, o)", {"o": np.arange(12, dtype=np.int8)},
                               (X.astype(int) - Z) @ (W.astype(int) - np.arange(12))),
    "quantized": ("QLinearMatMul(x, s, z, w, s, o, u, p)", {}, BYTES),
    "to floats": (f"{MS}MatMulIntegerToFloat(x, w, s, s, z, o)", {}, FLOATS),
    "gemm": (f"{MS}QGemm(x, s, z, w, s, o)", {}, FLOATS),
    "transposed gemm": (f"{MS}QGemm<transB = 1>(x, s, z, w, s, o, , u, p)", {"w": W.T.copy()},
                        BYTES),
    "dynamic": (f"{MS}DynamicQuantizeMatMul(x, w, s, o)", {"x": np.float32(X) - Z}, SUMS * S),
    "convolution": ("QLinearConv(x, s, z, w, s, o, u, p)", LAST, BYTES.T.reshape(MAP)),
    "scales of channels": (
        "QLinearConv(x, s, z, w, t, o, u, p)",
        LAST | {"t": np.full(12, S), "o": np.full(12, V)}, BYTES.T.reshape(MAP),
    ),
    "channels last": (f"{MS}QLinearConv<channels_last = 1>(x, s, z, w, s, o, u, p)",
                      {"x": X.reshape(1, 3, 1, 8), "w": KERNEL}, BYTES.reshape(1, 3, 1, 12)),
    "integer convolution": ("ConvInteger(x, w, z, o)", LAST, SUMS.T.reshape(MAP)),
    "signed data": (
        "ConvInteger(w, x, o, z)",
        {"w": W.T.reshape(1, 12, 8, 1).transpose(0, 2, 1, 3).copy(), "x": X.reshape(3, 8, 1, 1)},
        SUMS.reshape(1, 3, 12, 1),
    ),
    # One position attends to itself alone, so that its values come out.
    "attention": (f"{MS}QAttention<num_heads = 2>(x, w, b, s, s, , z, o)",
                  {"x": ROW.reshape(1, 1, 8), "b": np.zeros(12, np.float32)},
                  FLOATS[:1, 8:].reshape(1, 1, 4)),
    "LSTM": (f"{MS}DynamicQuantizeLSTM<hidden_size = 3>(x, w, r, , , , , , t, o, t, o)",
             {"x": (np.float32(ROW) - Z).reshape(1, 1, 8), "w": W[None], "r": W[None, :3],
              "t": np.float32([2**-14]), "o": V.reshape(1)},
             lstm(SUMS[:1] * 2.0**-14).reshape(1, 1, 1, 3)),
}  # fmt: skip
EXACT = "integer convolution"
"""Its kernel multiplies signed weights by unsigned data, in this order, which does not saturate."""
KINDS = {"float32": "float"}


def model(name: str, given: tuple[str, ...] = ("x",)) -> tuple[Graph, dict[str, np.ndarray]]:
    """The model of a case, and what it is given."""
    call, own, wanted = CASES[name]
    every = {"x": X, "w": W, "z": Z, "o": V, "s": S, "u": U, "p": P} | own
    read = [k for k in every if f" {k}," in f" {call.replace('(', '( ').replace(')', ',')}"]
    arrays = {key: np.asarray(every[key]) for key in read}
    inputs = ", ".join(
        f"{KINDS.get(str(a.dtype), str(a.dtype))}{list(a.shape) if a.shape else ''} {key}"
        for key, a in arrays.items()
    )
    kind = "int32" if "Integer(" in call else "uint8" if "u, p)" in call else "float"
    text = f"g ({inputs}) => ({kind}{list(wanted.shape)} y) {{ y = {call} }}"
    return (
        build(text, 21, {key: array for key, array in arrays.items() if key not in given}),
        {key: array for key, array in arrays.items() if key in given},
    )


def dtypes(node: OperatorNode) -> list[DType]:
    return [value.dtype for value in node.inputs if value is not None]


def check(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


@pytest.fixture
def saturating(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose kernels saturate, or one that is taken for such."""
    for module in (exact_products, session):
        monkeypatch.setattr(module, "saturates", lambda: True)


@pytest.mark.parametrize("name", CASES)
def test_the_oracle_is_exact(name: str) -> None:
    graph, feeds = model(name)
    check(Oracle(graph).run(feeds)["y"], CASES[name][2])


@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("name", sorted(set(CASES) - {EXACT}))
@pytest.mark.usefixtures("saturating")
def test_signed_operands_are_moved(name: str, optimized: bool) -> None:
    graph, feeds = model(name)
    (before,), (after,) = list(graph), list(exact_products.exact_products(graph))
    assert DType.INT8 in dtypes(before)
    assert DType.INT8 not in dtypes(after)
    check(Oracle(graph, optimized=optimized).run(feeds)["y"], CASES[name][2])


@pytest.mark.parametrize("name", ["product", "no zero points", "quantized", "signed data"])
@pytest.mark.usefixtures("saturating")
def test_operands_and_zero_points_that_are_computed(name: str) -> None:
    graph, feeds = model(name, ("x", "w", "z", "o"))
    check(Oracle(graph).run(feeds)["y"], CASES[name][2])


@pytest.mark.usefixtures("saturating")
def test_types_are_inferred_also_in_branches() -> None:
    text = """g (bool c, float[3, 8] f, uint8 z, int8 o, int8[8, 12] w) => (int32[3, 12] y) {
        y = If(c) < then_branch = t () => (int32[3, 12] a) {
            one = Constant<value = float {1}>() x = QuantizeLinear(f, one, z)
            v = Identity(w) a = MatMulInteger(x, v, z, o) },
          else_branch = e () => (int32[3, 12] b) {
            n = Constant<value = int64[2] {3, 12}>() b = ConstantOfShape<value = int32[1] {7}>(n)
        } > }"""
    graph = build(text, 21, {"z": Z, "o": V, "w": W})
    feeds = {"c": np.array(True), "f": np.float32(X) - Z}
    check(Oracle(graph).run(feeds)["y"], SUMS)


@pytest.mark.usefixtures("saturating")
def test_messages_and_files_also_with_functions(tmp_path: Path) -> None:
    proto = model("quantized")[0].to_onnx()
    onnx.save(proto, tmp_path / "model.onnx")
    called = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["": 21, "f": 1]>
        g (uint8[3, 8] x, int8[8, 12] w) => (int32[3, 12] y) { y = f.multiply(x, w) }
        <domain: "f", opset_import: ["": 21]> multiply (a, b) => (c) { c = MatMulInteger(a, b) }""")
    for given in (proto, tmp_path / "model.onnx", str(tmp_path / "model.onnx")):
        check(Oracle(given).run({"x": X})["y"], BYTES)
    check(Oracle(called).run({"x": X, "w": W})["y"], CASES["no zero points"][2])


@pytest.mark.usefixtures("saturating")
def test_what_is_folded_is_exact() -> None:
    (node,) = model("product", ())[0]
    (found,) = fold_nodes([node]).values()
    check(found, SUMS)


@pytest.mark.parametrize("second", ["uint8", "int8"])
@pytest.mark.parametrize("first", ["uint8", "int8"])
@pytest.mark.usefixtures("saturating")
def test_only_signed_operands_of_unsigned_data_are_moved(first: str, second: str) -> None:
    text = (
        f"g ({first}[3, 8] x, {second}[8, 12] w) => (int32[3, 12] y) {{ y = MatMulInteger(x, w) }}"
    )
    graph = build(text, 21, {})
    feeds = {"x": X.view(first), "w": W.view(second)}
    nodes = list(exact_products.exact_products(graph))
    assert (len(nodes) > 1) == ((first, second) == ("uint8", "int8"))
    check(Oracle(graph).run(feeds)["y"], feeds["x"].astype(int) @ feeds["w"].astype(int))
    (convolution,) = exact_products.exact_products(model(EXACT)[0])
    assert DType.INT8 in dtypes(convolution)


@pytest.mark.parametrize("second", ["uint8", "int8"])
@pytest.mark.parametrize("first", ["uint8", "int8"])
def test_integer_convolutions_are_exact_whatever_is_signed(first: str, second: str) -> None:
    text = f"""g ({first}[1, 4, 5, 5] x, {second}[8, 4, 3, 3] w) => (int32[1, 8, 3, 3] y) {{
        y = ConvInteger(x, w) }}"""
    largest = np.iinfo(first).max, np.iinfo(second).max
    feeds = {"x": np.full((1, 4, 5, 5), largest[0], first)}
    graph = build(text, 21, {"w": np.full((8, 4, 3, 3), largest[1], second)})
    check(Oracle(graph).run(feeds)["y"], np.full((1, 8, 3, 3), 36 * largest[0] * largest[1]))


PAIRS = {
    "one scale": ("x, s, z", "w, s, v", True),
    "scales of columns": ("x, s, z", "w, t, a", True),
    "no zero points": ("x, s, z", "w, t", True),
    "signed data": ("i, s, v", "w, s, v", False),
    "unsigned weights": ("x, s, z", "n, s, z", False),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.usefixtures("saturating")
def test_weights_that_onnx_runtime_makes_operands_of_bytes(name: str) -> None:
    data, weights, moved = PAIRS[name]
    arrays = {
        "s": S, "z": Z, "v": V, "w": W, "n": W.view(np.uint8), "t": np.full(12, S),
        "a": np.arange(12, dtype=np.int8), "x": X, "i": X.view(np.int8),
    }  # fmt: skip
    read = {key: arrays[key] for key in f"{data}, {weights}".split(", ")}
    inputs = ", ".join(
        f"{KINDS.get(str(a.dtype), a.dtype)}{list(a.shape) if a.shape else ''} {key}"
        for key, a in read.items()
    )
    text = f"""g ({inputs}) => (float[3, 12] y) {{ d = DequantizeLinear({data})
        e = DequantizeLinear<axis = 1>({weights}) y = MatMul(d, e) }}"""
    feeds = {key: array for key, array in read.items() if key in "xi"}
    graph = build(text, 21, {key: array for key, array in read.items() if key not in feeds})
    assert exact_products.exact_products(graph) is graph, "the oracle keeps it as it stands"
    made = exact_products.exact_products(graph, fused=True)
    before, after = ([dtypes(node) for node in each] for each in (graph, made))
    assert (before != after) == moved
    fast = onnxruntime.InferenceSession(made.to_onnx().SerializeToString())
    np.testing.assert_allclose(fast.run(["y"], feeds)[0], Oracle(graph).run(feeds)["y"], rtol=1e-5)


@pytest.mark.parametrize("text", [
    "(float[3, 8] x, int8[8, 12] w, float s) => (float[3, 12] y) "
    "{ v = DequantizeLinear(w, s) y = MatMul(x, v) }",
    "(uint8[3, 8] x, float[8, 12] v, float s) => (float[3, 12] y) "
    "{ d = DequantizeLinear(x, s) y = MatMul(d, v) }",
    "(uint8[3, 8] x, int8[8, 12] w, float s) => (float[3, 12] y) "
    "{ d = DequantizeLinear(x, s) v = DequantizeLinear(w, s) y = MatMul(d, v) }",
])  # fmt: skip
@pytest.mark.usefixtures("saturating")
def test_other_weights_stay(text: str) -> None:
    graph = build(f"g {text}", 21, {"s": S})
    made = exact_products.exact_products(graph, fused=True)
    assert [dtypes(node) for node in made] == [dtypes(node) for node in graph]


def test_elsewhere_and_in_other_models_the_graph_itself_is_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph, _ = model("product")
    floats = build("g (float[2] x) => (float[2] y) { y = Relu(x) }", 21, {})
    monkeypatch.setattr(exact_products, "saturates", lambda: False)
    assert exact_products.exact_products(graph) is graph
    monkeypatch.setattr(exact_products, "saturates", lambda: True)
    assert exact_products.exact_products(floats) is floats
    assert exact_products.exact_products(graph) is not graph
    assert [dtypes(node) for node in graph] == [[DType.UINT8, DType.INT8, DType.UINT8, DType.INT8]]
