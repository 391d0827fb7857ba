"""Merging a branch into the product beside it: what makes it legal, and what is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from burnish.ir import Array, DType, OperatorNode, VariableNode
from burnish.passes.adapters.maps import Walk, compose
from burnish.passes.adapters.paths import Kind, Step
from burnish.passes.adapters.sums import Pair
from burnish.passes.fusion.constants import Vector, rounded
from burnish.rewrite import Miss, Rewriter

OUTSIDE = "the result of {} is also read by {}, so the branch cannot go into the weights"
SHARED = (
    "the weights are also read by {}, which the adapter does not change: merged, they would be "
    "stored twice"
)


@dataclass(frozen=True)
class Merged:
    """The weights of a product after the branch beside it went into them."""

    product: OperatorNode
    weight: Array
    """As the product wants it, in the type of the model."""
    bias: Vector | None
    """float64 [outputs]."""


def walk_both(pair: Pair) -> tuple[Walk, Walk] | Miss:
    """What base and branch compute, or why that is not one map each."""
    base, branch = compose(pair.base), compose(pair.branch)
    if isinstance(base, Miss):
        return base
    return branch if isinstance(branch, Miss) else (base, branch)


def merge(pair: Pair) -> Merged | Miss:
    """What the product of ``pair.base`` becomes, or why the branch stays."""
    step = next(step for step in pair.base if step.kind is Kind.PRODUCT)
    problem = _forbidden(pair, step)
    if problem is not None:
        return problem
    walks = walk_both(pair)
    if isinstance(walks, Miss):
        return walks
    base, branch = walks
    if step.node.attribute("group", 1) != 1:
        return Miss("the Conv beside the adapter has groups, and the adapter mixes them", step.node)
    unlike = _unlike(base, branch)
    if unlike:
        return Miss(unlike, pair.branch[-1].node)
    assert base.map.weight is not None and branch.map.weight is not None
    weight = base.map.weight + branch.map.weight
    bias = base.map.bias + branch.map.bias
    return finished(step, weight, bias)


def _forbidden(pair: Pair, step: Step) -> Miss | None:
    """What can be told without looking at weights."""
    found = pair.leak()
    if found is not None:
        return Miss(OUTSIDE.format(found[0].op_type, found[1]), found[0])
    return coarse(pair) or shared(step) or misfit(pair)


def coarse(pair: Pair) -> Miss | None:
    """Whether a part of the pair rounds more coarsely than the sum does."""
    wanted = pair.root.output.dtype
    for step in (*pair.base, *pair.branch):
        have = step.result.dtype
        if DType.UNDEFINED not in (have, wanted) and _precision(have) < _precision(wanted):
            return Miss(
                f"the adapter computes in {have} and the model in {wanted}: merging would change "
                "the rounding", step.node,
            )  # fmt: skip
    return None


def _precision(dtype: DType) -> tuple[int, int]:
    """Types in order of how finely they round."""
    return dtype.bits, 0 if dtype is DType.BFLOAT16 else 1


def shared(step: Step) -> Miss | None:
    """Whether somebody else reads the weights of a product."""
    assert step.factor is not None
    for use in step.factor.uses:
        if use.user is not step.node:
            reader = use.user
            name = reader.op_type if isinstance(reader, OperatorNode) else "the caller"
            return Miss(SHARED.format(f"another {name}"), step.node)
    return None


def misfit(pair: Pair) -> Miss | None:
    """Whether the branches may be of different sizes, one of them being repeated."""
    shapes = [addend.value.shape for addend in (pair.into, pair.gone)]
    views = [
        s for s in (*pair.base, *pair.branch) if s.kind is Kind.VIEW and s.node.op_type != "Cast"
    ]
    if any(shape is None for shape in shapes):
        return Miss("the shapes of the branches are unknown", pair.root) if views else None
    if views and (shapes[0] != shapes[1] or None in (shapes[0] or ())):
        return Miss("the branches may differ in shape", pair.root)
    return None


def _unlike(base: Walk, branch: Walk) -> str:
    """Why the weights of two walks cannot be added, or nothing."""
    assert base.map.weight is not None and branch.map.weight is not None
    if (base.channel, base.layout.perm) != (branch.channel, branch.layout.perm):
        return "the adapter and the product beside it work on different axes"
    if base.map.geometry != branch.map.geometry:
        return "the adapter moves its kernel in another way than the Conv beside it"
    if base.map.weight.shape != branch.map.weight.shape:
        return "the adapter and the product beside it differ in size"
    return ""


def finished(step: Step, weight: Array, bias: Vector | float) -> Merged | Miss:
    """``weight`` [outputs, inputs, *kernel] as the product of ``step`` wants it."""
    assert step.factor is not None
    node, dtype = step.node, step.factor.dtype
    if node.op_type in ("Gather", "MatMul") or (
        node.op_type == "Gemm" and not node.attribute("transB", 0)
    ):
        weight = weight.T
    written = rounded(weight, dtype)
    if written is None:
        return Miss(f"the merged weights would not fit into {dtype}", node)
    vector = np.broadcast_to(bias, (_outputs(step, weight),)) if np.any(bias) else None
    return Merged(node, np.ascontiguousarray(written), vector)


def _outputs(step: Step, weight: Array) -> int:
    first = step.node.op_type == "Conv" or step.node.attribute("transB", 0)
    return int(weight.shape[0 if first else -1])


def write_product(rw: Rewriter, merged: Merged, source: VariableNode) -> VariableNode:
    """The product with its new weights, and with its bias added where it has no place for one."""
    node = merged.product
    index = 0 if node.op_type == "Gather" else 1
    old = node.input(index)
    assert old is not None
    weight = rw.constant(merged.weight, old.name)
    like = node.output
    attributes = {k: v for k, v in node.attributes.items() if k not in ("alpha", "beta")}
    bias = None
    if merged.bias is not None:
        bias = rw.constant(merged.bias.astype(old.dtype.numpy))
    if node.op_type == "Gather":
        result = rw.op("Gather", [weight, source], attributes, like=like)
    elif node.op_type == "MatMul":
        result = rw.op("MatMul", [source, weight], like=like)
    else:
        inputs = [source, weight] if bias is None else [source, weight, bias]
        return rw.op(node.op_type, inputs, attributes, like=like)
    return result if bias is None else rw.op("Add", [result, bias], like=like)


def write_pair(rw: Rewriter, pair: Pair, merged: Merged) -> None:
    """Replace the sum of both branches of ``pair`` by one."""
    last = pair.into.value.producer
    assert last is not None
    rw.anchor = last
    value = pair.source
    for step in pair.base:
        if step.kind is Kind.PRODUCT:
            value = write_product(rw, merged, value)
        elif step.kind is Kind.VIEW:
            inputs = [value, *step.node.inputs[1:]]
            value = rw.op(step.node.op_type, inputs, step.node.attributes, like=step.result)
    rest = pair.gone.other
    rw.replace(pair.into.value, value)
    rw.replace(pair.gone.parent.output, value if rest is pair.into.value else rest)
    rw.erase_unused(pair.nodes)
