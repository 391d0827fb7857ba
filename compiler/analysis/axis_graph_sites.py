"""Sites of channels, and what the builder of the axis graph collects about them.

Every channel that is written has a number. A *site* says which channel stands where in a tensor:
an array of numbers over those axes of the tensor along which the channel changes. Reshaping
``C`` channels into heads gives a site over two axes; flattening an image repeats each number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from itertools import takewhile

import numpy as np

from burnish.analysis.symmetry import Transform, passage
from burnish.ir import Array, Graph, OperatorNode, VariableNode


class Role(Enum):
    """What a constant does to a channel axis."""

    WRITER = "writes it"
    READER = "contracts it"
    RIDER = "has one element for each channel"


class Variance(Enum):
    """How a constant changes when the channels are transformed by ``A``."""

    COVARIANT = "by A"
    CONTRAVARIANT = "by the inverse of A, transposed"
    INVARIANT = "not at all, but it is permuted with the channels"


@dataclass(frozen=True, eq=False, slots=True)
class Site:
    """Channels ``numbers`` along ``axes`` (ascending) of ``value``; one size per axis."""

    value: VariableNode
    axes: tuple[int, ...]
    numbers: Array

    @property
    def axis(self) -> int | None:
        """The axis, if it is a single one."""
        return self.axes[0] if len(self.axes) == 1 else None


@dataclass(frozen=True, eq=False, slots=True)
class Member:
    """A constant that knows about channels: those of ``site`` along ``axes`` of an input."""

    node: OperatorNode
    index: int
    """Of the input."""
    axes: tuple[int, ...]
    site: Site
    role: Role
    variance: Variance
    padded: bool = False
    """A convolution that reads zeros beside the data, which no shift reaches."""

    @property
    def numbers(self) -> Array:
        """Channels along ``axes``."""
        return self.site.numbers

    @property
    def value(self) -> VariableNode:
        """The constant as it is now."""
        found = self.node.input(self.index)
        assert found is not None
        return found


@dataclass(frozen=True, eq=False, slots=True)
class Passage:
    """``node`` takes the channels of ``source`` on to ``target`` and lets ``allowed`` through."""

    node: OperatorNode
    source: Site
    target: Site
    allowed: Transform
    dual: bool = False
    """A product sums over both: what one is multiplied by, the other is divided by."""
    beyond: Transform | None = None
    """Set where scales do not pass, and ``target`` has its scale from elsewhere: what it allows."""


@dataclass(frozen=True, eq=False, slots=True)
class Bound:
    """``site`` allows no more than ``allowed``, because of ``node`` or of a graph output."""

    site: Site
    allowed: Transform
    reason: str
    node: OperatorNode | None = None
    whole: bool = False
    """Channels of this site must stay where they are and as many as they are."""


@dataclass(frozen=True, eq=False, slots=True)
class Blocks:
    """Only channels of ``site`` with the same ``labels`` mix: those of one head."""

    site: Site
    labels: Array


@dataclass(eq=False)
class Sites:
    """What is known while a graph is walked."""

    graph: Graph
    of: dict[VariableNode, tuple[Site, ...]] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)
    blocks: list[Blocks] = field(default_factory=list)
    equal: list[tuple[Array, Array]] = field(default_factory=list)
    ties: list[tuple[Array, Array]] = field(default_factory=list)
    """[heads] and [heads, channels]: heads, and the channels that go with each of them."""
    resized: list[tuple[OperatorNode, Site, Site | None]] = field(default_factory=list)
    """Nodes whose attributes or integer inputs may state the number of channels."""
    count: int = 0
    """Channels numbered so far."""

    def sites(self, value: VariableNode | None) -> tuple[Site, ...]:
        """The sites of ``value``; none for a constant or an unknown value."""
        return () if value is None else self.of.get(value, ())

    def site(self, value: VariableNode | None, axis: int) -> Site | None:
        """The site of ``value`` that has ``axis``, with others or alone."""
        return next((site for site in self.sites(value) if axis in site.axes), None)

    def fresh(self, *sizes: int) -> Array:
        """Numbers of new channels."""
        amount = int(np.prod(sizes, dtype=np.int64))
        numbers = np.arange(self.count, self.count + amount, dtype=np.int64).reshape(sizes)
        self.count += amount
        return numbers

    def put(self, value: VariableNode, axes: tuple[int, ...], numbers: Array) -> Site:
        """``value`` has channels ``numbers`` along ``axes``."""
        site = Site(value, axes, numbers)
        self.of[value] = (*self.of.get(value, ()), site)
        return site

    def carry(
        self,
        node: OperatorNode,
        source: Site,
        target: VariableNode,
        allowed: Transform | None = None,
        *,
        axes: tuple[int, ...] | None = None,
        numbers: Array | None = None,
        beyond: Transform | None = None,
    ) -> Site:
        """The channels of ``source`` go on in ``target``, by default along the same axes."""
        where = source.axes if axes is None else axes
        if not where:
            self.bound(source, Transform.IDENTITY, f"{node.op_type} takes one channel", node)
            return source
        found = source.numbers if numbers is None else numbers
        site = next((s for s in self.sites(target) if s.axes == where), None)
        if site is None:
            site = self.put(target, where, found)
        else:
            self.same(site.numbers, found)
        kind = passage(node.op_type) if allowed is None else allowed
        self.passages.append(Passage(node, source, site, kind, beyond=beyond))
        return site

    def same(self, one: Array, other: Array) -> None:
        """Channels at the same places of both arrays are the same ones."""
        if one is not other and not np.array_equal(one, other):
            self.equal.append((one.reshape(-1), other.reshape(-1)))

    def bound(
        self, site: Site, allowed: Transform, reason: str, node: OperatorNode | None = None
    ) -> None:
        """``site`` allows no more than ``allowed``."""
        whole = allowed is Transform.IDENTITY
        self.bounds.append(Bound(site, allowed, reason, node, whole))

    def forget_scale(
        self, node: OperatorNode, source: Site, target: VariableNode, allowed: Transform
    ) -> Site:
        """A normalization with parameters for each channel: its result has a scale of its own."""
        site = self.put(target, source.axes, source.numbers)
        self.passages.append(Passage(node, source, site, allowed, beyond=Transform.DIAGONAL))
        return site

    def pin(self, value: VariableNode | None, reason: str, node: OperatorNode | None) -> None:
        """The channels of ``value`` must stay as they are."""
        for site in self.sites(value):
            self.bound(site, Transform.IDENTITY, reason, node)

    def member(
        self,
        node: OperatorNode,
        index: int,
        axes: tuple[int, ...],
        site: Site,
        role: Role,
        variance: Variance,
        *,
        padded: bool = False,
    ) -> None:
        """The constant at input ``index`` of ``node`` knows about channels."""
        for known in takewhile(lambda known: known.node is node, reversed(self.members)):
            # A constant beside several values that have the same channels.
            if (known.index, known.axes) == (index, axes):
                return self.same(known.numbers, site.numbers)
        self.members.append(Member(node, index, axes, site, role, variance, padded))

    def source(self, node: OperatorNode, index: int) -> None:
        """A floating constant at input ``index`` writes channels along each of its axes."""
        value = node.input(index)
        if value is None or value.constant is None or not value.dtype.is_floating:
            return
        for site in self.sites(value):
            self.member(node, index, site.axes, site, Role.WRITER, Variance.COVARIANT)
        if value in self.of:
            return
        for axis, size in enumerate(value.constant.shape):
            if size > 1:
                site = self.put(value, (axis,), self.fresh(size))
                self.member(node, index, (axis,), site, Role.WRITER, Variance.COVARIANT)
