"""merge-products: several products of one value, and what all of their results go through."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph
from tests.passes.models import in_double

NAME = "merge-products"
RNG = np.random.default_rng(2)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


ROWS = "double[2, 3, 6] x"
WEIGHTS = {
    "a": normal(6, 8), "b": normal(6, 8), "c": normal(6, 4), "d": normal(8), "e": normal(8),
    "f": normal(4), "heads": np.array([2, 3, 4, 2]), "few": np.array([2, 3, 2, 2]),
    "open": np.array([0, 0, -1, 2]), "n": normal(3, 8), "u": normal(2, 6, 8),
}  # fmt: skip
THREE = "p = MatMul(x, a) q = MatMul(x, b) r = MatMul(x, c)"
BIASES = f"{THREE} i = Add(p, d) j = Add(e, q) k = Add(r, f)"
END = "y = Concat<axis = -1>(i, j, k)"
PRODUCTS = {
    "query, key and value": (f"{BIASES} {END}", "MatMul Add Split Concat"),
    "one without a bias": (f"{THREE} i = Add(p, d) k = Add(r, f) y = Concat<axis = -1>(i, q, k)",
                           "MatMul Add Split Concat"),
    "no biases": (f"{THREE} y = Concat<axis = -1>(p, q, r)", "MatMul Split Concat"),
    "two with biases": ("p = MatMul(x, a) q = MatMul(x, b) i = Add(p, d) j = Add(q, e)"
                        "y = Sub(i, j)", "MatMul Add Split Sub"),
    "read twice": (f"{THREE} i = Add(p, q) t = Mul(p, i) y = Concat<axis = -1>(t, r)",
                   "MatMul Split Add Mul Concat"),
    "heads": (
        f"{BIASES} l = Reshape(i, heads) m = Reshape(j, heads) o = Reshape(k, few)"
        "s = Transpose<perm = [0, 2, 1, 3]>(l) t = Transpose<perm = [0, 2, 1, 3]>(m)"
        "v = Transpose<perm = [0, 2, 1, 3]>(o) y = Concat<axis = 1>(s, t, v)",
        "MatMul Add Reshape Transpose Split Concat"),
    "open heads": (
        f"{BIASES} l = Reshape(i, open) m = Reshape(j, open) o = Reshape(k, open)"
        "y = Concat<axis = 2>(l, m, o)", "MatMul Add Reshape Split Concat"),
    "keys transposed": (
        f"{BIASES} l = Reshape(i, heads) m = Reshape(j, heads) o = Reshape(k, few)"
        "s = Transpose<perm = [0, 2, 1, 3]>(l) t = Transpose<perm = [0, 2, 3, 1]>(m)"
        "v = MatMul(s, t) w = Softmax(v) z = Transpose<perm = [0, 2, 1, 3]>(o)"
        "h = Concat<axis = 1>(z, z) y = MatMul(w, h)",
        "MatMul Add Reshape Split Transpose Transpose MatMul Softmax Transpose Concat MatMul"),
    "activations": (f"{THREE} i = Tanh(p) j = Tanh(q) k = Tanh(r) {END}",
                    "MatMul Tanh Split Concat"),
    "others in between": (
        f"z = MatMul(x, a) {THREE.replace('p = MatMul(x, a)', 'p = Relu(z)')}"
        "y = Concat<axis = -1>(z, p, q, r)", "MatMul Split Relu Concat"),
}  # fmt: skip


@pytest.mark.parametrize("case", PRODUCTS)
def test_one_product_is_left(exact: Callable[..., Graph], case: str) -> None:
    body, kinds = PRODUCTS[case]
    exact(NAME, in_double(ROWS, body, WEIGHTS), kinds, **WEIGHTS)


def test_gemm(exact: Callable[..., Graph]) -> None:
    text = in_double(
        "double[3, 6] x",
        "i = Gemm<alpha = 0.5, beta = 2.0>(x, a, d) j = Gemm<alpha = 0.5, beta = 2.0>(x, b)"
        f"k = Gemm<alpha = 0.5, beta = 2.0>(x, c, f) {END}", WEIGHTS,
    )  # fmt: skip
    exact(NAME, text, "Gemm Split Concat", **WEIGHTS)


KERNELS = {
    "a": normal(3, 4, 1, 1), "b": normal(2, 4, 1, 1), "c": normal(5, 4, 1, 1), "d": normal(3),
    "e": normal(2), "f": normal(5), "w": normal(3, 4, 3, 3), "v": normal(4, 1, 1, 1),
}  # fmt: skip
IMAGE = "double[2, 4, 5, 5] x"
JOIN = "y = Concat<axis = 1>(i, j, k)"


def test_convolutions_and_their_activations(exact: Callable[..., Graph]) -> None:
    body = (
        "p = Conv(x, a, d) q = Conv<kernel_shape = [1, 1]>(x, b) r = Conv(x, c, f)"
        f"i = Relu(p) j = Relu(q) k = Relu(r) {JOIN}"
    )
    exact(NAME, in_double(IMAGE, body, KERNELS), "Conv Relu Split Concat", **KERNELS)


def test_windows_of_one_size(exact: Callable[..., Graph]) -> None:
    body = (
        "i = Conv<pads = [1, 1, 1, 1]>(x, w) j = Conv<pads = [1, 1, 1, 1]>(x, w, d)"
        f"k = Conv<pads = [1, 1, 1, 1]>(x, w) {JOIN}"
    )
    exact(NAME, in_double(IMAGE, body, KERNELS), "Conv Split Concat", **KERNELS)


def test_results_of_the_graph_keep_their_names(fires: Callable[..., Graph]) -> None:
    single = {n: np.float32(a) if a.dtype.kind == "f" else a for n, a in WEIGHTS.items()}
    text = in_double(ROWS, THREE, single, "p q r").replace("double", "float")
    graph = fires(NAME, text, "products-of-one-value", **single)
    assert [value.name for value in graph.outputs] == ["p", "q", "r"]


def test_sizes_are_an_attribute_before_opset_13(fires: Callable[..., Graph]) -> None:
    single = {n: np.float32(a) if a.dtype.kind == "f" else a for n, a in WEIGHTS.items()}
    text = in_double(ROWS, THREE, single, "p q r").replace("double", "float")
    graph = fires(NAME, text, "products-of-one-value", opset=11, **single)
    assert [node.op_type for node in graph] == ["MatMul", "Split"]


def test_symbolic_sizes(fires: Callable[..., Graph]) -> None:
    single = {n: np.float32(a) if a.dtype.kind == "f" else a for n, a in WEIGHTS.items()}
    body = f"{BIASES} s = Reshape(i, open) t = Reshape(j, open) v = Reshape(k, open)"
    text = in_double("double[B, S, 6] x", body, single, "s t v").replace("double", "float")
    graph = fires(NAME, text, "products-of-one-value", "sink-split", **single)
    assert [node.op_type for node in graph] == ["MatMul", "Add", "Reshape", "Split"]


def test_inside_a_branch(fires: Callable[..., Graph]) -> None:
    text = """
    g (float[2, 3, 6] x, bool f, float a, float c) => (float y) {
        y = If<then_branch = t () => (float[2, 3, 8] u) {
                   p = MatMul(x, a) q = MatMul(x, a) r = MatMul(x, c) u = Sum(p, q, r) },
               else_branch = e () => (float[2, 3, 8] v) { v = MatMul(x, a) }>(f)
    }"""
    weights = {"a": np.float32(WEIGHTS["a"]), "c": np.float32(WEIGHTS["b"])}
    graph = fires(NAME, text, "products-of-one-value", **weights)
    assert graph.first is not None
    body = graph.first.subgraphs["then_branch"]
    assert [node.op_type for node in body] == ["MatMul", "Split", "Sum"]


NEAR = {
    "two without biases": ("p = MatMul(x, a) q = MatMul(x, b) y = Mul(p, q)",
                           "no fewer operators than there are now"),
    "two and one bias": ("p = MatMul(x, a) q = MatMul(x, b) i = Add(p, d) y = Mul(i, q)",
                         "no fewer operators than there are now"),
    "another value": ("t = Relu(x) p = MatMul(x, a) q = MatMul(t, b) y = Mul(p, q)",
                      "no other product with such weights reads the same value"),
    "batches": ("p = MatMul(x, u) q = MatMul(x, u) r = MatMul(x, u) y = Sum(p, q, r)",
                "batches of weights"),
    "computed": ("t = Relu(a) p = MatMul(x, t) q = MatMul(x, t) r = MatMul(x, t) y = Sum(p, q, r)",
                 None),
    "what differs by row is no bias": (
        "p = MatMul(x, a) q = MatMul(x, b) i = Add(p, n) j = Add(q, n) y = Mul(i, j)",
        "no fewer operators than there are now"),
}  # fmt: skip


@pytest.mark.parametrize("case", NEAR)
def test_near_misses(misses: Callable[..., None], case: str) -> None:
    body, reason = NEAR[case]
    misses(NAME, in_double(ROWS, body, WEIGHTS), reason, **WEIGHTS)


CONVOLUTIONS = {
    "groups": ("p = Conv<group = 4>(x, v) q = Conv<group = 4>(x, v) r = Conv<group = 4>(x, v)"
               "y = Sum(p, q, r)", "has groups"),
    "strides": ("p = Conv(x, a) q = Conv<strides = [1, 2]>(x, a) r = Conv<strides = [2, 1]>(x, a)"
                "i = Flatten(p) j = Flatten(q) k = Flatten(r) y = Concat<axis = 1>(i, j, k)",
                "no other product with such weights"),
    "windows": ("p = Conv(x, a) q = Conv<pads = [1, 1, 1, 1]>(x, w) y = Mul(p, q)",
                "no other product with such weights"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_near_misses_of_convolutions(misses: Callable[..., None], case: str) -> None:
    body, reason = CONVOLUTIONS[case]
    misses(NAME, in_double(IMAGE, body, KERNELS), reason, **KERNELS)


def test_declines_matrices_of_rows_as_gemm_bias(misses: Callable[..., None]) -> None:
    weights = WEIGHTS | {"rows": normal(3, 8)}
    calls = " ".join(f"{name} = Gemm(x, a, rows)" for name in "pqr")
    text = in_double("double[3, 6] x", f"{calls} y = Sum(p, q, r)", weights)
    misses(NAME, text, "not one known number per channel", **weights)


SPLIT = "p, q = Split<axis = -1, num_outputs = 2>(x)"
PARTS = {
    "different functions": (f"{SPLIT} i = Tanh(p) j = Sigmoid(q) y = Mul(i, j)", "y",
                            "different operators"),
    "different attributes": (f"{SPLIT} i = Elu<alpha = 2.0>(p) j = Elu(q) y = Mul(i, j)", "y",
                             "different operators"),
    "a part of the result": (f"{SPLIT} i = Tanh(p)", "i q", "by several operators or by none"),
    "two readers": (f"{SPLIT} i = Tanh(p) j = Tanh(q) y = Mul(i, q)", "y j",
                    "by several operators or by none"),
    "one reader": (f"{SPLIT} y = Mul(p, q)", "y", "read by the same operator"),
    "a function of neighbours": (f"{SPLIT} i = Softmax(p) j = Softmax(q) y = Mul(i, j)", "y",
                                 "does not treat all elements alike"),
    "a parameter": (f"{SPLIT} i = Div(one, p) j = Div(one, q) y = Mul(i, j)", "y",
                    "a part is a parameter"),
    "other heads": (f"{SPLIT} i = Reshape(p, wide) j = Reshape(q, tall) s = Flatten(i)"
                    "t = Flatten(j) y = Mul(s, t)", "y", "more than the number of heads"),
    "mixed heads": (f"{SPLIT} i = Reshape(p, flat) j = Reshape(q, flat) y = Mul(i, j)", "y",
                    "do not split the axis of the parts alike"),
}  # fmt: skip


@pytest.mark.parametrize("case", PARTS)
def test_near_misses_behind_a_split(misses: Callable[..., None], case: str) -> None:
    body, results, reason = PARTS[case]
    weights = {
        "one": np.array(1.0), "wide": np.array([2, 3, 2, 4]), "tall": np.array([2, 3, 4, 2]),
        "flat": np.array([2, 24]),
    }  # fmt: skip
    text = in_double("double[2, 3, 16] x", body, weights, results)
    misses(NAME, text, reason, **weights)


def test_declines_when_compiling(misses: Callable[..., None]) -> None:
    text = in_double(ROWS, PRODUCTS["no biases"][0], WEIGHTS)
    misses(NAME, text, "native code takes separate products as fast", target=True, **WEIGHTS)
