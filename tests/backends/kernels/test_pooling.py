"""Pooling against ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from tvm import relax

from burnish.backends.kernels.pooling import average_pool, max_pool
from tests.backends.kernels.harness import AVX512, Array, error, fuse, randoms, run

CASES = {
    "3x3 stride 2": ((1, 24, 11, 12), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 0),
    "ceil": ((1, 5, 10, 9), (3, 2), (2, 3), (0, 0, 0, 0), (1, 1), 1),
    "ceil, padded": ((2, 17, 9, 9), (3, 3), (2, 2), (1, 0, 1, 1), (1, 1), 1),
    "dilated": ((1, 8, 12, 12), (2, 3), (1, 1), (0, 1, 0, 1), (2, 2), 0),
    "an only input": ((2, 18, 1, 1), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 0),
    "one axis": ((1, 9, 20), (4,), (3,), (1, 2), (1,), 0),
}


def reference(operator: str, x: Array, **attributes: object) -> Array:
    node = helper.make_node(operator, ["x"], ["y"], **attributes)
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    result: Array = session.run(None, {"x": x})[0]
    return np.ascontiguousarray(np.moveaxis(result, 1, -1))


@pytest.mark.parametrize("name", CASES)
def test_max_pool(name: str) -> None:
    shape, kernel, strides, pads, dilations, ceil = CASES[name]
    (x,) = randoms(shape)
    expected = reference(
        "MaxPool", x, kernel_shape=kernel, strides=strides, pads=pads, dilations=dilations,
        ceil_mode=ceil,
    )  # fmt: skip

    def build(bb: relax.BlockBuilder, v: relax.Expr) -> relax.Expr:
        return bb.emit_te(
            max_pool, v, kernel=kernel, strides=strides, pads=pads, dilations=dilations,
            ceil_mode=bool(ceil),
        )  # fmt: skip

    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    (result,) = run(fuse(build, [last.shape]), [last], [expected.shape], AVX512)
    assert np.array_equal(result, expected)


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_average_pool(name: str, include: int) -> None:
    shape, kernel, strides, pads, dilations, ceil = CASES[name]
    (x,) = randoms(shape)
    expected = reference(
        "AveragePool", x, kernel_shape=kernel, strides=strides, pads=pads, dilations=dilations,
        ceil_mode=ceil, count_include_pad=include,
    )  # fmt: skip

    def build(bb: relax.BlockBuilder, v: relax.Expr) -> relax.Expr:
        return bb.emit_te(
            average_pool, v, kernel=kernel, strides=strides, pads=pads, dilations=dilations,
            ceil_mode=bool(ceil), count_include_pad=bool(include),
        )  # fmt: skip

    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    (result,) = run(fuse(build, [last.shape]), [last], [expected.shape])
    assert error(result, expected) < 1e-5
