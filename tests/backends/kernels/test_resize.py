"""Resizing tables against ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from burnish.backends.kernels.resize import AxisTable, Interpolation
from tests.backends.kernels.harness import Array, error, randoms


def reference(x: Array, scale: float, **attributes: object) -> Array:
    """Of the last axis resized by a factor, or to a size where `scale` is an integer."""
    to_size = isinstance(scale, int)
    node = helper.make_node("Resize", ["x", "", *[""] * to_size, "s"], ["y"], **attributes)
    scales = np.array([1.0] * (x.ndim - 1) + [scale], np.float32)
    if to_size:
        scales = np.array([*x.shape[:-1], scale])
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(scales, "s")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    result: Array = session.run(None, {"x": x})[0]
    return result


def apply(table: AxisTable, x: Array) -> Array:
    mixed: Array = (x[..., table.indices] * table.weights).sum(-1)
    return mixed


@pytest.mark.parametrize("scale", [2.0, 0.5, 1.7, 0.6])
@pytest.mark.parametrize(
    "coordinates", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_mixed_positions(mode: str, coordinates: str, scale: float) -> None:
    (x,) = randoms((1, 1, 3, 13))
    expected = reference(x, scale, mode=mode, coordinate_transformation_mode=coordinates)
    rule = Interpolation(mode, coordinates)
    table = rule.table(13, expected.shape[-1], float(np.float32(scale)))
    assert error(apply(table, x), expected) < 1e-5


@pytest.mark.parametrize("scale", [2.0, 0.5, 3.0])
@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric"])
def test_nearest_position(coordinates: str, nearest: str, scale: float) -> None:
    (x,) = randoms((1, 1, 3, 12))
    expected = reference(
        x, scale, mode="nearest", coordinate_transformation_mode=coordinates, nearest_mode=nearest
    )
    rule = Interpolation("nearest", coordinates, nearest)
    table = rule.table(12, expected.shape[-1], scale)
    assert table.is_selection
    assert np.array_equal(x[..., table.indices[:, 0]], expected)


@pytest.mark.parametrize(("inputs", "outputs"), [(40, 97), (20, 33), (5, 11), (48, 16), (100, 37)])
@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
def test_nearest_of_two_at_one_distance(
    coordinates: str, nearest: str, inputs: int, outputs: int
) -> None:
    x = np.arange(inputs, dtype=np.float32).reshape(1, 1, 1, inputs)
    expected = reference(
        x, outputs, mode="nearest", coordinate_transformation_mode=coordinates, nearest_mode=nearest
    )
    table = Interpolation("nearest", coordinates, nearest).table(inputs, outputs, outputs / inputs)
    assert np.array_equal(x[..., table.indices[:, 0]], expected)


def test_repeats_are_recognised() -> None:
    rule = Interpolation("nearest", "asymmetric", "floor")
    assert rule.table(5, 15, 3.0).repeats == 3
    assert rule.table(6, 3, 0.5).repeats is None
    assert Interpolation("linear").table(5, 10, 2.0).repeats is None


def test_exclude_outside_renormalizes() -> None:
    (x,) = randoms((1, 1, 3, 8))
    expected = reference(x, 2.0, mode="cubic", exclude_outside=1)
    table = Interpolation("cubic", exclude_outside=True).table(8, 16, 2.0)
    assert error(apply(table, x), expected) < 1e-5
