"""rotate-heads: what matters most comes first in each head, and the model computes what it did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.analysis.axis_graph import axis_graph
from burnish.analysis.axis_graph_edits import delete
from burnish.analysis.axis_graph_heads import inner_ties
from burnish.calibration import Calibration
from burnish.ir import Array, Graph
from burnish.oracle import Oracle
from burnish.passes import get_pass
from burnish.passes.pruning.rotate_heads import basis
from burnish.pipeline import PassContext, PassReport, run_pass
from burnish.rewrite import Rewriter
from tests.passes.conftest import build

NAME, LOGITS, VALUES = "rotate-heads", "queries-and-keys", "values"
SIZES = {
    "w": (6, 36), "bias": (36,), "wq": (6, 12), "wk": (6, 12), "wv": (6, 12), "bk": (12,),
    "wo": (12, 4), "wk1": (6, 4), "wv1": (6, 4), "gain": (4,), "cosine": (2, 5, 2),
    "sine": (2, 5, 2),
}  # fmt: skip
HEAD = "g (float[2, 5, 6] x{}) => (float[2, 5, 4] y) {{ "
MEETS, WEIGHED = "l = MatMul(q, k)", "a = MatMul(p, v)"
TAIL = (
    "  p = Softmax(l)  "
    + WEIGHED
    + """  ta = Transpose<perm = [0, 2, 1, 3]>(a)
    flat = Constant<value = int64[3] {0, 0, -1}>()  f = Reshape(ta, flat)  y = MatMul(f, wo) }"""
)
APART = (
    """shape = Constant<value = int64[4] {0, 0, 3, 4}>()
    q3 = MatMul(x, wq)  k3 = MatMul(x, wk)  v3 = MatMul(x, wv)
    q4 = Reshape(q3, shape)  kb = Add(k3, bk)  k4 = Reshape(kb, shape)  v4 = Reshape(v3, shape)
    q = Transpose<perm = [0, 2, 1, 3]>(q4)  k = Transpose<perm = [0, 2, 3, 1]>(k4)
    v = Transpose<perm = [0, 2, 1, 3]>(v4)  """
    + MEETS
    + TAIL
)
MERGED = (
    """five = Constant<value = int64[5] {0, 0, 3, 3, 4}>()
    zero = Constant<value = int64 {0}>()  one = Constant<value = int64 {1}>()
    two = Constant<value = int64 {2}>()
    m = MatMul(x, w)  b = Add(m, bias)  r = Reshape(b, five)
    t = Transpose<perm = [2, 0, 3, 1, 4]>(r)  q = Gather(t, zero)  k5 = Gather(t, one)
    v = Gather(t, two)  k = Transpose<perm = [0, 1, 3, 2]>(k5)  """
    + MEETS
    + TAIL
)
ATTENTION = """q = MatMul(x, wq)  k3 = MatMul(x, wk)  k = Add(k3, bk)  v = MatMul(x, wv)
    a = Attention<q_num_heads = 3, kv_num_heads = 3>(q, k, v)  y = MatMul(a, wo) }"""
SHARED = """q = MatMul(x, wq)  k = MatMul(x, wk1)  v = MatMul(x, wv1)
    a = Attention<q_num_heads = 3, kv_num_heads = 1>(q, k, v)  y = MatMul(a, wo) }"""
FORMS = {"apart": APART, "merged": MERGED, "attention": ATTENTION}


def model(body: str, seed: int = 0) -> tuple[str, dict[str, Any]]:
    """Text with all weights as inputs, and numbers for them."""
    rng = np.random.default_rng(seed)
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    weights = {n: rng.normal(size=s).astype(np.float32) for n, s in SIZES.items() if n in words}
    inputs = "".join(f", float{list(array.shape)} {name}" for name, array in weights.items())
    return HEAD.format(inputs) + body, weights


def made(body: str, seed: int = 0) -> Graph:
    text, weights = model(body, seed)
    result = build(text, 23, weights)
    run_pass(result, get_pass("infer-shapes"), PassContext())
    return result


def rotated(body: str, calibration: Calibration | None = None) -> tuple[Graph, PassReport]:
    result = made(body)
    context = PassContext(calibration=calibration, explain=True)
    return result, run_pass(result, get_pass(NAME), context)


@pytest.mark.parametrize("form", FORMS)
def test_results_stay(form: str, fires: Any) -> None:
    text, weights = model(FORMS[form])
    fires(NAME, text, LOGITS, VALUES, opset=23, **weights)


NEAR_MISSES = {
    "queries turn": (
        APART.replace(MEETS, "u = RotaryEmbedding(q, cosine, sine)  l = MatMul(u, k)"),
        LOGITS, "turns together"),
    "queries are normalized": (
        APART.replace(MEETS, "n = RMSNormalization(q, gain)  l = MatMul(n, k)"),
        LOGITS, "RMSNormalization allows nothing"),
    "queries are bounded": (
        APART.replace(MEETS, "n = Tanh(q)  l = MatMul(n, k)"), LOGITS, "Tanh allows"),
    "keys are shared by heads": (SHARED, LOGITS, "share those of keys"),
    "values are shared by heads": (SHARED, VALUES, "more than once"),
    "keys are those of two products": (
        APART.replace(MEETS, "l1 = MatMul(q, k)  l2 = MatMul(v, k)  l = Add(l1, l2)"),
        LOGITS, "other queries or keys"),
    "values are bounded": (APART.replace(WEIGHED, "c = Relu(v)  a = MatMul(p, c)"),
        VALUES, "Relu allows"),
    "what is mixed is bounded": (APART.replace(WEIGHED, "c = MatMul(p, v)  a = Relu(c)"),
        VALUES, "Relu allows"),
    "values are not read by weights": (APART.replace("y = MatMul(f, wo)", "y = Tanh(f)"),
        VALUES, "Tanh allows"),
    "a weight is used for more": (
        APART.replace("y = MatMul(f, wo)", "o = MatMul(f, wo)  z = ReduceSum<keepdims = 0>(wk)"
                      "  y = Mul(o, z)"), LOGITS, "used elsewhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_what_cannot_be_rotated(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("burnish.passes.folding.weights.COPIED", 0)
    body, rule, reason = NEAR_MISSES[name]
    _, report = rotated(body)
    assert rule not in {firing.rule for firing in report.fired}
    assert any(reason in m.reason for m in report.missed if m.rule == rule), report.missed


def test_no_attention(misses: Any) -> None:
    text, weights = model("h = MatMul(x, wq)  y = MatMul(h, wo) }")
    misses(NAME, text, None, opset=23, **weights)


def error(body: str, before: Graph, feeds: dict[str, Array], places: slice, logits: bool) -> float:
    """How far outputs are from those of ``body`` when places go from heads of ``before``."""
    wanted = Oracle(made(body)).run(feeds)["y"]
    group = [g for g in axis_graph(before).groups if inner_ties(g)][0 if logits else -1]
    delete(Rewriter(before), group, inner_ties(group)[0].channels[:, places].ravel())
    return float(np.linalg.norm(Oracle(before).run(feeds)["y"] - wanted))


@pytest.mark.parametrize("logits", [True, False], ids=["logits", "values"])
def test_last_places_matter_least(logits: bool) -> None:
    feeds = {"x": np.random.default_rng(5).normal(size=(2, 5, 6)).astype(np.float32) / 4}
    plain = min(error(APART, made(APART), feeds, slice(i, i + 2), logits) for i in range(3))
    last = error(APART, rotated(APART)[0], feeds, slice(2, 4), logits)
    first = error(APART, rotated(APART)[0], feeds, slice(0, 2), logits)
    assert last < 0.7 * plain
    assert last < 0.5 * first


@pytest.mark.parametrize("logits", [True, False], ids=["logits", "values"])
def test_places_are_ordered_by_what_data_make_of_them(logits: bool) -> None:
    """Inputs that hardly vary but for two directions need two channels and no more."""
    rng = np.random.default_rng(6)
    two = rng.normal(size=(2, 6)) / 4
    data = [{"x": (rng.normal(size=(2, 5, 2)) @ two).astype(np.float32)} for _ in range(20)]
    plain = error(APART, rotated(APART)[0], data[0], slice(3, 4), logits)
    whitened = error(APART, rotated(APART, Calibration(data))[0], data[0], slice(3, 4), logits)
    assert whitened < 0.1 * plain


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 5), st.integers(1, 8), st.integers(1, 8), st.integers(0, 999))
def test_channels_are_singular_vectors(width: int, one: int, other: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=(width, one)), rng.normal(size=(width, other))
    matrix = basis(left, right)
    a, b = matrix.T @ left, np.linalg.solve(matrix, right)
    assert np.allclose(a.T @ b, left.T @ right)
    assert (matrix[np.abs(matrix).argmax(axis=0), np.arange(width)] > 0).all()
    values = np.linalg.svd(left.T @ right, compute_uv=False)
    for kept in range(width):
        tail = np.linalg.norm(a[:kept].T @ b[:kept] - left.T @ right)
        assert np.isclose(tail, np.linalg.norm(values[kept:]), atol=1e-5)
    assert np.array_equal(basis(a, b), np.eye(width))


def test_nothing_comes_out_of_a_dead_head() -> None:
    assert np.array_equal(basis(np.zeros((3, 4)), np.ones((3, 5))), np.eye(3))
