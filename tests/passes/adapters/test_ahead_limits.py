"""merge-adapters: readers of a residual adapter that its matrix cannot go into."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

NAME = "merge-adapters"
RNG = np.random.default_rng(3)
CONV = "n = Relu(x) h = Conv(n, d, dc) e = Conv(h, u, uc) r = Add(e, n)"
PRODUCT = "n = Relu(x) h = MatMul(n, a) e = MatMul(h, b) r = Add(e, n)"
WEIGHTS = {
    "d": (2, 4, 1), "dc": (2,), "u": (4, 2, 1), "uc": (4,), "a": (4, 2), "b": (2, 4), "c": (2, 1),
    "q": (4, 5), "g": (4, 2, 1), "k": (5, 4, 3),
}  # fmt: skip

READERS = {
    "groups": (f"{CONV} y = Conv<group = 2>(r, g)", "does not mix the channels of the adapter"),
    "another axis": (f"{CONV} y = MatMul(r, q)", "works on another axis than the adapter"),
    "zeros around": (f"{CONV} y = Conv<pads = [1, 1]>(r, k)", "the Conv that reads it pads"),
    "a column for all channels": (
        f"{PRODUCT} y = MatMul(r, q)".replace("(h, b)", "(h, c)"), "does not mix the channels"),
    "a branch that is read": (
        f"{PRODUCT} o = MatMul(r, q) s = ReduceMax(h, last) y = Add(o, s)",
        "also read"),
}  # fmt: skip


@pytest.mark.parametrize("case", READERS)
def test_declines(misses: Callable[..., None], case: str) -> None:
    body, reason = READERS[case]
    names = [name for name in WEIGHTS if f" {name})" in body or f" {name}, " in body]
    weights = {name: RNG.standard_normal(WEIGHTS[name]).astype(np.float32) for name in names}
    declared = ", ".join(f"float{list(WEIGHTS[name])} {name}" for name in names)
    axes = {"last": np.array([-1])} if "last" in body else {}
    more = ", int64[1] last" if axes else ""
    text = f"g (float[2, 4, 4] x, {declared}{more}) => (float y) {{ {body} }}"
    misses(NAME, text, reason, **weights, **axes)
