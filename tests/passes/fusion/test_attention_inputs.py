"""recognise-attention, what the operator does by itself: causal masks, groups of heads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "recognise-attention"
QKV = "float[2, 4, 5, 8] q, float[2, 4, 5, 8] k, float[2, 4, 5, 8] v"
TEXT = f"g ({QKV}, float m) => (float y) {{ y = Attention(q, k, v, m) }}"
TRIL = np.tril(np.ones((5, 5), bool))
LOW = np.finfo(np.float32).min


def additive(seen: np.ndarray, fill: float = -np.inf) -> np.ndarray:
    return np.where(seen, 0, fill).astype(np.float32)


CAUSAL = {
    "infinite": additive(TRIL),
    "lowest": additive(TRIL, LOW),
    "of four axes": additive(TRIL)[None, None],
    "of each head": np.tile(additive(TRIL), (4, 1, 1)),
    "a condition": TRIL,
    "fewer queries": None,
}


@pytest.mark.parametrize("case", CAUSAL)
def test_causal_mask(fires: Callable[..., Graph], case: str) -> None:
    text, mask = TEXT, CAUSAL[case]
    if case == "a condition":
        text = text.replace("float m", "bool m")
    if case == "fewer queries":
        text, mask = text.replace("4, 5, 8] q", "4, 3, 8] q"), additive(TRIL[:3])
    graph = fires(NAME, text, "causal-mask", opset=23, m=mask)
    (node,) = graph
    assert node.attribute("is_causal") == 1
    assert node.input(3) is None


OTHER = {
    "nothing hidden": additive(np.ones((5, 5), bool)),
    "one position more": additive(np.tril(np.ones((5, 5), bool), 1)),
    "the later half": additive(TRIL.T),
    "a row differs": additive(TRIL & (np.arange(5) != 1)[:, None] | np.eye(5, dtype=bool)),
    "a trace is left": additive(TRIL, -1e4),
    "a bias": additive(TRIL) + np.float32(0.5),
    "one head differs": np.stack([additive(TRIL)] * 3 + [additive(TRIL.T)]),
}


@pytest.mark.parametrize("case", OTHER)
def test_other_masks_stay(misses: Callable[..., None], case: str) -> None:
    misses(NAME, TEXT, None, opset=23, m=OTHER[case])


def test_a_mask_that_is_computed_stays(misses: Callable[..., None]) -> None:
    misses(NAME, TEXT.replace("float m", "float[5, 5] m"), None, opset=23)


REPEAT = "{0}u = Unsqueeze({0}, two) {0}e = Expand({0}u, spread) {0}r = Reshape({0}e, full)"
GROUPS = f"""g (float[2, 4, 3, 8] q, float[2, 2, 5, 8] k, float[2, 2, 5, 8] v, int64 two,
    int64 spread, int64 full) => (float y) {{
    {REPEAT.format("k")} {REPEAT.format("v")} y = Attention<scale = 0.3>(q, kr, vr) }}"""
SIZES = {"two": np.array([2]), "spread": np.array([2, 2, 2, 5, 8]), "full": np.array([2, 4, 5, 8])}


def test_groups_of_heads(fires: Callable[..., Graph]) -> None:
    graph = fires(NAME, GROUPS, "attention-groups", opset=23, **SIZES)
    (node,) = [n for n in graph if n.op_type == "Attention"]
    assert [value.shape[1] for value in node.inputs[:3] if value and value.shape] == [4, 2, 2]


def test_heads_that_alternate_are_no_groups(misses: Callable[..., None]) -> None:
    sizes = SIZES | {"two": np.array([1])}
    misses(NAME, GROUPS, None, opset=23, **sizes)


def test_only_the_keys_are_repeated(misses: Callable[..., None]) -> None:
    text = GROUPS.replace("q, kr, vr", "q, kr, w")
    text = text.replace("int64 two", "float[2, 4, 5, 8] w, int64 two")
    misses(NAME, text, None, opset=23, **SIZES)
