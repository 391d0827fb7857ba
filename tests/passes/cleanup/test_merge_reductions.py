"""merge-reductions: one reduction over all axes; and simplify-chains for the axes of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "merge-reductions"
Fires = Callable[..., Graph]
Misses = Callable[..., None]

CONSTANTS = {
    "one": np.array([1]), "two": np.array([2]), "last": np.array([-1]), "both": np.array([2, 3]),
    "flat": np.array([2, 3]), "wide": np.array([2, 3, 1, 1]), "other": np.array([3, 2]),
    "ends": np.array([0, 3]), "inner": np.array([3, 4]),
}  # fmt: skip


def used(body: str) -> dict[str, Any]:
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return {name: array for name, array in CONSTANTS.items() if name in words}


def model(body: str, inputs: str = "float[2, 3, 4, 5] x", result: str = "float") -> str:
    return f"g ({inputs}) => ({result} y) {{ {body} }}"


def axes(graph: Graph) -> tuple[list[int], int]:
    node = graph.first
    assert node is not None
    assert len(graph) == 1
    given = node.constant_input(1)
    found = node.attribute("axes") if given is None else given.numpy().tolist()
    return list(found), node.attribute("keepdims", 1)


@pytest.mark.parametrize("kind", ["Mean", "Sum", "Max", "Min", "Prod", "L1", "LogSumExp"])
def test_one_after_the_other(fires: Fires, kind: str) -> None:
    text = model(f"a = Reduce{kind}(x, two) y = Reduce{kind}(a, last)")
    assert axes(fires(NAME, text, "reduction-of-reduction", **used(text))) == ([2, 3], 1)


def test_axes_are_dropped(fires: Fires) -> None:
    text = model("a = ReduceMean<keepdims = 0>(x, two) y = ReduceMean<keepdims = 0>(a, one)")
    assert axes(fires(NAME, text, "reduction-of-reduction", **used(text))) == ([1, 2], 0)
    text = model("a = ReduceMax(x, two) y = ReduceMax<keepdims = 0>(a, both)")
    assert axes(fires(NAME, text, "reduction-of-reduction", **used(text))) == ([2, 3], 0)


def test_axes_are_attributes_in_old_opsets(fires: Fires) -> None:
    text = model("a = ReduceMean<axes = [2]>(x) y = ReduceMean<axes = [3]>(a)")
    assert axes(fires(NAME, text, "reduction-of-reduction", opset=13)) == ([2, 3], 1)


@pytest.mark.parametrize("view", ["Flatten(a)", "Reshape(a, flat)", "Squeeze(a, both)"])
@pytest.mark.parametrize("pool", ["GlobalAveragePool", "GlobalMaxPool"])
def test_pools(fires: Fires, misses: Misses, pool: str, view: str) -> None:
    text = model(f"a = {pool}(x) y = {view}")
    assert axes(fires(NAME, text, "flattened-pool", **used(text))) == ([2, 3], 0)
    misses(NAME, text, None, target=True, **used(text))


def test_a_pool_of_an_open_batch(fires: Fires) -> None:
    text = model("a = GlobalAveragePool(x) y = Flatten(a)", 'float["n", 3, "h", "w"] x')
    assert axes(fires(NAME, text, "flattened-pool", opset=13)) == ([2, 3], 0)


@pytest.mark.parametrize("pool", ["AveragePool", "MaxPool"])
def test_windows_of_everything(fires: Fires, misses: Misses, pool: str) -> None:
    text = model(f"a = {pool}<kernel_shape = [4, 5]>(x) y = Flatten(a)")
    assert axes(fires(NAME, text, "flattened-pool")) == ([2, 3], 0)
    misses(NAME, text.replace("2, 3, 4, 5", "2, 3, 5, 5"), "not all that there is")
    misses(NAME, text.replace("2, 3, 4, 5", '2, 3, 4, "w"'), "not all that there is")
    for option in ("pads = [1, 1, 1, 1]", 'auto_pad = "SAME_UPPER"'):
        wider = text.replace("[4, 5]>", f"[4, 5], {option}>")
        misses(NAME, wider, "not all that there is")


@pytest.mark.parametrize(
    ("body", "inputs", "reason"),
    [
        ("a = ReduceMean(x, two) y = ReduceSum(a, last)", "float[2, 3, 4, 5] x", "do not make"),
        ("a = ReduceL2(x, two) y = ReduceL2(a, last)", "float[2, 3, 4, 5] x", None),
        ("a = ReduceSum(x, two) y = ReduceSum<keepdims = 0>(a, last)", "float[2, 3, 4, 5] x",
         "drops others"),
        ("a = ReduceSum<keepdims = 0>(x, two) y = ReduceSum(a, last)", "float[2, 3, 4, 5] x",
         "the first drops"),
        ("a = ReduceSum(x, k) y = ReduceSum(a, last)", "float[2, 3, 4, 5] x, int64[1] k",
         "not known"),
        ("a = ReduceSum(x, two) b = ReduceSum(a, last) y = Add(a, b)", "float[2, 3, 4, 5] x",
         "also read"),
        ("a = GlobalAveragePool(x) y = Reshape(a, other)", "float[2, 3, 4, 5] x", "more than drop"),
        ("a = GlobalAveragePool(x) y = Reshape(a, k)", "float[2, 3, 4, 5] x, int64[2] k",
         "more than drop"),
        ("a = GlobalAveragePool(x) y = Flatten(a)", "float x", "not known"),
        ("a = GlobalAveragePool(x) b = Flatten(a) c = Sigmoid(a) y = Mul(b, c)",
         "float[2, 3, 4, 5] x", "also read"),
    ],
)  # fmt: skip
def test_stays(misses: Misses, body: str, inputs: str, reason: str | None) -> None:
    misses(NAME, model(body, inputs), reason, **used(body))


CHAINS = "simplify-chains"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a = ReduceMean(x, both) y = Flatten(a)", ([2, 3], 0)),
        ("a = ReduceSum(x, both) y = Reshape(a, flat)", ([2, 3], 0)),
        ("a = ReduceMax(x, both) y = Squeeze(a, both)", ([2, 3], 0)),
        ("a = ReduceSum(x, ends) y = Reshape(a, inner)", ([0, 3], 0)),
        ("a = ReduceMax<keepdims = 0>(x, both) y = Reshape(a, wide)", ([2, 3], 1)),
        ("a = ReduceL2<keepdims = 0>(x, both) y = Unsqueeze(a, both)", ([2, 3], 1)),
    ],
)
def test_views_of_reductions(fires: Fires, body: str, expected: tuple[list[int], int]) -> None:
    assert axes(fires(CHAINS, model(body), "view-of-reduction", **used(body))) == expected


def test_views_of_choices(fires: Fires) -> None:
    text = model("a = ArgMax<axis = 1>(x) y = Squeeze(a, one)", result="int64")
    after = fires(CHAINS, text, "view-of-reduction", **used(text))
    assert after.first is not None
    assert after.first.attributes == {"axis": 1, "keepdims": 0}


@pytest.mark.parametrize(
    ("body", "inputs", "reason"),
    [
        ("a = ReduceMean(x, both) y = Reshape(a, other)", "float[2, 3, 4, 5] x", "other axes"),
        ("a = ReduceMean(x, two) y = Squeeze(a)", "float[2, 1, 4, 5] x", "other axes"),
        ("a = ReduceMean(x, k) y = Flatten(a)", "float[2, 3, 4, 5] x, int64[2] k", "not known"),
        (
            "a = ReduceMean(x, both) b = Flatten(a) c = Sigmoid(a) y = Mul(b, c)",
            "float[2, 3, 4, 5] x",
            "also read",
        ),
    ],
)
def test_other_views_stay(misses: Misses, body: str, inputs: str, reason: str) -> None:
    misses(CHAINS, model(body, inputs), reason, **used(body))
