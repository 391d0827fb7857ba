"""Convolutions by minimal filtering: transforms, odd sizes, borders, chunks, epilogues, choice."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from tvm import relax, te, tirx, topi

from burnish.backends.cpu import codegen
from burnish.backends.cpu.candidates import candidates
from burnish.backends.cpu.schedule import anchored
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.backends.kernels import packing
from burnish.backends.kernels.convolution import convolution
from burnish.backends.kernels.winograd import OUTPUTS, transforms
from burnish.target import Target
from tests.backends.kernels.harness import AVX512, SERIAL, Array, error, fuse, randoms
from tests.depth import slow

Exact = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A convolution of 3x3 taps, its results by numpy in float64."""

    x: tuple[int, int, int, int]
    columns: int
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)

    def arrays(self, lanes: int) -> tuple[list[Array], Exact]:
        """Activations, packed weights, bias and residual; what relu of their sum is."""
        x, weights, bias = randoms(self.x, (self.columns, self.x[-1], 3, 3), (self.columns,))
        top, left, bottom, right = self.pads
        padded = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
        height, width = padded.shape[1] - 2, padded.shape[2] - 2
        sums = np.zeros((self.x[0], height, width, self.columns))
        for r in range(3):
            for c in range(3):
                window = padded[:, r : r + height, c : c + width]
                sums += np.tensordot(window, weights[:, :, r, c].astype(np.float64), (3, 1))
        (residual,) = randoms(sums.shape)
        packed = packing.pack_convolution(weights, lanes)
        return [x, packed, bias, residual], np.maximum(sums + bias + residual, 0)

    def function(self, inputs: list[Array], winograd: int = 4) -> tirx.PrimFunc:
        """Convolution, bias, residual and activation."""

        def build(bb: relax.BlockBuilder, *a: relax.Expr) -> relax.Expr:
            y = bb.emit_te(
                convolution, a[0], a[1], columns=self.columns, strides=(1, 1), pads=self.pads,
                dilations=(1, 1), winograd=winograd,
            )  # fmt: skip
            y = bb.emit_te(topi.add, bb.emit_te(topi.add, y, a[2]), a[3])
            return bb.emit_te(topi.nn.relu, y)

        return fuse(build, [array.shape for array in inputs])


def run(
    func: tirx.PrimFunc, inputs: list[Array], shape: tuple[int, ...], target: Target,
    config: TileConfig,
) -> Array:  # fmt: skip
    """What `func`, scheduled by `config` and compiled as the compiler does, makes of `inputs`."""
    kernel = codegen.build({"main": anchored.schedule(func, target, config)}, target)["main"]
    output = tvm.runtime.tensor(np.full(shape, np.nan, np.float32))
    kernel(*map(tvm.runtime.tensor, inputs), output)
    result: Array = output.numpy()
    return result


CASES = {
    "whole tiles": Case((1, 8, 8, 16), 16),
    "odd": Case((2, 7, 9, 21), 37),
    "no padding": Case((1, 11, 10, 16), 24, (0, 0, 0, 0)),
    "uneven padding": Case((1, 6, 9, 16), 8, (0, 2, 1, 0)),
    "padding beyond the taps": Case((1, 3, 4, 16), 16, (4, 3, 3, 5)),
    "one output": Case((1, 3, 3, 17), 16, (0, 0, 0, 0)),
    "weights in chunks": Case((1, 9, 5, 330), 32),
}
REPEATED = ("whole tiles", "no padding", "uneven padding")
"""What is in others as well."""

CONFIGS = [
    TileConfig(8, 2, row_block=100, column_block=100, tile=4),
    TileConfig(3, 1, row_block=2, column_block=1, tile=4),
    TileConfig(2, 2, row_block=5, column_block=1, tile=2),
]


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_transforms_filter(outputs: int) -> None:
    made = transforms(outputs)
    data, taps = np.arange(outputs + 2) ** 2.0, np.array([3.0, -1.0, 2.0])
    result = made.result @ ((made.kernel @ taps) * (made.data @ data))
    assert np.allclose(result, np.convolve(data, taps[::-1], "valid"), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        *((name, CONFIGS[0]) for name in CASES if name not in REPEATED),
        *(slow(name, CONFIGS[0]) for name in REPEATED),
        *(("odd", config) for config in CONFIGS[1:]),
    ],
)
def test_every_tile_gives_the_same_result(name: str, config: TileConfig) -> None:
    inputs, expected = CASES[name].arrays(16)
    func = CASES[name].function(inputs)
    result = run(func, inputs, expected.shape, AVX512, config)
    assert error(result, expected) < 5e-6


def test_narrow_vectors() -> None:
    inputs, expected = CASES["odd"].arrays(8)
    func = CASES["odd"].function(inputs)
    result = run(func, inputs, expected.shape, SERIAL, replace(CONFIGS[0], rows=4))
    assert error(result, expected) < 5e-6


@pytest.mark.parametrize("target", [AVX512, SERIAL], ids=["wide", "serial"])
def test_it_is_the_first_choice_where_it_is_faster(target: Target) -> None:
    case = Case((1, 28, 28, 128), 128)
    inputs, _ = case.arrays(target.lanes())
    found = candidates(case.function(inputs), target)
    assert found[0].tile == 4
    assert found[-1].tile == 1
    assert len(found) == len(set(found)) <= 12
    assert all(config.tile <= 2 for config in candidates(case.function(inputs, 2), target))


@pytest.mark.parametrize(
    ("x", "columns", "winograd"),
    [((1, 28, 28, 128), 128, 1), ((1, 28, 28, 12), 128, 4), ((1, 4, 4, 512), 512, 4)],
    ids=["not allowed", "few channels", "few tiles for many weights"],
)
def test_it_is_left_where_it_does_not_pay(
    x: tuple[int, int, int, int], columns: int, winograd: int
) -> None:
    case = Case(x, columns)
    inputs, _ = case.arrays(16)
    assert candidates(case.function(inputs, winograd), AVX512)[0].tile == 1


def test_errors_stay_within_a_few_times_those_of_direct_sums() -> None:
    case = Case((1, 14, 14, 256), 32)
    inputs, expected = case.arrays(16)
    func = case.function(inputs)
    direct = run(func, inputs, expected.shape, AVX512, TileConfig(7, 2))
    filtered = run(func, inputs, expected.shape, AVX512, TileConfig(8, 2, row_block=16, tile=4))
    assert error(filtered, expected) < 6 * error(direct, expected)


def test_weights_stored_as_bfloat16() -> None:
    case = Case((1, 8, 9, 16), 16)
    x, weights = (whole.round() for whole in randoms(case.x, (16, 16, 3, 3)))
    packed = packing.pack_convolution(weights, 16)
    stored = (packed.view(np.uint32) >> 16).astype(np.uint16)
    results = []
    for array in (packed, stored):
        data, kernel = (te.placeholder(a.shape, str(a.dtype)) for a in (x, array))
        result = convolution(
            data, kernel, columns=16, strides=(1, 1), pads=case.pads, dilations=(1, 1), winograd=4
        )
        func = te.create_prim_func([data, kernel, result])
        results.append(run(func, [x, array], (1, 8, 9, 16), AVX512, CONFIGS[0]))
    assert np.array_equal(*results)
