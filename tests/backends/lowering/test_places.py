"""Values that lie within others: which do, which must not, and that all kernels find them."""

from __future__ import annotations

import pytest

from burnish.backends.lowering.lower import Lowered
from burnish.backends.program import Buffer
from tests.backends.lowering.models import check, lowered, model, normal

LAYERS = """
    a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, v)
    b = Conv(x, w)
"""


def convolutions(rest: str, outputs: str = "float[1, a, b, c] y", channels: int = 16) -> str:
    """A model with `a` and `b` of some channels each, 6 by 5, for ``rest`` to go on with."""
    weights = f"float[{channels}, 16, 3, 3] v, float[{channels}, 16, 1, 1] w"
    return f"g (float[1, 16, 6, 5] x, {weights}) => ({outputs}) {{ {LAYERS} {rest} }}"


def copies(low: Lowered) -> int:
    """Kernels that only move parts of Concats."""
    return sum(kernel.name.endswith("concat") for kernel in low.kernels)


def results(low: Lowered, *labels: str) -> list[Buffer]:
    """What kernels with some labels write."""
    kinds = {kernel.name: kernel.name.split("_", 1)[1] for kernel in low.kernels}
    return [call.writes[0] for call in low.calls if kinds.get(call.kernel) in labels]


def test_convolutions_write_rows_of_a_concat() -> None:
    low = lowered(convolutions("y = Concat<axis = 1>(a, b) z = Relu(y)", "float[1, 32, 6, 5] z"))
    first, second = results(low, "conv")
    assert copies(low) == 0
    assert first.root()[0] is second.root()[0]
    assert (first.root()[1], second.root()[1]) == (0, 64)
    assert first.within == second.within == (1, 6, 5, 32)


def test_parts_along_the_first_axis_are_contiguous() -> None:
    text = """g (float[3, 64] x) => (float[6, 64] y, float[64, 3] z) {
        a = Sin(x) b = Cos(x) y = Concat<axis = 0>(a, b) t = Transpose(b) z = Relu(t)
    }"""
    low = lowered(text)
    assert copies(low) == 0
    assert all(buffer.within is None for buffer in results(low, "sin", "cos"))
    check(model(text), x=normal(3, 64))


def test_a_dense_block_has_one_buffer() -> None:
    text = """g (float[1, 16, 4, 4] x, float[16, 16, 1, 1] u, float[16, 32, 1, 1] v,
                 float[16, 48, 1, 1] w) => (float[1, 64, 4, 4] y) {
        a = Conv(x, u) b = Conv(a, u) ab = Concat<axis = 1>(a, b) r = Relu(ab) c = Conv(r, v)
        abc = Concat<axis = 1>(a, b, c) s = Sin(abc) d = Conv(s, w)
        all = Concat<axis = 1>(a, b, c, d) y = Cos(all)
    }"""
    low = lowered(text)
    whole, *others = [buffer.root()[0] for buffer in results(low, "conv")]
    assert copies(low) == 0
    assert whole.shape == (1, 4, 4, 64)
    assert all(other is whole for other in others)
    arrays = {"x": normal(1, 16, 4, 4), "u": normal(16, 16, 1, 1), "v": normal(16, 32, 1, 1)}
    check(model(text), w=normal(16, 48, 1, 1), **arrays)


@pytest.mark.parametrize(
    ("rest", "outputs"),
    [
        # a part that the caller asks for, and has to get contiguous
        ("y = Concat<axis = 1>(a, b, c, d)", "float[1, 64, 6, 5] y, float[1, 16, 6, 5] a"),
        # one that comes twice is written once
        ("y = Concat<axis = 1>(a, b, c, a)", "float[1, 64, 6, 5] y"),
        # what the caller gives
        ("y = Concat<axis = 1>(a, b, x, c)", "float[1, 64, 6, 5] y"),
        # a part of something else already
        ("y = Concat<axis = 1>(a, b, c, d) z = Concat<axis = 1>(a, c, d, e)",
         "float[1, 64, 6, 5] y, float[1, 64, 6, 5] z"),
        # read by what knows no rows: a view
        ("y = Concat<axis = 1>(a, b, c, d) f = Flatten(a) z = Softmax(f)",
         "float[1, 64, 6, 5] y, float[1, 480] z"),
    ],
)  # fmt: skip
def test_parts_that_are_copied(rest: str, outputs: str) -> None:
    low = lowered(convolutions(f"c = Conv(b, w) d = Conv(c, w) e = Conv(d, w) {rest}", outputs))
    *_, last = results(low, "concat")
    assert last.within is not None or "z = Concat" in rest
    assert any(buffer.within for buffer in results(low, "conv"))


