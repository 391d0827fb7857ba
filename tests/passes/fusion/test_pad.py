"""fuse-pad."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "fuse-pad"
W = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
SPATIAL = np.array([0, 0, 1, 0, 0, 0, 2, 1])
ZERO, LOWEST = np.float32(0), np.float32(-np.inf)


def model(body: str, result: str = "float y") -> str:
    declared = "int64 p, float v, float w, int64 a"
    return f"g (float[2, 3, 9, 8] x, {declared}) => ({result}) {{ {body} }}"


def fixed(**changes: object) -> dict[str, object]:
    return {"p": SPATIAL, "v": ZERO, "w": W, "a": np.array([2, 3])} | changes


def pads(graph: Graph) -> tuple[int, ...]:
    node = next(n for n in graph if n.op_type != "Relu")
    assert len(graph) - (node is not graph.first) == 1
    found: tuple[int, ...] = node.attribute("pads")
    return found


@pytest.mark.parametrize(("conv", "wanted"), [
    ("Conv(q, w)", (1, 0, 2, 1)), ("Conv<pads = [1, 1, 1, 1]>(q, w)", (2, 1, 3, 2)),
    ('Conv<auto_pad = "VALID", strides = [2, 2]>(q, w)', (1, 0, 2, 1)),
])  # fmt: skip
def test_into_conv(fires: Callable[..., Graph], conv: str, wanted: tuple[int, ...]) -> None:
    graph = fires(NAME, model(f"q = Pad(x, p, v) y = {conv}"), "pad-into-conv", **fixed())
    assert pads(graph) == wanted


def test_axes_of_the_padding(fires: Callable[..., Graph]) -> None:
    text = model("q = Pad(x, p, , a) y = Conv(q, w)")
    graph = fires(NAME, text, "pad-into-conv", **fixed(p=np.array([1, 0, 2, 1])))
    assert pads(graph) == (1, 0, 2, 1)


def test_attributes_before_opset_11(fires: Callable[..., Graph]) -> None:
    text = model("q = Pad<pads = [0, 0, 1, 0, 0, 0, 2, 1]>(x) y = Conv(q, w)")
    assert pads(fires(NAME, text, "pad-into-conv", opset=10, **fixed())) == (1, 0, 2, 1)


def test_every_reader_takes_it(fires: Callable[..., Graph]) -> None:
    text = model(
        "q = Pad(x, p) y = Conv(q, w) z = Conv<strides = [2, 2]>(q, w)", "float y, float z"
    )
    graph = fires(NAME, text, "pad-into-conv", "pad-into-conv", **fixed())
    assert [n.op_type for n in graph] == ["Conv", "Conv"]


def test_a_reader_that_is_no_convolution_keeps_it(fires: Callable[..., Graph]) -> None:
    text = model("q = Pad(x, p) y = Conv(q, w) z = Relu(q)", "float y, float z")
    graph = fires(NAME, text, "pad-into-conv", **fixed())
    assert [n.op_type for n in graph] == ["Pad", "Conv", "Relu"]


@pytest.mark.parametrize("pool", [
    "AveragePool<kernel_shape = [3, 3]>",
    "AveragePool<kernel_shape = [3, 3], pads = [0, 1, 0, 0], count_include_pad = 1>",
])  # fmt: skip
def test_into_average_pool(fires: Callable[..., Graph], pool: str) -> None:
    text = model(f"q = Pad(x, p) y = {pool}(q)")
    graph = fires(NAME, text, "pad-into-average-pool", **fixed())
    assert graph.first is not None
    assert graph.first.attribute("count_include_pad") == 1


def test_minus_infinity_into_max_pool(fires: Callable[..., Graph]) -> None:
    text = model("q = Pad(x, p, v) y = MaxPool<kernel_shape = [3, 3]>(q)")
    assert pads(fires(NAME, text, "pad-into-max-pool", **fixed(v=LOWEST))) == (1, 0, 2, 1)


def test_zeros_into_max_pool_of_what_is_never_negative(fires: Callable[..., Graph]) -> None:
    text = model("r = Relu(x) q = Pad(r, p) y = MaxPool<kernel_shape = [3, 3]>(q)")
    fires(NAME, text, "pad-into-max-pool", **fixed())


CONV = "q = Pad(x, p, v) y = Conv(q, w)"


@pytest.mark.parametrize(("change", "reason"), [
    ({"v": np.float32(1)}, "the padding is 1"),
    ({"v": LOWEST}, "the padding is -inf"),
    ({"p": np.array([0, 0, -1, 0, 0, 0, 2, 1])}, "negative"),
    ({"p": np.array([0, 0, 1, 0, 1, 0, 2, 1])}, "batch or channels"),
])  # fmt: skip
def test_declines_padding(
    misses: Callable[..., None], change: dict[str, object], reason: str
) -> None:
    misses(NAME, model(CONV), reason, **fixed(**change))


def test_declines_padded_channels(misses: Callable[..., None]) -> None:
    wide = np.ones((4, 4, 3, 3), np.float32)
    sizes = np.array([0, 1, 0, 0, 0, 0, 0, 0])
    misses(NAME, model(CONV), "batch or channels", **fixed(p=sizes, w=wide))


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("Pad(x, p, v)", 'Pad<mode = "reflect">(x, p)', "reflect"),
    ("Pad(x, p, v)", 'Pad<mode = "edge">(x, p)', "edge"),
    ("Conv(q, w)", 'Conv<auto_pad = "SAME_LOWER">(q, w)', "auto_pad"),
])  # fmt: skip
def test_declines_conv(misses: Callable[..., None], old: str, new: str, reason: str) -> None:
    misses(NAME, model(CONV.replace(old, new)), reason, **fixed())


def test_declines_padding_that_is_computed(misses: Callable[..., None]) -> None:
    text = (
        "g (float[2, 3, 9, 8] x, int64[8] p, float w) => (float y) { q = Pad(x, p) y = Conv(q, w) }"
    )
    misses(NAME, text, "sizes of the padding are unknown", w=W)


def test_declines_conv_transpose(misses: Callable[..., None]) -> None:
    text = model("q = Pad(x, p) y = ConvTranspose(q, w)")
    misses(NAME, text, None, **fixed(w=np.ones((3, 4, 3, 3), np.float32)))


@pytest.mark.parametrize(("pool", "change", "reason"), [
    ("AveragePool<kernel_shape = [3, 3], pads = [0, 1, 0, 0]>", {}, "does not count"),
    ("AveragePool<kernel_shape = [3, 3], ceil_mode = 1>", {}, "rounds"),
    ("AveragePool<kernel_shape = [2, 2]>", {}, "as large as the window"),
    ("AveragePool<kernel_shape = [3, 3]>", {"v": LOWEST}, "pads with zeros"),
    ("MaxPool<kernel_shape = [3, 3]>", {}, "pads with minus infinity"),
    ("MaxPool<kernel_shape = [3, 3], ceil_mode = 1>", {"v": LOWEST}, "rounds"),
    ("MaxPool<kernel_shape = [2, 2]>", {"v": LOWEST}, "as large as the window"),
])  # fmt: skip
def test_declines_pooling(
    misses: Callable[..., None], pool: str, change: dict[str, object], reason: str
) -> None:
    misses(NAME, model(f"q = Pad(x, p, v) y = {pool}(q)"), reason, **fixed(**change))


def test_declines_windows_with_gaps_that_may_hold_no_data(misses: Callable[..., None]) -> None:
    text = """
    g (float[1, 1, 1] x, int64[6] p) => (float y) {
        r = Relu(x) q = Pad(r, p) y = MaxPool<kernel_shape = [2], dilations = [2]>(q)
    }"""
    misses(NAME, text, "nothing but padding", p=np.array([0, 0, 1, 0, 0, 1]))
