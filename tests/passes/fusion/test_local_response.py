"""recognise-local-response: what torch writes, and averages that are others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "recognise-local-response"
NUMBERS = {
    "split": np.array([2, 1, 8, 5, -1]), "one": np.array([1]), "alpha": np.float32(0.5),
    "bias": np.float32(2), "beta": np.float32(0.75), "two": np.float32(2),
}  # fmt: skip
POOL = "count_include_pad = 1, kernel_shape = [5, 1, 1], pads = [2, 0, 0, 2, 0, 0]"
BODY = f"""q = Mul(x, x) r = Reshape(q, split) p = AveragePool<{POOL}>(r) s = Squeeze(p, one)
    t = Mul(s, alpha) u = Add(t, bias) w = Pow(u, beta) y = Div(x, w)"""


def model(body: str = BODY, result: str = "float y", shape: str = "2, 8, 5, 6") -> str:
    return f"""
    g (float[{shape}] x, int64 split, int64 one, float alpha, float bias, float beta, float two)
    => ({result}) {{ {body} }}"""


@pytest.mark.parametrize(("old", "new"), [
    ("", ""), ("q = Mul(x, x)", "q = Pow(x, two)"), ("Mul(s, alpha)", "Mul(alpha, s)"),
    ("r = Reshape(q, split)", "r = Unsqueeze(q, one)"),
])  # fmt: skip
def test_torch(fires: Callable[..., Graph], old: str, new: str) -> None:
    body = BODY.replace(old, new) if old else BODY
    graph = fires(NAME, model(body), "local-response", opset=17, **NUMBERS)
    assert [node.op_type for node in graph] == ["LRN"]
    assert graph.first is not None
    assert graph.first.attribute("size") == 5


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("[5, 1, 1], pads = [2, 0, 0, 2, 0, 0]", "[4, 1, 1], pads = [2, 0, 0, 1, 0, 0]",
     "as many channels on both sides"),
    ("[5, 1, 1], pads = [2, 0, 0, 2, 0, 0]", "[5, 1, 1], pads = [3, 0, 0, 1, 0, 0]",
     "counts those at the ends otherwise"),
    ("[5, 1, 1], pads = [2, 0, 0, 2, 0, 0]", "[1, 5, 1], pads = [0, 2, 0, 0, 2, 0]",
     "as many channels on both sides"),
    ("count_include_pad = 1", "count_include_pad = 0", "counts those at the ends otherwise"),
    ("Mul(x, x)", "Mul(x, s0)", "have to be the same one"),
    ("Div(x, w)", "Div(w, x)", None),
    ("Pow(u, beta)", "Pow(beta, u)", None),
    ("Add(t, bias)", "Sub(t, bias)", None),
])  # fmt: skip
def test_declines(misses: Callable[..., None], old: str, new: str, reason: str | None) -> None:
    body = ("s0 = Tanh(x) " if "s0" in new else "") + BODY.replace(old, new)
    misses(NAME, model(body), reason, opset=17, **NUMBERS)


def test_declines_other_axes_than_channels(misses: Callable[..., None]) -> None:
    numbers = NUMBERS | {"split": np.array([2, 1, 5, 8, 6])}
    misses(NAME, model(), "not the channels", opset=17, **numbers)


def test_declines_channels_of_unknown_number(misses: Callable[..., None]) -> None:
    body = BODY.replace("Reshape(q, split)", "Unsqueeze(q, one)")
    misses(NAME, model(body, shape='2, "C", 5, 6'), "not the channels", opset=17, **NUMBERS)


def test_kernels_have_no_such_operator(misses: Callable[..., None]) -> None:
    misses(NAME, model(), "no kernel of LRN", opset=17, target=True, **NUMBERS)


@pytest.mark.parametrize("inner", ["q", "p", "w"])
def test_declines_when_the_middle_is_returned(misses: Callable[..., None], inner: str) -> None:
    misses(NAME, model(BODY, f"float y, float {inner}"), "graph output", opset=17, **NUMBERS)


def test_declines_half_precision(misses: Callable[..., None]) -> None:
    numbers = {k: a.astype(np.float16) if a.dtype == np.float32 else a for k, a in NUMBERS.items()}
    misses(NAME, model().replace("float", "float16"), "float32 only", opset=17, **numbers)
