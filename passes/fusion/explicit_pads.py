"""Padding as numbers instead of by a policy that leaves them to the engine."""

from __future__ import annotations

from burnish.ir import OperatorNode
from burnish.rewrite import Match, Miss, Op, Rewriter, Rule

Pads = tuple[int, ...]
"""Elements before each spatial axis, then behind each."""
POOLS = frozenset({"AveragePool", "MaxPool"})


def _kernel(node: OperatorNode) -> tuple[int, ...] | None:
    given = node.attribute("kernel_shape")
    if given is not None:
        return tuple(given)
    weights = node.input(1)
    shape = None if weights is None else weights.static_shape
    return None if shape is None else shape[2:]


def explicit_pads(match: Match) -> Pads | Miss:
    """The pads that attribute ``auto_pad`` comes to."""
    node = match.root
    policy, kernel, data = node.attribute("auto_pad", "NOTSET"), _kernel(node), node.inputs[0]
    if policy == "NOTSET":
        return Miss("it says its pads already", node)
    if kernel is None or data is None or data.shape is None:
        return Miss("the sizes of its window are not known", node)
    if node.attribute("ceil_mode", 0):
        return Miss("its last windows may be cut", node)
    if policy == "VALID":
        return (0,) * (2 * len(kernel))
    if node.op_type == "ConvTranspose":
        return Miss("its pads follow from the size of its result", node)
    strides = node.attribute("strides") or (1,) * len(kernel)
    dilations = node.attribute("dilations") or (1,) * len(kernel)
    if node.op_type in POOLS and any(step != 1 for step in dilations):
        return Miss("engines differ in how they pad windows with gaps", node)
    before, behind = [], []
    for size, width, stride, dilation in zip(
        data.shape[2:], kernel, strides, dilations, strict=True
    ):
        window = dilation * (width - 1) + 1
        if stride == 1:
            total = window - 1
        elif isinstance(size, int):
            total = max((-(-size // stride) - 1) * stride + window - size, 0)
        else:
            return Miss("its pads depend on a size that is not known: give --input-shape", node)
        smaller, larger = total // 2, total - total // 2
        before.append(smaller if policy == "SAME_UPPER" else larger)
        behind.append(larger if policy == "SAME_UPPER" else smaller)
    return (*before, *behind)


def _write(rw: Rewriter, match: Match, pads: Pads) -> None:
    rw.set_attribute(match.root, "auto_pad", None)
    rw.set_attribute(match.root, "pads", pads)


EXPLICIT_PADS = Rule(
    "explicit-pads", Op("AveragePool|Conv|ConvTranspose|MaxPool"), _write, explicit_pads
)
