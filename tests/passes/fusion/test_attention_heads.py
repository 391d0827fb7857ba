"""fuse-attention: heads that are split before Attention and merged after it, caches, rotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "fuse-attention"
NUMBERS = {
    "sides": np.array([0, 0, 4, 8]), "few": np.array([0, 0, 2, 8]), "last": np.array([0, 0, -1]),
    "all": np.array([0, 0, 8, 8]), "parts": np.array([4, 2, 2]), "zero": np.float32(0),
    "rows": np.array([-1, 32]),
}  # fmt: skip
DECLARED = ", ".join(f"{'float' if n == 'zero' else 'int64'} {n}" for n in NUMBERS)
Q, K, V = "float[2, 3, 32] q", "float[2, 5, 16] k", "float[2, 5, 16] v"
BY_HEAD = "Transpose<perm = [0, 2, 1, 3]>"
SPLIT = f"""
    q3 = Reshape(q, sides) q4 = {BY_HEAD}(q3) k3 = Reshape(k, few) k4 = {BY_HEAD}(k3)
    v3 = Reshape(v, few) v4 = {BY_HEAD}(v3)"""
ATTEND = "a = Attention(q4, k4, v4)"
MERGE = f"t = {BY_HEAD}(a) y = Reshape(t, last)"


def model(body: str, more: str = "", result: str = "float y") -> str:
    return f"g ({Q}, {K}, {V}, {more}{DECLARED}) => ({result}) {{ {body} }}"


def counted(graph: Graph) -> Counter[str]:
    return Counter(node.op_type for node in graph)


def test_heads(fires: Callable[..., Graph]) -> None:
    text = model(f"{SPLIT} {ATTEND} {MERGE}")
    graph = fires(NAME, text, "attention-heads", opset=23, **NUMBERS)
    (node,) = [n for n in graph if n.op_type == "Attention"]
    assert (node.attribute("q_num_heads"), node.attribute("kv_num_heads")) == (4, 2)
    assert "Transpose" not in counted(graph)


def test_heads_with_a_mask(fires: Callable[..., Graph]) -> None:
    body = f"{SPLIT} a = Attention<scale = 0.3>(q4, k4, v4, m) {MERGE}"
    fires(NAME, model(body, "float[2, 1, 3, 5] m, "), "attention-heads", opset=23, **NUMBERS)


def test_rows_that_are_merged_as_well(fires: Callable[..., Graph]) -> None:
    body = f"{SPLIT} {ATTEND} t = {BY_HEAD}(a) y = Reshape(t, rows)"
    graph = fires(NAME, model(body), "attention-heads", opset=23, **NUMBERS)
    assert "Transpose" not in counted(graph)


def test_a_guarded_result(fires: Callable[..., Graph]) -> None:
    body = f"{SPLIT} b = Attention(q4, k4, v4) i = IsNaN(b) a = Where(i, zero, b) {MERGE}"
    graph = fires(NAME, model(body), "attention-heads", opset=23, **NUMBERS)
    assert "Transpose" not in counted(graph)
    assert "IsNaN" in counted(graph)


TOGETHER = f"""x3 = Reshape(x, all) x4 = {BY_HEAD}(x3)
    q4, k4, v4 = Split<axis = 1>(x4, parts) {ATTEND} {MERGE}"""


def test_heads_of_one_product(fires: Callable[..., Graph]) -> None:
    text = f"g (float[2, 5, 64] x, {DECLARED}) => (float y) {{ {TOGETHER} }}"
    graph = fires(NAME, text, "attention-heads", opset=23, **NUMBERS)
    assert counted(graph) == {"Reshape": 1, "Split": 1, "Attention": 1}


def test_rotated_heads(fires: Callable[..., Graph]) -> None:
    body = (
        SPLIT.replace("q4 =", "q5 =").replace("k4 =", "k5 =")
        + f"""
        q4 = RotaryEmbedding(q5, c, s) k4 = RotaryEmbedding(k5, d, e) {ATTEND} {MERGE}"""
    )
    more = "float[2, 3, 4] c, float[2, 3, 4] s, float[2, 5, 4] d, float[2, 5, 4] e, "
    graph = fires(NAME, model(body, more), "attention-heads", opset=23, **NUMBERS)
    heads = [n.attribute("num_heads") for n in graph if n.op_type == "RotaryEmbedding"]
    assert heads == [4, 2]


CACHE = "float[2, 2, 7, 8] a, float[2, 2, 7, 8] b, "
APPEND = "k5 = Concat<axis = 2>(a, k4) v5 = Concat<axis = -2>(b, v4)"
RETURNED = "float y, float k5, float v5"


def test_cache(fires: Callable[..., Graph]) -> None:
    body = f"{SPLIT} {APPEND} y = Attention(q4, k5, v5)"
    graph = fires(NAME, model(body, CACHE, RETURNED), "attention-cache", opset=23, **NUMBERS)
    assert "Concat" not in counted(graph)


def test_cache_and_heads(fires: Callable[..., Graph]) -> None:
    body = f"{SPLIT} {APPEND} h = Attention(q4, k5, v5, m) {MERGE.replace('(a)', '(h)')}"
    text = model(body, f"{CACHE}float[3, 12] m, ", RETURNED)
    graph = fires(NAME, text, "attention-cache", "attention-heads", opset=23, **NUMBERS)
    assert counted(graph)["Attention"] == 1
    assert not {"Concat", "Transpose"} & set(counted(graph))


@pytest.mark.parametrize(("old", "new", "reason"), [
    (f"k4 = {BY_HEAD}(k3)", "k4 = Transpose<perm = [0, 2, 1, 3]>(k3) z = Neg(k4)",
     "not split into heads right before"),
    ("t = Transpose<perm = [0, 2, 1, 3]>(a)", "t = Transpose<perm = [0, 1, 3, 2]>(a)",
     "not heads and positions"),
    ("a = Attention(q4, k4, v4)", "b = Attention(q4, k4, v4) a = Relu(b)", None),
    (f"v4 = {BY_HEAD}(v3)", f"v5 = {BY_HEAD}(v3) v4 = Neg(v5)",
     "not split into heads right before"),
])  # fmt: skip
def test_heads_that_stay(
    misses: Callable[..., None], old: str, new: str, reason: str | None
) -> None:
    body = f"{SPLIT} {ATTEND} {MERGE}"
    assert old in body
    result = "float y, float z" if "z =" in new else "float y"
    misses(NAME, model(body.replace(old, new), result=result), reason, opset=23, **NUMBERS)


def test_split_that_others_read(misses: Callable[..., None]) -> None:
    text = f"g (float[2, 5, 64] x, {DECLARED}) => (float y, float z) {{ {TOGETHER} z = Neg(k4) }}"
    misses(NAME, text, "not split into heads right before", opset=23, **NUMBERS)


@pytest.mark.parametrize(("body", "reason"), [
    (f"{SPLIT} {APPEND} y = Attention<is_causal = 1>(q4, k5, v5)", "counts from the first key"),
    (f"{SPLIT} {APPEND.replace('axis = 2', 'axis = 3')} y = Attention(q4, k5, v4)", None),
    (f"{SPLIT} k5 = Concat<axis = 2>(a, k4) v5 = Concat<axis = 2>(v4, b) "
     "y = Attention(q4, k5, v5)", "caches of equal length"),
    (f"{SPLIT} {APPEND} y, c, d = Attention(q4, k5, v5, , a, b)", "continues a cache already"),
])  # fmt: skip
def test_caches_that_stay(misses: Callable[..., None], body: str, reason: str | None) -> None:
    if "axis = 3" in body:
        body, more = body.replace("k5, v4", "k4, v4"), CACHE.replace("7, 8", "5, 8")
        misses(NAME, model(body, more), reason, opset=23, **NUMBERS)
        return
    misses(NAME, model(body, CACHE), reason, opset=23, **NUMBERS)


def test_needs_the_operator(misses: Callable[..., None]) -> None:
    body = f"{SPLIT} s = MatMul(q4, q4) t = {BY_HEAD}(s) y = Reshape(t, last)"
    text = model(body).replace("2, 3, 32] q", "2, 8, 32] q")
    misses(NAME, text, None, opset=22, **NUMBERS)
