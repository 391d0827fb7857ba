"""Parts that run on the host: as few and as large as they can be, and right."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

import burnish
from burnish.backends.lowering import lower as lowering
from burnish.errors import UnsupportedModel
from tests.backends.lowering.models import check, lowered, model, normal


def test_sizes_that_depend_on_data_pass_between_regions_and_out() -> None:
    text = """g (float[4, 6] x) => (int64[2, n] places, float[n] found, float[n] again) {
        a = Exp(x)
        z = Relu(x)
        places = NonZero(z)
        t = Transpose(places)
        found = GatherND(a, t)
        s = Shape(found)
        again = Expand(found, s)
    }"""
    assert check(model(text), x=normal(4, 6))


def test_what_comes_before_and_after_is_native() -> None:
    text = """g (float[4, 6] x) => (float[4, 6] y) {
        a = Exp(x)
        u, c = Unique <sorted = 1> (a)
        n = Size(u)
        f = Cast <to = 1> (n)
        y = Mul(a, f)
    }"""
    low = lowered(text.replace("u, c", "u"))
    assert "Exp" not in {node.op_type for node in low.refusals}
    assert "Mul" not in {node.op_type for node in low.refusals}
    assert check(model(text.replace("u, c", "u")), x=normal(4, 6))


def test_independent_regions_are_one() -> None:
    text = """g (float[4, 6] x) => (float[n] p, float[m] q) {
        a = Exp(x) p = Unique(a) b = Tanh(x) q = Unique(b)
    }"""
    low = lowered(text)
    assert sum(call.region is not None for call in low.calls) == 1


def test_a_loop_that_captures() -> None:
    text = """g (float[4] x, int64 n) => (float[4] y) {
        w = Exp(x)
        cond = Constant <value = bool {1}> ()
        z = Loop (n, cond, x) <body = b (int64 i, bool c, float[4] s) => (bool k, float[4] t) {
            k = Identity(c) p = NonZero(s) m = Size(p) f = Cast<to=1>(m) a = Add(s, w)
            t = Div(a, f)
        }>
        y = Tanh(z)
    }"""
    reasons = check(model(text), x=normal(4), n=np.array(3))
    assert any("NonZero" in reason for reason in reasons)


def test_inputs_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(UnsupportedModel, match=r"the input 's' holds string"):
        lowered("g (string[3] s) => (string[3] t) { t = Identity(s) }")


def test_a_kernel_that_cannot_be_made_runs_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("not today")

    monkeypatch.setitem(lowering.ANCHORS, "Softmax", broken)
    text = "g (float[3, 5] x) => (float[3, 5] y) { a = Exp(x) y = Softmax(a) }"
    assert check(model(text), x=normal(3, 5)) == ["no kernel of Softmax: not today"]


def test_products_of_bytes_do_not_saturate() -> None:
    """One position attends to itself, so that its values come out: sums of 8 products."""
    proto = model("""g (uint8[1, 1, 8] x, int8[8, 12] w, float[12] b, float s) =>
        (float[1, 1, 4] y) { y = com.microsoft.QAttention<num_heads = 2>(x, w, b, s, s) }""")
    proto.opset_import.add(domain="com.microsoft", version=1)
    del proto.graph.input[1:]
    arrays = {"w": np.full((8, 12), 127, np.int8), "b": np.zeros(12), "s": np.array(1)}
    proto.graph.initializer.extend(
        numpy_helper.from_array(a if a.dtype == np.int8 else a.astype(np.float32), name)
        for name, a in arrays.items()
    )
    x = np.full((1, 1, 8), 255, np.uint8)
    artifact = burnish.compile(proto, tune="off")
    assert [segment.region for segment in artifact.manifest.entries[0].segments] != [None]
    np.testing.assert_array_equal(artifact.run({"x": x})["y"], np.full((1, 1, 4), 8 * 255 * 127))
