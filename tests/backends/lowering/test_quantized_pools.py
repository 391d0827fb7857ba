"""Means and maxima of windows of quantized numbers, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.backends.lowering.lower import Lowered
from tests.backends.lowering.models import check, lowered, model

WINDOWS = [
    "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]",
    "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], count_include_pad = 1",
    "kernel_shape = [2, 3], strides = [2, 2], ceil_mode = 1",
    "kernel_shape = [3, 2], dilations = [2, 1], pads = [0, 1, 2, 0]",
    "kernel_shape = [7, 8]",
]


def text(operator: str, window: str, dtype: str, zero: str, computed: bool = False) -> str:
    """One pooling of a quantized input; its scale may be an input too."""
    more = ", float s" if computed else ""
    held = "" if computed else "float s = {0.04}, "
    zeros = f"{dtype} z = {{{zero}}}"
    return f"""g ({dtype}[2, 20, 7, 8] x{more}) => (float[2, 20, "h", "w"] y) <{held}{zeros}> {{
        d = DequantizeLinear(x, s, z) y = {operator}<{window}>(d) }}"""


def bytes_of(dtype: str) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.random.default_rng(3).integers(info.min, info.max, (2, 20, 7, 8), dtype, True)


def reads(low: Lowered, dtype: str) -> bool:
    """Whether the pooling itself reads ``dtype``."""
    (pool,) = (kernel for kernel in low.kernels if kernel.name.endswith("pool"))
    return f'"{dtype}"' in str(pool.func).split("):")[0]


@pytest.mark.parametrize(("dtype", "zero"), [("uint8", "131"), ("int8", "0"), ("int8", "-7")])
def test_means_of_bytes(dtype: str, zero: str) -> None:
    numbers = range(len(WINDOWS))
    inputs = ", ".join(f"{dtype}[2, 20, 7, 8] x{n}" for n in numbers)
    outputs = ", ".join(f'float[2, 20, "h{n}", "w{n}"] y{n}' for n in numbers)
    calls = " ".join(
        f"d{n} = DequantizeLinear(x{n}, s, z) y{n} = AveragePool<{WINDOWS[n]}>(d{n})"
        for n in numbers
    )
    held = f"float s = {{0.04}}, {dtype} z = {{{zero}}}"
    poolings = model(f"g ({inputs}) => ({outputs}) <{held}> {{ {calls} }}")
    assert check(poolings, **{f"x{n}": bytes_of(dtype) for n in numbers}) == []


def test_a_scale_that_is_computed() -> None:
    found = text("AveragePool", WINDOWS[0], "uint8", "9", computed=True)
    assert check(model(found), x=bytes_of("uint8"), s=np.array(0.07, np.float32)) == []


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
def test_poolings_read_bytes(operator: str, dtype: str) -> None:
    assert reads(lowered(text(operator, WINDOWS[0], dtype, "5")), dtype)


def test_words_of_16_bits_are_read_as_floats() -> None:
    found = text("AveragePool", WINDOWS[0], "uint16", "700")
    assert check(model(found), x=bytes_of("uint8").astype(np.uint16)) == []
