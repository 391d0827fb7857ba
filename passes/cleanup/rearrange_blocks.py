"""Recognises blocks of space that become channels, and channels that become blocks of space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.windows import credit, positions, read_cuts, split_axis
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, Op, Rewriter, Rule

BLOCK_TO_CHANNELS = (0, 3, 5, 1, 2, 4)
"""[n, c, h, b, w, b] to [n, b, b, c, h, w]: SpaceToDepth."""
CHANNELS_TO_BLOCK = {(0, 3, 4, 1, 5, 2): "DCR", (0, 1, 4, 2, 5, 3): "CRD"}
"""[n, b, b, c, h, w], or [n, c, b, b, h, w], to [n, c, h, b, w, b]: DepthToSpace by its mode."""


@dataclass(frozen=True)
class RearrangeBlocks(RulePass):
    """Move blocks of pixels into channels, or back, without slices.

    Before:
        y = Concat(x[:, :, ::2, ::2], x[:, :, ::2, 1::2], x[:, :, 1::2, ::2], x[:, :, 1::2, 1::2])

    After:
        y = SpaceToDepth(x, blocksize=2)

    Other orders of the blocks, and of axes, take a Transpose between two Reshapes. Not for code
    generation, where slices are part of the kernel that joins them.
    """

    name: ClassVar[str] = "rearrange-blocks"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """None for code generation."""
        return RULES if context.target is None else ()


@dataclass(frozen=True)
class _Patches:
    """Every step-th element along some axes, all phases of them joined along another axis."""

    source: VariableNode
    axis: int
    steps: dict[int, int]
    phases: tuple[tuple[int, ...], ...]
    """For each part the first position along each of the axes of ``steps``."""


def _phase(node: OperatorNode, shape: tuple[int, ...]) -> dict[int, tuple[int, int]] | None:
    """Start and step by axis of a Slice that takes every step-th element to the end."""
    cuts = read_cuts(node)
    if cuts is None:
        return None
    found = {}
    for axis, cut in cuts.items():
        taken = positions(cut, shape[axis])
        if taken is None or taken.step < 2 or taken.start >= taken.step:
            return None
        if shape[axis] % taken.step or len(taken) != shape[axis] // taken.step:
            return None
        found[axis] = (taken.start, taken.step)
    return found


def _patches(match: Match) -> _Patches | Miss:
    root = match.root
    axis = split_axis(root)
    makers = [None if value is None else value.producer for value in root.inputs]
    slices = [node for node in makers if node is not None and node.is_op("Slice")]
    sources = {node.inputs[0] for node in slices}
    if axis is None or len(slices) < 4 or len(slices) < len(makers) or len(sources) > 1:
        return Miss("it joins other things than four slices or more of one value", root)
    source = sources.pop()
    shape = None if source is None else source.static_shape
    if source is None or shape is None:
        return Miss("the sizes of what is sliced are not known: give --input-shape", root)
    if any(use.user is not root for node in slices for use in node.output.uses):
        return Miss("the slices that it joins are also read as they are", root)
    phases = [_phase(node, shape) for node in slices]
    if any(phase is None for phase in phases):
        return Miss("the slices do not take every second element, or third, to the end", root)
    known = [phase for phase in phases if phase is not None]
    steps = {a: step for a, (_, step) in known[0].items()}
    if axis in steps or any({a: s for a, (_, s) in p.items()} != steps for p in known):
        return Miss("the slices go along different axes, or the one that is joined", root)
    starts = tuple(tuple(phase[a][0] for a in sorted(steps)) for phase in known)
    if set(starts) != set(product(*(range(steps[a]) for a in sorted(steps)))):
        return Miss("the slices do not take every element once", root)
    order = _order(starts)
    if len(set(starts)) < len(starts) or order is None:
        return Miss("the slices are not joined in order", root)
    return _Patches(source, axis, steps, starts)


def _order(starts: tuple[tuple[int, ...], ...]) -> tuple[int, ...] | None:
    """In which order the axes are counted, slowest first; None if the parts are in none."""
    count = len(starts[0])
    speeds = [next(i for i, s in enumerate(starts) if s[axis] == 1) for axis in range(count)]
    order = tuple(sorted(range(count), key=lambda axis: -speeds[axis]))
    sizes = [max(s[axis] for s in starts) + 1 for axis in order]
    counted = [tuple(c[order.index(a)] for a in range(count)) for c in
               product(*map(range, sizes))]  # fmt: skip
    return order if tuple(counted) == starts else None


def _rearrange(rewriter: Rewriter, match: Match, patches: _Patches) -> None:
    """Reshape, Transpose, Reshape; or SpaceToDepth where that is what they do."""
    root, source = match.root, patches.source
    shape, old = source.static_shape, root.output
    assert shape is not None
    slices = [value.producer for value in root.inputs if value is not None]
    credit(rewriter, *slices)
    by_row = _order(patches.phases) == (0, 1)
    if len(shape) == 4 and patches.axis == 1 and patches.steps in _SQUARES and by_row:
        block = {"blocksize": patches.steps[2]}
        rewriter.replace(old, rewriter.op("SpaceToDepth", [source], block, like=old))
    else:
        _write_transposed(rewriter, patches, shape, old)
    rewriter.erase_unused([root, *(node for node in slices if node is not None)])


_SQUARES = tuple({2: step, 3: step} for step in range(2, 9))


def _write_transposed(
    rewriter: Rewriter, patches: _Patches, shape: tuple[int, ...], old: VariableNode
) -> None:
    split: list[int] = []
    outer: dict[int, int] = {}
    inner: dict[int, int] = {}
    for axis, size in enumerate(shape):
        outer[axis] = len(split)
        step = patches.steps.get(axis, 1)
        split.append(size // step)
        if step > 1:
            inner[axis] = len(split)
            split.append(step)
    order = _order(patches.phases)
    assert order is not None
    axes = sorted(patches.steps)
    perm: list[int] = []
    for axis in range(len(shape)):
        if axis == patches.axis:
            perm += [inner[axes[position]] for position in order]
        perm.append(outer[axis])
    apart, moved = VariableNode(dtype=old.dtype), VariableNode(dtype=old.dtype)
    apart.shape, moved.shape = tuple(split), tuple(split[axis] for axis in perm)
    sizes = rewriter.constant(np.array(split, np.int64))
    blocks = rewriter.op("Reshape", [patches.source, sizes], like=apart)
    turned = rewriter.op("Transpose", [blocks], {"perm": tuple(perm)}, like=moved)
    assert old.static_shape is not None
    target = rewriter.constant(np.array(old.static_shape, np.int64))
    rewriter.replace(old, rewriter.op("Reshape", [turned, target], like=old))


def _blocks(match: Match) -> tuple[str, int, str] | Miss:
    """The operator that a Reshape, Transpose and Reshape are, with block size and mode."""
    perm = tuple(match.node("transpose").attribute("perm") or ())
    x, apart = match["x"].static_shape, match.node("apart").output.static_shape
    result = match.root.output.static_shape
    if x is None or apart is None or result is None:
        return Miss("the shapes are not known: give --input-shape", match.root)
    if len(x) != 4 or len(apart) != 6 or len(result) != 4:
        return Miss("it is no image with blocks that is transposed", match.root)
    if perm == BLOCK_TO_CHANNELS:
        n, c, h, b, w, again = apart
        if b == again and x == (n, c, h * b, w * b) and result == (n, b * b * c, h, w):
            return "SpaceToDepth", b, ""
    mode = CHANNELS_TO_BLOCK.get(perm)
    if mode is not None:
        n, h, w = apart[0], apart[4], apart[5]
        (b, again, c) = apart[1:4] if mode == "DCR" else (*apart[2:4], apart[1])
        if b == again and x == (n, b * b * c, h, w) and result == (n, c, h * b, w * b):
            return "DepthToSpace", b, mode
    return Miss("its axes are not those of blocks of space", match.root)


def _write_blocks(rewriter: Rewriter, match: Match, facts: tuple[str, int, str]) -> None:
    op_type, block, mode = facts
    attributes: dict[str, int | str] = {"blocksize": block}
    if mode and not (mode == "DCR" and rewriter.graph.opset < 11):
        attributes["mode"] = mode
    old = match.root.output
    rewriter.replace(old, rewriter.op(op_type, [match["x"]], attributes, like=old))


_APART = Op("Reshape", Any("x"), Any(), name="apart")
RULES = (
    Rule("patches", Op("Concat"), _rearrange, _patches, since=5),
    Rule("blocks", Op("Reshape", Op("Transpose", _APART, name="transpose"), Any()),
         _write_blocks, _blocks, since=11),
)  # fmt: skip
