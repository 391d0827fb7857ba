"""Recognises rotary position embeddings in the spellings of exporters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from burnish.ir import DType, OperatorNode, Shape, VariableNode
from burnish.numerics import Numerics
from burnish.passes.fusion.constants import integers
from burnish.passes.fusion.rotary_angles import Recipe, for_batch, halved, per_position
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, OneOf, Op, Pattern, Rewriter, Rule, Scalar


@dataclass(frozen=True)
class RecogniseRotary(RulePass):
    """Replace the arithmetic of rotary position embeddings by the operator.

    Before:
        y = x * cos + Concat(-x[..., half:], x[..., :half]) * sin

    After:
        y = RotaryEmbedding(x, cos[..., :half], sin[..., :half])

    Channels may be turned in halves or in neighbouring pairs, all of them or the first few; cosines
    and sines may be tables, gathered from tables by position, or computed. The method is that of
    RoFormer (Su et al., 2021, arXiv:2104.09864).
    """

    name: ClassVar[str] = "recognise-rotary"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """All channels, then the first few."""
        return RULES


FLOATS = (DType.FLOAT, DType.FLOAT16, DType.BFLOAT16)


@dataclass(frozen=True)
class Rotation:
    """What to write."""

    cos: Recipe
    sin: Recipe
    heads: int
    """The axis of the heads, 1 or 2; positions have the other."""
    interleaved: bool


X, SOURCE = Any("x"), Any("source")
"""What is rotated, and what it is cut from: where Slices were merged, so are its halves."""


def _part(name: str, index: int, whole: Any = SOURCE) -> Pattern:
    """The first or second half of the channels, or every other one."""
    return OneOf(
        Op("Slice", whole, name=name, shared=True, open_ended=True),
        Op("Split", whole, name="split", output=index, shared=True, open_ended=True),
    )


def _negative(value: Pattern) -> Pattern:
    return OneOf(Op("Neg", value), Op("Mul", value, Scalar(-1.0)))


def _paired(first: Pattern, second: Pattern) -> Op:
    """Elements of both in turn."""
    apart = [Op("Unsqueeze|Reshape", part, open_ended=True) for part in (first, second)]
    return Op("Reshape", Op("Concat", *apart, name="joined"), Any(), name="merged")


_LOW, _HIGH = _part("low", 0), _part("high", 1)
_TURNED = (_negative(_HIGH), _LOW)
TURNED = OneOf(Op("Concat", *_TURNED, name="joined"), _paired(*_TURNED))
WHOLE = Op("Add", Op("Mul", X, Any("cos")), Op("Mul", TURNED, Any("sin")))

_REAL = Op("Sub", Op("Mul", _LOW, Any("cos")), Op("Mul", _HIGH, Any("sin")))
_IMAGINARY = Op("Add", Op("Mul", _HIGH, Any("cos")), Op("Mul", _LOW, Any("sin")))
PARTS = OneOf(Op("Concat", _REAL, _IMAGINARY, name="joined"), _paired(_REAL, _IMAGINARY))


def _read(match: Match) -> Rotation | Miss:
    x = _rotated_value(match)
    rows = x.shape
    if rows is None or len(rows) != 4 or None in rows or not isinstance(rows[3], int):
        return Miss("what is rotated does not have four known axes", match.root)
    if x.dtype not in FLOATS:
        return Miss(f"rotation of {x.dtype} has no operator", match.root)
    interleaved = "merged" in match
    problem = _parts_problem(match, rows[3], interleaved=interleaved)
    if problem is not None:
        return problem
    heads = _heads_axis(match["cos"].shape, rows)
    if heads is None or _heads_axis(match["sin"].shape, rows) != heads:
        return Miss("cosines and sines do not go along the positions of the data", match.root)
    cos, sin = (_angles(match, name, rows[3], interleaved=interleaved) for name in ("cos", "sin"))
    if cos is None or sin is None:
        reason = "it is unknown whether both halves of the channels turn by the same angles"
        return Miss(reason, match.root)
    return Rotation(cos, sin, heads, interleaved)


def _rotated_value(match: Match) -> VariableNode:
    return match.values.get("x") or match["source"]


def _angles(match: Match, name: str, channels: int, *, interleaved: bool) -> Recipe | None:
    """How to make the angles of half the channels."""
    value = match[name]
    assert value.shape is not None
    if value.shape[-1] == channels // 2:
        return lambda rw: value
    return halved(value, interleaved=interleaved)


def _parts_problem(match: Match, channels: int, *, interleaved: bool) -> Miss | None:
    joined, half, x = match.node("joined"), channels // 2, _rotated_value(match)
    shape = joined.output.shape
    if shape is None or joined.attribute("axis") not in (-1, len(shape) - 1) or channels % 2:
        return Miss("the parts are not joined along the channels", joined)
    if interleaved and (shape[-2:] != (half, 2) or match.node("merged").output.shape != x.shape):
        return Miss("the parts are not joined in pairs", joined)
    if "split" in match:
        node = match.node("split")
        even = node.output.shape is not None and node.output.shape[-1] == half
        along = node.attribute("axis", 0) in (-1, 3)
        if interleaved or not (even and along) or x is not match["source"]:
            return Miss("the channels are not split in halves", node)
        return None
    first = _offset(x, match["source"])
    total = None if match["source"].shape is None else match["source"].shape[-1]
    if first is None or not isinstance(total, int):
        return Miss("what is rotated is not what its halves are cut from", match.root)
    step, second = (2, 1) if interleaved else (1, half)
    for name, start in (("low", first), ("high", first + second)):
        if not _is_slice(match.node(name), start, step, half, total):
            return Miss("the channels are not cut in halves", match.node(name))
    return None


def _offset(x: VariableNode, source: VariableNode) -> int | None:
    """The first channel of ``source`` that ``x`` has, which are without a gap."""
    if x is source:
        return 0
    node = x.producer
    if node is None or not node.is_op("Slice") or node.inputs[0] is not source:
        return None
    starts, channels, total = integers(node.input(1)), (x.shape or (0,))[-1], source.shape
    if starts is None or not isinstance(channels, int) or total is None:
        return None
    if not isinstance(total[-1], int):
        return None
    first = starts[0] % total[-1] if starts[0] < 0 else starts[0]
    return first if _is_slice(node, first, 1, channels, total[-1]) else None


def _is_slice(node: OperatorNode, start: int, step: int, count: int, channels: int) -> bool:
    """Whether a Slice takes ``count`` of the channels from ``start`` on, each ``step``-th."""
    starts, axes = integers(node.input(1)), integers(node.input(3))
    steps = (1,) if node.input(4) is None else integers(node.input(4))
    shape = node.output.shape
    if starts is None or axes not in ((-1,), (3,)) or shape is None or len(starts) != 1:
        return False
    first = starts[0] + channels if starts[0] < 0 else starts[0]
    return (first, steps, shape[-1]) == (start, (step,), count)


def _heads_axis(shape: Shape, rows: Shape) -> int | None:
    """The axis of the heads in data ``rows``, along which angles of ``shape`` do not change."""
    if shape is None or rows is None or len(shape) > 4 or None in shape:
        return None
    wide = (1,) * (4 - len(shape)) + shape
    if wide[0] not in (1, rows[0]):
        return None
    for heads in (1, 2):
        if wide[heads] == 1 and wide[3 - heads] == rows[3 - heads]:
            return heads
    return None


def _write(rw: Rewriter, match: Match, facts: Rotation) -> None:
    x = _rotated_value(match)
    caches = []
    for recipe in (facts.cos, facts.sin):
        angles = per_position(rw, recipe(rw), facts.heads)
        caches.append(for_batch(rw, angles, x))
    attributes: dict[str, object] = {"interleaved": 1} if facts.interleaved else {}
    rw.replace(match.root.output, _rotated(rw, x, caches, attributes, facts.heads))


def _rotated(
    rw: Rewriter, x: VariableNode, caches: Sequence[VariableNode | None],
    attributes: dict[str, object], heads: int,
) -> VariableNode:  # fmt: skip
    """The operator, with heads beside channels where they come after the positions."""
    assert x.shape is not None
    if heads == 1:
        return rw.op("RotaryEmbedding", [x, *caches], attributes, like=x)
    batch, positions, count, channels = x.shape
    width = count * channels if isinstance(count, int) and isinstance(channels, int) else None
    merged = rw.op("Reshape", [x, rw.constant(np.array([0, 0, -1]))], like=x)
    merged.shape = (batch, positions, width)
    attributes["num_heads"] = count
    turned = rw.op("RotaryEmbedding", [merged, *caches], attributes, like=merged)
    apart = rw.constant(np.array([0, 0, count, channels]))
    return rw.op("Reshape", [turned, apart], like=x)


def _some(turned: Pattern) -> Pattern:
    rest = OneOf(
        Op("Slice", X, name="rest", shared=True, open_ended=True),
        Op("Split", X, name="split", output=1, shared=True, open_ended=True),
    )
    return Op("Concat", turned, rest, accept=_starts_rotated)


def _starts_rotated(node: OperatorNode) -> bool:
    """Whether the first part was rotated: other Concats are no near misses."""
    first = node.inputs[0].producer if node.inputs and node.inputs[0] is not None else None
    if first is not None and first.is_op("Reshape") and first.inputs[0] is not None:
        first = first.inputs[0].producer
    return first is not None and first.is_op("RotaryEmbedding")


_FIRST = _part("first", 0, X)
_CACHES = (Any("cos"), Any("sin"))
_TURN = Op("RotaryEmbedding", _FIRST, *_CACHES, name="turn", open_ended=True)
_FLAT = Op("RotaryEmbedding", Op("Reshape", _FIRST, Any()), *_CACHES, name="turn", open_ended=True)
FEW = OneOf(_some(_TURN), _some(Op("Reshape", _FLAT, Any(), name="apart")))


@dataclass(frozen=True)
class Part:
    """Which channels of the source there are, and how many of them are turned."""

    start: int
    count: int
    turned: int


def _read_few(match: Match) -> Part | Miss:
    whole, turn, source = match.root, match.node("turn"), match["x"].shape
    shape = whole.output.shape
    if source is None or shape is None or len(source) != 4 or None in (*source, *shape):
        return Miss("what is rotated in part does not have four known axes", whole)
    if whole.attribute("axis") not in (-1, 3) or turn.attribute("rotary_embedding_dim", 0):
        return Miss("the parts are not joined along the channels", whole)
    if ("apart" in match) != bool(turn.attribute("num_heads", 0)):
        return Miss("the heads are beside the channels", turn)
    node = match.node("split" if "split" in match else "first")
    first, channels, total = (node.output.shape or (None,))[-1], shape[-1], source[3]
    if not (isinstance(channels, int) and isinstance(first, int) and isinstance(total, int)):
        return Miss("the number of channels is unknown", whole)
    if "split" in match:
        along = node.attribute("axis", 0) in (-1, 3) and channels == total
        problem = Miss("the channels are not split in two", whole)
        return Part(0, channels, first) if along else problem
    starts = integers(node.input(1)) or (0,)
    start = starts[0] % total
    cuts = (("first", start, first), ("rest", start + first, channels - first))
    if all(_is_slice(match.node(name), begin, 1, n, total) for name, begin, n in cuts):
        return Part(start, channels, first)
    return Miss("it is not the first channels that are rotated, and the others kept", whole)


def _write_few(rw: Rewriter, match: Match, facts: Part) -> None:
    turn, x = match.node("turn"), match["x"]
    assert x.shape is not None
    if facts.count != x.shape[-1]:
        cut = [(facts.start,), (facts.start + facts.count,), (-1,)]
        x = rw.op("Slice", [x, *(rw.constant(np.array(i)) for i in cut)], like=match.root.output)
    attributes = {**turn.attributes, "rotary_embedding_dim": facts.turned}
    heads = 2 if "apart" in match else 1
    rw.replace(match.root.output, _rotated(rw, x, turn.inputs[1:], attributes, heads))


RULES = (
    Rule("rotary", WHOLE, _write, _read, since=23),
    Rule("rotary-parts", PARTS, _write, _read, since=23),
    Rule("rotary-few-channels", FEW, _write_few, _read_few, since=23),
)
