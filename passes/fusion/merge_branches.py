"""Merges linear branches that read the same value and are summed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

import numpy as np

from burnish.ir import OperatorNode, VariableNode
from burnish.numerics import Numerics
from burnish.passes.fusion.constants import Vector, per_channel
from burnish.passes.fusion.kernels import (
    AFFINE,
    Frame,
    Kernel,
    Stored,
    added,
    channels_of,
    composed,
    diagonal,
    frame,
    read_kernel,
    settle,
    write_kernel,
)
from burnish.pipeline import PassContext, RulePass
from burnish.rewrite import Match, Miss, Op, Rewriter, Rule

SUMS = frozenset({"Add", "Sum"})
PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})
LINEAR = PRODUCTS | AFFINE | {"AveragePool"}
MAX_TERMS, MAX_CHAIN = 16, 4

Chain: TypeAlias = tuple[OperatorNode, ...]
"""The operators of a branch from the common source on."""


@dataclass(frozen=True)
class MergeBranches(RulePass):
    """Merge convolutions, products, scales and the value itself, if they are summed.

    Before:
        y = Conv[3x3](x) + Conv[1x1](x) + x                 z = MatMul(x, a) + MatMul(x, b)

    After:
        y = Conv[3x3](x)                                    z = MatMul(x, a + b)

    These are the branches of RepVGG (Ding et al., 2021, arXiv:2101.03697), of Diverse Branch Blocks
    (Ding et al., 2021, arXiv:2103.13425) and of adapters; average pooling and
    pointwise operators in front of another one count as well. Only where the merged weights take
    no more multiplications than the branches.
    """

    name: ClassVar[str] = "merge-branches"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def rules(self, context: PassContext) -> Sequence[Rule]:
        """One rule, at the last addition of a sum."""
        return RULES


@dataclass(frozen=True)
class Branch:
    """A term of a sum as a linear map of the common source."""

    term: int
    chain: Chain
    kernel: Kernel
    cost: int
    """Multiplications for one place of the result."""


@dataclass(frozen=True)
class Merged:
    """What takes the place of some terms."""

    source: VariableNode
    stored: Stored
    gemm: bool
    taken: frozenset[int]
    terms: tuple[VariableNode, ...]
    spent: Chain
    """Operators that nobody needs any more, if nobody else reads them."""


def _merged(match: Match) -> Merged | Miss:
    root = match.root
    readers = root.output.consumers
    if len(root.output.uses) == 1 and readers and readers[0].is_op(*SUMS):
        return Miss("this is part of a longer sum", root)
    terms, inner = _terms(root)
    if len(terms) > MAX_TERMS:
        return Miss(f"the sum has more than {MAX_TERMS} terms", root)
    miss: Miss | None = None
    for source, chains in _sources(terms, root).items():
        if len(chains) < 2 or not any(_is_product(chain) for chain in chains.values()):
            continue
        found = _merge(source, chains, terms, root)
        if not isinstance(found, Miss):
            spent = (root, *inner, *(n for i in found.taken for n in chains.get(i, ())))
            return replace(found, spent=spent)
        miss = miss or found
    return miss or Miss("no two terms are linear in the same value", root)


def _terms(root: OperatorNode) -> tuple[list[VariableNode], list[OperatorNode]]:
    """What is added up in the end, in order, and the additions in between."""
    terms: list[VariableNode] = []
    inner: list[OperatorNode] = []
    pending = [value for value in reversed(root.inputs) if value is not None]
    while pending and len(terms) <= MAX_TERMS:
        value = pending.pop()
        node = value.producer
        alone = node is not None and len(value.uses) == 1 and node.graph is root.graph
        if alone and node is not None and node.is_op(*SUMS):
            inner.append(node)
            pending += [v for v in reversed(node.inputs) if v is not None]
        else:
            terms.append(value)
    return terms, inner


def _sources(
    terms: Sequence[VariableNode], root: OperatorNode
) -> dict[VariableNode, dict[int, Chain]]:
    """Every value that terms are linear in, with the operators from there to the terms."""
    found: dict[VariableNode, dict[int, Chain]] = {}
    for index, value in enumerate(terms):
        chain: Chain = ()
        here = value
        while not here.is_constant:
            found.setdefault(here, {}).setdefault(index, chain)
            node = here.producer
            if node is None or node.graph is not root.graph or len(here.uses) != 1:
                break
            data = _data(node)
            if data is None or len(chain) == MAX_CHAIN:
                break
            chain, here = (node, *chain), data
    return found


def _data(node: OperatorNode) -> VariableNode | None:
    """What ``node`` is linear in, if it is a linear operator with known weights."""
    if not node.is_op(*LINEAR):
        return None
    if node.op_type == "AveragePool" or node.op_type in PRODUCTS | {"BatchNormalization"}:
        known = node.op_type == "AveragePool" or node.constant_input(1) is not None
        return node.input(0) if known else None
    computed = [v for v in node.inputs if v is not None and not v.is_constant]
    return computed[0] if len(computed) == 1 else None


def _is_product(chain: Chain) -> bool:
    return any(node.op_type in PRODUCTS for node in chain)


def _merge(
    source: VariableNode,
    chains: dict[int, Chain],
    terms: Sequence[VariableNode],
    root: OperatorNode,
) -> Merged | Miss:
    heavy = next(n for c in chains.values() for n in c if n.op_type in PRODUCTS)
    axes = (source.rank or 0) - 2 if heavy.op_type == "Conv" else 0
    channels = channels_of(source, axes)
    if channels is None or (heavy.op_type == "Conv" and axes < 1):
        return Miss("the channels of the data are unknown", heavy)
    if not channels:
        return Miss("the data have no channels", heavy)
    found = [_branch(term, chain, channels, axes) for term, chain in chains.items()]
    chosen, into = _chosen([branch for branch in found if isinstance(branch, Branch)])
    if not isinstance(into, Frame):
        misses = [miss for miss in found if isinstance(miss, Miss)]
        return misses[0] if misses else Miss(into or "the branches are not linear", root)
    total = added([branch.kernel for branch in chosen], into)
    taken = {branch.term for branch in chosen}
    for index, value in enumerate(terms):
        offset = _bias(value, total, axes, source.rank or 0)
        if offset is not None:
            bias = offset if total.bias is None else total.bias + offset
            total = replace(total, bias=bias)
            taken.add(index)
    dtype = heavy.inputs[1].dtype if heavy.inputs[1] is not None else root.output.dtype
    result = settle(total, dtype, heavy)
    if isinstance(result, Miss):
        return result
    gemm = any(b.chain and b.chain[-1].op_type == "Gemm" for b in chosen)
    return Merged(source, result, gemm, frozenset(taken), tuple(terms), ())


def _bias(value: VariableNode, kernel: Kernel, axes: int, rank: int) -> Vector | None:
    """``value`` [channels] if it is constant and adds a number to every channel."""
    if not value.is_constant:
        return None
    return per_channel(value, 1 if axes else -1, rank, kernel.outputs)


def _branch(term: int, chain: Chain, channels: int, axes: int) -> Branch | Miss:
    kernel = diagonal(np.ones(channels), None, axes)
    cost = 0
    for node in chain:
        part = read_kernel(node, axes)
        if part is None or isinstance(part, Miss):
            return part or Miss(f"{node.op_type} is no map of channels", node)
        cost += part.weight.size
        joined = composed(kernel, part)
        if joined is None:
            return Miss("zeros are padded in the middle of a branch", node)
        kernel = joined
    return Branch(term, chain, kernel, cost)


def _chosen(branches: list[Branch]) -> tuple[list[Branch], Frame | str]:
    """The branches to merge, the largest product first, with the taps that they have together."""
    order = sorted(branches, key=lambda b: (not _is_product(b.chain), -b.cost))
    if not order:
        return [], ""
    chosen, reason = order[:1], ""
    into: Frame | None = None
    cost = order[0].cost
    for branch in order[1:]:
        wider = frame([b.kernel for b in (*chosen, branch)])
        if isinstance(wider, str):
            reason = reason or wider
        elif wider.cost(branch.kernel) > cost + branch.cost + branch.kernel.outputs:
            reason = reason or "the merged weights would take more multiplications"
        else:
            chosen.append(branch)
            into, cost = wider, wider.cost(branch.kernel)
    return chosen, into or reason


def _write(rw: Rewriter, match: Match, merged: Merged) -> None:
    root = match.root
    rw.provenance = tuple(dict.fromkeys(p for node in merged.spent for p in node.provenance))
    same = next(merged.terms[i] for i in sorted(merged.taken) if not merged.terms[i].is_constant)
    total = write_kernel(rw, merged.stored, merged.source, same, gemm=merged.gemm)
    for index, term in enumerate(merged.terms):
        if index not in merged.taken:
            total = rw.op("Add", [total, term])
            total.dtype = root.output.dtype
    total.shape = root.output.shape
    rw.replace(root.output, total)
    rw.erase_unused(merged.spent)


RULES = (Rule("summed-branches", Op("Add|Sum"), _write, _merged),)
