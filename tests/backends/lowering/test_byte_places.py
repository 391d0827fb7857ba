"""Bytes that lie within others: parts of Concats, results of Slice and Split."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from burnish.backends.build import Provenance, build_artifact
from burnish.backends.compile import compile_program
from burnish.oracle import Oracle
from burnish.target import resolve
from tests.backends.lowering.models import model, prepared

COMMON = "float s = {0.03125}, float t = {0.0078125}, int8 w = {0}"
TYPES = [("uint8", 120), ("int8", -3)]


def compiled(text: str, dtype: str, x: tuple[int, ...], **weights: tuple[int, ...]) -> list[str]:
    """The kernels of a model of quantized operators; what they give has to be exact."""
    generator = np.random.default_rng(0)
    proto = model(text)
    for name, shape in weights.items():
        array = generator.integers(-127, 128, shape, np.int8)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    limits = np.iinfo(dtype)
    feeds = {"x": generator.integers(limits.min, limits.max + 1, x, dtype)}
    target = resolve("cpu", 1).for_integers()
    lowered, program = compile_program(prepared(proto), target)
    found = build_artifact([program], target, [], Provenance()).run(feeds)
    for name, array in Oracle(proto, threads=1).run(feeds).items():
        np.testing.assert_array_equal(found[name], array)
    return [kernel.name.split("_", 1)[1] for kernel in lowered.kernels]


@pytest.mark.parametrize(("dtype", "zero"), TYPES)
def test_convolutions_of_every_kind_read_and_write_parts(dtype: str, zero: int) -> None:
    rest = "s, z, {}, t, w, s, z)"
    full, thin, deep, half = (rest.format(name) for name in ("full", "thin", "deep", "half"))
    text = f"""g ({dtype}[2, 64, 10, 10] x) => ({dtype}[2, 256, 5, 5] y, {dtype}[2, 64, 10, 10] f)
        <{COMMON}, {dtype} z = {{{zero}}}, int64[1] from = {{64}}, int64[1] to = {{128}},
        int64[1] none = {{0}}, int64[1] axis = {{1}}> {{
        a = QLinearConv<pads = [1, 1, 1, 1]>(x, {full}
        b = QLinearConv<pads = [1, 1, 1, 1], group = 64>(x, {deep}
        c = Concat<axis = 1>(a, b)
        h = Slice(c, from, to, axis) k = Slice(c, none, from, axis)
        d = QLinearConv<pads = [1, 1, 1, 1], group = 64, strides = [2, 2]>(h, {deep}
        e = QLinearConv<pads = [1, 1, 1, 1], group = 2, strides = [2, 2]>(h, {half}
        m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(h)
        o = QLinearConv<strides = [2, 2]>(k, {thin}
        y = Concat<axis = 1>(d, e, m, o)
        f = QLinearConv<pads = [1, 1, 1, 1], group = 64>(k, {deep} }}"""
    kernels = compiled(
        text, dtype, (2, 64, 10, 10), full=(64, 64, 3, 3), thin=(64, 64, 1, 1),
        deep=(64, 1, 3, 3), half=(64, 32, 3, 3),
    )  # fmt: skip
    assert not {"concat", "slice"} & set(kernels)


def test_what_decodes_a_part_reads_it_there() -> None:
    text = f"""g (uint8[1, 64, 6, 6] x) => (uint8[1, 192, 6, 6] y, uint8[1, 128, 6, 6] g)
        <{COMMON}, uint8 z = {{120}}> {{
        a = QLinearConv(x, s, z, thin, t, w, s, z) b = QLinearConv(a, s, z, thin, t, w, s, z)
        c = Concat<axis = 1>(a, b)
        d = DequantizeLinear(c, s, z) e = Gelu(d) g = QuantizeLinear(e, s, z)
        m = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(b)
        y = Concat<axis = 1>(c, m) }}"""
    kernels = compiled(text, "uint8", (1, 64, 6, 6), thin=(64, 64, 1, 1))
    assert "concat" not in kernels


@pytest.mark.parametrize(("dtype", "zero"), TYPES)
def test_products_read_and_write_parts_of_rows(dtype: str, zero: int) -> None:
    text = f"""g ({dtype}[2, 33, 64] x) => ({dtype}[2, 33, 128] y)
        <{COMMON}, {dtype} z = {{{zero}}}> {{
        a = QLinearMatMul(x, s, z, wide, t, w, s, z) h, k = Split<axis = 2, num_outputs = 2>(a)
        d = QLinearMatMul(h, s, z, square, t, w, s, z)
        e = QLinearMatMul(k, s, z, square, t, w, s, z) y = Concat<axis = 2>(d, e) }}"""
    kernels = compiled(text, dtype, (2, 33, 64), wide=(64, 128), square=(64, 64))
    assert kernels == ["matmulinteger"] * 3


def test_parts_of_other_parameters_are_rounded_again_and_narrow_ones_copied() -> None:
    text = f"""g (uint8[1, 64, 6, 6] x) => (uint8[1, 128, 6, 6] y, uint8[1, 40, 6, 6] n)
        <{COMMON}, uint8 z = {{120}}> {{
        a = QLinearConv(x, s, z, thin, t, w, s, z) b = QLinearConv(x, s, z, thin, t, w, t, z)
        c = DequantizeLinear(a, s, z) d = DequantizeLinear(b, t, z) e = Concat<axis = 1>(c, d)
        y = QuantizeLinear(e, s, z)
        f = QLinearConv(x, s, z, few, t, w, s, z) n = Concat<axis = 1>(f, f) }}"""
    kernels = compiled(text, "uint8", (1, 64, 6, 6), thin=(64, 64, 1, 1), few=(20, 64, 1, 1))
    assert kernels.count("concat") == 1
