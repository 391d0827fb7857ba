"""Folds padding into the operator that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.ir import OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.fusion.constants import integers, number
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, Op, Rewriter, Rule

NEVER_NEGATIVE = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softplus", "Softmax", "Abs"})


@dataclass(frozen=True)
class FusePad(RulePass):
    """Fold a Pad into the convolution or pooling that reads it.

    Before:
        y = Conv(Pad(x, [0, 0, 1, 1, 0, 0, 1, 1]), w)

    After:
        y = Conv[pads=(1, 1, 1, 1)](x, w)

    Zeros go into Conv and AveragePool, minus infinity into MaxPool, and zeros as well where the
    data is never negative.
    """

    name: ClassVar[str] = "fuse-pad"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """One rule per kind of reader."""
        return RULES


@dataclass(frozen=True)
class Padding:
    """Sizes and value of a constant padding."""

    sizes: tuple[int, ...]
    """Elements before every spatial axis, then after every one."""
    value: float


def _read_padding(match: Match) -> Padding | Miss:
    """What the Pad adds, together with the pads that its reader has."""
    pad, root = match.node("pad"), match.root
    if pad.attribute("mode", "constant") != "constant":
        return Miss(f"the padding is {pad.attribute('mode')}, not constant", pad)
    rank = match["data"].rank
    sizes = padding_sizes(pad, rank)
    if rank is None or sizes is None:
        return Miss("the sizes of the padding are unknown", pad)
    if min(sizes) < 0:
        return Miss("the padding is negative", pad)
    if any(sizes[axis] for axis in (0, 1, rank, rank + 1)):
        return Miss("batch or channels are padded", pad)
    if root.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return Miss(f"{root.op_type} sizes its own padding (auto_pad)", root)
    given = pad.input(2)
    value = number(given) if given is not None else pad.attribute("value", 0.0)
    if value is None:
        return Miss("the value of the padding is unknown", pad)
    spatial = (*sizes[2:rank], *sizes[rank + 2 :])
    own = root.attribute("pads") or (0,) * len(spatial)
    return Padding(tuple(a + b for a, b in zip(own, spatial, strict=True)), value)


def padding_sizes(pad: OperatorNode, rank: int | None) -> tuple[int, ...] | None:
    """Elements added before every axis of the data, then after every one."""
    sizes = pad.attribute("pads") or integers(pad.input(1))
    if sizes is None or rank is None:
        return None
    axes = tuple(range(rank)) if pad.input(3) is None else integers(pad.input(3))
    if axes is None:
        return None
    spread = [0] * (2 * rank)
    for position, axis in enumerate(axes):
        spread[axis % rank] = sizes[position]
        spread[axis % rank + rank] = sizes[position + len(axes)]
    return tuple(spread)


def _into_conv(match: Match) -> Padding | Miss:
    padding = _read_padding(match)
    if isinstance(padding, Padding) and padding.value != 0:
        return Miss(f"the padding is {padding.value:g}, Conv pads with zeros", match.node("pad"))
    return padding


def _into_average(match: Match) -> Padding | Miss:
    padding, pool = _into_conv(match), match.root
    if isinstance(padding, Miss):
        return padding
    if pool.attribute("ceil_mode", 0):
        return Miss("AveragePool rounds its size up", pool)
    if any(pool.attribute("pads") or ()) and not pool.attribute("count_include_pad", 0):
        return Miss("AveragePool pads as well and does not count that", pool)
    return _fits_kernel(match, padding)


def _into_max(match: Match) -> Padding | Miss:
    padding = _read_padding(match)
    if isinstance(padding, Miss):
        return padding
    if match.root.attribute("ceil_mode", 0) or any(v.uses for v in match.root.outputs[1:]):
        return Miss("MaxPool rounds its size up or returns indices", match.root)
    if padding.value != float("-inf") and not (
        padding.value == 0 and _is_never_negative(match["data"])
    ):
        return Miss(f"MaxPool pads with minus infinity, not {padding.value:g}", match.node("pad"))
    if any(step != 1 for step in match.root.attribute("dilations") or ()):
        return Miss("a window with gaps may hold nothing but padding", match.root)
    return _fits_kernel(match, padding)


def _is_never_negative(value: VariableNode) -> bool:
    node = value.producer
    if node is None or node.domain:
        return False
    if node.op_type == "Clip":
        low = number(node.input(1)) if node.input(1) is not None else node.attribute("min")
        return low is not None and low >= 0
    return node.op_type in NEVER_NEGATIVE


def _fits_kernel(match: Match, padding: Padding) -> Padding | Miss:
    """Pooling must not have windows that hold nothing but padding."""
    kernel = match.root.attribute("kernel_shape")
    if any(size >= k for size, k in zip(padding.sizes, (*kernel, *kernel), strict=True)):
        return Miss("the padding is as large as the window", match.root)
    return padding


def _write(rw: Rewriter, match: Match, facts: Padding) -> None:
    root = match.root
    attributes = {**root.attributes, "pads": facts.sizes}
    attributes.pop("auto_pad", None)
    if root.op_type == "AveragePool":
        attributes["count_include_pad"] = 1
    inputs = [match["data"], *root.inputs[1:]]
    rw.replace(root.output, rw.op(root.op_type, inputs, attributes, like=root.output))


# Every reader takes the padding in by itself, so that others may read it as well.
PADDED = Op("Pad", Any("data"), name="pad", open_ended=True, shared=True)

RULES = (
    Rule("pad-into-conv", Op("Conv", PADDED, open_ended=True), _write, _into_conv),
    Rule("pad-into-average-pool", Op("AveragePool", PADDED), _write, _into_average, since=7),
    Rule("pad-into-max-pool", Op("MaxPool", PADDED), _write, _into_max),
)
