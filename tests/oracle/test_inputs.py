"""Random inputs within legal ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from burnish.errors import UsageError
from burnish.oracle import Oracle, free_sizes, random_inputs, suggest_sizes
from burnish.testing import graph

ADD = """g (float["N", 2] x) => (float["N", 2] y) {
  w = Constant <value = float[2] {1, 2}> ()  y = Add(x, w) }"""


def test_same_seed_same_inputs() -> None:
    source = graph(ADD)
    first, second, other = (random_inputs(source, seed)["x"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_open_sizes() -> None:
    source = graph('g (float["N", 3] x, float["N", 4] z) => (float["N", 7] y) '
                   "{ y = Concat <axis = 1> (x, z) }")  # fmt: skip
    source.inputs[1].shape = ("N", None)
    assert free_sizes(source) == ["N", "z.1"]
    first, second = suggest_sizes(source, 0), suggest_sizes(source, 1)
    assert all(first[name] != second[name] for name in first)
    arrays = random_inputs(source, 0, {"N": 5, "z.1": 4})
    assert {name: array.shape for name, array in arrays.items()} == {"x": (5, 3), "z": (5, 4)}


def test_shapes_bind_symbols() -> None:
    source = graph('g (float["N", 3] x, float["N"] z) => (float["N"] y) { y = Neg(z) }')
    arrays = random_inputs(source, shapes={"x": (6, 3)})
    assert arrays["z"].shape == (6,)


@pytest.mark.parametrize(
    ("sizes", "shapes", "message"),
    [
        ({"M": 3}, {}, "unknown open size 'M'"),
        ({}, {"q": (1,)}, "unknown input 'q'"),
        ({}, {"x": (1, 2, 3)}, "has 2 axes, not 3"),
        ({}, {"x": (1, 4)}, "axis 1 of 'x' is 2, not 4"),
        ({"N": 3}, {"x": (1, 2)}, "axis 0 of 'x' is 3, not 1"),
    ],
)
def test_contradictions(sizes: Any, shapes: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        random_inputs(graph(ADD), 0, sizes, shapes)


def test_indices_stay_within_the_table() -> None:
    source = graph("""g (int32[50] ids, int64[50] kinds) => (float[1, 50, 2] y, int64[50] p) {
      table = Constant <value = float[3, 2] {1, 2, 3, 4, 5, 6}> ()
      cast = Cast <to = 7> (ids)  shape = Constant <value_ints = [1, -1]> ()
      rows = Reshape(cast, shape)  y = Gather(table, rows)
      small = Constant <value_ints = [4, 5]> ()  p = Gather(small, kinds) }""")
    arrays = random_inputs(source)
    assert set(arrays["ids"]) == {0, 1, 2}
    assert arrays["ids"].dtype == np.int32
    assert set(arrays["kinds"]) == {0, 1}
    Oracle(source).run(arrays)


def test_indices_into_another_axis_and_the_smallest_table() -> None:
    source = graph("""g (int64[99] i) => (float[2, 99] y, float[99] z) {
      a = Constant <value = float[2, 3] {1, 2, 3, 4, 5, 6}> ()
      b = Constant <value = float[5] {1, 2, 3, 4, 5}> ()
      y = Gather <axis = 1> (a, i)  z = Gather(b, i) }""")
    assert random_inputs(source)["i"].max() == 2


def test_indices_into_quantized_tables() -> None:
    source = graph(
        """g (int32[2, 9] ids, int32[2, 9] kinds, uint8[5, 4] w, uint8[2, 4] s, uint8[4] b, float t)
        => (float[2, 9, 4] y) {
        y, m = com.microsoft.QEmbedLayerNormalization(ids, kinds, w, w, s, b, b, , t, t, t, t, t)
        }""",
        domains=("com.microsoft",),
    )
    arrays = random_inputs(source)
    assert set(np.unique(arrays["ids"])) <= set(range(5))
    assert set(np.unique(arrays["kinds"])) <= {0, 1}


def test_indices_used_in_a_subgraph() -> None:
    source = graph("""g (bool c, int64[50] i) => (float[50] y) {
      table = Constant <value = float[2] {1, 2}> ()
      y = If (c) <then_branch = p () => (float[50] e) { e = Gather(table, i) },
                  else_branch = q () => (float[50] f) { f = Cast <to = 1> (i) }> }""")
    assert random_inputs(source)["i"].max() == 1


@pytest.mark.parametrize(
    "body",
    [
        "one = Constant <value_float = 1.0> () f = Cast <to = 1> (m) y = Sub(one, f)",
        "n = Constant <value_int = 0> () e = Equal(m, n) y = Cast <to = 1> (e)",
        "b = Cast <to = 9> (m) y = Cast <to = 1> (b)",
    ],
)
def test_masks_by_use(body: str) -> None:
    source = graph(f"g (int64[4, 9] m) => (float[4, 9] y) {{ {body} }}")
    mask = random_inputs(source)["m"]
    assert set(np.unique(mask)) == {0, 1}
    assert mask[:, 0].all()
    assert (np.diff(mask, axis=1) <= 0).all()


def test_masks_by_name_agree_with_each_other() -> None:
    source = graph("""g (int64[4, 9] source_mask, float[4, 1, 1, 9] attention_mask)
      => (float[4, 9] y, float[4, 1, 1, 9] z) {
      y = Cast <to = 1> (source_mask)  z = Neg(attention_mask) }""")
    arrays = random_inputs(source)
    np.testing.assert_array_equal(arrays["source_mask"], arrays["attention_mask"].reshape(4, 9))


def test_counts_are_modest() -> None:
    source = graph("""g (float[5] x, int64[1] k) => (float["K"] v) { v, i = TopK(x, k) }""")
    assert random_inputs(source)["k"] == 1


def test_lengths_fit() -> None:
    source = graph("""g (float[7, 3, 2] x, int32[3] n) => (float[7, 1, 3, 4] y) {
      w = Constant <value = float[1, 4, 2] {1, 2, 3, 4, 5, 6, 7, 8}> ()
      r = Constant <value = float[1, 4, 4] {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}> ()
      y = RNN <hidden_size = 4> (x, w, r, , n) }""")
    arrays = random_inputs(source)
    assert set(arrays["n"]) == {7}
    Oracle(source).run(arrays)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("uint8", 0, 255), ("int8", -128, 127), ("int64", 0, 9), ("int4", -8, 7)],
)
def test_ranges_of_integers(dtype: str, low: int, high: int) -> None:
    source = graph(f"g ({dtype}[20000] x) => (float[20000] y) {{ y = Cast <to = 1> (x) }}")
    array = random_inputs(source)["x"].astype(np.int64)
    assert (array.min(), array.max()) == (low, high)


def test_other_types() -> None:
    source = graph("""g (bool[9] b, string[9] s, float16[9] h, complex64[9] c)
      => (bool[9] p, string[9] q, float16[9] r, complex64[9] t) {
      p = Not(b)  q = Identity(s)  r = Neg(h)  t = Identity(c) }""")
    arrays = random_inputs(source)
    assert [a.dtype.kind for a in arrays.values()] == ["b", "O", "f", "c"]
    assert all(isinstance(text, str) for text in arrays["s"])


def test_values_that_are_no_tensors() -> None:
    source = graph("g (seq(float) s) => (int64 n) { n = SequenceLength(s) }")
    with pytest.raises(UsageError, match="no tensor"):
        random_inputs(source)


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("g (float[2, 3] x, int64[2] a) => (float y) { y = ReduceSum(x, a) }", "a", [0, 1]),
        ("g (float[6] x, int64[2] s) => (float[6, 1] y) { y = Reshape(x, s) }", "s", [-1, 1]),
        ("g (float[6] x, int64[1] a) => (float[6, 1] y) { y = Unsqueeze(x, a) }", "a", [0]),
        ("g (float[6] x, float r) => (float[6] y) { y = Dropout(x, r) }", "r", 0.5),
    ],
)
def test_settings_of_operators(text: str, name: str, values: object) -> None:
    source = graph(text)
    arrays = random_inputs(source)
    np.testing.assert_array_equal(arrays[name], values)
    assert arrays[name].dtype == source.input_named(name).dtype.numpy  # type: ignore[union-attr]
    Oracle(source).run(arrays)


def test_runtime_slices_are_legal() -> None:
    source = graph("""g (float[4, 5] x, int64[1] b, int64[1] e, int64[1] a, int64[1] s)
      => (float["N", 5] y) { y = Slice(x, b, e, a, s) }""")
    assert Oracle(source).run(random_inputs(source))["y"].shape == (1, 5)


def test_classes_and_divisors() -> None:
    source = graph("""g (int64[99] c, int64[99, 1] t) => (int64[99] y, bool[99, 4] z) {
      k = Constant <value_int = 7> ()  y = Div(k, c)
      all = Constant <value_ints = [0, 1, 2, 3]> ()  z = Equal(t, all) }""")
    arrays = random_inputs(source)
    assert arrays["c"].min() > 0
    assert set(arrays["t"].reshape(-1)) == {0, 1, 2, 3}
