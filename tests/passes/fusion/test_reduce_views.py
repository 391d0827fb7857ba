"""fuse-reduce-views."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "fuse-reduce-views"
Fires = Callable[..., Graph]
Misses = Callable[..., None]


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def text(body: str, x: str = "2,3,4,5", more: str = "") -> str:
    return f"g (float[{x}] x{more}) => (float y) {{ {body} }}"


def kinds(graph: Graph) -> list[str]:
    return [node.op_type for node in graph]


A, S = ", int64 a", ", int64 s"


@pytest.mark.parametrize(
    ("body", "given"),
    [
        ("r = ReduceMean(x, a) y = Squeeze(r, a)", {"a": ints(2, 3)}),
        ("r = ReduceMean(x, a) y = Flatten(r)", {"a": ints(-1, -2)}),
        ("r = ReduceMax<keepdims = 0>(x, a) y = Unsqueeze(r, a)", {"a": ints(1)}),
        ("r = ReduceSum(x, a) y = Reshape(r, s)", {"a": ints(0, 3), "s": ints(3, 4)}),
        ("r = ReduceL2<keepdims = 0>(x, a) y = Reshape(r, s)",
         {"a": ints(1, 3), "s": ints(2, 1, 4, 1)}),
    ],
)  # fmt: skip
def test_reductions(fires: Fires, body: str, given: dict[str, np.ndarray]) -> None:
    more = "".join(f", int64 {name}" for name in given)
    assert len(kinds(fires(NAME, text(body, more=more), "reduce-and-reshape", **given))) == 1


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("pool", ["GlobalAveragePool", "GlobalMaxPool"])
def test_pools(fires: Fires, pool: str, opset: int) -> None:
    body = f"p = {pool}(x) y = Flatten(p)"
    (kind,) = kinds(fires(NAME, text(body), "pool-and-reshape", opset=opset))
    assert kind.startswith("Reduce")


@pytest.mark.parametrize("pool", ["AveragePool", "MaxPool"])
def test_windows_of_everything(fires: Fires, misses: Misses, pool: str) -> None:
    body = f"p = {pool}<kernel_shape = [4, 5]>(x) y = Flatten(p)"
    assert len(kinds(fires(NAME, text(body), "pool-and-reshape"))) == 1
    misses(NAME, text(body, "2,3,5,5"), "not all that there is")
    padded = body.replace("[4, 5]", "[4, 5], pads = [1, 1, 1, 1]")
    misses(NAME, text(padded), "not all that there is")


def test_indices(fires: Fires) -> None:
    body = "g (float[2,3,4] x, int64 a) => (int64 y) { i = ArgMax<axis = 1>(x) y = Squeeze(i, a) }"
    assert kinds(fires(NAME, body, "index-and-reshape", a=ints(1))) == ["ArgMax"]


def test_open_sizes(fires: Fires) -> None:
    fires(NAME, text("p = GlobalAveragePool(x) y = Flatten(p)", "N,3,H,W"), "pool-and-reshape")


@pytest.mark.parametrize(
    ("body", "given", "reason"),
    [
        ("r = ReduceMean(x, a) y = Squeeze(r, s)", {"a": ints(2, 3), "s": ints(3)}, "drop or add"),
        ("r = ReduceMean(x, a) y = Reshape(r, s)", {"a": ints(2, 3), "s": ints(3, 2)},
         "drop or add"),
        ("r = ReduceMean<keepdims = 0>(x, a) y = Reshape(r, s)",
         {"a": ints(2, 3), "s": ints(1, 2, 1, 3)}, "drop or add"),
        ("p = GlobalAveragePool(x) y = Reshape(p, s)", {"s": ints(1, 6)}, "drop the pooled"),
        ("p = GlobalAveragePool(x) y = Reshape(p, s)", {"s": ints(2, 3, 1)}, "drop the pooled"),
        ("r = ArgMax<axis = 1>(x) z = Cast<to = 1>(r) y = Reshape(z, s)", {"s": ints(2, 4, 5)},
         None),
    ],
)  # fmt: skip
def test_near_misses(
    misses: Misses, body: str, given: dict[str, np.ndarray], reason: str | None
) -> None:
    more = "".join(f", int64 {name}" for name in given)
    misses(NAME, text(body, more=more), reason, **given)


def test_declines_axes_that_are_computed(misses: Misses) -> None:
    body = text("r = ReduceMean(x, a) y = Reshape(r, s)", more=", int64[2] a, int64 s")
    misses(NAME, body, "not known", s=ints(2, 3))


def test_declines_what_is_read_before_the_reshape(misses: Misses) -> None:
    body = text("p = GlobalAveragePool(x) y = Flatten(p)").replace(
        "(float y)", "(float y, float p)"
    )
    misses(NAME, body, "graph output")


def test_pools_stay_when_compiling(misses: Misses) -> None:
    misses(NAME, text("p = GlobalAveragePool(x) y = Flatten(p)"), None, target=True)
