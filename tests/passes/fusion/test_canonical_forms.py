"""canonical-forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "canonical-forms"
RNG = np.random.default_rng(0)
Fires = Callable[..., Graph]
Misses = Callable[..., None]


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def kinds(graph: Graph) -> list[str]:
    return [node.op_type for node in graph]


# Optional inputs


@pytest.mark.parametrize(
    ("call", "weights"),
    [
        ("Conv(x, w, b)", {"w": normal(3, 4, 1, 1), "b": np.zeros(3, np.float32)}),
        ("ConvTranspose(x, w, b)", {"w": normal(4, 3, 2, 2), "b": np.zeros(3, np.float32)}),
    ],
)
def test_leaves_out_a_bias_of_zeros(fires: Fires, call: str, weights: dict[str, object]) -> None:
    rule = f"optional-inputs-{call.partition('(')[0].lower()}"
    graph = fires(NAME, f"g (float[1,4,5,5] x, float w, float b) => (float y) {{ y = {call} }}",
                  rule, **weights)  # fmt: skip
    assert [len(node.inputs) for node in graph] == [2]


def test_leaves_out_a_matrix_of_zeros(fires: Fires) -> None:
    text = "g (float[2,4] x, float w, float b) => (float y) { y = Gemm<beta = 2.0>(x, w, b) }"
    fires(NAME, text, "optional-inputs-gemm", w=normal(4, 3), b=np.zeros((2, 3), np.float32))


def lstm(fill: str) -> str:
    return (
        "g (float[5,N,4] x, float w, float r, int64 a, int64 e, int64 f) => (float y) { "
        "s = Shape(x) c = Slice(s, a, e) z = Concat<axis = 0>(a, c, f) "
        f"h = ConstantOfShape<value = float[1] {{{fill}}}>(z) k = Identity(h) "
        "y, p, q = LSTM<hidden_size = 3>(x, w, r, , , k, h) }"
    )


def states() -> dict[str, np.ndarray]:
    return {"w": normal(1, 12, 4), "r": normal(1, 12, 3), "a": ints(1), "e": ints(2),
            "f": ints(3)}  # fmt: skip


def test_leaves_out_a_state_of_zeros_and_what_made_it(fires: Fires) -> None:
    graph = fires(NAME, lstm("0.0"), "optional-inputs-lstm", **states())
    assert kinds(graph) == ["LSTM"]


def test_keeps_a_state_of_ones(misses: Misses) -> None:
    misses(NAME, lstm("1.0"), "not known to be zero", **states())


@pytest.mark.parametrize(("lengths", "reason"), [([5, 5], None), ([5, 4], "end early")])
def test_lengths_of_sequences(
    fires: Fires, misses: Misses, lengths: list[int], reason: str | None
) -> None:
    text = (
        "g (float[5,2,4] x, float w, float r, int32 n) => (float y) "
        "{ y = GRU<hidden_size = 3>(x, w, r, , n) }"
    )
    weights = {"w": normal(1, 9, 4), "r": normal(1, 9, 3), "n": np.array(lengths, np.int32)}
    if reason is None:
        fires(NAME, text, "optional-inputs-gru", **weights)
    else:
        misses(NAME, text, reason, **weights)


@pytest.mark.parametrize("bias", [np.float32([0, 0, 1e-30]), np.float32([0, np.nan, 0])])
def test_keeps_a_bias_that_is_not_zero(misses: Misses, bias: np.ndarray) -> None:
    text = "g (float[1,4,5,5] x, float w, float b) => (float y) { y = Conv(x, w, b) }"
    misses(NAME, text, "not known to be zero", w=normal(3, 4, 1, 1), b=bias)


def test_keeps_a_bias_that_is_computed(misses: Misses) -> None:
    text = "g (float[1,4,5,5] x, float[3] b, float w) => (float y) { y = Conv(x, w, b) }"
    misses(NAME, text, "not known to be zero", w=normal(3, 4, 1, 1))


# Padding


@pytest.mark.parametrize(
    ("policy", "more"),
    [
        ("SAME_UPPER", ""),
        ("SAME_LOWER", ""),
        ("VALID", ""),
        ("SAME_UPPER", ", strides = [2, 3]"),
        ("SAME_LOWER", ", strides = [3, 2]"),
        # The oracle knows no policy but this with dilations.
        ("VALID", ", dilations = [2, 1]"),
    ],
)
def test_says_pads_in_numbers(fires: Fires, policy: str, more: str) -> None:
    text = (
        "g (float[1,4,8,11] x, float w) => (float y) "
        f'{{ y = Conv<auto_pad = "{policy}"{more}>(x, w) }}'
    )
    graph = fires(NAME, text, "explicit-pads", w=normal(3, 4, 2, 5))
    assert all("auto_pad" not in node.attributes for node in graph)


@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
def test_pads_of_pools(fires: Fires, pool: str) -> None:
    text = (
        "g (float[1,4,8,11] x) => (float y) "
        f'{{ y = {pool}<auto_pad = "SAME_LOWER", kernel_shape = [2, 3], strides = [2, 2]>(x) }}'
    )
    fires(NAME, text, "explicit-pads")


def test_sizes_matter_only_with_strides(fires: Fires, misses: Misses) -> None:
    text = (
        "g (float[1,4,H,W] x, float w) => (float y) "
        '{ y = Conv<auto_pad = "SAME_UPPER", strides = [1, 1]>(x, w) }'
    )
    fires(NAME, text, "explicit-pads", w=normal(3, 4, 3, 3))
    misses(NAME, text.replace("[1, 1]", "[2, 1]"), "--input-shape", w=normal(3, 4, 3, 3))


def test_keeps_pads_that_follow_from_the_result(misses: Misses) -> None:
    text = (
        "g (float[1,4,8,8] x, float w) => (float y) "
        '{ y = ConvTranspose<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, w) }'
    )
    misses(NAME, text, "size of its result", w=normal(4, 3, 3, 3))


def test_keeps_windows_that_are_cut(misses: Misses) -> None:
    text = (
        "g (float[1,4,8,8] x) => (float y) { y = MaxPool<auto_pad = \"VALID\", ceil_mode = 1, "
        "kernel_shape = [3, 3], strides = [2, 2]>(x) }"
    )  # fmt: skip
    misses(NAME, text, "may be cut")


@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
def test_keeps_pads_of_windows_with_gaps(misses: Misses, pool: str) -> None:
    text = (
        "g (float[1,4,8] x) => (float y) "
        f'{{ y = {pool}<auto_pad = "SAME_UPPER", kernel_shape = [2], dilations = [2]>(x) }}'
    )
    misses(NAME, text, "windows with gaps")


# Einsum


@pytest.mark.parametrize(
    ("equation", "a", "w", "kind"),
    [
        ("ij,jk->ik", "2,3", (3, 4), "MatMul"),
        ("ij,kj->ik", "2,3", (4, 3), "MatMul"),
        ("bij,jk->bik", "2,3,4", (4, 5), "MatMul"),
        ("...i,ij->...j", "2,3,4", (4, 5), "MatMul"),
        ("...i,ji->...j", "2,3,4", (5, 4), "MatMul"),
        ("bhij,bhjd->bhid", "2,3,4,5", (2, 3, 5, 6), "MatMul"),
        ("bhij,bhdj->bhid", "2,3,4,5", (2, 3, 6, 5), "MatMul"),
        ("jk,ij->ik", "3,4", (2, 3), "MatMul"),
        ("bij,bij->bij", "2,3,4", (2, 3, 4), "Mul"),
    ],
)
def test_einsum_of_two(fires: Fires, equation: str, a: str, w: tuple[int, ...], kind: str) -> None:
    text = f'g (float[{a}] x, float w) => (float y) {{ y = Einsum<equation = "{equation}">(x, w) }}'
    assert kinds(fires(NAME, text, "einsum-as-one", w=normal(*w))) == [kind]


@pytest.mark.parametrize(
    ("equation", "kind"),
    [("abc->cab", "Transpose"), ("abc->b", "ReduceSum"), ("a b c -> a c", "ReduceSum"),
     ("...c->c...", "Transpose")],
)  # fmt: skip
def test_einsum_of_one(fires: Fires, equation: str, kind: str) -> None:
    text = f'g (float[2,3,4] x) => (float y) {{ y = Einsum<equation = "{equation}">(x) }}'
    assert kinds(fires(NAME, text, "einsum-as-one")) == [kind]


@pytest.mark.parametrize(
    ("equation", "a", "w"),
    [
        ("ij,kl->ijkl", "2,3", (4, 5)), ("bij,bkj->bki", "2,3,4", (2, 5, 4)),
        ("bchw,bc->bhwc", "2,3,4,2", (2, 3)), ("ij,ij->", "2,3", (2, 3)),
        ("ijk,jkl->il", "2,3,4", (3, 4, 5)), ("bnd,hdk->bhnk", "2,3,4", (5, 4, 6)),
    ],
)  # fmt: skip
def test_keeps_an_einsum_of_several_steps(
    misses: Misses, equation: str, a: str, w: tuple[int, ...]
) -> None:
    text = f'g (float[{a}] x, float w) => (float y) {{ y = Einsum<equation = "{equation}">(x, w) }}'
    misses(NAME, text, None, w=normal(*w))


def test_keeps_an_einsum_that_would_need_a_transpose(misses: Misses) -> None:
    text = (
        "g (float[2,3,4] x, float[2,5,4] z) => (float y) "
        '{ y = Einsum<equation = "bij,bkj->bik">(x, z) }'
    )
    misses(NAME, text, "more than one MatMul")


def test_keeps_an_einsum_that_may_broadcast(misses: Misses) -> None:
    text = (
        "g (float[B,3,4] x, float[C,4,5] z) => (float y) "
        '{ y = Einsum<equation = "bij,bjk->bik">(x, z) }'
    )
    misses(NAME, text, "more than one MatMul")


# Products of flattened values

FLAT = (
    "g (float[{x}] x, float w, float b, int64 f, int64 s) => (float y) "
    "{{ r = Reshape(x, f) p = {product} y = Reshape(p, s) }}"
)


@pytest.mark.parametrize(
    ("product", "found"),
    [
        ("MatMul(r, w)", ["MatMul"]),
        ("Gemm(r, w, b)", ["MatMul", "Add"]),
        ("Gemm(r, w)", ["MatMul"]),
        ("Gemm<alpha = 2.0, beta = 0.5>(r, w, b)", ["MatMul", "Add"]),
        ("Gemm<transB = 1>(r, w, b)", ["MatMul", "Add"]),
    ],
)
def test_multiplies_without_flattening(fires: Fires, product: str, found: list[str]) -> None:
    w = normal(5, 4) if "transB" in product else normal(4, 5)
    weights = {"w": w, "b": normal(5), "f": ints(-1, 4), "s": ints(2, 3, 5)}
    used = {name: array for name, array in weights.items() if name != "b" or "b)" in product}
    text = FLAT.format(x="2,3,4", product=product)
    text = text if "b" in used else text.replace("float b, ", "")
    assert kinds(fires(NAME, text, "product-of-flattened", **used)) == found


def test_adds_without_flattening(fires: Fires) -> None:
    text = FLAT.format(x="2,3,4", product="Add(q, b)").replace("p =", "q = MatMul(r, w) p =")
    weights = {"w": normal(4, 5), "b": normal(5), "f": ints(6, 4), "s": ints(2, 3, 5)}
    assert kinds(fires(NAME, text, "product-of-flattened", **weights)) == ["MatMul", "Add"]


GROUPED = (
    "g (float[N,M,2,4] x, float w, float b, int64 f, int64 c, int64 e, int64 n) => (float y) "
    "{ r = Reshape(x, f) p = Gemm(r, w, b) k = Shape(x) l = Slice(k, c, e) "
    "s = Concat<axis = 0>(l, n) y = Reshape(p, s) }"
)
GIVEN = {"w": normal(8, 5), "b": normal(5), "f": ints(-1, 8), "c": ints(0), "e": ints(2),
         "n": ints(5)}  # fmt: skip


def test_saves_a_computed_shape(fires: Fires) -> None:
    graph = fires(NAME, GROUPED, "product-of-flattened", **GIVEN)
    assert {"MatMul", "Add", "Reshape"} <= set(kinds(graph))
    assert "Gemm" not in kinds(graph)


def test_keeps_a_product_of_other_groups(misses: Misses) -> None:
    text = GROUPED.replace("float[N,M,2,4]", "float[N,2,M,4]")
    misses(NAME, text, None, **GIVEN)


def test_open_sizes_need_not_be_flattened(fires: Fires) -> None:
    text = FLAT.format(x="N,3,4", product="Gemm(r, w, b)")
    weights = {"w": normal(4, 5), "b": normal(5), "f": ints(-1, 4), "s": ints(-1, 3, 5)}
    fires(NAME, text, "product-of-flattened", **weights)


@pytest.mark.parametrize(
    ("x", "product", "weights", "reason"),
    [
        ("2,3,4", "Gemm(r, w, b)", {"f": ints(-1, 4), "s": ints(3, 2, 5)}, "do more than flatten"),
        ("2,3,4", "Gemm(r, w, b)", {"f": ints(-1, 4), "s": ints(6, 1, 5)}, "do more than flatten"),
        ("2,2,8", "Gemm(r, w, b)", {"f": ints(-1, 4), "s": ints(2, 4, 5)}, "do more than flatten"),
        ("6,4", "Gemm(r, w, b)", {"f": ints(3, 8), "s": ints(3, 5), "w": normal(8, 5)},
         "no longer than a matrix"),
        ("2,3,4", "Gemm(r, w, b)", {"f": ints(-1, 4), "s": ints(2, 3, 5), "b": normal(6, 5)},
         "differs between rows"),
        ("2,2,4", "Gemm<transA = 1>(r, w, b)", {"f": ints(-1, 4), "s": ints(2, 2, 4),
         "w": normal(4, 4), "b": normal(4)}, "transposed"),
    ],
)  # fmt: skip
def test_keeps_other_reshapes(
    misses: Misses, x: str, product: str, weights: dict[str, np.ndarray], reason: str
) -> None:
    given = {"w": normal(4, 5), "b": normal(5)} | weights
    misses(NAME, FLAT.format(x=x, product=product), reason, **given)


def test_keeps_a_product_that_is_read_as_it_is(misses: Misses) -> None:
    text = FLAT.format(x="2,3,4", product="Gemm(r, w, b)").replace(
        "(float y)", "(float y, float p)"
    )
    weights = {"w": normal(4, 5), "b": normal(5), "f": ints(-1, 4), "s": ints(2, 3, 5)}
    misses(NAME, text, "graph output", **weights)
