"""lower-attention: heads, caches, positions and masks, to the form that code is generated for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from burnish.ir import Array, Graph
from burnish.ir.verify import verify
from burnish.numerics import Numerics
from burnish.oracle import Oracle, compare, random_inputs
from burnish.passes.cleanup.infer_shapes import InferShapes
from burnish.passes.cleanup.lower_attention import LowerAttention
from burnish.pipeline import PassContext
from burnish.testing import graph

CONTEXT = PassContext(explain=True)
PLAIN = {"is_causal", "scale", "softcap", "softmax_precision"}
Q, KV = "float[2, 4, 3, 8] q", "float[2, 2, 5, 8] k, float[2, 2, 5, 6] v"
PAST = "float[2, 2, 7, 8] a, float[2, 2, 7, 6] b"
FLAT = "float[2, 3, 32] q, float[2, 5, 16] k, float[2, 5, 12] v"
HEADS = "q_num_heads = 4, kv_num_heads = 2"


def check(text: str, opset: int = 24, inputs: Mapping[str, Array] | None = None) -> Graph:
    before, after = graph(text, opset=opset), graph(text, opset=opset)
    InferShapes().run(after, CONTEXT)
    result = LowerAttention().run(after, CONTEXT)
    assert result.changed, result.missed
    assert all(node.provenance for node in after.walk())
    verify(after)
    feeds = dict(inputs or random_inputs(before))
    # Not by ONNX Runtime: it declines short masks and caches that are not returned.
    wanted = ReferenceEvaluator(before.to_onnx()).run(None, feeds)
    found = Oracle(after, threads=1).run(feeds)
    names = [value.name for value in before.outputs]
    assert compare(dict(zip(names, wanted, strict=True)), found, Numerics.REASSOCIATES)
    assert all(v.static_shape is not None for node in after.walk() for v in node.outputs)
    assert not LowerAttention().run(after, CONTEXT).changed
    return after


def refused(text: str, reason: str, opset: int = 24) -> None:
    model = graph(text, opset=opset)
    InferShapes().run(model, CONTEXT)
    result = LowerAttention().run(model, CONTEXT)
    assert not result.changed
    assert any(reason in miss.reason for miss in result.missed), result.missed


def assert_simple(model: Graph) -> None:
    """The only Attention of ``model`` is as kernels take it."""
    (node,) = [n for n in model if n.op_type == "Attention"]
    assert set(node.attributes) <= PLAIN
    assert len(node.outputs) == 1
    assert len(node.inputs) <= 4
    assert all(value is not None and value.rank == 4 for value in node.inputs[:3])


def call(attributes: str = "", more: str = "", outputs: str = "y") -> str:
    return f"{{ {outputs} = Attention{f'<{attributes}>' if attributes else ''}(q, k, v{more}) }}"


def test_heads_beside_channels() -> None:
    model = check(f"g ({FLAT}) => (float y) {call(HEADS)}")
    assert_simple(model)
    assert Counter(n.op_type for n in model) == {"Reshape": 4, "Transpose": 4, "Attention": 1}


@pytest.mark.parametrize("attributes", ["", "scale = 0.3", "is_causal = 1", "softcap = 2.0"])
def test_cache(attributes: str) -> None:
    text = f"g ({Q}, {KV}, {PAST}) => (float y, float c, float d) "
    model = check(text + call(attributes, ", , a, b", "y, c, d"))
    assert_simple(model)
    assert [n.op_type for n in model].count("Concat") == 2


def test_cache_that_is_not_returned() -> None:
    model = check(f"g ({Q}, {KV}, {PAST}) => (float y) {call('', ', , a, b')}")
    assert [n.op_type for n in model] == ["Concat", "Concat", "Attention"]


def test_keys_are_returned_without_a_cache() -> None:
    text = f"g ({Q}, {KV}) => (float y, float c, float d) {call('', '', 'y, c, d')}"
    model = check(text)
    assert_simple(model)


def test_one_query_sees_all_of_the_cache() -> None:
    """Causality hides nothing from the last position."""
    text = f"g ({Q}, {KV}, {PAST}) => (float y) {call('is_causal = 1', ', , a, b')}"
    text = text.replace("2, 4, 3, 8", "2, 4, 1, 8").replace("2, 2, 5,", "2, 2, 1,")
    model = check(text)
    (node,) = [n for n in model if n.op_type == "Attention"]
    assert node.input(3) is None


@pytest.mark.parametrize("kind", ["float", "bool"])
def test_a_mask_and_a_causal_cache(kind: str) -> None:
    text = f"g ({Q}, {KV}, {PAST}, {kind}[3, 12] m) => (float y) "
    model = check(text + call("is_causal = 1", ", m, a, b"))
    assert_simple(model)
    assert ("And" if kind == "bool" else "Where") in [n.op_type for n in model]


@pytest.mark.parametrize("kind", ["float", "bool"])
def test_a_mask_that_is_too_short_hides_the_rest(kind: str) -> None:
    keep = np.tril(np.ones((3, 4), bool))
    mask = keep if kind == "bool" else np.where(keep, 0, -3).astype(np.float32)
    inputs = {
        name: np.random.default_rng(i).standard_normal(shape).astype(np.float32)
        for i, (name, shape) in enumerate(
            {"q": (2, 4, 3, 8), "k": (2, 2, 5, 8), "v": (2, 2, 5, 6)}.items()
        )
    }
    text = f"g ({Q}, {KV}, {kind}[3, 4] m) => (float y) {call('', ', m')}"
    assert_simple(check(text, inputs=inputs | {"m": mask}))


@pytest.mark.parametrize("attributes", ["", "is_causal = 1"])
def test_lengths(attributes: str) -> None:
    inputs = {
        name: np.random.default_rng(i).standard_normal(shape).astype(np.float32)
        for i, (name, shape) in enumerate(
            {"q": (2, 4, 3, 8), "k": (2, 2, 5, 8), "v": (2, 2, 5, 6)}.items()
        )
    }
    text = f"g ({Q}, {KV}, int64[2] n) => (float y) {call(attributes, ', , , , n')}"
    model = check(text, inputs=inputs | {"n": np.array([3, 5])})
    assert_simple(model)


def test_scores_that_are_read() -> None:
    text = f"g ({Q}, {KV}) => (float y, float s) "
    model = check(text + call("qk_matmul_output_mode = 3", "", "y, , , s"))
    assert "Attention" not in [n.op_type for n in model]


def test_scores_that_nobody_reads() -> None:
    model = check(f"g ({Q}, {KV}) => (float y) {call('', '', 'y, , , s')}")
    assert [n.op_type for n in model] == ["Attention"]


@pytest.mark.parametrize(("text", "reason"), [
    (f"g ({Q}, {KV}) => (float y) {call()}", "as simple as it gets"),
    (f"g ({Q}, {KV}, float[1, 5] m) => (float y) {call('is_causal = 1', ', m')}", "as simple"),
    (f"g ({Q}, {KV}) => (float y) {call()}".replace("3, 8", "N, 8"), "give --input-shape"),
    (f"g ({FLAT}) => (float y) {call(HEADS)}".replace("2, 3,", "B, 3,"), "give --input-shape"),
    (f"g ({Q}, {KV}, {PAST}) => (float y) {call('', ', , a, b')}".replace("7, 8", "P, 8"),
     "give --input-shape"),
])  # fmt: skip
def test_declines(text: str, reason: str) -> None:
    refused(text, reason)


def test_leaves_the_operator_of_another_domain() -> None:
    text = "g (float[1, 4, 8] x, float[8, 24] w, float[24] b) => (float y) "
    model = graph(text + "{ y = com.microsoft.Attention<num_heads = 2>(x, w, b) }",
                  opset=24, domains=("com.microsoft",))  # fmt: skip
    InferShapes().run(model, CONTEXT)
    assert not LowerAttention().run(model, CONTEXT).changed
