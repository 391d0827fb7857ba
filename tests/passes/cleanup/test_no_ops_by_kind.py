"""remove-no-ops, operator by operator: what each one has to look like to change nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "remove-no-ops"
ORDER = np.array([0, 1, 2])
GRID = np.stack(np.meshgrid(range(2), range(3), indexing="ij"), -1)

Run = Callable[..., Graph]


def model(body: str, result: str = "float", inputs: str = "float[2, 3] x") -> str:
    """A model of ``body``, which makes ``r`` from ``x`` after one operator and before another."""
    return f"g ({inputs}) => ({result} y) {{ {body} y = Identity(r) }}"


IMAGE = "float[1, 2, 1, 1] x"

GONE = [
    ("e = Exp(x) r = Gather<axis = 1>(e, c)", {"c": ORDER}),
    ("e = Exp(x) r = Gather<axis = -1>(e, c)", {"c": ORDER - 3}),
    ("e = Exp(x) r = ReduceSum<noop_with_empty_axes = 1>(e)", {}),
    ("e = Exp(x) r = Einsum<equation = \"ij -> ij\">(e)", {}),
    ("e = Exp(x) r = Tile(e, c)", {"c": np.array([1, 1])}),
    ("e = Exp(x) s = Shape(e) r = Reshape(e, s)", {}),
    ("e = Exp(x) r = Max(e, e)", {}),
    ("e = Exp(x) r = Max(e, c)", {"c": np.float32(-np.inf)}),
    ("e = Exp(x) r = Min(c, e)", {"c": np.float32(np.inf)}),
    ("e = Exp(x) r = PRelu(e, c)", {"c": np.float32([1])}),
    ("e = Relu(x) r = Relu(e)", {}),
    ("e = Sigmoid(x) r = Clip(e, c)", {"c": np.float32(0)}),
    ("e = Abs(x) r = Abs(e)", {}),
    ("e = Sigmoid(x) r = Relu(e)", {}),
    ("e = Sigmoid(x) r = Clip(e, c, d)", {"c": np.float32(-1), "d": np.float32(1)}),
    ("e = Clip(x, c, d) r = Clip(e, c, d)", {"c": np.float32(-0.5), "d": np.float32(0.5)}),
    ("e = Floor(x) r = Ceil(e)", {}),
    ("e = Round(x) r = Floor(e)", {}),
    ("i = Cast<to = 7>(x) e = Cast<to = 1>(i) r = Floor(e)", {}),
    ("e = Sign(x) r = Sign(e)", {}),
    ("e = Exp(x) b = Greater(e, x) r = Where(b, e, e)", {}),
]  # fmt: skip

TINY = [
    ("e = Exp(x) r = GlobalAveragePool(e)", IMAGE, {}),
    ("e = Exp(x) r = GlobalMaxPool(e)", IMAGE, {}),
    ("e = Exp(x) r = ReduceMean(e, c)", IMAGE, {"c": np.array([2, 3])}),
    ("e = Exp(x) r = ReduceMax(e, c)", IMAGE, {"c": np.array([-1])}),
    ("e = Exp(x) r = ReduceProd<noop_with_empty_axes = 1>(e, c)", "float[2] x",
     {"c": np.array([], np.int64)}),
    ("e = Exp(x) r = CumSum(e, c)", IMAGE, {"c": np.int64(2)}),
    ("e = Exp(x) r = Expand(e, c)", 'float["n", "m"] x', {"c": np.array([1, 1])}),
    ("e = Exp(x) r = Reshape(e, c)", 'float["n", 3, 4] x', {"c": np.array([0, -1, 4])}),
    ("e = Exp(x) r = Slice(e, c, d)", 'float["n", 3] x',
     {"c": np.array([0]), "d": np.array([2**31 - 1])}),
    ("e = Exp(x) r = Upsample(e, c)", 'float[1, 2] x', {"c": np.float32([1, 1])}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "weights"), GONE)
def test_gone(fires: Run, body: str, weights: dict[str, np.ndarray]) -> None:
    fired = f"no-op-{body.split(' r = ')[1].split('(')[0].split('<')[0].lower()}"
    after = fires(NAME, model(body), fired, "no-op-identity", **weights)
    assert len(after) < body.count("=") + 2


@pytest.mark.parametrize(("body", "inputs", "weights"), TINY)
def test_gone_for_what_there_is(
    fires: Run, body: str, inputs: str, weights: dict[str, np.ndarray]
) -> None:
    fired = f"no-op-{body.split(' r = ')[1].split('(')[0].split('<')[0].lower()}"
    opset = 9 if "Upsample" in body else 21
    fires(NAME, model(body, inputs=inputs), fired, "no-op-identity", opset=opset, **weights)


def test_logic(fires: Run) -> None:
    text = model(
        "a = Not(x) b = And(a, a) c = Or(b, f) d = Xor(f, c) e = Equal(d, t) r = And(t, e)",
        "bool", "bool[2, 3] x",
    )  # fmt: skip
    after = fires(
        NAME, text, "no-op-and", "no-op-or", "no-op-xor", "no-op-equal", "no-op-and",
        "no-op-identity", t=np.bool_(True), f=np.bool_(False),
    )  # fmt: skip
    assert [node.op_type for node in after] == ["Not"]


def test_bits(fires: Run) -> None:
    text = model("a = Neg(x) b = BitwiseOr(a, z) c = BitwiseXor(z, b) r = BitwiseAnd(c, ones)",
                 "int32", "int32[2, 3] x")  # fmt: skip
    rules = ("no-op-bitwiseor", "no-op-bitwisexor", "no-op-bitwiseand", "no-op-identity")
    fires(NAME, text, *rules, z=np.int32(0), ones=np.int32(-1))


def test_overwritten_data(fires: Run) -> None:
    text = model("u = Exp(v) r = ScatterND(x, c, u)", inputs="float[2, 3] x, float[2, 3] v")
    fires(NAME, text, "no-op-scatternd", "no-op-identity", c=np.array([[0], [1]]))
    fires(NAME, text, "no-op-scatternd", "no-op-identity", c=GRID)


KEPT = [
    ("e = Exp(x) r = Gather<axis = 1>(e, c)", "another order", {"c": ORDER[::-1].copy()}),
    ("e = Exp(x) r = Gather<axis = 1>(e, c)", "some elements", {"c": ORDER[:2]}),
    ("e = Exp(x) r = Gather(e, c)", "some elements", {"c": ORDER[:1]}),
    ("e = Exp(x) r = ReduceSum(e)", "several elements", {}),
    ("e = Exp(x) r = ReduceMean<keepdims = 0>(e, c)", "several elements", {"c": np.array([1])}),
    ("e = Exp(x) r = Einsum<equation = \"ij -> ji\">(e)", "computes something", {}),
    ("e = Exp(x) r = Tile(e, c)", "repeats", {"c": np.array([1, 2])}),
    ("e = Exp(x) r = CumSum(e, c)", "several elements", {"c": np.int64(1)}),
    ("e = Exp(x) r = CumSum<exclusive = 1>(e, c)", "last element", {"c": np.int64(1)}),
    ("e = Exp(x) s = Shape<end = 1>(e) r = Reshape(e, s)", None, {}),
    ("e = Exp(x) r = Max(e, c)", "neutral", {"c": np.float32(-3.4028235e38)}),
    ("e = Exp(x) r = Min(e, c)", "neutral", {"c": np.float32(-np.inf)}),
    ("e = Tanh(x) r = Relu(e)", "it bounds", {}),
    ("e = Exp(x) r = Clip(e, c, d)", "it bounds", {"c": np.float32(0), "d": np.float32(9)}),
    ("e = Clip(x, c, d) r = Clip(e, c)", None, {"c": np.float32(1), "d": np.float32(-1)}),
    ("e = Relu(x) r = Abs(e)", "may be anything", {}),
    ("e = Exp(x) r = Floor(e)", "may not be whole", {}),
    ("i = Cast<to = 11>(x) e = Cast<to = 1>(i) r = Floor(e)", "may not be whole", {}),
    ("e = Exp(x) r = ScatterND(e, c, x)", "moves", {"c": np.array([[1], [0]])}),
    ("e = Exp(x) r = ScatterND<reduction = \"add\">(e, c, x)", "adds", {"c": np.array([[0], [1]])}),
    ("e = Exp(x) h = Gather(x, z) r = ScatterND(e, c, h)", "keeps some",
     {"c": np.array([[1]]), "z": np.array([0])}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "reason", "weights"), KEPT)
def test_kept(
    misses: Callable[..., None], body: str, reason: str | None, weights: dict[str, np.ndarray]
) -> None:
    text = model(body).replace("y = Identity(r)", "y = Neg(r)")
    misses(NAME, text, reason, **weights)


def test_integers_have_bounds_of_their_own(fires: Run, misses: Callable[..., None]) -> None:
    text = model("a = Neg(x) r = Clip(a, c)", "int32", "int32[2] x")
    fires(NAME, text, "no-op-clip", "no-op-identity", c=np.int32(-(2**31)))
    misses(NAME, text.replace("Identity", "Abs"), "it bounds", c=np.int32(1 - 2**31))
