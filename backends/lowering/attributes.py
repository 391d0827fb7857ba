"""Attributes of window operators in one form: explicit strides, pads and dilations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from burnish.ir import OperatorNode


@dataclass(frozen=True)
class Window:
    """How a window moves; ``pads`` has all beginnings, then all ends."""

    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]

    def ordered(self, axes: Sequence[int]) -> Window:
        """The window with its spatial axes in another order."""
        count = len(self.strides)
        return Window(
            tuple(self.strides[i] for i in axes),
            tuple(self.pads[side * count + i] for side in (0, 1) for i in axes),
            tuple(self.dilations[i] for i in axes),
        )


def window_of(node: OperatorNode, spatial: Sequence[int], kernel: Sequence[int]) -> Window:
    """The window of Conv or a pooling over ``spatial`` input sizes; resolves ``auto_pad``."""
    rank = len(kernel)
    strides = tuple(node.attribute("strides") or (1,) * rank)
    dilations = tuple(node.attribute("dilations") or (1,) * rank)
    mode = node.attribute("auto_pad", "NOTSET")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode == "NOTSET":
        return Window(strides, tuple(node.attribute("pads") or (0,) * (2 * rank)), dilations)
    if mode == "VALID":
        return Window(strides, (0,) * (2 * rank), dilations)
    begin, end = [], []
    for i in range(rank):
        outputs = -(-spatial[i] // strides[i])
        reach = (outputs - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1
        total = max(0, reach - spatial[i])
        begin.append(total // 2 if mode == "SAME_UPPER" else total - total // 2)
        end.append(total - begin[-1])
    return Window(strides, (*begin, *end), dilations)
