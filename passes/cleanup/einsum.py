"""Einsum as Transpose, Reshape, ReduceSum, Mul and MatMul: as one, or as many as it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.rewrite import Match, Miss, Op, Rewriter, Rule

ELLIPSIS = "..."


@dataclass(frozen=True, slots=True)
class Equation:
    """The axes of an Einsum by label; axes under an ellipsis get labels of their own."""

    operands: tuple[str, ...]
    result: str
    sizes: tuple[tuple[str, int], ...]
    """Size of every label."""


@dataclass(frozen=True, slots=True)
class Term:
    """A value with the label of each of its axes."""

    value: VariableNode
    labels: str


def parse(node: OperatorNode) -> Equation | Miss:
    """The equation of an Einsum on values of static shape."""
    shapes = [None if value is None else value.static_shape for value in node.inputs]
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return Miss("its shapes are not known: give --input-shape", node)
    left, arrow, right = str(node.attributes["equation"]).replace(" ", "").partition("->")
    terms = left.split(",")
    spread = max((len(s) - len(t) + 3 for t, s in zip(terms, known, strict=False)
                  if ELLIPSIS in t), default=0)  # fmt: skip
    # Characters that no equation can contain stand for the axes under the ellipsis.
    hidden = "".join(chr(0x100 + index) for index in range(spread))
    operands = []
    for term, shape in zip(terms, known, strict=False):
        covered = len(shape) - len(term) + 3
        operands.append(term.replace(ELLIPSIS, hidden[spread - covered :]))
    if arrow:
        result = right.replace(ELLIPSIS, hidden)
    else:
        counts = Counter(label for operand in operands for label in operand)
        once = sorted(label for label, count in counts.items() if count == 1 and label < "\x80")
        result = hidden + "".join(once)
    sizes: dict[str, int] = {}
    for operand, shape in zip(operands, known, strict=False):
        if len(set(operand)) < len(operand):
            return Miss("it takes a diagonal", node)
        if len(operand) != len(shape):
            return Miss("its equation does not fit its operands", node)
        for label, size in zip(operand, shape, strict=True):
            if sizes.setdefault(label, size) != size:
                return Miss("it broadcasts an axis", node)
    if len(terms) != len(known) or not set(result) <= set(sizes):
        return Miss("its equation does not fit its operands", node)
    return Equation(tuple(operands), result, tuple(sorted(sizes.items())))


def _guard(match: Match) -> Equation | Miss:
    return parse(match.root)


def _lower(rewriter: Rewriter, match: Match, equation: Equation) -> None:
    node = match.root
    build = _Builder(rewriter, dict(equation.sizes))
    terms = [
        Term(value, labels)
        for value, labels in zip(node.inputs, equation.operands, strict=True)
        if value is not None
    ]
    while len(terms) > 1:
        first, second, *rest = terms
        if not rest and _precedes(second.labels, first.labels, equation.result):
            first, second = second, first
        wanted = set(equation.result).union(*(term.labels for term in rest))
        terms = [build.contract(first, second, wanted), *rest]
    final = build.transposed(build.reduced(terms[0], set(equation.result)), equation.result)
    if final.value in node.inputs:
        final = Term(rewriter.op("Identity", [final.value], like=node.output), final.labels)
    rewriter.replace(node.output, final.value)


def _precedes(a: str, b: str, result: str) -> bool:
    """Whether what ``a`` alone gives to the result all comes before what ``b`` alone does."""
    own, others = (
        [result.index(label) for label in mine if label not in theirs and label in result]
        for mine, theirs in ((a, b), (b, a))
    )
    return bool(own and others) and max(own) < min(others)


@dataclass(frozen=True)
class _Builder:
    rewriter: Rewriter
    sizes: dict[str, int]

    def contract(self, a: Term, b: Term, wanted: set[str]) -> Term:
        """The product of two terms, summed over labels that nothing else wants."""
        a = self.reduced(a, wanted | set(b.labels))
        b = self.reduced(b, wanted | set(a.labels))
        shared = [label for label in a.labels if label in b.labels]
        batch = [label for label in shared if label in wanted]
        summed = [label for label in shared if label not in wanted]
        rows = [label for label in a.labels if label not in shared]
        columns = [label for label in b.labels if label not in shared]
        if not summed:
            return self._outer(a, b, batch, rows, columns)
        left = self._grouped(a, batch, [rows, summed])
        right = self._grouped(b, batch, [summed, columns])
        value = self._op("MatMul", [left, right], self._sizes(batch) + self._products(
            [rows, columns]))  # fmt: skip
        labels = "".join((*batch, *rows, *columns))
        return Term(self._reshaped(value, self._sizes(labels)), labels)

    def reduced(self, term: Term, wanted: set[str]) -> Term:
        """``term`` summed over labels that are not ``wanted``."""
        axes = [axis for axis, label in enumerate(term.labels) if label not in wanted]
        if not axes:
            return term
        labels = "".join(label for label in term.labels if label in wanted)
        inputs = [term.value, self.rewriter.constant(np.array(axes, np.int64))]
        value = self._op("ReduceSum", inputs, self._sizes(labels), {"keepdims": 0})
        return Term(value, labels)

    def transposed(self, term: Term, labels: Sequence[str]) -> Term:
        """``term`` with its axes in the order of ``labels``."""
        wanted = "".join(labels)
        if wanted == term.labels:
            return term
        perm = tuple(term.labels.index(label) for label in wanted)
        value = self._op("Transpose", [term.value], self._sizes(wanted), {"perm": perm})
        return Term(value, wanted)

    def _outer(
        self, a: Term, b: Term, batch: list[str], rows: list[str], columns: list[str]
    ) -> Term:
        """A product without a sum: multiplication with broadcasting."""
        left = self.transposed(a, [*batch, *rows]).value
        left = self._reshaped(left, self._sizes([*batch, *rows]) + (1,) * len(columns))
        right = self.transposed(b, [*batch, *columns]).value
        shape = self._sizes(batch) + (1,) * len(rows) + self._sizes(columns)
        right = self._reshaped(right, shape)
        labels = "".join((*batch, *rows, *columns))
        return Term(self._op("Mul", [left, right], self._sizes(labels)), labels)

    def _grouped(self, term: Term, batch: list[str], groups: list[list[str]]) -> VariableNode:
        """``term`` with one axis for each of ``groups`` behind its batch axes."""
        order = [*batch, *(label for group in groups for label in group)]
        value = self.transposed(term, order).value
        return self._reshaped(value, self._sizes(batch) + self._products(groups))

    def _reshaped(self, value: VariableNode, shape: tuple[int, ...]) -> VariableNode:
        if value.shape == shape:
            return value
        target = self.rewriter.constant(np.array(shape, np.int64))
        attributes: dict[str, object] = {"allowzero": 1} if 0 in shape else {}
        return self._op("Reshape", [value, target], shape, attributes)

    def _op(
        self,
        op_type: str,
        inputs: list[VariableNode],
        shape: tuple[int, ...],
        attributes: dict[str, object] | None = None,
    ) -> VariableNode:
        like = VariableNode("", inputs[0].dtype, shape)
        return self.rewriter.op(op_type, inputs, attributes, like=like)

    def _sizes(self, labels: Iterable[str]) -> tuple[int, ...]:
        return tuple(self.sizes[label] for label in labels)

    def _products(self, groups: Iterable[Iterable[str]]) -> tuple[int, ...]:
        return tuple(int(np.prod(self._sizes(group), dtype=np.int64)) for group in groups)


def _letters(node: OperatorNode) -> tuple[list[str], str] | Miss:
    """The labels of operands and result; axes under an ellipsis have labels of their own."""
    ranks = [None if value is None else value.rank for value in node.inputs]
    left, arrow, right = str(node.attributes["equation"]).replace(" ", "").partition("->")
    terms = left.split(",")
    if None in ranks or len(terms) != len(ranks) or not arrow:
        return Miss("it does not say its result, or ranks are not known", node)
    spread = max((rank - len(term) + 3 for term, rank in zip(terms, ranks, strict=True)
                  if rank is not None and ELLIPSIS in term), default=0)  # fmt: skip
    hidden = "".join(chr(0x100 + index) for index in range(spread))
    operands = []
    for term, rank in zip(terms, ranks, strict=True):
        covered = (rank or 0) - len(term) + 3
        operands.append(term.replace(ELLIPSIS, hidden[spread - covered :]))
        if len(operands[-1]) != rank or len(set(operands[-1])) < rank:
            return Miss("it takes a diagonal", node)
    return operands, right.replace(ELLIPSIS, hidden)


@dataclass(frozen=True, slots=True)
class Single:
    """One operator that does what an Einsum does, and in which order it reads constants."""

    op_type: str
    order: tuple[int, ...]
    """Operands by position in the Einsum."""
    perms: tuple[tuple[int, ...] | None, ...] = ()
    """How to transpose each operand, which is constant; None as it is."""
    attribute: tuple[str, tuple[int, ...]] | None = None


def single(match: Match) -> Single | Miss:
    """The one operator that an Einsum is."""
    node = match.root
    found = _letters(node)
    if isinstance(found, Miss):
        return found
    operands, result = found
    if len(operands) == 1:
        return _rearranged_or_summed(node, operands[0], result)
    if len(operands) != 2:
        return Miss("it has more than two operands", node)
    if operands[0] == operands[1] == result:
        return Single("Mul", (0, 1), (None, None))
    for order in ((0, 1), (1, 0)):
        product = _product(node, [operands[i] for i in order], result, order)
        if product is not None:
            return product
    return Miss("it takes more than one MatMul", node)


def _rearranged_or_summed(node: OperatorNode, labels: str, result: str) -> Single | Miss:
    if sorted(labels) == sorted(result):
        perm = tuple(labels.index(label) for label in result)
        return Single("Transpose", (0,), (None,), ("perm", perm))
    kept = "".join(label for label in labels if label in result)
    if kept != result:
        return Miss("it sums and moves axes", node)
    axes = tuple(axis for axis, label in enumerate(labels) if label not in result)
    return Single("ReduceSum", (0,), (None,), ("axes", axes))


def _product(
    node: OperatorNode, operands: list[str], result: str, order: tuple[int, int]
) -> Single | None:
    """The MatMul of two operands; constants may come in any order of axes."""
    a, b = operands
    summed = [label for label in a if label in b and label not in result]
    rows = [label for label in a if label not in b]
    columns = [label for label in b if label not in a]
    batch = [label for label in a if label in b and label in result]
    if len(summed) != 1 or len(columns) != 1 or (batch and len(rows) != 1) or not rows:
        return None
    wanted = ("".join((*batch, *rows, *summed)), "".join((*batch, *summed, *columns)))
    if result != "".join((*batch, *rows, *columns)):
        return None
    perms: list[tuple[int, ...] | None] = []
    for labels, form, index in zip((a, b), wanted, order, strict=True):
        value = node.inputs[index]
        perm = tuple(labels.index(label) for label in form) if labels != form else None
        if value is None or value.shape is None or (perm is not None and not value.is_constant):
            return None
        perms.append(perm)
    left, right = node.inputs[order[0]], node.inputs[order[1]]
    assert left is not None and right is not None and left.shape and right.shape
    for label in (*batch, *summed):
        size = left.shape[a.index(label)]
        if size is None or size != right.shape[b.index(label)]:
            return None
    return Single("MatMul", order, tuple(perms))


def _write_single(rewriter: Rewriter, match: Match, form: Single) -> None:
    node = match.root
    inputs = []
    for index, perm in zip(form.order, form.perms, strict=True):
        value = node.inputs[index]
        assert value is not None
        if perm is not None and value.constant is not None:
            array = value.constant.numpy().transpose(perm)
            value = rewriter.constant(np.ascontiguousarray(array))
        inputs.append(value)
    attributes: dict[str, object] = {}
    if form.attribute is not None and form.op_type == "ReduceSum":
        inputs.append(rewriter.constant(np.array(form.attribute[1], np.int64)))
        attributes = {"keepdims": 0}
    elif form.attribute is not None:
        attributes = dict([form.attribute])
    result = rewriter.op(form.op_type, inputs, attributes, like=node.output)
    rewriter.replace(node.output, result)


EINSUM_AS_ONE = Rule("einsum-as-one", Op("Einsum"), _write_single, single, since=13)
EINSUM = Rule("lower-einsum", Op("Einsum"), _lower, _guard, since=14)