@pytest.mark.parametrize(
    ("channels", "rest", "outputs"),
    [
        # rows that would share cache lines
        (8, "y = Concat<axis = 1>(a, b)", "float[1, 16, 6, 5] y"),
        # rows in the middle of a value
        (16, "y = Concat<axis = 3>(a, b)", "float[1, 16, 6, 10] y"),
        # nothing to gain: what is copied is much of it, or a kernel makes the consumer too
        (16, "y = Concat<axis = 1>(a, x, b, x)", "float[1, 64, 6, 5] y"),
        (16, "c = Concat<axis = 1>(a, b, x) y = Relu(c)", "float[1, 48, 6, 5] y"),
    ],
)
def test_concats_that_have_a_kernel(channels: int, rest: str, outputs: str) -> None:
    low = lowered(convolutions(rest, outputs, channels))
    assert [buffer.within for buffer in results(low, "conv")] == [None, None]
    assert copies(low) == 1


def test_what_one_kernel_would_be_slow_at_is_copied_part_by_part() -> None:
    def concat(parts: int, channels: int, rest: str) -> int:
        names = [f"x{i}" for i in range(parts)]
        inputs = ", ".join(f"float[2, 3, {channels}] {name}" for name in names)
        body = rest.replace("parts", ", ".join(names))
        text = f"g ({inputs}) => (float[2, 3, {parts * channels}] y) {{ {body} }}"
        if parts == 9:
            arrays = {name: normal(2, 3, channels, seed=i) for i, name in enumerate(names)}
            check(model(text), **arrays)
        return copies(lowered(text))

    assert concat(8, 12, "y = Concat<axis = 2>(parts)") == 1
    assert concat(9, 12, "y = Concat<axis = 2>(parts)") == 9
    assert concat(3, 16, "c = Concat<axis = 2>(parts) y = Relu(c)") == 1
    assert concat(3, 12, "c = Concat<axis = 2>(parts) y = Relu(c)") == 3


def test_parts_begin_where_vectors_can_be_stored() -> None:
    text = """g (float[1, 16, 4, 4] x, float[112, 16, 1, 1] u, float[5, 16, 1, 1] v,
                 float[11, 16, 1, 1] w) => (float[1, 128, 4, 4] y) {
        a = Conv(x, u) b = Conv(x, v) c = Conv(x, w) y = Concat<axis = 1>(a, b, c)
    }"""
    assert all(buffer.within is None for buffer in results(lowered(text), "conv"))
    apart = text.replace("(a, b, c)", "(a, c, b)").replace("[5, 16", "[8, 16")
    apart = apart.replace("[11, 16", "[8, 16")
    assert any(buffer.within is not None for buffer in results(lowered(apart), "conv"))


def test_every_kernel_finds_rows_that_lie_apart() -> None:
    text = """g (float[2, 16, 8, 8] x, float[32, 16, 1, 1] u, float[32, 1, 3, 3] d,
                 float[16, 32, 3, 3] v, float[32, 16, 2, 2] t, float[16, 16] m)
        => (float[2, 144, 8, 8] y, float[2, 16, 8, 8] e, float[2, 8, 8, 16] q,
            float[2, 16, 16, 16] r, float[2, 32, 16, 16] s, float[2, 32, 1, 1] n,
            float[2, 1024] f, float[2, 32, 8, 8] o)
        <float[4] two = {1, 1, 2, 2}> {
        a = Conv(x, u)
        b = Conv<group = 32, kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a, d)
        c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(b, v)
        p = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a)
        k = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a)
        y = Concat<axis = 1>(a, b, c, p, k)
        h = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(b, v)
        g = Add(h, c)
        e = Relu(g)
        i = Transpose<perm = [0, 2, 3, 1]>(e)
        q = MatMul(i, m)
        r = ConvTranspose<strides = [2, 2], kernel_shape = [2, 2]>(b, t)
        s = Resize<mode = "linear">(p, "", two)
        n = GlobalAveragePool(k)
        l = Sin(x)
        f = Flatten(c)
        j = Concat<axis = 1>(c, l)
        o = Relu(j)
    }"""
    shapes = {"u": (32, 16, 1, 1), "d": (32, 1, 3, 3), "v": (16, 32, 3, 3), "t": (32, 16, 2, 2),
              "m": (16, 16)}  # fmt: skip
    arrays = {name: normal(*shape, seed=7) for name, shape in shapes.items()}
    assert sum(buffer.within is not None for buffer in results(lowered(text), "conv")) > 1
    assert check(model(text), 1e-4, x=normal(2, 16, 8, 8), **arrays) == []
