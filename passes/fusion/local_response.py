"""Recognises local response normalization as torch spells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from burnish.ir import DType, OperatorNode
from burnish.numerics import Numerics
from burnish.passes.fusion.constants import is_number, number
from burnish.passes.fusion.forms import square, widened
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Const, Match, Miss, Op, Rewriter, Rule

X = Any("x")
VIEWS = "Reshape|Squeeze|Unsqueeze"


@dataclass(frozen=True)
class RecogniseLocalResponse(RulePass):
    """Replace the arithmetic of local response normalization by LRN.

    Before:
        a = Squeeze(AveragePool(Reshape(x * x, [batch, 1, channels, height, width])))
        y = x / (a * alpha + bias) ** beta

    After:
        y = LRN(x)
    """

    name: ClassVar[str] = "recognise-local-response"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """For code generation it stays: there are kernels of the parts, not of LRN."""
        return (RULE,) if context.target is None else (replace(RULE, guard=_without_kernel),)


@dataclass(frozen=True)
class Response:
    """Attributes of LRN."""

    alpha: float
    beta: float
    bias: float
    size: int


def _read(match: Match) -> Response | Miss:
    pool, x = match.node("pool"), match["x"]
    kernel = pool.attribute("kernel_shape")
    folded = pool.inputs[0]
    assert folded is not None
    if x.shape is None or folded.shape is None or len(x.shape) < 3 or len(folded.shape) < 4:
        return Miss("the shape of the data is unknown", pool)
    known = x.shape[0] is not None and isinstance(x.shape[1], int)
    if not known or folded.shape[:3] != (x.shape[0], 1, x.shape[1]):
        return Miss("what is averaged over are not the channels", pool)
    size = kernel[0]
    if size % 2 == 0 or any(extent != 1 for extent in kernel[1:]):
        return Miss("the average does not go over as many channels on both sides", pool)
    if not _is_centered(pool, size // 2, len(kernel)):
        return Miss("the average skips channels, or counts those at the ends otherwise", pool)
    if match.root.output.shape is None:
        return Miss("the shape of the result is unknown", match.root)
    if x.dtype is not DType.FLOAT:
        return Miss("ONNX Runtime has LRN for float32 only", match.root)
    problem = widened(match)
    if problem is not None:
        return problem
    numbers = [number(match[name]) for name in ("alpha", "beta", "bias")]
    alpha, beta, bias = (0.0 if value is None else value for value in numbers)
    return Response(alpha, beta, bias, size)


def _without_kernel(match: Match) -> Miss:
    return Miss("there is no kernel of LRN, and there are kernels of its parts", match.root)


def _is_centered(pool: OperatorNode, half: int, axes: int) -> bool:
    """Whether ``pool`` makes one average per channel, of zeros beyond the first and the last."""
    pads = (half, *(0,) * (axes - 1)) * 2
    plain = all(
        all(step == 1 for step in pool.attribute(name) or ()) for name in ("strides", "dilations")
    )
    counts = pool.attribute("count_include_pad", 0) or not half
    named = pool.attribute("auto_pad", "NOTSET") in ("NOTSET", b"NOTSET")
    return bool(plain and counts and named and tuple(pool.attribute("pads") or ()) == pads)


def _write(rw: Rewriter, match: Match, facts: Response) -> None:
    output = match.root.output
    attributes = {
        "alpha": facts.alpha, "beta": facts.beta, "bias": facts.bias, "size": facts.size,
    }  # fmt: skip
    rw.replace(output, rw.op("LRN", [match["x"]], attributes, like=output))


FOLDED = Op(VIEWS, square(X), open_ended=True)
AVERAGE = Op(VIEWS, Op("AveragePool", FOLDED, name="pool"), open_ended=True)
SCALED = Op("Mul", AVERAGE, Const("alpha", is_number))
POWER = Op("Pow", Op("Add", SCALED, Const("bias", is_number)), Const("beta", is_number))
RULE = Rule("local-response", Op("Div", X, POWER), _write, _read, since=7)
