"""Which nodes share a kernel, and which must not."""

from __future__ import annotations

from tests.backends.lowering.models import lowered


def kernels(text: str) -> list[str]:
    """The last part of each kernel's name: what it computes."""
    return [kernel.name.split("_", 1)[1] for kernel in lowered(text).kernels]


def test_a_chain_is_one_kernel() -> None:
    assert len(kernels("g (float[3, 5] x) => (float[3, 5] y) {"
                       " a = Exp(x) b = Tanh(a) y = Sqrt(b) }")) == 1  # fmt: skip


def test_a_value_read_twice_inside_is_one_kernel() -> None:
    assert len(kernels("g (float[3, 5] x) => (float[3, 5] y) {"
                       " a = Exp(x) b = Tanh(a) y = Mul(a, b) }")) == 1  # fmt: skip


def test_an_anchor_takes_what_follows() -> None:
    assert kernels("g (float[3, 5] x) => (float[3, 1] y) {"
                   " a = ReduceMax <keepdims = 1> (x, i) b = Tanh(a) y = Exp(b) }"
                   .replace("{", "<int64[1] i = {1}> {", 1)) == ["reducemax"]  # fmt: skip


def test_a_graph_output_ends_its_kernel() -> None:
    assert len(kernels("g (float[3, 5] x) => (float[3, 5] a, float[3, 5] y) {"
                       " a = Exp(x) y = Tanh(a) }")) == 2  # fmt: skip


def test_a_change_of_shape_ends_a_kernel() -> None:
    assert len(kernels("g (float[1, 5] x, float[3, 5] z) => (float[3, 5] y) {"
                       " a = Exp(x) y = Add(a, z) }")) == 2  # fmt: skip


def test_a_value_with_readers_outside_ends_a_kernel() -> None:
    text = """g (float[3, 5] x) => (float[3, 5] y, float[5, 3] z) <int64[2] s = {5, 3}> {
        a = Exp(x) b = Tanh(a) y = Sqrt(b) r = Reshape(a, s) z = Softmax(r)
    }"""
    assert len(kernels(text)) == 3


def test_views_and_transposes_cost_nothing() -> None:
    text = """g (float[2, 3, 4] x) => (float[2, 12] y) <int64[2] s = {2, 12}> {
        a = Exp(x) b = Reshape(a, s) y = Tanh(b)
    }"""
    assert "reshape" not in "".join(kernels(text))


def test_expressions_stay_small() -> None:
    squares = " ".join(f"a{i + 1} = Mul(a{i}, a{i})" for i in range(20))
    text = f"g (float[3, 5] x) => (float[3, 5] y) {{ a0 = Neg(x) {squares} y = Neg(a20) }}"
    assert len(kernels(text)) == 3
    functions = "a = Exp(x) b = Tanh(a) c = Exp(b) y = Tanh(c)"
    assert len(kernels(f"g (float[3, 5] x) => (float[3, 5] y) {{ {functions} }}")) == 2
