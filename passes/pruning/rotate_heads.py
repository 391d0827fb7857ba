"""Puts what matters most first within the heads of attentions, so that the last places can go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from burnish.analysis.axis_graph import axis_graph
from burnish.analysis.axis_graph_edits import edit
from burnish.analysis.axis_graph_sites import Member, Role
from burnish.calibration import Gram, geometry_of
from burnish.ir import Array, Graph, VariableNode
from burnish.numerics import Numerics
from burnish.passes.pruning.head_weights import HeadProduct, HeadWeights, head_products
from burnish.passes.pruning.readings import WithOne
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Miss, NearMiss, Rewriter, RewriteResult

Roots: TypeAlias = Mapping[Member, Array]
"""Writer -> L with L L^T = E[x x^T], x with a one behind it: float64 [inputs + 1, inputs + 1]."""

WRITERS = ("MatMul", "Gemm", "Conv")
RIDGE = 1e-4
"""Added to second moments, relative to their mean: data may not vary in all directions."""
LEAST = 1e-8
"""The smallest singular value that a side is scaled by, relative to the largest."""
TINY = 1e-6
"""Added to a side, relative to it, for its channels to be independent."""
SETTLED = 1e-4
"""How far sides may be from being orthogonal and balanced, relative to the largest channel."""


@dataclass(frozen=True)
class RotateHeads(Pass):
    """Order channels within heads by what they add to logits and outputs.

    What queries and keys of a head do is in one product of their weights, and what values do in
    that with the weights which read them. Its singular vectors are the new channels, largest
    first and the singular value shared by both sides, so that leaving out the last ones changes
    the product least (Eckart and Young, 1936). Biases count as weights of a one behind the inputs.
    With calibration data, products are measured on what the weights are given (whitening, as in
    SVD-LLM, Wang et al., 2024, arXiv:2403.07378).

    Before:
        logits = (x Wq + bq) (x Wk + bk)^T      for each head
        y = softmax(logits) (x Wv + bv) Wo

    After:
        logits = (x Wq A + bq A) (x Wk A^-T + bk A^-T)^T
        y = softmax(logits) (x Wv B + bv B) (B^-1 Wo)
    """

    name: ClassVar[str] = "rotate-heads"
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Rotate all heads whose channels meet nothing but products.

        Raises:
            BurnishError: the calibration data do not fit the graph.
        """
        result = RewriteResult()
        rewriter = Rewriter(graph)
        found: list[HeadProduct] = []
        for rule, product in head_products(axis_graph(graph)):
            problem = product if isinstance(product, Miss) else _unfit(product)
            if isinstance(product, HeadProduct) and problem is None:
                found.append(product)
            elif problem is not None and context.explain:
                where = problem.at.provenance if problem.at is not None else ()
                result.missed.append(NearMiss(rule, problem.reason, where))
        roots = _roots(graph, found, context)
        for product in found:
            if _rotate(rewriter, product, roots):
                result.fired.append(Firing(product.rule, product.node.provenance))
        result.edits = rewriter.edits
        return result


def _writers(product: HeadProduct) -> list[HeadWeights]:
    weights = [*product.left, *product.right]
    return [each for each in weights if each.member.role is Role.WRITER]


def _unfit(product: HeadProduct) -> Miss | None:
    """Why the inputs of what writes channels are not known."""
    for weights in _writers(product):
        node = weights.member.node
        data = node.input(0)
        if not node.is_op(*WRITERS) or weights.member.index != 1 or data is None:
            return Miss(f"{node.op_type} writes it otherwise than a product with weights", node)
        if geometry_of(node, data) is None:
            return Miss(f"it is not known what {node.op_type} multiplies its weights with", node)
    return None


