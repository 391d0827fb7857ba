"""Merging of adapters: every form that trainers and exporters leave behind, and what must stay."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from burnish.ir import Graph
from burnish.oracle import Numerics, Oracle, compare, random_inputs
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass

NAME = "merge-adapters"
LORA, PARALLEL, AHEAD = "low-rank-branch", "parallel-product", "residual-adapter"
rng = np.random.default_rng(0)


def f(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def ops(found: Graph) -> list[str]:
    return [node.op_type for node in found.walk()]


W, A, B, BIAS = f(8, 6), f(8, 2), f(2, 6), f(6)
HEAD = "g (float[N, 3, 8] x, float[8, 6] w, float[8, 2] a, float[2, 6] b"
TAIL = ") => (float[N, 3, 6] y)"
PLAIN = f"{HEAD}{TAIL} {{ p = MatMul(x, w) d = MatMul(x, a) u = MatMul(d, b) y = Add(p, u) }}"


def test_plain(fires) -> None:
    after = fires(NAME, PLAIN, LORA, w=W, a=A, b=B)
    assert ops(after) == ["MatMul"]
    assert [value.name for value in after.constants()] == ["w"]


@pytest.mark.parametrize(
    "body",
    [
        "p = MatMul(x, w) d = MatMul(x, a) u = MatMul(d, b) v = Mul(u, s) y = Add(v, p)",
        "p = MatMul(x, w) d = MatMul(x, a) e = Mul(s, d) u = MatMul(e, b) y = Add(p, u)",
        "p = MatMul(x, w) z = Mul(x, s) d = MatMul(z, a) u = MatMul(d, b) y = Add(p, u)",
        "p = MatMul(x, w) d = MatMul(x, a) u = MatMul(d, b) v = Div(u, s) y = Add(p, v)",
        "p = MatMul(x, w) z = Dropout(x) d = MatMul(z, a) i = Identity(d) u = MatMul(i, b) "
        "y = Add(u, p)",
        "p = MatMul(x, w) z = Cast<to = 11>(x) i = Cast<to = 1>(z) d = MatMul(i, a) "
        "u = MatMul(d, b) y = Add(u, p)",
    ],
)
def test_scales_and_operators_that_do_nothing(fires, body: str) -> None:
    text = f"{HEAD}, float s{TAIL} {{ {body} }}"
    after = fires(NAME, text, LORA, w=W, a=A, b=B, s=np.float32(0.5))
    assert ops(after) == ["MatMul"]


@pytest.mark.parametrize(
    "body",
    [
        "p = MatMul(x, w) q = Add(p, c) d = MatMul(x, a) u = MatMul(d, b) y = Add(q, u)",
        "p = MatMul(x, w) d = MatMul(x, a) u = MatMul(d, b) v = Add(c, u) y = Add(p, v)",
        "p = MatMul(x, w) d = MatMul(x, a) e = Add(d, k) u = MatMul(e, b) y = Add(p, u)",
        "p = MatMul(x, w) q = Add(p, c) d = MatMul(x, a) u = MatMul(d, b) v = Mul(u, m) "
        "y = Add(q, v)",
    ],
)
def test_biases_and_scales_of_channels(fires, body: str) -> None:
    text = f"{HEAD}, float[6] c, float[2] k, float[1, 6] m{TAIL} {{ {body} }}"
    after = fires(NAME, text, LORA, w=W, a=A, b=B, c=BIAS, k=f(2), m=f(1, 6))
    assert ops(after) == ["MatMul", "Add"]


def test_a_bias_that_comes_after_the_sum_stays(fires) -> None:
    text = (
        f"{HEAD}, float[6] c{TAIL} {{ p = MatMul(x, w) d = MatMul(x, a) u = MatMul(d, b) "
        "q = Add(p, u) y = Add(q, c) }"
    )
    assert ops(fires(NAME, text, LORA, w=W, a=A, b=B, c=BIAS)) == ["MatMul", "Add"]


def test_gemm_with_transposed_weights(fires) -> None:
    text = (
        "g (float[N, 8] x, float[6, 8] w, float[6] c, float[2, 8] a, float[6, 2] b) "
        "=> (float[N, 6] y) { p = Gemm<transB = 1>(x, w, c) "
        "d = Gemm<transB = 1>(x, a) u = Gemm<transB = 1, alpha = 0.25>(d, b) y = Add(p, u) }"
    )
    after = fires(NAME, text, LORA, w=W.T.copy(), a=A.T.copy(), b=B.T.copy(), c=BIAS)
    assert ops(after) == ["Gemm"]


def test_several_on_one_product(fires) -> None:
    text = (
        f"{HEAD}, float[8, 3] a2, float[3, 6] b2{TAIL} {{ p = MatMul(x, w) d = MatMul(x, a) "
        "u = MatMul(d, b) q = Add(p, u) e = MatMul(x, a2) v = MatMul(e, b2) y = Add(q, v) }"
    )
    after = fires(NAME, text, LORA, LORA, w=W, a=A, b=B, a2=f(8, 3), b2=f(3, 6))
    assert ops(after) == ["MatMul"]


def test_a_residual_added_in_between(fires) -> None:
    text = (
        "g (float[N, 3, 8] x, float[N, 3, 6] h, float[8, 6] w, float[8, 2] a, float[2, 6] b) => "
        "(float[N, 3, 6] y) { p = MatMul(x, w) r = Add(h, p) d = MatMul(x, a) u = MatMul(d, b) "
        "y = Add(r, u) }"
    )
    assert ops(fires(NAME, text, LORA, w=W, a=A, b=B)) == ["MatMul", "Add"]


def test_rows_merged_on_the_way(fires) -> None:
    text = (
        "g (float[2, 3, 8] x, int64[2] flat, int64[3] back, float[8, 6] w, float[6] c, "
        "float[8, 2] a, float[2, 6] b) => (float[2, 3, 6] y) { r = Reshape(x, flat) "
        "p = Gemm(r, w, c) q = Reshape(p, back) d = MatMul(x, a) u = MatMul(d, b) y = Add(q, u) }"
    )
    shapes = {"flat": np.int64([-1, 8]), "back": np.int64([2, 3, 6])}
    after = fires(NAME, text, LORA, w=W, a=A, b=B, c=BIAS, **shapes)
    assert ops(after) == ["Reshape", "Gemm", "Reshape"]


def test_weights_split_by_magnitude(fires) -> None:
    text = (
        f"{HEAD}, float[6] c, float[1, 6] m, float[1, 6] m1, float s{TAIL} {{ p = MatMul(x, w) "
        "q = Add(p, c) r = Mul(m1, p) d = MatMul(x, a) u = MatMul(d, b) v = Mul(m, u) "
        "z = Mul(v, s) t = Add(r, z) y = Add(q, t) }"
    )
    m = f(1, 6)
    after = fires(NAME, text, LORA, PARALLEL, w=W, a=A, b=B, c=BIAS, m=m, m1=m - 1, s=np.float32(2))
    assert ops(after) == ["MatMul", "Add"]


def test_embedding(fires) -> None:
    text = (
        "g (int64[N, 5] i, float[9, 6] w, float[9, 2] a, float[2, 6] b, float s) => "
        "(float[N, 5, 6] y) { p = Gather(w, i) d = Gather(a, i) u = MatMul(d, b) v = Mul(u, s) "
        "y = Add(p, v) }"
    )
    after = fires(
        NAME, text, LORA, w=f(9, 6), a=f(9, 2), b=B, s=np.float32(0.5),
        inputs={"i": np.int64([[0, 8, 3, -1, 2]])},
    )  # fmt: skip
    assert ops(after) == ["Gather"]


CONV = (
    "g (float[2, 4, 7, 7] x, float[6, 4, 3, 3] w, float[6] c, float[2, 4, 3, 3] a, "
    "float[6, 2, 1, 1] b, float s) => (float[2, 6, H, V] y) {{ p = Conv<{base}>(x, w, c) "
    "d = Conv<{down}>(x, a) u = Conv(d, b) v = Mul(u, s) y = Add(p, v) }}"
)
KERNELS = {"w": f(6, 4, 3, 3), "c": BIAS, "a": f(2, 4, 3, 3), "b": f(6, 2, 1, 1)}


@pytest.mark.parametrize(
    "attributes",
    ["pads = [1, 1, 1, 1]", "strides = [2, 2], dilations = [2, 2]", "pads = [0, 1, 1, 0]"],
)
def test_convolution(fires, attributes: str) -> None:
    text = CONV.format(base=attributes, down=attributes)
    after = fires(NAME, text, LORA, s=np.float32(3), **KERNELS)
    assert ops(after) == ["Conv"]


def test_pointwise_convolution(fires) -> None:
    text = (
        "g (float[2, 4, 5] x, float[6, 4, 1] w, float[2, 4, 1] a, float[6, 2, 1] b) => "
        "(float[2, 6, 5] y) { p = Conv(x, w) d = Conv(x, a) u = Conv(d, b) y = Add(p, u) }"
    )
    assert ops(fires(NAME, text, LORA, w=f(6, 4, 1), a=f(2, 4, 1), b=f(6, 2, 1))) == ["Conv"]


def test_inside_a_branch(fires) -> None:
    inner = "p = MatMul(x, w) d = MatMul(x, a) u = MatMul(d, b) z = Add(p, u)"
    text = (
        "g (bool k, float[N, 3, 8] x, float[8, 6] w2, float[8, 6] w, float[8, 2] a, "
        "float[2, 6] b) => (float[N, 3, 6] y) { y = If<"
        f"then_branch = t () => (float[N, 3, 6] z) {{ {inner} }}, "
        "else_branch = e () => (float[N, 3, 6] q) { q = MatMul(x, w2) }>(k) }"
    )
    after = fires(NAME, text, LORA, w=W, w2=W, a=A, b=B)
    assert "Add" not in ops(after)


REP = (
    "g (float[2, 3, 4] x, float[4, 2] d, float[2] dc, float[2, 4] u, float[4] uc, float s, "
    "float[4, 5] q, float[4, 5] k, float[5] kc) => (float[2, 3, 5] yq, float[2, 3, 5] yk) {{ "
    "n = Relu(x) h = MatMul(n, d) h2 = Add(h, dc) e = MatMul(h2, u) e2 = Add(e, uc) "
    "e3 = Mul(e2, s) r = Add(e3, n) yq = MatMul(r, q) z = MatMul(r, k) yk = Add(z, kc) {more} }}"
)
REP_WEIGHTS = {
    "d": f(4, 2), "dc": f(2), "u": f(2, 4), "uc": f(4), "s": np.float32(0.5), "q": f(4, 5),
    "k": f(4, 5), "kc": f(5),
}  # fmt: skip


def test_an_adapter_goes_into_all_its_readers(fires) -> None:
    after = fires(NAME, REP.format(more=""), AHEAD, **REP_WEIGHTS)
    assert Counter(ops(after)) == {"Relu": 1, "MatMul": 2, "Add": 3}


def test_an_adapter_of_grouped_convolutions_between_transposes(fires) -> None:
    text = (
        "g (float[2, 3, 4] x, float[2, 4, 1] d, float[2] dc, float[4, 1, 1] u, float[4] uc, "
        "float[4, 5] q) => (float[2, 3, 5] y) { n = Relu(x) t = Transpose<perm = [0, 2, 1]>(n) "
        "h = Conv(t, d, dc) e = Conv<group = 2>(h, u, uc) r = Add(e, t) "
        "b = Transpose<perm = [0, 2, 1]>(r) y = MatMul(b, q) }"
    )
    weights = {"d": f(2, 4, 1), "dc": f(2), "u": f(4, 1, 1), "uc": f(4), "q": f(4, 5)}
    after = fires(NAME, text, AHEAD, **weights)
    assert ops(after) == ["Relu", "Transpose", "Transpose", "MatMul", "Add"]


def test_a_scale_and_shift_after_a_product_are_no_adapter_of_ours(misses) -> None:
    text = (
        f"{HEAD}, float[6] c, float[6] m{TAIL} {{ p = MatMul(x, w) q = Mul(p, m) y = Add(q, c) }}"
    )
    misses(NAME, text, None, w=W, a=A, b=B, c=BIAS, m=f(6))


def test_double_precision_is_kept() -> None:
    text = PLAIN.replace("float", "double")
    from tests.passes.conftest import build

    weights = {"w": W.astype(np.float64), "a": A.astype(np.float64), "b": B.astype(np.float64)}
    before, after = build(text, 21, weights), build(text, 21, weights)
    run_pass(after, get_pass(NAME), PassContext())
    assert ops(after) == ["MatMul"]
    feeds = random_inputs(before)
    wanted = Oracle(before, reference=True).run(feeds)
    found = Oracle(after, reference=True).run(feeds)
    assert compare(wanted, found, Numerics.REASSOCIATES).error < 1e-12


# What must stay as it is.


def test_branches_of_different_values(misses) -> None:
    text = PLAIN.replace("d = MatMul(x, a)", "n = Relu(x) d = MatMul(n, a)")
    misses(NAME, text, None, w=W, a=A, b=B)


def test_something_else_in_the_branch(misses) -> None:
    misses(NAME, PLAIN.replace("u = MatMul(d, b)", "n = Relu(d) u = MatMul(n, b)"), None,
           w=W, a=A, b=B)  # fmt: skip


@pytest.mark.parametrize("value", ["p", "d", "u"])
def test_a_result_that_is_read_elsewhere(misses, value: str) -> None:
    text = PLAIN.replace("(float[N, 3, 6] y)", f"(float[N, 3, 6] y, float {value}2)").replace(
        "y = Add", f"{value}2 = Relu({value}) y = Add"
    )
    misses(NAME, text, "is also read by Relu", w=W, a=A, b=B)


def test_weights_that_something_else_reads(misses) -> None:
    text = PLAIN.replace("(float[N, 3, 6] y)", "(float[N, 3, 6] y, float[8, 6] v)").replace(
        "y = Add", "v = Abs(w) y = Add"
    )
    misses(NAME, text, "stored twice", w=W, a=A, b=B)


def test_adapters_that_the_caller_gives(misses) -> None:
    misses(NAME, PLAIN, "weights of MatMul are inputs of the model", w=W)


def test_another_kernel(misses) -> None:
    text = CONV.format(base="pads = [1, 1, 1, 1]", down="pads = [0, 1, 1, 2]")
    text = text.replace("float[2, 6, H, V] y", "float y")
    misses(NAME, text, "moves its kernel in another way", s=np.float32(3), **KERNELS)


def test_a_grouped_convolution(misses) -> None:
    text = CONV.format(base="pads = [1, 1, 1, 1], group = 2", down="pads = [1, 1, 1, 1]")
    text = text.replace("float[6, 4, 3, 3] w", "float[6, 2, 3, 3] w")
    misses(NAME, text, "has groups", s=np.float32(3), **{**KERNELS, "w": f(6, 2, 3, 3)})


def test_a_bias_before_a_kernel_that_pads(misses) -> None:
    text = (
        "g (float[2, 4, 7, 7] x, float[6, 4, 3, 3] w, float[2, 4, 1, 1] a, float[2] c, "
        "float[6, 2, 3, 3] b) => (float y) { p = Conv<pads = [1, 1, 1, 1]>(x, w) "
        "d = Conv(x, a, c) u = Conv<pads = [1, 1, 1, 1]>(d, b) y = Add(p, u) }"
    )
    misses(NAME, text, "bias comes before a convolution", w=f(6, 4, 3, 3), a=f(2, 4, 1, 1), c=f(2),
           b=f(6, 2, 3, 3))  # fmt: skip


def test_an_adapter_of_a_coarser_type(misses) -> None:
    text = (
        f"{HEAD}{TAIL} {{ p = MatMul(x, w) h = Cast<to = 10>(x) d = MatMul(h, a) "
        "u = MatMul(d, b) v = Cast<to = 1>(u) y = Add(p, v) }"
    ).replace("float[8, 2] a, float[2, 6] b", "float16[8, 2] a, float16[2, 6] b")
    misses(NAME, text, "computes in float16", w=W, a=A.astype(np.float16), b=B.astype(np.float16))


def test_a_number_for_each_row(misses) -> None:
    text = (
        f"{HEAD}, float[3, 1] s{TAIL} {{ p = MatMul(x, w) d = MatMul(x, a) u = MatMul(d, b) "
        "v = Mul(u, s) y = Add(p, v) }"
    )
    misses(NAME, text, "not one number per channel", w=W, a=A, b=B, s=f(3, 1))


def test_a_scale_that_adds_an_axis(misses) -> None:
    text = (
        f"{HEAD}, float[1, 1, 1, 6] m) => (float[1, N, 3, 6] y) {{ p = MatMul(x, w) "
        "d = MatMul(x, a) u = MatMul(d, b) v = Mul(u, m) y = Add(p, v) }"
    )
    misses(NAME, text, "more axes than the data", w=W, a=A, b=B, m=f(1, 1, 1, 6))


def test_overflowing_weights(misses) -> None:
    big = np.full((8, 2), 1e30, np.float32)
    misses(NAME, PLAIN, "would not fit", w=W, a=big, b=np.full((2, 6), 1e30, np.float32))


def test_training(misses) -> None:
    text = (
        f"{HEAD}, float r, bool t{TAIL} {{ p = MatMul(x, w) z = Dropout(x, r, t) d = MatMul(z, a) "
        "u = MatMul(d, b) y = Add(p, u) }"
    )
    misses(NAME, text, None, w=W, a=A, b=B, r=np.float32(0.5), t=np.bool_(True))


def test_a_product_of_two_factors_alone_stays(misses) -> None:
    text = f"{HEAD}{TAIL} {{ d = MatMul(x, a) y = MatMul(d, b) }}"
    misses(NAME, text, None, w=W, a=A, b=B)


def test_an_adapter_that_something_without_weights_reads(misses) -> None:
    text = REP.format(more="v = Relu(r)").replace(
        "float[2, 3, 5] yk)", "float[2, 3, 5] yk, float v)"
    )
    misses(NAME, text, "has no weights for it to go into", **REP_WEIGHTS)


def test_an_adapter_whose_result_is_returned(misses) -> None:
    text = REP.format(more="").replace("float[2, 3, 5] yk)", "float[2, 3, 5] yk, float r)")
    misses(NAME, text, "also an output", **REP_WEIGHTS)


def test_an_adapter_that_is_repeated_over_its_input(misses) -> None:
    text = (
        "g (float[1, 6, 4] x, int64[3] r, float[4, 2] d, float[2, 4] u, float[4, 5] q) => "
        "(float[6, 6, 5] y) { n = Relu(x) z = Reshape(n, r) h = MatMul(z, d) e = MatMul(h, u) "
        "s = Add(n, e) y = MatMul(s, q) }"
    )
    misses(NAME, text, "differ in shape", r=np.int64([6, 1, 4]), d=f(4, 2), u=f(2, 4), q=f(4, 5))


def test_merged_rows_on_one_side_only_with_unknown_sizes(misses) -> None:
    text = (
        "g (float[N, M, 8] x, float[8, 6] w, float[8, 2] a, float[2, 6] b, int64[3] r) => "
        "(float y) { p = MatMul(x, w) z = Reshape(x, r) d = MatMul(z, a) u = MatMul(d, b) "
        "y = Add(p, u) }"
    )
    misses(NAME, text, "shape", w=W, a=A, b=B, r=np.int64([1, -1, 8]))


def test_kept_if_asked_for() -> None:
    from tests.passes.conftest import build

    kept = build(PLAIN, 21, {"w": W, "a": A, "b": B})
    report = run_pass(kept, get_pass(NAME, keep=True), PassContext(explain=True))
    assert not report.changed
    assert report.notes == ["1 left unmerged, as asked for"]
    assert [miss.rule for miss in report.missed] == [LORA]


def test_what_scales_and_shifts_a_product_goes_into_it_by_the_presets() -> None:
    """Linear adapters, y = m (x w + b) + s, are the business of the passes for affine maps."""
    from burnish import api
    from tests.passes.conftest import build

    text = (
        f"{HEAD}, float[6] c, float[6] m, float[6] s{TAIL} {{ p = MatMul(x, w) q = Add(p, c) "
        "r = Mul(q, m) y = Add(r, s) }"
    )
    weights = {"w": W, "a": A, "b": B, "c": BIAS, "m": f(6), "s": f(6)}
    after, _ = api.optimize(build(text, 21, weights), verify="end")
    assert ops(after) == ["MatMul", "Add"]


def test_a_shift_of_columns_before_convolutions_of_channels(misses) -> None:
    text = (
        "g (float[1, 4, 5, 4] x, float[4] s, float[4, 4, 1, 1] w, float[2, 4, 1, 1] a, "
        "float[4, 2, 1, 1] b) => (float[1, 4, 5, 4] y) { r = Relu(x) t = Add(r, s) "
        "p = Conv(r, w) d = Conv(t, a) u = Conv(d, b) y = Add(p, u) }"
    )
    weights = {"s": f(4), "w": f(4, 4, 1, 1), "a": f(2, 4, 1, 1), "b": f(4, 2, 1, 1)}
    misses(NAME, text, "another axis", **weights)


def test_scales_that_widen_their_data(misses) -> None:
    text = (
        "g (float[3, 1] x, float[8] s, float[8] t, float[8, 6] w, float[8, 2] a, float[2, 6] b) "
        "=> (float[3, 6] y) { r = Relu(x) k = Mul(r, s) p = MatMul(k, w) "
        "j = Mul(r, t) d = MatMul(j, a) u = MatMul(d, b) y = Add(p, u) }"
    )
    misses(NAME, text, None, s=f(8), t=f(8), w=f(8, 6), a=f(8, 2), b=f(2, 6))
