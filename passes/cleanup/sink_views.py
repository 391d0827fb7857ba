"""Moves reshapes behind the elementwise operators that follow them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.ir import Array, VariableNode
from burnish.numerics import Numerics
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, Miss, Op, Rewriter, Rule

VIEWS = "Squeeze|Unsqueeze|Reshape|Flatten"
UNARY = "Abs|Ceil|Elu|Erf|Exp|Floor|Gelu|HardSigmoid|HardSwish|LeakyRelu|Log|Mish|Neg|Relu|" \
    "Selu|Sigmoid|Softplus|Softsign|Sqrt|Swish|Tanh"  # fmt: skip
BINARY = "Add|Div|Mul|Sub"
ELEMENTWISE = frozenset(f"{UNARY}|{BINARY}".split("|"))
HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators whose kernels can go on with elementwise ones, if nothing stands in between."""


@dataclass(frozen=True)
class SinkViews(RulePass):
    """Let elementwise operators follow a product or convolution directly.

    Before:
        y = Relu(Squeeze(Conv(x, w)) + bias)

    After:
        y = Squeeze(Relu(Conv(x, w) + Unsqueeze(bias)))
    """

    name: ClassVar[str] = "sink-views"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """One rule for functions of the view alone, one for those with a constant."""
        return RULES


def _after_heavy(match: Match) -> Miss | None:
    x = match["x"]
    if not _comes_from_heavy(x):
        return Miss("what is reshaped comes from no product or convolution", match.node("view"))
    if len(x.uses) > 1:
        return Miss(f"{x.name or 'the value'} is also read as it is", match.node("view"))
    return None


def _comes_from_heavy(x: VariableNode) -> bool:
    """Whether only elementwise operators lie between a product or convolution and ``x``."""
    node = x.producer
    while node is not None and node.op_type in ELEMENTWISE:
        computed = [v for v in node.inputs if v is not None and not v.is_constant]
        node = computed[0].producer if len(computed) == 1 else None
    return node is not None and node.op_type in HEAVY


def _with_constant(match: Match) -> tuple[int, ...] | Miss:
    """The shape in which the constant meets the value before it is reshaped."""
    miss = _after_heavy(match)
    if miss is not None:
        return miss
    before, after = match["x"].static_shape, match.node("view").output.static_shape
    if before is None or after is None:
        return Miss("the shapes are not known", match.node("view"))
    if match.root.output.static_shape != after:
        return Miss("the constant has more elements than the value", match.root)
    shape = _shape_before(before, after, match.constant("c").shape)
    if shape is None:
        return Miss("the reshape does more than add or remove axes of size 1", match.node("view"))
    return shape


def _shape_before(
    before: tuple[int, ...], after: tuple[int, ...], constant: tuple[int, ...]
) -> tuple[int, ...] | None:
    """``constant``, which broadcasts over ``after``, as it broadcasts over ``before``."""
    wide = (1,) * (len(after) - len(constant)) + constant
    sizes = [(size, own) for size, own in zip(after, wide, strict=True) if size != 1]
    if [size for size, _ in sizes] != [size for size in before if size != 1]:
        return None
    own_sizes = iter(own for _, own in sizes)
    return tuple(1 if size == 1 else next(own_sizes) for size in before)


def _sink(rewriter: Rewriter, match: Match, inputs: list[VariableNode]) -> None:
    view, root = match.node("view"), match.root
    moved = VariableNode(dtype=root.output.dtype, shape=match["x"].shape)
    result = rewriter.op(root.op_type, inputs, root.attributes, domain=root.domain, like=moved)
    again = rewriter.op(view.op_type, [result, *view.inputs[1:]], view.attributes, like=root.output)
    rewriter.replace(root.output, again)


def _sink_unary(rewriter: Rewriter, match: Match, _: None) -> None:
    _sink(rewriter, match, [match["x"]])


def _sink_binary(rewriter: Rewriter, match: Match, shape: tuple[int, ...]) -> None:
    array: Array = match.constant("c").numpy().reshape(shape)
    constant = rewriter.constant(array)
    first = match.root.input(0) is match.node("view").output
    _sink(rewriter, match, [match["x"], constant] if first else [constant, match["x"]])


_VIEW = Op(VIEWS, Any("x"), name="view", open_ended=True)
RULES = (
    Rule("sink-view-unary", Op(UNARY, _VIEW), _sink_unary, _after_heavy),
    Rule("sink-view-before-constant", Op(BINARY, _VIEW, Const("c")), _sink_binary, _with_constant),
    Rule("sink-view-behind-constant", Op(BINARY, Const("c"), _VIEW), _sink_binary, _with_constant),
)