def _roots(graph: Graph, found: list[HeadProduct], context: PassContext) -> Roots:
    """What whitens the inputs of all that writes channels; nothing without calibration data."""
    if context.calibration is None or not found:
        return {}
    grams: dict[Member, Gram] = {}
    collectors: dict[VariableNode, list[Gram]] = {}
    for weights in (each for product in found for each in _writers(product)):
        node = weights.member.node
        data = node.input(0)
        assert data is not None
        geometry = geometry_of(node, data)
        assert geometry is not None
        known = collectors.setdefault(data, [])
        gram = next((each for each in known if each.geometry == WithOne(geometry)), None)
        if gram is None:
            gram = Gram(WithOne(geometry))
            known.append(gram)
        grams[weights.member] = gram
    context.calibration.collect(graph, collectors)
    return {member: _root(gram.matrix[0].astype(np.float64)) for member, gram in grams.items()}


def _root(moments: Array) -> Array:
    size = len(moments)
    return np.linalg.cholesky(moments + RIDGE * np.trace(moments) / size * np.eye(size))


def _rotate(rewriter: Rewriter, product: HeadProduct, roots: Roots) -> bool:
    """Give both sides of a product their new channels; whether those are others than before."""
    left, right = _side(product.left, roots), _side(product.right, roots)
    bases = np.stack([basis(one, other) for one, other in zip(left, right, strict=True)])
    if np.array_equal(bases, np.broadcast_to(np.eye(bases.shape[1]), bases.shape)):
        return False
    forward, inverse = bases.transpose(0, 2, 1), np.linalg.inv(bases)
    for side, matrices in ((product.left, forward), (product.right, inverse)):
        for weights in side:
            _multiply(rewriter, weights, matrices)
    return True


def _side(side: tuple[HeadWeights, ...], roots: Roots) -> Array:
    """One side of a product as what comes out weighs it: float64 [heads, width, inputs]."""
    readers = [each.rows for each in side if each.member.role is Role.READER]
    if readers:
        return np.concatenate(readers, 2)
    (writer,) = (each for each in side if each.member.role is Role.WRITER)
    weights = writer.rows
    biases = [each.rows.mean(2, keepdims=True) for each in side if each is not writer]
    bias = np.sum(biases, axis=0) if biases else np.zeros_like(weights[:, :, :1])
    rows = np.concatenate([weights, bias], 2)
    return rows @ roots[writer.member] if writer.member in roots else rows


def basis(left: Array, right: Array) -> Array:
    """The matrix A [width, width] that orders the channels of one head.

    With ``left`` and ``right`` [width, numbers], the rows of A^T left and A^-1 right are the
    singular vectors of left^T right, each times the root of its singular value. The identity if
    they are so already, or nothing comes out.
    """
    width = len(left)
    if _is_settled(left, right):
        return np.eye(width)
    one, other = _triangle(left), _triangle(right)
    vectors, values, _ = np.linalg.svd(one @ other.T)
    scales = np.sqrt(np.maximum(values, LEAST * values[0]))
    found = np.linalg.solve(one, vectors * scales)
    # Signs are free: the same ones wherever this is computed.
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0)
    return np.asarray(found * np.sign(largest))


def _triangle(side: Array) -> Array:
    """R [width, width] with R^T R = side side^T, and a little more: it has an inverse."""
    ridge = TINY * np.linalg.norm(side) * np.eye(len(side))
    return np.linalg.qr(np.concatenate([side.T, ridge]))[1]


def _is_settled(left: Array, right: Array) -> bool:
    one, other = left @ left.T, right @ right.T
    size = max(one.max(initial=0), other.max(initial=0))
    if not np.linalg.norm(one) * np.linalg.norm(other):
        return True
    sizes = np.diag(one)
    off = [np.abs(moments - np.diag(sizes)).max() for moments in (one, other)]
    return bool(max(off) < SETTLED * size and (np.diff(sizes) < SETTLED * size).all())


def _multiply(rewriter: Rewriter, weights: HeadWeights, matrices: Array) -> None:
    """Multiply the channels of each head, as columns, by its matrix [heads, width, width]."""

    def change(_: Member, rows: Array) -> Array:
        changed = rows.copy()
        flat = rows.reshape(len(rows), -1)[weights.places]
        changed[weights.places] = (matrices @ flat).reshape(*weights.places.shape, *rows.shape[1:])
        return changed

    edit(rewriter, [weights.member], change)
