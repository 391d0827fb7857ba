"""Convolutions to few channels as convolutions to more: a block of outputs becomes one of them.

A vector of output channels is mostly padding where there are few. Folding makes one position of a
block of adjacent outputs, whose channels, ``[*block, C]``, become its columns. Its kernel covers
all that any output of the block reads, with zeros where one of them reads less. A transposed
convolution becomes an ordinary one by that: blocks as long as its strides all read alike.

An input that is not finite reaches the whole of a block.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import gcd, prod

import numpy as np

from burnish.backends.kernels.geometry import Axis
from burnish.backends.kernels.packing import Weights, lane_count
from burnish.backends.kernels.winograd import KERNEL, is_filter
from burnish.backends.machine import MEMORY

_MOST = 16
"""Most outputs of a block along one axis."""
_PAIRS = 1 << 18
"""Most pairs of an output of a block and a kernel position along an axis: each is looked at."""
MOST_PHASES = 64
"""Of a transposed convolution in single outputs. Each is code of its own: 256 of them took longer
to compile than a minute."""
_GROWTH, _SMALL = 4, 1 << 18
"""Most folded weights for each given one, where they are more elements than a few."""
_NARROW = 0.6
"""Time of a product of half a 512-bit vector or less, next to that of a whole one."""
_CLEARLY = 0.8
"""What folding must take of the time of all products to be worth a pass over the results."""
_PASS = 0.3
"""Time of that pass for one result, next to that of a product of vectors."""
_MOVE = 0.4
"""The same for putting it in its place, where blocks have several lines."""
_LAUNCH = 1000
"""The same for a further kernel."""
_MULTIPLY, _DATA, _RESULT = 1.15, 8, 5
"""The same for one product of minimal filtering, and to transform vectors of inputs and of sums."""


@dataclass(frozen=True)
class FoldedAxis:
    """One spatial axis of a convolution in blocks of ``block`` outputs."""

    axis: Axis
    block: int
    skip: int = 0
    """Positions of the first block that lie before the first output."""

    @property
    def is_single(self) -> bool:
        """Whether outputs stay by themselves."""
        return self.block == 1

    @cached_property
    def reached(self) -> dict[tuple[int, int], int]:
        """The input that (output of the first block, kernel position) reads."""
        axis, found = self.axis, {}
        for output, tap in product(range(self.block), range(axis.kernel)):
            if not axis.transposed:
                found[output, tap] = output * axis.stride + tap * axis.dilation - axis.pad
            else:
                place, off = divmod(
                    output - self.skip + axis.pad - tap * axis.dilation, axis.stride
                )
                if off == 0:
                    found[output, tap] = place
        return found

    @cached_property
    def places(self) -> dict[tuple[int, int], int]:
        """The position in the kernel of a block of (output of the block, kernel position)."""
        if self.is_single:
            return {(0, tap): tap for tap in range(self.axis.kernel)}
        first = min(self.reached.values())
        return {at: (place - first) // self._dilation for at, place in self.reached.items()}

    @property
    def kernel(self) -> int:
        """Kernel positions of a block."""
        return max(self.places.values()) + 1

    @property
    def reads(self) -> float:
        """Kernel positions of a block that exist on average."""
        axis = self.axis
        return axis.kernel / axis.stride if self.is_single and axis.transposed else self.kernel

    @property
    def folded(self) -> Axis:
        """The axis of which blocks are the outputs; the last one may go beyond ``axis``."""
        axis = self.axis
        if self.is_single:
            return axis
        stride = self.block // axis.stride if axis.transposed else self.block * axis.stride
        first = min(self.reached.values())
        outputs = -(-(axis.outputs + self.skip) // self.block)
        return Axis(axis.inputs, outputs, self.kernel, stride, self._dilation, -first)

    @property
    def _dilation(self) -> int:
        places = self.reached.values()
        return gcd(*(place - min(places) for place in places)) or 1


Folding = tuple[FoldedAxis, ...]
"""All spatial axes of a convolution."""


@dataclass(frozen=True)
class Costs:
    """What the time of a convolution depends on beside its axes.

    Times are in products of vectors for one result and input channel.
    """

    batch: int
    """Number of pictures."""
    depth: int
    """Input channels of a group."""
    columns: int
    """Output channels of a group."""
    lanes: int
    """Of the longest vectors."""
    winograd: int = 1
    """Outputs along each axis that may share products, by minimal filtering."""
    groups: int = 1
    """Channel groups."""

    def holds(self, option: Folding) -> bool:
        """Whether the weights of blocks stay small, or not much more than those of outputs."""
        given = self.groups * self.depth * self.columns * prod(a.axis.kernel for a in option)
        folded = self.groups * self.depth * self.columns
        folded *= prod(axis.block * axis.kernel for axis in option)
        return folded <= max(_SMALL, _GROWTH * given)

    def single(self, axes: Sequence[Axis]) -> float:
        """The time without folding."""
        taps = prod(axis.kernel / (axis.stride if axis.transposed else 1) for axis in axes)
        return self._products(axes, taps, self.columns)

    def folded(self, option: Folding) -> float:
        """The time in blocks."""
        columns = self.columns * prod(axis.block for axis in option)
        folded = [axis.folded for axis in option]
        made = prod(axis.outputs for axis in folded) / prod(axis.axis.outputs for axis in option)
        return made * self._products(folded, prod(axis.reads for axis in option), columns)

    def _products(self, axes: Sequence[Axis], taps: float, columns: int) -> float:
        vectors = _vectors(columns, self.lanes)
        direct = taps * vectors
        if self.winograd == 1 or self.depth < self.lanes or not is_filter(axes):
            return direct
        products = (1 + (KERNEL - 1) / self.winograd) ** 2
        transforms = _DATA / self.lanes + _RESULT * vectors / self.depth
        # Tiles at the end of a line are computed whole.
        products *= prod(-(-a.outputs // self.winograd) * self.winograd / a.outputs for a in axes)
        outputs = self.batch * prod(axis.outputs for axis in axes)
        weights = (self.winograd + KERNEL - 1) ** 2 * columns * 4 / MEMORY / outputs
        return min(direct, max(products * (_MULTIPLY * vectors + transforms), weights))


def folding(axes: Sequence[Axis], costs: Costs) -> Folding | None:
    """The blocks in which a convolution takes the least time, None if single outputs do.

    Where single outputs would be too much code, blocks that are not. Groups only then: results of
    theirs have to be put in their places whatever the blocks.
    """
    crowded = has_many_phases(axes)
    if costs.groups > 1 and not crowded:
        return None
    options = [
        (costs.folded(option), option)
        for option in _options(axes)
        if costs.holds(option) and not has_many_phases(a.axis for a in option if a.is_single)
    ]
    if not options:
        return None
    if crowded:
        return min(options, key=lambda entry: (_phases(entry[1]), entry[0]))[1]
    single = costs.single(axes)
    folded, best = min(options, key=lambda entry: entry[0])
    results = costs.batch * prod(axis.outputs for axis in axes)
    passes = _PASS + (0 if all(axis.is_single for axis in best[:-1]) else _MOVE)
    saved = (single - folded) * costs.depth * results
    pays = folded <= _CLEARLY * single and saved > passes * results * costs.columns + _LAUNCH
    return best if pays else None


def has_many_phases(axes: Iterable[Axis]) -> bool:
    """Whether a kernel with code for each phase of ``axes`` would take too long to compile."""
    return prod(min(a.stride, a.outputs) for a in axes if a.transposed) > MOST_PHASES


def _phases(option: Folding) -> int:
    """Outputs that lie differently to what they read, for each of which there is code."""
    return prod(each.axis.stride for each in option if each.is_single and each.axis.transposed)


def _options(axes: Sequence[Axis]) -> Iterator[Folding]:
    """Ways to fold: outer axes of transposed convolutions by their strides, the last one by any."""
    *outer, last = axes
    lines = [dict.fromkeys((1, axis.stride if axis.transposed else 1)) for axis in outer]
    step = last.stride if last.transposed else 1
    blocks = [*lines, range(step, max(step, _MOST) + 1, step)]
    sides = [list(_along(*each)) for each in zip(axes, blocks, strict=True)]
    yield from product(*sides)


def _along(axis: Axis, blocks: Iterable[int]) -> Iterator[FoldedAxis]:
    """Ways to fold one axis: from its first output, or from where a stride begins before it."""
    for block in blocks:
        begins = axis.pad % axis.stride if axis.transposed and block > 1 else 0
        for skip in dict.fromkeys((0, begins)):
            folded = FoldedAxis(axis, block, skip)
            if block * axis.kernel <= _PAIRS and folded.reached:
                yield folded


def _vectors(columns: int, lanes: int) -> float:
    """Whole vectors that take as long as those of ``columns``."""
    width = lane_count(columns, lanes)
    pace = _NARROW if width < lanes == 16 else 1.0
    return -(-columns // width) * pace


def fold_weights(weights: Weights, axes: Folding, groups: int = 1) -> Weights:
    """``[O, I, *kernel]`` to ``[groups * outputs of a block * O / groups, I, *kernel of a block]``.

    Axis by axis, since what a block reads along one axis does not depend on the others.
    """
    count = len(axes)
    folded = weights
    for i, axis in enumerate(axes):
        given = np.moveaxis(folded, 2 * i + 2, 0)
        wide = np.zeros((axis.block, axis.kernel, *given.shape[1:]), weights.dtype)
        for (output, tap), place in axis.places.items():
            wide[output, place] = given[tap]
        folded = np.moveaxis(wide, (0, 1), (i, 2 * i + 3))
    grouped = folded.reshape(*folded.shape[:count], groups, -1, *folded.shape[count + 1 :])
    return np.moveaxis(grouped, count, 0).reshape(-1, weights.shape[1], *folded.shape[count + 2 :])
