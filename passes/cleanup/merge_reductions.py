"""Write reductions one after the other as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.ir import OperatorNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.reduction_rules import VIEWS, axes_of, without, write_reduction
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, Op, Rewriter, Rule

ASSOCIATIVE = "ReduceMax|ReduceMean|ReduceMin|ReduceProd|ReduceSum|ReduceL1|ReduceLogSumExp"
POOLS = {
    "AveragePool": "ReduceMean", "GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax",
    "MaxPool": "ReduceMax",
}  # fmt: skip


@dataclass(frozen=True)
class MergeReductions(RulePass):
    """Reduce along several axes at once, and drop the axes with the same operator.

    Before:
        y = ReduceMean(ReduceMean(x, axes=[2]), axes=[3])      z = Flatten(GlobalAveragePool(x))

    After:
        y = ReduceMean(x, axes=[2, 3])                         z = ReduceMean(x, [2, 3], keepdims=0)

    For code generation pools stay: a Flatten costs nothing there.
    """

    name: ClassVar[str] = "merge-reductions"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Pools only where ONNX goes out."""
        return RULES if context.target is not None else (*RULES, POOL)


def _all_axes(match: Match) -> tuple[tuple[int, ...], bool] | Miss:
    """Axes of the input that two reductions go over, and whether they are kept."""
    inner, outer = match.node("inner"), match.root
    if inner.op_type != outer.op_type:
        return Miss(f"{inner.op_type} and {outer.op_type} do not make one reduction", outer)
    first, second, rank = axes_of(inner), axes_of(outer), match["x"].rank
    if first is None or second is None or rank is None:
        return Miss("the axes that are reduced are not known", outer)
    keeps_first, keeps = (bool(n.attribute("keepdims", 1)) for n in (inner, outer))
    if not keeps_first:
        left = [axis for axis in range(rank) if axis not in first]
        second = tuple(left[axis] for axis in second)
        if keeps:
            return Miss("the first drops its axes, the second keeps them", outer)
    elif not keeps and not set(first) <= set(second):
        return Miss("the first keeps its axes, the second drops others", outer)
    return tuple(sorted({*first, *second})), keeps and keeps_first


def _reduce(rewriter: Rewriter, match: Match, facts: tuple[tuple[int, ...], bool]) -> None:
    axes, keep = facts
    old = match.root.output
    result = write_reduction(rewriter, match.root.op_type, match["x"], axes, keep, old)
    rewriter.replace(old, result)


def _pools_all(node: OperatorNode) -> bool:
    """Whether the window of a pool is all that there is."""
    if node.op_type.startswith("Global"):
        return True
    if any(node.attribute("pads", ())) or node.attribute("auto_pad", "NOTSET") != "NOTSET":
        return False
    if not set(node.attribute("dilations", ())) <= {1} or len(node.outputs) > 1:
        return False
    source = node.inputs[0]
    shape = None if source is None else source.shape
    return shape is not None and shape[2:] == tuple(node.attribute("kernel_shape", ()))


def _flattened(match: Match) -> tuple[int, ...] | Miss:
    """The spatial axes that a view drops after a pool over them."""
    if not _pools_all(match.node("pool")):
        return Miss("the window of the pool is not all that there is", match.node("pool"))
    x, after = match["x"].shape, match.root.output.shape
    if (
        x is None
        or len(x) < 3
        or after is None
        or None in x[:2]
        or not match["x"].dtype.is_floating
    ):
        return Miss("the shapes are not known: give --input-shape", match.root)
    axes = tuple(range(2, len(x)))
    if after != without(x, axes):
        return Miss("it does more than drop the axes that are pooled", match.root)
    return axes


def _pool(rewriter: Rewriter, match: Match, axes: tuple[int, ...]) -> None:
    old, kind = match.root.output, POOLS[match.node("pool").op_type]
    rewriter.replace(old, write_reduction(rewriter, kind, match["x"], axes, False, old))


RULES = (
    Rule("reduction-of-reduction",
         Op(ASSOCIATIVE, Op(ASSOCIATIVE, Any("x"), open_ended=True, name="inner"), open_ended=True),
         _reduce, _all_axes),
)  # fmt: skip
POOL = Rule("flattened-pool", Op(VIEWS, Op("|".join(POOLS), Any("x"), name="pool"),
                                 open_ended=True), _pool, _flattened)  # fmt: skip
