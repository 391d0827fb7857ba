"""Merging an adapter into the products that read it, where it adds to what it reads itself.

An adapter of this form, x + s f(x), is no wider than its input, but as a matrix it would be as
large as the products around it; so it goes into their weights, into those of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from burnish.ir import Array, OperatorNode, VariableNode
from burnish.passes.adapters.maps import POINTWISE, LinearMap, Walk, compose, read_product
from burnish.passes.adapters.merging import (
    Merged,
    coarse,
    finished,
    misfit,
    shared,
    walk_both,
    write_product,
)
from burnish.passes.adapters.paths import Kind, Step, step_to
from burnish.passes.adapters.sums import Pair
from burnish.passes.fusion.constants import along
from burnish.rewrite import Miss, Rewriter

MOVES = (Kind.VIEW, Kind.NOTHING)


@dataclass(frozen=True, eq=False)
class Reader:
    """A product that reads an adapter, through steps that move elements only."""

    step: Step
    between: tuple[Step, ...]


@dataclass(frozen=True)
class Ahead:
    """Products with the adapter before them in their weights."""

    products: tuple[Merged, ...]


def merge_ahead(pair: Pair) -> Ahead | Miss:
    """What the products that read ``pair.root`` become, or why the adapter stays."""
    readers = _readers(pair)
    if isinstance(readers, Miss):
        return readers
    problem = _leak(pair) or coarse(pair) or misfit(pair)
    if problem is not None:
        return problem
    walks = walk_both(pair)
    if isinstance(walks, Miss):
        return walks
    base, branch = walks
    adapter = _square(base, branch)
    if adapter is None:
        return Miss("the adapter does not mix the channels that it is added to", pair.root)
    merged: list[Merged] = []
    for reader in readers:
        one = _merge_into(reader, pair, adapter, branch)
        if isinstance(one, Miss):
            return one
        merged.append(one)
    return Ahead(tuple(merged))


def _leak(pair: Pair) -> Miss | None:
    """Whether the branch is read elsewhere; what it starts from may be."""
    inside = {step.node for step in pair.branch} | {pair.root}
    for step in pair.branch:
        for use in step.result.uses:
            if use.user not in inside:
                return Miss(f"the result of {step.node.op_type} is also read elsewhere", step.node)
    return None


def _square(base: Walk, branch: Walk) -> LinearMap | None:
    """Both walks together, as one matrix over the channels."""
    matrix = branch.map.matrix()
    if matrix is None or matrix.shape[0] != matrix.shape[1] or base.map.weight is not None:
        return None
    if base.layout.perm != branch.layout.perm:
        return None
    scale = np.broadcast_to(np.asarray(base.map.scale, np.float64), (len(matrix),))
    bias = np.broadcast_to(base.map.bias + branch.map.bias, (len(matrix),))
    return LinearMap(matrix + np.diag(scale), 1.0, bias)


def _readers(pair: Pair) -> list[Reader] | Miss:
    """All products that read the sum."""
    found: list[Reader] = []
    pending: list[tuple[VariableNode, tuple[Step, ...]]] = [(pair.root.output, ())]
    while pending:
        value, between = pending.pop()
        for use in value.uses:
            node = use.user
            if not isinstance(node, OperatorNode):
                return Miss("the adapter's result is also an output", pair.root)
            step = step_to(node.output, pair.root.graph)
            if step is None or step.source is not value or step.kind in (Kind.SCALE, Kind.SHIFT):
                return Miss(
                    f"{node.op_type} reads the adapter's result, and has no weights for it to go "
                    "into", node,
                )  # fmt: skip
            if step.kind in MOVES:
                pending.append((step.result, (*between, step)))
            else:
                found.append(Reader(step, between))
    return found


def _merge_into(reader: Reader, pair: Pair, adapter: LinearMap, branch: Walk) -> Merged | Miss:
    step = reader.step
    problem = shared(step)
    if problem is not None:
        return problem
    node = step.node
    if node.op_type == "Gather" or node.attribute("group", 1) != 1:
        return Miss(f"{node.op_type} does not mix the channels of the adapter", node)
    walk = compose((*pair.base, *reader.between, step))
    if isinstance(walk, Miss):
        return walk
    if walk.channel != branch.channel:
        return Miss(f"{node.op_type} works on another axis than the adapter", node)
    weight, bias, geometry = read_product(node)
    if adapter.has_bias and geometry != POINTWISE:
        return Miss("the adapter has a bias, and the Conv that reads it pads", node)
    assert adapter.weight is not None
    if weight.shape[1] != len(adapter.weight):
        return Miss("the adapter and the product that reads it differ in size", node)
    return finished(step, *_follow(weight, bias, adapter))


def _follow(weight: Array, bias: Array | None, adapter: LinearMap) -> tuple[Array, Array | float]:
    """Weight and bias of a product that comes after ``adapter``."""
    assert adapter.weight is not None
    after = np.moveaxis(np.tensordot(weight, adapter.weight, axes=(1, 0)), -1, 1)
    offset = (weight * along(np.asarray(adapter.bias), 1, weight.ndim)).reshape(len(weight), -1)
    total = offset.sum(-1) + (0.0 if bias is None else bias)
    return after, total


def write_ahead(rw: Rewriter, pair: Pair, ahead: Ahead) -> None:
    """Let the products read what the adapter was added to."""
    _write_products(rw, ahead.products)
    rw.replace(pair.root.output, pair.into.value)
    rw.erase_unused((*(merged.product for merged in ahead.products), *pair.nodes))


def _write_products(rw: Rewriter, products: Sequence[Merged]) -> None:
    for merged in products:
        node = merged.product
        source = node.input(0)
        assert source is not None
        rw.anchor = node
        rw.replace(node.output, write_product(rw, merged, source))
