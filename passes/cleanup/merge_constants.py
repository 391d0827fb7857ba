"""Write chains of sums, or of products, with constants as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np

from burnish.ir import Array, OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.constant_terms import (
    Factor,
    Shift,
    cancels,
    fits,
    grown,
    read_factor,
    read_shift,
    settled,
    write_factor,
    write_shift,
)
from burnish.passes.cleanup.remove_no_ops import can_stand_in
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Any, Match, Miss, OneOf, Op, Pattern, Rewriter, Rule

Term = TypeVar("Term", Shift, Factor)


@dataclass(frozen=True)
class MergeConstants(RulePass):
    """Merge constants that are added, or multiplied with, one after the other.

    Before:
        y = (x + 1) + 2          z = 6 / (x * 2)          u = (x / 255 - mean) / deviation

    After:
        y = x + 3                z = 3 / x                u = x * (1 / 255 / deviation) + shift
    """

    name: ClassVar[str] = "merge-constants"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """Two of a kind first; then a sum between products, a product between sums."""
        return RULES


@dataclass(frozen=True, eq=False)
class Merged:
    """What one operator computes in place of two, its constant rounded."""

    x: VariableNode
    sign: int
    amount: Array


def _named(match: Match, result: Merged, neutral: int) -> Merged | Miss:
    """``result`` unless it is nothing but an input that cannot take over a name."""
    old = match.root.output
    nothing = result.sign > 0 and bool(np.all(result.amount == neutral))
    if not nothing or not fits(result.x, result.amount, old) or can_stand_in(result.x, old):
        return result
    return Miss("a graph output must keep its own name", match.root)


def _terms(match: Match, read: Callable[[OperatorNode], Term | Miss]) -> tuple[Term, Term] | Miss:
    """What the inner and the outer operator do with their constants."""
    inner, root = match.node("inner"), match.root
    miss = grown(root, inner)
    if miss is not None:
        return miss
    first, second = read(inner), read(root)
    if isinstance(first, Miss):
        return first
    if isinstance(second, Miss):
        return second
    return first, second


def _merged(total: Array, root: OperatorNode, *parts: Shift | Factor) -> Array | Miss:
    """``total`` in the type of the model; integers wrap around as they would one by one."""
    amount = settled(total, root.output.dtype, *(part.amount for part in parts))
    if isinstance(amount, Miss) or total.dtype.kind == "f":
        return amount
    return total.astype(parts[0].amount.dtype)


def _sum(match: Match) -> Merged | Miss:
    root, terms = match.root, _terms(match, read_shift)
    if isinstance(terms, Miss):
        return terms
    first, second = terms
    moved = first.amount if second.sign > 0 else np.negative(first.amount)
    with np.errstate(over="ignore"):
        total = np.asarray(moved + second.amount)
    if total.dtype.kind == "f" and cancels(total, first.amount):
        return Miss("it adds and takes away a large number, which rounds", root)
    amount = _merged(total, root, first, second)
    if isinstance(amount, Miss):
        return amount
    if first.sign * second.sign < 0 and amount.dtype.kind == "u":
        return Miss("the type has no negative numbers", root)
    return _named(match, Merged(first.x, first.sign * second.sign, amount), 0)


def _write_sum(rw: Rewriter, match: Match, found: Merged) -> None:
    old = match.root.output
    rw.replace(old, write_shift(rw, found.x, found.sign, found.amount, old))


def _product(match: Match) -> Merged | Miss:
    root, terms = match.root, _terms(match, read_factor)
    if isinstance(terms, Miss):
        return terms
    first, second = terms
    with np.errstate(all="ignore"):
        if second.power > 0:
            total = np.asarray(second.amount * first.amount)
        else:
            total = np.asarray(second.amount / first.amount)
    amount = _merged(total, root, first, second)
    if isinstance(amount, Miss):
        return amount
    if first.power * second.power < 0 and not np.all(amount):
        return Miss("it divides zero", root)
    return _named(match, Merged(first.x, first.power * second.power, amount), 1)


def _write_product(rw: Rewriter, match: Match, found: Merged) -> None:
    old = match.root.output
    rw.replace(old, write_factor(rw, found.x, found.sign, found.amount, old))


@dataclass(frozen=True, eq=False)
class Line:
    """``scale * x + shift``, both rounded."""

    x: VariableNode
    scale: Array
    shift: Array


def _line(match: Match) -> Line | Miss:
    """Three operators in turn, sums and products, as one product and one sum."""
    nodes = [match.node(name) for name in ("first", "second", "third")]
    floats = match.root.output.dtype
    if not floats.is_floating:
        return Miss("integers are divided with rounding", match.root)
    miss = grown(*nodes)
    if miss is not None:
        return miss
    scale, shift = np.array(1.0), np.array(0.0)
    for node in nodes:
        term = read_shift(node) if node.op_type in ("Add", "Sub") else read_factor(node)
        if isinstance(term, Miss):
            return term
        before = shift
        if isinstance(term, Shift):
            scale, shift = scale * term.sign, shift * term.sign + term.amount
            if cancels(shift, before):
                return Miss("it adds and takes away a large number, which rounds", node)
        elif term.power < 0:
            return Miss("it divides by what was shifted", node)
        else:
            scale, shift = scale * term.amount, shift * term.amount
    return _rounded_line(match, nodes[0], scale, shift)


def _rounded_line(match: Match, node: OperatorNode, scale: Array, shift: Array) -> Line | Miss:
    start: Shift | Factor | Miss
    start = read_shift(node) if node.op_type in ("Add", "Sub") else read_factor(node)
    assert not isinstance(start, Miss)
    dtype = match.root.output.dtype
    factor, offset = settled(np.asarray(scale), dtype), settled(np.asarray(shift), dtype)
    if isinstance(factor, Miss):
        return factor
    if isinstance(offset, Miss):
        return offset
    return Line(start.x, factor, offset)


def _write_line(rw: Rewriter, match: Match, line: Line) -> None:
    old = match.root.output
    shape = line.x.shape
    scaled = VariableNode(dtype=old.dtype)
    if shape is not None and line.scale.size == 1 and line.scale.ndim <= len(shape):
        scaled.shape = shape
    elif line.shift.ndim <= line.scale.ndim:
        scaled.shape = old.shape
    part = rw.op("Mul", [line.x, rw.constant(line.scale)], like=scaled)
    rw.replace(old, rw.op("Add", [part, rw.constant(line.shift)], like=old))


def _after(kinds: str, source: Pattern, **options: str) -> OneOf:
    """An operator with ``source`` as either operand."""
    one = Op(kinds, source, open_ended=True, **options)  # type: ignore[arg-type]
    return OneOf(one, Op(kinds, Any(), source, **options))  # type: ignore[arg-type]


SUMS, PRODUCTS, SCALINGS = "Add|Sub", "Mul|Div|Neg|Reciprocal", "Mul|Div"


def _three(outer: str, middle: str) -> OneOf:
    first = Op(outer, open_ended=True, name="first")
    return _after(outer, _after(middle, first, name="second"), name="third")


RULES = (
    Rule("sum-of-sum", _after(SUMS, Op(SUMS, name="inner")), _write_sum, _sum, since=7),
    Rule("product-of-product", _after(PRODUCTS, Op(PRODUCTS, name="inner")), _write_product,
         _product, since=7),
    Rule("product-of-sum-of-product", _three(SCALINGS, SUMS), _write_line, _line, since=7),
    Rule("sum-of-product-of-sum", _three(SUMS, SCALINGS), _write_line, _line, since=7),
)  # fmt: skip
