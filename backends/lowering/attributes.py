"""Attributes of windows and of slices in one form: explicit strides, pads, starts and steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from burnish.backends.lowering.plan import shape_of
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


def starts_and_steps(node: OperatorNode) -> dict[int, tuple[int, int]]:
    """Where a Slice with constant parameters starts along each axis that it names, and its step."""
    x = node.inputs[0]
    assert x is not None
    shape = shape_of(x)
    starts, ends, axes, steps = (integers(node, index) for index in range(1, 5))
    found: dict[int, tuple[int, int]] = {}
    for position, start in enumerate(starts or ()):
        axis = (axes[position] if axes else position) % len(shape)
        step = steps[position] if steps else 1
        low, _, _ = slice(start, (ends or ())[position], step).indices(shape[axis])
        found[axis] = (low, step)
    return found


def integers(node: OperatorNode, index: int) -> list[int] | None:
    """The numbers of a constant input, None if there is no such input."""
    constant = node.constant_input(index)
    return None if constant is None else [int(v) for v in constant.numpy().reshape(-1)]
