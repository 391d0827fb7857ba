"""What is lost at the readers of a structure for each number of units that are kept.

Readers make up for what goes: with the inputs in the order in which they are kept, one Cholesky
factor of the moments tells what the first so many cannot explain of the others, for each number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from burnish.analysis.axis_graph_sites import Member
from burnish.ir import Array
from burnish.passes.pruning.criteria import CRITERIA, Criterion, Evidence, l2
from burnish.passes.pruning.readings import Reading
from burnish.passes.pruning.structures import WIDTH, Structure

LARGE, FEW = 1024, ("activation", "greedy")
"""Inputs of a reader above which only these orders are compared: each takes seconds there, and on
smaller ones the second is the best nearly always."""
AS_GOOD = 0.3
"""How much larger the logarithm of errors may be for places within heads to stay in order."""
LEAST = 1e-9
"""Errors below this are none."""


@dataclass(frozen=True)
class Survey:
    """Which units of a structure to keep, and what is lost."""

    order: Array
    """Int [units]: those to be kept first come first."""
    errors: Array
    """Float64 [units + 1], by number of units that are kept: mean square error of what the readers
    give, refitted, in parts of its power and summed over the readers."""
    criterion: str
    """That the order is by."""


def survey(
    structure: Structure, readings: Sequence[Reading],
    criteria: Mapping[str, Criterion] | None = None, information: Array | None = None,
) -> Survey:  # fmt: skip
    """The order of the units of a structure by which least is lost, as a mean over widths.

    Args:
        structure: what is thinned out.
        readings: of its readers.
        criteria: orders to compare; all by default, a few where readers multiply many inputs.
        information: what `gates` measures of units, float64 [units]; None if it does not.
    """
    if criteria is None:
        is_large = max((len(one.units) for one in readings), default=0) > LARGE
        criteria = {name: CRITERIA[name] for name in FEW} if is_large else CRITERIA
    count = len(structure.units)
    evidence = evidence_of(structure, readings, information)
    if not readings:
        # Queries and keys, whose sizes are singular values once heads are rotated.
        order = np.argsort(-l2(evidence), kind="stable")
        return Survey(order, _losses(readings, order), "l2")
    found = []
    for name, criterion in criteria.items():
        importance = criterion(evidence)
        if importance is not None:
            order = np.argsort(-importance, kind="stable")
            found.append(Survey(order, _losses(readings, order), name))
    best = min(found, key=_badness)
    if structure.kind == WIDTH:
        order = np.arange(count)
        rotated = Survey(order, _losses(readings, order), "place")
        # Values alone say nothing of the queries and keys that go along.
        return rotated if _badness(rotated) < _badness(best) + AS_GOOD else best
    return best


def _badness(one: Survey) -> float:
    """Mean logarithm of the errors over all widths."""
    inner = one.errors[1:-1]
    return float(np.log(inner + LEAST).mean()) if len(inner) else 0.0


def evidence_of(
    structure: Structure, readings: Sequence[Reading], information: Array | None = None
) -> Evidence:
    """What criteria look at."""
    group = structure.group
    rows, scales = [], None
    for member in (*group.writers, *group.riders):
        if _is_constant_of_products(member):
            rows.append(_by_unit(structure, member))
        elif member.node.is_op("BatchNormalization") and member.index == 1:
            scales = np.abs(_by_unit(structure, member)).sum(1)
    return Evidence(np.concatenate(rows, 1), scales, readings, information)


def _is_constant_of_products(member: Member) -> bool:
    return member.node.is_op("Conv", "ConvTranspose", "Gemm", "MatMul")


def _by_unit(structure: Structure, member: Member) -> Array:
    """A constant's elements by unit, float64 [units, ...]; zeros for units that it lacks."""
    constant = member.value.constant
    assert constant is not None
    array = np.moveaxis(constant.numpy().astype(np.float64), member.axes, range(len(member.axes)))
    flat = array.reshape(member.numbers.size, -1)
    units = structure.unit_of[structure.group.channels_of(member).reshape(-1)]
    most = int(np.bincount(units[units >= 0], minlength=1).max())
    found = np.zeros((len(structure.units), most, flat.shape[1]))
    places = np.zeros(len(structure.units), np.int64)
    for unit, row in zip(units, flat, strict=True):
        if unit >= 0:
            found[unit, places[unit]] = row
            places[unit] += 1
    return found.reshape(len(found), -1)


def _losses(readings: Sequence[Reading], order: Array) -> Array:
    """What is lost if only the first so many units of ``order`` are kept, float64 [units + 1]."""
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    found = np.zeros(len(order) + 1)
    for reading in readings:
        energy = reading.energy
        if energy <= 0:
            continue
        # Inputs of no unit of the structure stay: they come first.
        ranks = np.where(reading.units >= 0, rank[reading.units], -1)
        at = np.argsort(ranks, kind="stable")
        lower = np.linalg.cholesky(reading.regular[np.ix_(at, at)])
        # With M = L L^T, column j of W L is what input j adds that those before do not explain.
        powers = np.square(reading.weights[:, at] @ lower).sum(0)
        each = np.bincount(1 + ranks[at], powers, len(order) + 1)
        found += (each.sum() - np.cumsum(each)) / energy
    return found
