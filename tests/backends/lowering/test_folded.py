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
from tests.depth import every_other

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
    "halves": (
        "ConvTranspose", (1, 48, 17, 19), (48, 4, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]},
    ),
    "far apart": (
        "ConvTranspose", (1, 6, 3, 2), (6, 2, 20, 18),
        {"strides": [10, 9], "pads": [5, 4, 3, 2], "group": 3, "output_padding": [1, 2]},
    ),
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
        columns = weights[1] * attributes.get("group", 1) if kind == "ConvTranspose" else weights[0]
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


@pytest.mark.parametrize(
    ("mode", "sizes"),
    every_other(
        ["SAME_UPPER", "SAME_LOWER"], [(3, 2, 1), (2, 2, 1), (3, 3, 2), (2, 3, 1), (2, 3, 0)]
    ),
)
def test_padding_to_the_same_size_cuts_output_padding_as_well(
    mode: str, sizes: tuple[int, int, int]
) -> None:
    kernel, stride, padding = sizes
    attributes = {"strides": [stride], "output_padding": [padding], "auto_pad": mode}
    weights = numpy_helper.from_array(normal(2, 3, kernel, seed=1), "w")
    value, made = helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)], "g",
        [value("x", made, (1, 2, 4))], [value("y", made, None)], [weights],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    assert check(proto, x=normal(1, 2, 4)) == []


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


def test_blocks_begin_where_their_outputs_read_the_least() -> None:
    axes = [Axis(14, 224, 32, 16, pad=8, transposed=True)] * 2
    found = folding(axes, Costs(1, 64, 21, 16))
    assert found is not None
    assert [(axis.block, axis.skip, axis.kernel) for axis in found] == [(16, 8, 2)] * 2
    aligned = [Axis(14, 224, 16, 16, transposed=True)] * 2
    found = folding(aligned, Costs(1, 64, 21, 16))
    assert found is not None
    assert [(axis.skip, axis.kernel) for axis in found] == [(0, 1)] * 2


def test_groups_stay_unless_there_would_be_too_much_code() -> None:
    few = [Axis(14, 28, 4, 2, pad=1, transposed=True)] * 2
    assert folding(few, Costs(1, 1, 1, 16, groups=21)) is None
    many = [Axis(14, 224, 32, 16, pad=8, transposed=True)] * 2
    assert folding(many, Costs(1, 1, 1, 16, groups=21)) is not None


def test_large_weights_do_not_grow_many_times() -> None:
    axes = [Axis(7, 219, 3, 32, transposed=True)] * 2
    assert folding(axes, Costs(1, 512, 512, 16)) is None
    assert folding(axes, Costs(1, 4, 4, 16)) is not None


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [11, 12], "group": 3},
        {"strides": [12, 10], "dilations": [3, 4], "pads": [2, 3, 1, 0]},
        {"strides": [9, 20], "dilations": [2, 5], "output_padding": [7, 4]},
    ],
)
def test_computed_weights_meet_far_apart_outputs_by_arithmetic(
    attributes: dict[str, object],
) -> None:
    value, made = helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("ConvTranspose", ["x", "t"], ["s"], **attributes),
         helper.make_node("Relu", ["s"], ["y"])],
        "g", [value("x", made, (1, 6, 4, 3)), value("t", made, (6, 2, 13, 7))],
        [value("y", made, None)],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    found = lower(prepared(proto), TARGET).kernels
    assert max(len(str(kernel.func)) for kernel in found) < 10_000
    assert check(proto, x=normal(1, 6, 4, 3), t=normal(6, 2, 13, 7, seed=1)) == []


def test_outputs_that_would_each_need_code_are_folded_though_it_saves_no_products() -> None:
    costs = Costs(1, 64, 32, 16)
    found = folding([Axis(7, 112, 16, 16, transposed=True)] * 2, costs)
    assert found is not None
    assert [axis.block for axis in found] == [16, 16]
    assert folding([Axis(7, 56, 8, 8, transposed=True)] * 2, costs) is None
