"""Operators beyond the hot ones, against ONNX Runtime; many in one model, to compile once."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from burnish.backends.build import Provenance, build_artifact
from burnish.backends.compile import compile_program
from burnish.errors import BurnishError
from tests.backends.lowering.models import TARGET, check, model, normal, prepared


def test_top_k_along_every_axis_with_ties() -> None:
    calls = "\n".join(
        f"v{a}{n}, i{a}{n} = TopK <axis = {a}, largest = {n}> (x, k)"
        for a in (0, 1, 2) for n in (0, 1)
    )  # fmt: skip
    outputs = ", ".join(
        f"float[a{a}{n}, b{a}{n}, c{a}{n}] v{a}{n}, int64[a{a}{n}, b{a}{n}, c{a}{n}] i{a}{n}"
        for a in (0, 1, 2) for n in (0, 1)
    )  # fmt: skip
    text = f"g (float[7, 5, 6] x) => ({outputs}) <int64[1] k = {{4}}> {{ {calls} }}"
    assert check(model(text), x=np.round(normal(7, 5, 6), 1)) == []


def test_running_sums() -> None:
    calls = "\n".join(
        f"y{a}{e}{r} = CumSum <exclusive = {e}, reverse = {r}> (x, a{a})"
        for a in (0, 1, 2) for e in (0, 1) for r in (0, 1)
    )  # fmt: skip
    outputs = ", ".join(
        f"float[3, 4, 5] y{a}{e}{r}" for a in (0, 1, 2) for e in (0, 1) for r in (0, 1)
    )
    axes = ", ".join(f"int64 a{a} = {{{a}}}" for a in (0, 1, 2))
    text = f"g (float[3, 4, 5] x) => ({outputs}) <{axes}> {{ {calls} }}"
    assert check(model(text), x=normal(3, 4, 5)) == []


def test_scatters_with_every_reduction() -> None:
    kinds = ("none", "add", "mul", "max", "min")
    calls = "\n".join(
        f'e_{kind} = ScatterElements <axis = 1, reduction = "{kind}"> (x, i, u)\n'
        f'n_{kind} = ScatterND <reduction = "{kind}"> (x, j, w)'
        for kind in kinds
    )
    outputs = ", ".join(f"float[4, 9] e_{kind}, float[4, 9] n_{kind}" for kind in kinds)
    text = (
        "g (float[4, 9] x, int64[3, 5] i, float[3, 5] u, int64[6, 1] j, float[6, 9] w) "
        f"=> ({outputs}) {{ {calls} }}"
    )
    generator = np.random.default_rng(3)
    columns = np.stack([generator.permutation(9)[:5] - 3 for _ in range(3)])
    # Rows repeat only where the last one wins in both.
    rows = np.array([[0], [-1], [2], [1], [0], [2]])
    reasons = check(
        model(text), x=normal(4, 9), i=columns, u=normal(3, 5, seed=1), j=rows,
        w=normal(6, 9, seed=2),
    )  # fmt: skip
    assert reasons == []


def test_quantize_and_back() -> None:
    text = """g (float[3, 4, 8] x) => (uint8[3, 4, 8] q, float[3, 4, 8] d, int8[3, 4, 8] c,
                                  float[3, 4, 8] e)
        <float s = {0.02}, uint8 z = {128}, float[4] t = {0.01, 0.02, 0.04, 0.5},
         int8[4] zero = {0, 3, -7, 100}> {
        q = QuantizeLinear(x, s, z)
        d = DequantizeLinear(q, s, z)
        c = QuantizeLinear <axis = 1> (x, t, zero)
        e = DequantizeLinear <axis = 1> (c, t, zero)
    }"""
    x = normal(3, 4, 8) * 3
    x[0, 0, :4] = [0.01, 0.03, 0.05, 1e9]  # ties go to even, large numbers saturate
    assert check(model(text), x=x) == []


def test_products_of_integers() -> None:
    text = """g (uint8[2, 5, 7] a, int8[7, 6] b, uint8[1, 3, 6, 7] x) =>
            (int32[2, 5, 6] y, int32[1, 4, 6, 7] z)
        <uint8 az = {12}, int8 bz = {3}, uint8 xz = {100}, uint8 wz = {7}> {
        y = MatMulInteger(a, b, az, bz)
        w = Constant <value = uint8[4, 3, 3, 3] {WEIGHTS}> ()
        z = ConvInteger <pads = [1, 1, 1, 1]> (x, w, xz, wz)
    }""".replace("{WEIGHTS}", "{" + ", ".join(str(i * 37 % 256) for i in range(108)) + "}")
    generator = np.random.default_rng(0)
    reasons = check(
        model(text),
        a=generator.integers(0, 256, (2, 5, 7), np.uint8),
        b=generator.integers(-128, 128, (7, 6), np.int8),
        x=generator.integers(0, 256, (1, 3, 6, 7), np.uint8),
    )
    assert reasons == []


def test_convolutions_with_computed_weights() -> None:
    text = """g (float[1, 6, 9, 8] x, float[10, 3, 3, 3] w, float[6, 1, 3, 2] d,
              float[6, 5, 2, 3] t) =>
            (float[1, 10, 7, 6] y, float[1, 6, 7, 7] z, float[1, 10, 18, 18] u) {
        y = Conv <group = 2> (x, w)
        z = Conv <group = 6> (x, d)
        u = ConvTranspose <group = 2, strides = [2, 2], output_padding = [0, 1]> (x, t)
    }"""
    reasons = check(
        model(text), x=normal(1, 6, 9, 8), w=normal(10, 3, 3, 3, seed=1),
        d=normal(6, 1, 3, 2, seed=2), t=normal(6, 5, 2, 3, seed=3),
    )  # fmt: skip
    assert reasons == []


def test_infinities_survive_a_reduction() -> None:
    text = """g (float[3, 5] x) => (float[3, 1] y, float[3] z) <int64[1] i = {1}> {
        y = ReduceMax(x, i)
        z = ReduceMin <keepdims = 0> (x, i)
    }"""
    x = normal(3, 5)
    x[0], x[1], x[2, 1] = -np.inf, np.inf, np.finfo(np.float32).min
    assert check(model(text), x=x) == []


def test_not_a_number_survives_limits() -> None:
    text = """g (float[4, 24] a, float[4, 24] b)
        => (float[4, 24] r, float[4, 24] s, float[4, 24] t) {
        r = Max(a, b)
        s = Min(a, b)
        t = Relu(a)
    }"""
    a, b = normal(4, 24), normal(4, 24, seed=1)
    a[0, 0] = b[1, 1] = a[2, 2] = b[2, 2] = np.nan
    a[3, 3], b[3, 3] = np.inf, -np.inf
    assert check(model(text), a=a, b=b) == []


def test_a_pooling_window_larger_than_its_input() -> None:
    text = """g (float[1, 3, 7, 7] x) => (float[1, 3, 1, 1] y) {
        y = AveragePool <kernel_shape = [20, 20], strides = [20, 20], ceil_mode = 1> (x)
    }"""
    assert check(model(text), x=normal(1, 3, 7, 7)) == []


def test_a_kernel_over_one_element() -> None:
    assert check(model("g (float[1, 1] x) => (float[1, 1] y) { a = Exp(x) y = Tanh(a) }"),
                 x=normal(1, 1)) == []  # fmt: skip


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "double"])
def test_arithmetic_of_other_types(dtype: str) -> None:
    numpy = np.dtype({"double": "float64"}.get(dtype, dtype))
    types = f"{dtype}[3, 4] a, {dtype}[4] b"
    names = ("s", "p", "m", "lo", "hi")
    text = f"""g ({types}) => ({", ".join(f"{dtype}[3, 4] {n}" for n in names)}, bool[3, 4] l) {{
        s = Add(a, b) p = Mul(a, b) m = Sub(a, b) lo = Min(a, b) hi = Max(a, b) l = Less(a, b)
    }}"""
    if dtype in ("int8", "uint8"):
        text = f"""g ({types}) => ({dtype}[3, 4] lo, {dtype}[3, 4] hi, bool[3, 4] l) {{
            lo = Min(a, b) hi = Max(a, b) l = Less(a, b) }}"""
    generator = np.random.default_rng(0)
    a, b = (generator.integers(1, 9, shape).astype(numpy) for shape in ((3, 4), (4,)))
    assert check(model(text), a=a, b=b) == []


def test_casts_of_bfloat16_round_to_even() -> None:
    low, program = compile_program(
        prepared(model("g (float[64] x) => (bfloat16[64] y) { y = Cast <to = 16> (x) }")), TARGET
    )
    assert not low.refusals
    x = normal(64)
    x[:4] = [1.00390625, 1.01171875, np.inf, np.nan]  # the first two are ties
    found = build_artifact([program], TARGET, [], Provenance()).run({"x": x})["y"]
    assert found.dtype == ml_dtypes.bfloat16
    expected = x.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(found.astype(np.float32), expected)


@pytest.mark.parametrize("mode", ["half_pixel", "output_half_pixel"])
def test_boxes_of_another_scale_than_pixels(mode: str) -> None:
    text = (
        "g (float[1, 2, 9, 9] x, float[3, 4] b) => (float[3, 2, 3, 3] y)"
        " { i = Constant<value_ints=[0, 0, 0]>() y = RoiAlign<output_height=3, output_width=3,"
        " sampling_ratio=2, spatial_scale=0.5,"
        f' coordinate_transformation_mode="{mode}">(x, b, i) }}'
    )
    boxes = np.array([[0, 0, 18, 18], [3, 4, 11.5, 9], [-4, 2, 30, 9]], np.float32)
    assert check(model(text, 16), x=normal(1, 2, 9, 9), b=boxes) == []


@pytest.mark.parametrize("mode", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("sampling", [0, 1, 3])
def test_boxes_of_several_pictures(mode: str, sampling: int) -> None:
    text = (
        "g (float[2, 70, 13, 11] x, float[40, 4] b, int64[40] i) => (float[40, 70, 3, 2] y)"
        " { y = RoiAlign<output_height=3, output_width=2,"
        f' sampling_ratio={sampling}, coordinate_transformation_mode="{mode}">(x, b, i) }}'
    )
    corners = np.sort(normal(40, 2, 2) * 8 + 5, axis=1).reshape(40, 4)
    corners[:3] = [[-9, -9, -5, -5], [2, 3, 2, 3], [0, 0, 11, 13]]  # outside, empty, all of it
    which = np.arange(40) % 2
    assert check(model(text, 16), x=normal(2, 70, 13, 11), b=corners, i=which) == []


@pytest.mark.parametrize("size", [math.nan, math.inf, -math.inf, 1e15, -1e30])
def test_boxes_without_a_size_or_a_huge_one_hold_nothing(size: float) -> None:
    """ONNX Runtime takes memory for each sample, so that it gives no answer."""
    text = (
        "g (float[1, 2, 9, 9] x, float[2, 4] b, int64[2] i) => (float[2, 2, 2, 2] y)"
        " { y = RoiAlign<output_height=2, output_width=2>(x, b, i) }"
    )
    _, program = compile_program(prepared(model(text, 16)), TARGET)
    made = build_artifact([program], TARGET, [], Provenance())
    boxes = np.array([[0, 0, size, size], [-size, 2, 3, 4]], np.float32)
    found = made.run({"x": normal(1, 2, 9, 9), "b": boxes, "i": np.array([0, 0])})["y"]
    np.testing.assert_array_equal(found, 0)


def test_a_box_of_no_picture_is_an_error() -> None:
    text = (
        "g (float[1, 2, 9, 9] x, float[1, 4] b, int64[1] i) => (float[1, 2, 1, 1] y)"
        " { y = RoiAlign(x, b, i) }"
    )
    _, program = compile_program(prepared(model(text, 16)), TARGET)
    made = build_artifact([program], TARGET, [], Provenance())
    with pytest.raises(BurnishError, match="box 0 is in a picture that is not there"):
        made.run({"x": normal(1, 2, 9, 9), "b": normal(1, 4), "i": np.array([1])})
