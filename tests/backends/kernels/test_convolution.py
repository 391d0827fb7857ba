"""Convolutions against ONNX Runtime: odd sizes, strides, dilations, groups, borders, epilogues."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tvm import relax, te, topi

from burnish.backends.cpu.candidates import candidates
from burnish.backends.cpu.schedule import anchored
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.backends.kernels import packing
from burnish.backends.kernels.convolution import convolution, convolution_over, scattering_axes
from burnish.backends.kernels.depthwise import depthwise_convolution
from burnish.backends.kernels.product import product
from burnish.target import Target
from tests.backends.kernels.harness import (
    AVX512,
    TARGETS,
    Array,
    error,
    fuse,
    randoms,
    run,
)  # fmt: skip
from tests.depth import every_other

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Case:
    """One convolution in ONNX's layout."""

    x: tuple[int, ...]
    weights: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int = 1
    extra: dict[str, list[int]] = field(default_factory=dict)

    def reference(self, operator: str, x: Array, weights: Array) -> Array:
        """The result of ONNX Runtime."""
        node = helper.make_node(
            operator, ["x", "w"], ["y"], strides=self.strides, pads=self.pads,
            dilations=self.dilations, group=self.groups, **self.extra,
        )  # fmt: skip
        graph = helper.make_graph(
            [node], "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(weights, "w")],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        result: Array = session.run(None, {"x": x})[0]
        return result


CONVOLUTIONS = {
    "same 3x3": Case((1, 8, 10, 10), (24, 8, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "an only column": Case((2, 8, 3, 1), (24, 8, 3, 3), (1, 1), (2, 2, 2, 2), (1, 1)),
    "wide line": Case((1, 3, 5, 40), (20, 3, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "batch, groups, odd": Case(
        (2, 8, 11, 9), (24, 4, 3, 2), (2, 1), (1, 0, 2, 1), (1, 2), groups=2
    ),
    "groups with remainders": Case((1, 9, 6, 6), (15, 3, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 3),
    "pointwise": Case((2, 8, 7, 7), (40, 8, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    "pointwise, strided": Case((1, 8, 7, 7), (40, 8, 1, 1), (2, 2), (0, 0, 0, 0), (1, 1)),
    "pointwise, padded": Case((1, 4, 3, 3), (5, 4, 1, 1), (1, 1), (1, 1, 1, 1), (1, 1)),
    "stem": Case((1, 3, 21, 21), (20, 3, 7, 7), (2, 2), (3, 3, 3, 3), (1, 1)),
    "one axis": Case((1, 8, 30), (5, 8, 4), (1,), (2, 3), (3,)),
    "three axes": Case((1, 6, 5, 6, 7), (5, 6, 3, 3, 3), (1, 2, 1), (1, 1, 1, 1, 0, 1), (1, 1, 1)),
    "one pixel": Case((1, 20, 1, 1), (6, 20, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    "padding beyond the kernel": Case((1, 2, 4, 4), (3, 2, 2, 2), (1, 1), (3, 3, 3, 3), (1, 1)),
}

TRANSPOSED = {
    "stride equals kernel": Case((1, 24, 5, 6), (24, 20, 2, 2), (2, 2), (0, 0, 0, 0), (1, 1)),
    "output padding, groups": Case(
        (1, 8, 5, 6), (8, 10, 3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 2, {"output_padding": [1, 1]}
    ),
    "dilated": Case((1, 4, 5, 6), (4, 3, 3, 4), (3, 2), (1, 0, 1, 1), (2, 3)),
    "kernel below stride": Case((1, 4, 3, 3), (4, 1, 1, 1), (2, 2), (0, 0, 0, 0), (1, 1)),
    "one axis": Case((2, 4, 9), (4, 6, 4), (2,), (1, 1), (1,)),
}

DEPTHWISE = {
    "3x3": Case((1, 24, 10, 11), (24, 1, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 24),
    "5x5, strided": Case((2, 40, 9, 30), (40, 1, 5, 5), (2, 1), (2, 2, 2, 2), (1, 1), 40),
    "dilated": Case((1, 5, 12, 12), (5, 1, 3, 3), (1, 1), (2, 2, 2, 2), (2, 2), 5),
    "one axis": Case((1, 17, 20), (17, 1, 4), (1,), (3, 0), (1,), 17),
}


def channels_last(x: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


@pytest.mark.parametrize(("name", "target"), every_other(list(CONVOLUTIONS), TARGETS))
def test_convolution_with_bias_residual_and_activation(name: str, target: Target) -> None:
    case = CONVOLUTIONS[name]
    x, weights = randoms(case.x, case.weights)
    plain = channels_last(case.reference("Conv", x, weights))
    bias, residual = randoms((case.weights[0],), plain.shape)
    packed = packing.pack_convolution(weights, target.lanes("float32"), case.groups)

    def build(bb: relax.BlockBuilder, *a: relax.Expr) -> relax.Expr:
        y = bb.emit_te(
            convolution, a[0], a[1], columns=case.weights[0], strides=case.strides,
            pads=case.pads, dilations=case.dilations, groups=case.groups,
        )  # fmt: skip
        return bb.emit_te(topi.nn.relu, bb.emit_te(topi.add, bb.emit_te(topi.add, y, a[2]), a[3]))

    inputs = [channels_last(x), packed, bias, residual]
    func = fuse(build, [i.shape for i in inputs])
    (result,) = run(func, inputs, [plain.shape], target)
    assert error(result, np.maximum(plain + bias + residual, 0)) < TOLERANCE


def scattering(case: Case, columns: int) -> Callable[[te.Tensor, te.Tensor], te.Tensor]:
    """The case's transposed convolution to ``columns`` channels."""
    padding = case.extra.get("output_padding", [0] * len(case.strides))
    sizes = case.x[2:], case.weights[2:]
    axes = scattering_axes(*sizes, case.strides, case.pads, case.dilations, padding)

    def kernel(x: te.Tensor, weights: te.Tensor) -> te.Tensor:
        return convolution_over(x, weights, axes, columns=columns, groups=case.groups)

    return kernel


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolution(name: str) -> None:
    case = TRANSPOSED[name]
    x, weights = randoms(case.x, case.weights)
    expected = channels_last(case.reference("ConvTranspose", x, weights))
    packed = packing.pack_transposed_convolution(weights, 8, case.groups)
    columns = case.weights[1] * case.groups

    def build(bb: relax.BlockBuilder, *a: relax.Expr) -> relax.Expr:
        return bb.emit_te(scattering(case, columns), *a)

    inputs = [channels_last(x), packed]
    (result,) = run(fuse(build, [i.shape for i in inputs]), inputs, [expected.shape])
    assert error(result, expected) < TOLERANCE


@pytest.mark.parametrize(("name", "target"), every_other(list(DEPTHWISE), TARGETS))
def test_depthwise_convolution(name: str, target: Target) -> None:
    case = DEPTHWISE[name]
    x, weights = randoms(case.x, case.weights)
    expected = channels_last(case.reference("Conv", x, weights))

    def build(bb: relax.BlockBuilder, *a: relax.Expr) -> relax.Expr:
        return bb.emit_te(
            depthwise_convolution, *a, strides=case.strides, pads=case.pads,
            dilations=case.dilations,
        )  # fmt: skip

    inputs = [channels_last(x), packing.pack_depthwise(weights)]
    func = fuse(build, [i.shape for i in inputs])
    (result,) = run(func, inputs, [expected.shape], target)
    assert error(result, expected) < TOLERANCE


EVERY_TILE = {
    "3x3": (Case((1, 7, 9, 13), (37, 7, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1)), False),
    "pointwise": (Case((1, 24, 9, 13), (37, 24, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1)), False),
    "long line": (Case((1, 7, 90), (9, 7, 5), (1,), (2, 2), (1,)), False),
    "uneven phases": (Case((1, 7, 9, 13), (7, 9, 3, 4), (2, 3), (1, 1, 1, 1), (1, 1)), True),
    "long phases": (Case((1, 7, 50), (7, 9, 4), (2,), (1, 1), (1,)), True),
}
"""Convolutions, and whether they are transposed."""


TILES = {
    "columns first": TileConfig(3, 2, 1, 2, 1, True),
    "rows first": TileConfig(4, 1, 3, 1, 2, False),
    "one block": TileConfig(5, 3, 2, 100, 100, True),
}


@pytest.mark.parametrize(
    ("config", "name", "target"), every_other(TILES, list(EVERY_TILE), TARGETS)
)
def test_every_tile_gives_the_same_result(config: TileConfig, name: str, target: Target) -> None:
    case, transposed = EVERY_TILE[name]
    x, weights = randoms(case.x, case.weights)
    expected = channels_last(case.reference("ConvTranspose" if transposed else "Conv", x, weights))
    pack = packing.pack_transposed_convolution if transposed else packing.pack_convolution

    def build(bb: relax.BlockBuilder, *a: relax.Expr) -> relax.Expr:
        columns = int(expected.shape[-1])
        if transposed:
            return bb.emit_te(scattering(case, columns), *a)
        options = {"strides": case.strides, "pads": case.pads, "dilations": case.dilations}
        return bb.emit_te(convolution, *a, columns=columns, **options)

    inputs = [channels_last(x), pack(weights, 8)]
    func = fuse(build, [i.shape for i in inputs])
    (result,) = run(func, inputs, [expected.shape], target, config)
    assert error(result, expected) < TOLERANCE


def test_candidates_are_few_distinct_and_fit_the_registers() -> None:
    def build(bb: relax.BlockBuilder, *a: relax.Expr) -> relax.Expr:
        return bb.emit_te(
            convolution, *a, columns=256, strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1)
        )

    found = candidates(fuse(build, [(1, 14, 14, 64), (16, 3, 3, 64, 16)]), AVX512)
    assert 1 < len(found) == len(set(found)) <= 12
    assert all(c.rows * c.vectors + c.vectors < AVX512.registers for c in found)


@pytest.mark.parametrize(("rows", "parallel"), [(2, False), (200, True)])
def test_only_work_that_is_worth_it_goes_to_threads(rows: int, parallel: bool) -> None:
    def build(bb: relax.BlockBuilder, *a: relax.Expr) -> relax.Expr:
        return bb.emit_te(product, *a, columns=128)

    func = fuse(build, [(rows, 64), (8, 64, 16)])
    assert ("T.parallel" in anchored.schedule(func, AVX512).script()) == parallel
