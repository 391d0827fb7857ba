"""move-quantization: operators that move numbers do it with integers, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "move-quantization"
S, Z = np.float32(0.5), np.uint8(3)
U8 = np.random.default_rng(5).integers(0, 256, (1, 4, 6, 6), np.uint8)
F = (U8.astype(np.float32) - 9) * np.float32(0.4)
LISTS = {
    "k": np.array([1, 4, 36]), "a": np.array([0]), "i": np.array([2, 0]),
    "p": np.array([0, 0, 1, 0, 0, 0, 0, 2]), "b": np.array([1]), "e": np.array([3]),
    "r": np.float32([1, 1, 2, 2]), "t": np.array([2, 1, 1, 1]), "n": np.array([[0, 2]]),
}  # fmt: skip
MOVES = {
    "Reshape(f, k)": "k", "Transpose<perm = [0, 2, 3, 1]>(f)": "", "Squeeze(f, a)": "a",
    "Unsqueeze(f, a)": "a", "Flatten(f)": "", "Gather<axis = 1>(f, i)": "i",
    "Slice(f, b, e, b)": "be", "Pad(f, p)": "p", 'Pad<mode = "reflect">(f, p)': "p",
    "MaxPool<kernel_shape = [2, 2], pads = [1, 1, 0, 0]>(f)": "", "Resize(f, , r)": "r",
    "DepthToSpace<blocksize = 2>(f)": "", "SpaceToDepth<blocksize = 2>(f)": "", "Tile(f, t)": "t",
    "Expand(f, t)": "t", "GatherND(f, n)": "n", "Identity(f)": "",
}  # fmt: skip
"""Calls, and the lists that they read."""


def given(names: str) -> tuple[str, dict[str, np.ndarray]]:
    """Declarations and values of lists."""
    kinds = {name: "float" if LISTS[name].dtype == np.float32 else "int64" for name in names}
    text = "".join(f", {kind} {name}" for name, kind in kinds.items())
    return text, {name: LISTS[name] for name in names}


@pytest.mark.parametrize("call", MOVES)
def test_behind(fires: Callable[..., Graph], call: str) -> None:
    extra, lists = given(MOVES[call])
    text = f"""g (uint8[1, 4, 6, 6] x, float s, uint8 z{extra}) => (float y) {{
        f = DequantizeLinear(x, s, z) y = {call} }}"""
    graph = fires(NAME, text, "dequantize-behind", inputs={"x": U8}, s=S, z=Z, **lists)
    assert [node.op_type for node in graph][-1] == "DequantizeLinear"


@pytest.mark.parametrize("call", MOVES)
def test_before(fires: Callable[..., Graph], call: str) -> None:
    extra, lists = given(MOVES[call])
    text = f"""g (float[1, 4, 6, 6] x, float s, uint8 z{extra}) => (uint8 y) {{
        f = Neg(x) m = {call} y = QuantizeLinear(m, s, z) }}"""
    graph = fires(NAME, text, "quantize-before", inputs={"x": F}, s=S, z=Z, **lists)
    assert [node.op_type for node in graph][:2] == ["Neg", "QuantizeLinear"]


def test_parts_of_a_split(fires: Callable[..., Graph]) -> None:
    text = """g (uint8[1, 4, 6, 6] x, float s, uint8 z) => (float u, float v) {
        f = DequantizeLinear(x, s, z) u, v = Split<axis = 1, num_outputs = 2>(f) }"""
    graph = fires(NAME, text, "dequantize-behind", inputs={"x": U8}, s=S, z=Z)
    assert [node.op_type for node in graph] == ["Split", "DequantizeLinear", "DequantizeLinear"]


@pytest.mark.parametrize(("call", "axis"), [
    ("Transpose<perm = [0, 2, 3, 1]>(f)", 3), ("Gather<axis = 2>(f, i)", 1),
    ("Gather<axis = 0>(f, n)", 2), ("Identity(f)", 1),
])  # fmt: skip
def test_scale_by_channel(fires: Callable[..., Graph], call: str, axis: int) -> None:
    text = f"""g (uint8[1, 4, 6, 6] x, float s, uint8 z, int64 i, int64 n) => (float y) {{
        f = DequantizeLinear(x, s, z) y = {call} }}"""
    graph = fires(
        NAME, text, "dequantize-behind", inputs={"x": U8}, s=np.float32([1, 2, 3, 4]),
        z=np.uint8([1, 2, 3, 4]), i=LISTS["i"], n=np.array([[0, 0]]),
    )  # fmt: skip
    assert list(graph)[-1].attribute("axis") == axis


ONE_AND_TWO = """g (uint8[1, 4, 6, 6] x, uint8[1, 4, 6, 6] w, float s, uint8 z, float t, uint8 o)
    => ({kind} y) {{ a = DequantizeLinear(x, s, z) b = DequantizeLinear(w, t, o)
    c = Concat<axis = 1>(a, b) {tail} }}"""
PAIR = {"x": U8, "w": U8[:, ::-1].copy()}


def test_parts_that_are_alike_are_joined(fires: Callable[..., Graph]) -> None:
    text = ONE_AND_TWO.format(kind="float", tail="y = Identity(c)")
    fires(NAME, text, "join-dequantized", "dequantize-behind", inputs=PAIR, s=S, z=Z, t=S, o=Z)


def test_parts_are_quantized_alike(fires: Callable[..., Graph]) -> None:
    text = ONE_AND_TWO.format(kind="uint8", tail="y = QuantizeLinear(c, s, z)")
    graph = fires(NAME, text, "join-quantized", "quantize-dequantized", inputs=PAIR, s=S, z=Z,
                  t=np.float32(0.3), o=np.uint8(7))  # fmt: skip
    assert [node.op_type for node in graph] == ["DequantizeLinear", "QuantizeLinear", "Concat"]


@pytest.mark.parametrize("change", [{"t": np.float32(0.25)}, {"o": np.uint8(4)}])
def test_other_parts_stay(misses: Callable[..., None], change: dict[str, np.generic]) -> None:
    text = ONE_AND_TWO.format(kind="float", tail="y = Neg(c)")
    misses(NAME, text, "other scales", **({"s": S, "z": Z, "t": S, "o": Z} | change))


CLAMPS = [
    ("Relu(x)", 0.1, 0, True), ("Relu(x)", 0.1, 1, False), ("Clip(x, lo, hi)", 6 / 255, 0, True),
    ("Clip(x, lo, hi)", 6.1 / 255, 0, False), ("Clip(x, lo, hi)", 5.9 / 255, 0, True),
    ("Clip(x, lo)", 0.1, 0, True), ("Clip(x, , hi)", 6 / 255, 0, True),
    ("Clip(x, , hi)", 6 / 254, 3, True), ("Clip(x, , hi)", 6 / 250, 3, False),
    ("Clip(x, lo, computed)", 6 / 255, 0, False),
]  # fmt: skip


@pytest.mark.parametrize(("call", "scale", "zero", "goes"), CLAMPS)
def test_bounds_before(
    fires: Callable[..., Graph], misses: Callable[..., None], call: str, scale: float, zero: int,
    goes: bool,
) -> None:  # fmt: skip
    text = f"""g (float[1, 4, 6, 6] x, float computed, float s, uint8 z, float lo, float hi)
        => (uint8 y) {{ c = {call} y = QuantizeLinear(c, s, z) }}"""
    values = {"s": np.float32(scale), "z": np.uint8(zero), "lo": np.float32(0), "hi": np.float32(6)}
    if goes:
        fires(NAME, text, "quantize-unbounded", inputs={"x": F, "computed": np.array(S)}, **values)
    else:
        misses(NAME, text, None, **values)


@pytest.mark.parametrize(("call", "zero", "goes"), [
    ("Relu(f)", 0, True), ("Relu(f)", 1, False), ("Clip(f, lo, hi)", 0, True),
    ("Clip(f, lo, low)", 0, False), ("Clip(f, hi)", 0, False),
])  # fmt: skip
def test_bounds_behind(
    fires: Callable[..., Graph], misses: Callable[..., None], call: str, zero: int, goes: bool
) -> None:
    text = f"""g (uint8[1, 4, 6, 6] x, float s, uint8 z, float lo, float hi, float low)
        => (float y) {{ f = DequantizeLinear(x, s, z) c = {call} y = Neg(c) }}"""
    values = {"s": S, "z": np.uint8(zero), "lo": np.float32(0), "hi": np.float32(127.5),
              "low": np.float32(127)}  # fmt: skip
    if goes:
        fires(NAME, text, "dequantized-in-bounds", inputs={"x": U8}, **values)
    else:
        misses(NAME, text, "further than the bounds", **values)


@pytest.mark.parametrize(("text", "reason"), [
    ("y = AveragePool<kernel_shape = [2, 2]>(f)", None),
    ("y = Pad(f, p, odd)", "no integer stands for"),
    ("y = Pad(f, p, far)", "no integer stands for"),
    ("y = Pad(f, p, computed)", "is computed"),
    ('y = Resize<mode = "linear">(f, , r)', "new numbers"),
    ("y, j = MaxPool<kernel_shape = [2, 2]>(f)", "where the largest"),
    ("g = DequantizeLinear(x, each) y = Reshape(g, k)", "its own scale"),
    ("g = DequantizeLinear(x, each) y = Gather<axis = 1>(g, i)", "its own scale"),
    ("y = Add(f, f)", None),
])  # fmt: skip
def test_stays_before(misses: Callable[..., None], text: str, reason: str | None) -> None:
    misses(
        NAME, "g (uint8[1, 4, 6, 6] x, float computed, float s, uint8 z, int64 p, float odd, "
        "float far, float r, float each, int64 k, int64 i) => (float y) "
        f"{{ f = DequantizeLinear(x, s, z) {text} }}",
        reason, s=S, z=Z, p=LISTS["p"], odd=np.float32(0.7), far=np.float32(-99), r=LISTS["r"],
        each=np.float32([1, 2, 3, 4]), k=LISTS["k"], i=LISTS["i"],
    )  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), [
    ("y = QuantizeLinear(f, s, z) m = Transpose(f) u = QuantizeLinear(m, s, z)", "read as it is"),
    ("m = Transpose(f) y = QuantizeLinear(m, s, z) u = Neg(m)", "also read by another"),
    ("m = Transpose(f) y = QuantizeLinear<axis = 1>(m, each, zeros) u = Neg(f)", "more than one"),
    ("m = Transpose(c) y = QuantizeLinear(m, s, z) u = Neg(f)", "constant"),
    ("m, o = Split<num_outputs = 2, axis = 1>(f) y = QuantizeLinear(m, s, z) u = Neg(x)", "apart"),
    ("m = Relu(f) y = QuantizeLinear(m, s, one) u = Neg(m)", "are read as well"),
    ("m = Concat<axis = 0>(f, f) y = QuantizeLinear(m, s, z) u = Neg(m)", "also read by another"),
])  # fmt: skip
def test_stays_behind(misses: Callable[..., None], text: str, reason: str) -> None:
    misses(
        NAME, "g (float[1, 4, 6, 6] x, float s, uint8 z, uint8 one, float each, uint8 zeros, "
        f"float c) => (uint8 y, float u) {{ f = Neg(x) {text} }}".replace(
            "float u)", "uint8 u)" if "u = Quan" in text else "float u)"),
        reason, s=S, z=Z, one=np.uint8(0), each=np.float32([1] * 6), zeros=np.zeros(6, np.uint8),
        c=F,
    )  # fmt: skip


def test_a_product_between_conversions_keeps_them(misses: Callable[..., None]) -> None:
    text = """g (uint8[4, 4] x, float[4, 4] w, float s, uint8 z) => (uint8 y) {
        f = DequantizeLinear(x, s, z) m = MatMul(f, w) y = QuantizeLinear(m, s, z) }"""
    misses(NAME, text, None, s=S, z=Z)
