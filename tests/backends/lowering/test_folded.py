"""Convolutions to few channels, computed in blocks of outputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from burnish.backends.kernels.folding import Costs, folding
from burnish.backends.kernels.geometry import Axis
from burnish.backends.lowering.lower import lower
from tests.backends.lowering.models import TARGET, check, model, normal, prepared

CASES: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, object]]] = {
    "line": ("Conv", (1, 8, 401), (1, 8, 7), {"pads": [3, 3]}),
    "gaps": ("Conv", (2, 6, 300), (2, 6, 5), {"pads": [8, 0], "dilations": [2]}),
    "strides": ("Conv", (1, 16, 12, 83), (1, 16, 2, 9), {"strides": [1, 2]}),
    "side by side": ("ConvTranspose", (1, 24, 20, 22), (24, 1, 2, 2), {"strides": [2, 2]}),
    "overlapping": (
        "ConvTranspose", (1, 32, 17, 19), (32, 3, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]},
    ),
    "cropped": (
        "ConvTranspose", (2, 16, 17, 18), (16, 1, 3, 3),
        {"strides": [2, 2], "pads": [1, 0, 0, 1], "output_padding": [1, 1]},
    ),
    "patches": ("ConvTranspose", (1, 20, 3, 4), (20, 17, 9, 9), {"strides": [9, 9]}),
    "apart": (
        "ConvTranspose", (1, 24, 18, 20), (24, 1, 3, 3), {"strides": [2, 3], "dilations": [3, 2]},
    ),
}  # fmt: skip
"""Operator, input, weights, attributes."""
PLAIN = frozenset({"gaps", "patches", "side by side", "apart"})
"""Cases that nothing follows; the others have a bias and an activation."""


def case_model(name: str) -> onnx.ModelProto:
    """The case's model."""
    kind, x, weights, attributes = CASES[name]
    constants = [numpy_helper.from_array(normal(*weights, seed=1), "w")]
    nodes = [helper.make_node(kind, ["x", "w"], ["y"], **attributes)]
    if name not in PLAIN:
        columns = weights[1 if kind == "ConvTranspose" else 0]
        constants.append(numpy_helper.from_array(normal(columns, seed=2), "b"))
        nodes = [helper.make_node(kind, ["x", "w", "b"], ["s"], **attributes),
                 helper.make_node("Sigmoid", ["s"], ["y"])]  # fmt: skip
    made, value = onnx.TensorProto.FLOAT, helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", made, x)], [value("y", made, None)],
                              constants)  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("name", CASES)
def test_sums_are_those_of_single_outputs(name: str) -> None:
    proto = case_model(name)
    names = [kernel.name for kernel in lower(prepared(proto), TARGET).kernels]
    assert sum("conv" in name for name in names) == 2, names
    assert check(proto, x=normal(*CASES[name][1])) == []


def test_a_transposed_convolution_without_strides_is_one_with_its_kernel_mirrored() -> None:
    text = """g (float[1, 6, 9, 8] x, float[6, 5, 2, 3] t) =>
            (float[1, 10, 11, 10] y, float[1, 4, 11, 10] z) <float[6, 4, 3, 3] w = {WEIGHTS}> {
        y = ConvTranspose <group = 2, dilations = [2, 1]> (x, t)
        z = ConvTranspose (x, w)
    }""".replace("{WEIGHTS}", "{" + ", ".join(str(i * 37 % 25 / 25) for i in range(216)) + "}")
    assert check(model(text), x=normal(1, 6, 9, 8), t=normal(6, 5, 2, 3, seed=3)) == []


def test_blocks_share_products_where_single_outputs_do_not() -> None:
    axes = [Axis(32, 64, 4, 2, pad=1, transposed=True)] * 2
    assert folding(axes, Costs(1, 64, 64, 16)) is None
    found = folding(axes, Costs(1, 64, 64, 16, 4))
    assert found is not None
    assert [axis.folded for axis in found] == [Axis(32, 32, 3, pad=1)] * 2
    few = [Axis(4, 8, 4, 2, pad=1, transposed=True)] * 2
    assert folding(few, Costs(1, 256, 128, 16, 4)) is None, "the weights take longer"
    odd = [Axis(13, 26, 4, 2, pad=1, transposed=True)] * 2
    assert folding(odd, Costs(1, 128, 64, 16, 4)) is None, "much of the last tiles is dropped"


@pytest.mark.parametrize("columns", [16, 24, 64])
def test_whole_vectors_of_channels_stay(columns: int) -> None:
    axes = [Axis(50, 50, 3, pad=1), Axis(50, 50, 3, pad=1)]
    assert folding(axes, Costs(1, 32, columns, 16)) is None


def test_small_work_stays_in_one_kernel() -> None:
    assert folding([Axis(8, 8, 3, pad=1)], Costs(1, 4, 1, 16)) is None


def test_a_block_of_strides_reads_nothing_in_vain() -> None:
    axes = [Axis(320, 640, 2, 2, transposed=True)] * 2
    found = folding(axes, Costs(1, 24, 1, 16))
    assert found is not None
    assert [axis.block for axis in found] == [2, 2]
    assert [axis.folded for axis in found] == [Axis(320, 320)] * 2
    assert np.prod([axis.kernel for axis in found]) == 1


def test_blocks_whose_outputs_are_too_many_to_look_at_are_none() -> None:
    costs = Costs(1, 16, 1, 16)
    assert folding([Axis(1, 3, 3, 1 << 40, 1, 0, True)] * 2, costs) is None
    assert folding([Axis(1 << 25, 2, (1 << 25) - 1, 1, 1, 0)], costs) is None


def test_outputs_that_would_each_need_code_are_folded_though_it_saves_no_products() -> None:
    costs = Costs(1, 64, 32, 16)
    found = folding([Axis(7, 112, 16, 16, transposed=True)] * 2, costs)
    assert found is not None
    assert [axis.block for axis in found] == [16, 16]
    assert folding([Axis(7, 56, 8, 8, transposed=True)] * 2, costs) is None
