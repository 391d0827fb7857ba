"""Operators that the standard and ONNX Runtime read differently: neither answer would be right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from burnish.errors import UnsupportedModel
from burnish.ir import Graph, OperatorNode

CORNERS = (
    "aligns the corners of an output whose size is scaled to a fraction, which ONNX and its "
    "engines place differently: export the model with sizes in place of scales "
    "(recompute_scale_factor in PyTorch)"
)
UNPOOLED = (
    "is given the size of its output, and ONNX and its engines count the indices differently then: "
    "leave it out and pad the result"
)


def refuse_disputed(graph: Graph) -> None:
    """Make sure that it is clear what every operator of ``graph`` means.

    Raises:
        UnsupportedModel: an operator gets other results from the standard than from its engines.
    """
    for node in graph.walk():
        check = CHECKS.get(node.op_type) if not node.domain else None
        if check is not None and check(node):
            name = next(iter(node.provenance), "") or node.name
            raise UnsupportedModel(f"{node.op_type} {name!r} {REASONS[node.op_type]}")


def _corners(node: OperatorNode) -> bool:
    """The standard takes 2.4 elements to have corners, the engines take the 2 that there are."""
    scales, data = node.input(2), node.input(0)
    if node.attribute("coordinate_transformation_mode") != "align_corners" or scales is None:
        return False
    if node.input(3) is not None or scales.static_shape == (0,):
        return False
    if scales.constant is None or data is None or data.static_shape is None:
        return True
    axes = node.attribute("axes") or range(len(data.static_shape))
    sizes = np.asarray([data.static_shape[axis] for axis in axes], np.float64)
    wanted = sizes * scales.constant.numpy().astype(np.float64)
    return bool(np.any(np.abs(wanted - np.round(wanted)) > 1e-4))


def _unpooled(node: OperatorNode) -> bool:
    """ONNX has indices into what would be made without the size, engines into what is made."""
    data, shape = node.input(0), node.constant_input(2)
    if node.input(2) is None:
        return False
    if shape is None or data is None or data.static_shape is None:
        return True
    kernel = node.attribute("kernel_shape", ())
    strides = node.attribute("strides") or (1,) * len(kernel)
    pads = node.attribute("pads") or (0,) * (2 * len(kernel))
    made = [
        (size - 1) * strides[axis] + kernel[axis] - pads[axis] - pads[axis + len(kernel)]
        for axis, size in enumerate(data.static_shape[2:])
    ]
    return made != [int(size) for size in shape.numpy()[2:]]


CHECKS: dict[str, Callable[[OperatorNode], bool]] = {"MaxUnpool": _unpooled, "Resize": _corners}
REASONS = {"MaxUnpool": UNPOOLED, "Resize": CORNERS}
