"""What kernels mean, worked out by numpy from their descriptions."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import te, tirx, topi

from burnish.backends.cpu.definition import Definition, Unknown
from burnish.backends.kernels import lookup, saturation
from tests.backends.tuning.kernels import product


def everything(func: tirx.PrimFunc, arrays: list[np.ndarray]) -> np.ndarray:
    """All elements of the only output, the last argument."""
    definition = Definition(func)
    (output,) = definition.outputs()
    places = np.arange(arrays[output].size)
    flat = definition.at(output, places, lambda i, at: arrays[i].reshape(-1)[at])
    return flat.reshape(arrays[output].shape)


def uniform(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).uniform(-1, 1, shape).astype(np.float32)


def test_a_product_and_what_follows() -> None:
    a, b, out = uniform(5, 7), uniform(7, 20), np.empty((5, 20))
    expected = np.tanh(a.astype(float) @ b)
    np.testing.assert_allclose(everything(product(5, 7, 20), [a, b, out]), expected, rtol=1e-12)


def test_padding_is_not_read() -> None:
    x = te.placeholder((1, 4, 4, 1), name="x")
    padded = topi.nn.pad(x, (0, 1, 1, 0))
    window = te.reduce_axis((0, 3), "r")
    total = te.compute((1, 4, 4, 1), lambda n, i, j, c: te.sum(padded[n, i + window, j, c], window))
    image = uniform(1, 4, 4, 1)
    around = np.pad(image.astype(float), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = sum(around[:, i : i + 4, :4] for i in range(3))
    found = everything(te.create_prim_func([x, total]), [image, np.empty((1, 4, 4, 1))])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_maximum_by_comparison() -> None:
    x = te.placeholder((6, 9), name="x")
    larger = te.comm_reducer(
        lambda a, b: tirx.Select(a < b, b, a), lambda dtype: tirx.min_value(dtype), name="larger"
    )
    axis = te.reduce_axis((0, 9), "r")
    func = te.create_prim_func([x, te.compute((6,), lambda i: larger(x[i, axis], axis))])
    values = uniform(6, 9)
    np.testing.assert_array_equal(everything(func, [values, np.empty(6)]), values.max(axis=1))


def test_comparisons_casts_and_integers() -> None:
    x = te.placeholder((12,), "int32", name="x")

    def element(i: tirx.Var) -> tirx.Expr:
        part = tirx.truncdiv(x[i], tirx.const(3, "int32")) + tirx.floormod(x[i], 5)
        return tirx.all(part > 0, tirx.Not(x[i] == 4)).astype("float32") * tirx.erf(0.5)

    values = np.arange(-6, 6, dtype=np.int32)
    part = np.trunc(values / 3) + values % 5
    expected = ((part > 0) & (values != 4)) * 0.5204998778
    func = te.create_prim_func([x, te.compute((12,), element)])
    np.testing.assert_allclose(everything(func, [values, np.empty(12)]), expected)


def test_what_numpy_does_not_know_is_said() -> None:
    x = te.placeholder((4,), name="x")
    func = te.create_prim_func(
        [x, te.compute((4,), lambda i: tirx.call_pure_extern("float32", "f", x[i]))]
    )
    with pytest.raises(Unknown, match="a call of"):
        everything(func, [uniform(4), np.empty(4)])


@pytest.mark.parametrize(("dtype", "middle"), [("uint8", 3), ("int8", -5)])
def test_bytes_are_rounded_and_saturate(dtype: str, middle: int) -> None:
    x = te.placeholder((6,), name="x")
    whole = tirx.IntImm("int32", middle)
    func = te.create_prim_func(
        [x, te.compute((6,), lambda i: saturation.saturated(x[i], whole, dtype))]
    )
    values = np.array([-1e9, -2.5, 0.5, 1.5, 1e9, np.nan], np.float32)
    low, high = saturation.RANGES[dtype]
    expected = np.clip([low, -2 + middle, middle, 2 + middle, high, low], low, high)
    found = everything(func, [values, np.empty(6)])
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


def test_bytes_are_looked_up_by_their_bits() -> None:
    x = te.placeholder((4,), "int8", name="x")
    table = te.placeholder((256,), "uint8", name="table")
    func = te.create_prim_func(
        [x, table, te.compute((4,), lambda i: lookup.looked_up(x[i], table))]
    )
    values = np.array([0, 127, -128, -1], np.int8)
    entries = np.arange(256)[::-1].astype(np.uint8)
    found = everything(func, [values, entries, np.empty(4)])
    np.testing.assert_array_equal(found, [255, 128, 127, 0])
