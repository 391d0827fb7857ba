"""Rows that operators multiply with their weights, and their second moments."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.calibration import (
    Calibration,
    Contraction,
    CrossGram,
    Gram,
    Rows,
    Windows,
    geometry_of,
)
from burnish.calibration import grams as of_grams
from burnish.ir import Array, OperatorNode
from burnish.oracle import Oracle
from burnish.testing import graph

CONVOLUTIONS = [
    ("", (2, 4, 7, 8), (6, 4, 3, 3)),
    ("pads=[1,1,1,1]", (2, 4, 7, 8), (6, 4, 3, 3)),
    ("pads=[0,1,2,0], strides=[2,3]", (1, 4, 9, 8), (6, 4, 3, 2)),
    ("dilations=[2,1], pads=[2,1,2,1]", (1, 4, 9, 8), (6, 4, 3, 3)),
    ("group=2, pads=[1,1,1,1]", (2, 4, 7, 8), (6, 2, 3, 3)),
    ("group=4, pads=[1,1,1,1], strides=[2,2]", (2, 4, 7, 8), (4, 1, 3, 3)),
    ('auto_pad="SAME_UPPER", strides=[2,2]', (1, 4, 7, 8), (6, 4, 3, 3)),
    ('auto_pad="SAME_LOWER", strides=[2,2]', (1, 4, 8, 7), (6, 4, 3, 4)),
    ('auto_pad="VALID"', (1, 4, 7, 8), (6, 4, 3, 3)),
    ("", (2, 4, 5, 5), (6, 4, 1, 1)),
    ("pads=[1,1]", (2, 4, 9), (6, 4, 3)),
    ("pads=[1,0,1,1,0,1]", (1, 2, 4, 5, 6), (3, 2, 3, 2, 3)),
]


def shaped(name: str, shape: tuple[int, ...]) -> str:
    return f"float[{','.join(map(str, shape))}] {name}"


@pytest.mark.parametrize(("attributes", "data", "weights"), CONVOLUTIONS)
def test_windows_times_weights_are_the_convolution(
    attributes: str, data: tuple[int, ...], weights: tuple[int, ...]
) -> None:
    generator = np.random.default_rng(0)
    options = f"<{attributes}>" if attributes else ""
    built = graph(f"g ({shaped('x', data)}, {shaped('w', weights)}) => (float y)"
                  f" {{ y = Conv {options} (x, w) }}".replace("float y", "float[] y"))  # fmt: skip
    x = generator.standard_normal(data).astype(np.float32)
    w = generator.standard_normal(weights).astype(np.float32)
    expected = Oracle(built.to_onnx()).run({"x": x, "w": w})["y"]
    (node,) = built
    geometry = geometry_of(node, built.inputs[0])
    assert isinstance(geometry, Windows)
    every = np.arange(geometry.positions(x.shape))
    assert len(every) == expected.size // expected.shape[1]
    rows = geometry.rows(x, every)
    kernels = w.reshape(geometry.groups, -1, rows.shape[2])
    made = np.einsum("gns,gos->ngo", rows, kernels).reshape(len(every), -1)
    flat = np.moveaxis(expected, 1, -1).reshape(len(every), -1)
    np.testing.assert_allclose(made, flat, atol=1e-4)
    some = every[::3]
    assert np.array_equal(geometry.rows(x, some), rows[:, some])


def only(text: str) -> OperatorNode:
    (node,) = graph(text)
    return node


@pytest.mark.parametrize(
    ("text", "index", "axis"),
    [
        ("g (float[2,5,3] a, float[3,4] b) => (float[2,5,4] y) { y = MatMul(a, b) }", 0, -1),
        ("g (float[2,3] a, float[7,3,4] b) => (float[7,2,4] y) { y = MatMul(a, b) }", 1, -2),
        ("g (float[2,3] a, float[3] b) => (float[2] y) { y = MatMul(a, b) }", 1, -1),
        ("g (float[2,3] a, float[3,4] b) => (float[2,4] y) { y = Gemm(a, b) }", 0, 1),
        ("g (float[3,2] a, float[3,4] b) => (float[2,4] y) { y = Gemm<transA=1>(a, b) }", 0, 0),
        ("g (float[2,3] a, float[3,4] b) => (float[2,4] y) { y = Gemm(a, b) }", 1, 0),
        ("g (float[2,3] a, float[4,3] b) => (float[2,4] y) { y = Gemm<transB=1>(a, b) }", 1, 1),
    ],
)
def test_products_contract_an_axis(text: str, index: int, axis: int) -> None:
    node = only(text)
    value = node.inputs[index]
    assert value is not None
    geometry = geometry_of(node, value)
    assert geometry == Contraction(axis)
    assert isinstance(geometry, Contraction)
    shape = value.static_shape
    assert shape is not None
    assert shape[geometry.axis] == 3
    rows = geometry.rows(np.zeros(shape, np.float32), np.arange(geometry.positions(shape)))
    assert rows.shape[::2] == (1, 3)


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("g (float[2] a, float[2] b) => (float[2] y) { y = Add(a, b) }", 0),
        ("g (float[2,3] a, float[3,4] b, float[4] c) => (float[2,4] y) { y = Gemm(a, b, c) }", 2),
        ("g (float[1,2,4,4] a, float[3,2,3,3] b) => (float[1,3,2,2] y) { y = Conv(a, b) }", 1),
        ("g (float[1,2,4,4] a, float[2,3,3,3] b) => (float[1,3,6,6] y) { y = ConvTranspose(a, b) }",
         1),
    ],
)  # fmt: skip
def test_what_takes_no_rows(text: str, index: int) -> None:
    node = only(text)
    value = node.inputs[index]
    assert value is not None
    assert geometry_of(node, value) is None


def test_an_operator_of_another_domain_takes_no_rows() -> None:
    text = "g (float[2,3] a, float[3,4] b) => (float[2,4] y) { y = com.microsoft.Gemm(a, b) }"
    (node,) = graph(text, domains=("com.microsoft",))
    assert node.inputs[0] is not None
    assert geometry_of(node, node.inputs[0]) is None


def test_a_value_that_is_not_read_takes_no_rows() -> None:
    node = only("g (float[2,3] a, float[3,4] b) => (float[2,4] y) { y = MatMul(a, b) }")
    assert geometry_of(node, node.output) is None


def test_transposed_convolutions_take_vectors_of_channels() -> None:
    built = graph("g (float[1,4,3,3] a, float[4,3,2,2] b) => (float[1,6,4,4] y)"
                  " { y = ConvTranspose<group=2>(a, b) }")  # fmt: skip
    (node,) = built
    geometry = geometry_of(node, built.inputs[0])
    assert geometry == Contraction(1, 2)
    a = np.arange(36, dtype=np.float32).reshape(1, 4, 3, 3)
    rows = Contraction(1, 2).rows(a, np.arange(9))
    assert rows[1, 4].tolist() == a[0, 2:, 1, 1].tolist()


def test_gram_of_all_rows() -> None:
    values = np.random.default_rng(0).standard_normal((3, 10, 6)).astype(np.float32)
    found = Gram()
    found.update(values[:2])
    found.update(values[2:])
    rows = values.reshape(-1, 6).astype(np.float64)
    np.testing.assert_allclose(found.matrix[0], rows.T @ rows / 30, atol=1e-6)
    np.testing.assert_allclose(found.mean[0], rows.mean(0), atol=1e-6)
    assert found.count == 30


def test_gram_of_sampled_rows_is_near() -> None:
    values = np.random.default_rng(0).standard_normal((4, 5000, 3)).astype(np.float32)
    found = Gram(per_item=256)
    found.update(values)
    assert found.count == 1024
    assert np.abs(found.matrix[0] - np.eye(3)).max() < 0.2


def test_depthwise_gram_is_by_channel() -> None:
    values = np.random.default_rng(0).standard_normal((1, 20, 6, 6)).astype(np.float32)
    windows = Windows((3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 20)
    found = Gram(windows)
    found.update(values)
    rows = windows.rows(values, np.arange(36)).astype(np.float64)
    np.testing.assert_allclose(found.total, rows.transpose(0, 2, 1) @ rows, rtol=1e-4, atol=1e-4)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).standard_normal((50, 11)).astype(np.float32)
    whole, blocks = Gram(), Gram()
    whole.update(values)
    monkeypatch.setattr(of_grams, "WHOLE", 4)
    monkeypatch.setattr(of_grams, "BLOCK", 3)
    blocks.update(values)
    np.testing.assert_allclose(whole.total, blocks.total, rtol=1e-5, atol=1e-5)


def test_collectors_of_one_seed_take_the_same_rows() -> None:
    values = np.random.default_rng(0).standard_normal((2, 900, 4)).astype(np.float32)
    one, same, other, cross = Gram(), Gram(), Gram(seed=1), CrossGram()
    for collector in (one, same, other):
        collector.update(values)
    cross.update(values, values)
    assert np.array_equal(one.total, same.total)
    assert not np.array_equal(one.total, other.total)
    np.testing.assert_allclose(cross.total, one.total, rtol=1e-5, atol=1e-5)


def test_cross_gram_of_two_graphs() -> None:
    first = graph("g (float[2, 3] x) => (float[2, 3] y) { y = Relu(x) }")
    second = graph("g (float[2, 3] x) => (float[2, 3] y) { y = Neg(x) }")
    feeds = [{"x": np.float32([[1, 2, -3], [4, -5, 6]])}, {"x": np.float32([[1, 1, 1], [2, 2, 2]])}]
    found = CrossGram()
    pair = (first.outputs[0], second.outputs[0])
    Calibration(feeds).collect_pairs(first, second, {pair: [found]})
    x = np.concatenate([feed["x"] for feed in feeds])
    np.testing.assert_allclose(found.matrix[0], np.maximum(x, 0).T @ -x / 4, rtol=1e-6)
    assert found.count == 4


def test_shapes_that_differ_have_no_cross_gram() -> None:
    with pytest.raises(ValueError, match="not of the same value"):
        CrossGram().update(np.zeros((2, 3), np.float32), np.zeros((3, 3), np.float32))


def test_rows_of_another_length() -> None:
    for found in (Gram(), Rows()):
        found.update(np.zeros((2, 3), np.float32))
        with pytest.raises(ValueError, match="1 groups of rows of 4"):
            found.update(np.zeros((2, 4), np.float32))


def test_no_rows_at_all() -> None:
    found = Gram()
    found.update(np.zeros((0, 3), np.float32))
    assert found.count == 0
    assert found.matrix.tolist() == np.zeros((1, 3, 3)).tolist()
    assert found.mean.tolist() == [[0, 0, 0]]
    assert Rows().values.shape == (1, 0, 0)


def test_rows_are_drawn_from_all_samples() -> None:
    found = Rows(limit=100, per_item=1)
    for number in range(50):
        found.update(np.full((20, 2), number, np.float32))
    assert found.values.shape == (1, 100, 2)
    assert found.seen == 1000
    kept: Array = found.values[0, :, 0]
    assert kept.min() < 10
    assert kept.max() > 40
    assert 15 < kept.mean() < 34
