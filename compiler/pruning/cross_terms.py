"""What structures lose together beyond what each loses alone.

The second-order terms of GB/T 42382.2-2023 (eq. 34-36) without labels: at the original weights the
divergence from the original and its gradient are zero, so that a term is KL(i and j) - KL(i) -
KL(j). They are measured by forward passes at an operating point, where they may differ even in sign
from those of small changes, between families of structures: heads, residual streams, the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

from burnish.passes.pruning.structures import CHANNELS, Structure
from burnish.pruning.plan import Plan
from burnish.pruning.shapes import Widths
from burnish.quantization.deadline import Deadline


def cross_terms(
    found: Plan, widths: Widths, probe: Callable[[Widths], float], time: Deadline
) -> dict[tuple[str, str], float]:
    """Factors of pairs of structures: times the shares of units that go they are what is lost.

    Args:
        found: the plan, with losses.
        widths: the operating point.
        probe: the loss of the model at some widths.
        time: after which nothing more is measured.
    """
    members: dict[str, dict[str, int]] = {}
    for one in found.open:
        if widths.get(one.name, len(one.units)) < len(one.units):
            members.setdefault(family(one), {})[one.name] = widths[one.name]
    pairs: dict[tuple[str, str], float] = {}
    alone: dict[str, float] = {}
    for name, some in members.items():
        if time.is_late():
            return pairs
        time.tell("thinning out a family", len(alone), len(members))
        alone[name] = probe(some)
        apart = sum(found.loss(each, width) for each, width in some.items())
        inside = list(combinations(some, 2))
        pairs |= _shared(found, inside, some, alone[name] - apart)
    for first, second in combinations(members, 2):
        if time.is_late():
            break
        both = {**members[first], **members[second]}
        across = [(one, other) for one in members[first] for other in members[second]]
        pairs |= _shared(found, across, both, probe(both) - alone[first] - alone[second])
    return pairs


def family(structure: Structure) -> str:
    """What a structure has terms as: a residual stream, which several layers write, or its kind."""
    writers = {member.node for member in structure.group.writers}
    is_stream = structure.kind == CHANNELS and len(writers) > 1
    return "stream" if is_stream else structure.kind


def _shared(
    found: Plan, pairs: list[tuple[str, str]], widths: Mapping[str, int], loss: float
) -> dict[tuple[str, str], float]:
    """The factor of ``pairs`` with which they come to ``loss`` together."""
    gone = {name: 1 - width / found.choices[name][-1] for name, width in widths.items()}
    weight = sum(gone[one] * gone[other] for one, other in pairs)
    return dict.fromkeys(pairs, loss / weight) if weight else {}
