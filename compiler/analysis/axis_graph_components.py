"""What hangs together in an axis graph: equal channels, and sites that one transform reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from burnish.analysis.axis_graph_sites import Bound, Passage, Site, Sites
from burnish.analysis.symmetry import Transform, meet
from burnish.ir import Array


@dataclass(eq=False)
class Part:
    """Sites of a group that one transform reaches: it does not get past what bounds them."""

    sites: tuple[Site, ...]
    signs: dict[Site, int]
    """-1 where the inverse transform is applied: keys against queries."""
    symmetry: Transform
    bounds: tuple[Bound, ...]
    """What narrows the symmetry from outside."""
    passages: tuple[Passage, ...]


def carries(passage: Passage) -> bool:
    """Whether more than a permutation gets through."""
    return passage.beyond is None and not passage.allowed <= Transform.PERMUTATION


def connected(count: int, pairs: Sequence[tuple[Array, Array]]) -> Array:
    """The least number that each of ``count`` numbers is connected with by ``pairs``."""
    least = np.arange(count)
    if not pairs:
        return least
    one = np.concatenate([pair[0] for pair in pairs])
    other = np.concatenate([pair[1] for pair in pairs])
    while True:
        a, b = least[one], least[other]
        if np.array_equal(a, b):
            return least
        np.minimum.at(least, np.maximum(a, b), np.minimum(a, b))
        while True:
            jumped = least[least]
            if np.array_equal(jumped, least):
                break
            least = jumped


class _Union:
    """Sites that belong together, and whether one has the inverse transform of the other."""

    def __init__(self) -> None:
        self._up: dict[Site, tuple[Site, int]] = {}

    def find(self, site: Site) -> tuple[Site, int]:
        path = []
        sign = 1
        while site in self._up:
            path.append(site)
            site, step = self._up[site]
            sign *= step
        total = sign
        for entry in path:
            step = self._up[entry][1]
            self._up[entry] = (site, total)
            total *= step
        return site, sign

    def join(self, one: Site, other: Site, sign: int) -> bool:
        """Join both; False if they are joined already with the other sign."""
        (a, s), (b, t) = self.find(one), self.find(other)
        if a is b:
            return s * t == sign
        self._up[b] = (a, s * t * sign)
        return True


def find_parts(sites: Sites, passages: Sequence[Passage]) -> list[Part]:
    """Sites that ``passages`` connect, and what bounds them from outside."""
    union = _Union()
    twisted: list[Site] = []
    for passage in passages:
        sign = -1 if passage.dual else 1
        if not union.join(passage.source, passage.target, sign):
            twisted.append(passage.source)
    linked = set(passages)
    roots: dict[Site, tuple[list[Site], dict[Site, int]]] = {}
    for site in (site for value in sites.of.values() for site in value):
        root, sign = union.find(site)
        inside, signs = roots.setdefault(root, ([], {}))
        inside.append(site)
        signs[site] = sign
    through: dict[Site, list[Passage]] = {}
    bounds: dict[Site, list[Bound]] = {}
    for passage in sites.passages:
        if passage in linked:
            through.setdefault(union.find(passage.source)[0], []).append(passage)
            continue
        ends = ((passage.source, passage.allowed), (passage.target, passage.allowed))
        if passage.beyond is not None:
            ends = (ends[0], (passage.target, passage.beyond))
        for site, allowed in ends:
            reason = f"{passage.node.op_type} is not linear in it"
            found = Bound(site, allowed, reason, passage.node)
            bounds.setdefault(union.find(site)[0], []).append(found)
    for bound in sites.bounds:
        bounds.setdefault(union.find(bound.site)[0], []).append(bound)
    for site in twisted:
        found = Bound(site, Transform.PERMUTATION, "it meets itself in a product")
        bounds.setdefault(union.find(site)[0], []).append(found)
    return [
        _part(inside, signs, through.get(root, []), bounds.get(root, []))
        for root, (inside, signs) in roots.items()
    ]


def _part(
    inside: list[Site], signs: dict[Site, int], passages: list[Passage], bounds: list[Bound]
) -> Part:
    classes = {p.allowed for p in passages} | {b.allowed for b in bounds}
    return Part(tuple(inside), signs, meet(classes), tuple(bounds), tuple(passages))
