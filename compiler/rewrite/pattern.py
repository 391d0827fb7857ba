"""Patterns: what a rule looks for, as data.

A pattern describes a node by its type and the patterns of its inputs, from its output backwards:

    x = Any("x")
    gelu = Op("Mul", x, Op("Add", Op("Erf", Op("Div", x, Const("sqrt2"))), Scalar(1.0)))

The same capture name twice must meet the same value.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from burnish.ir import OperatorNode, VariableNode

COMMUTATIVE = frozenset({"Add", "Mul", "And", "Or", "Xor", "Equal", "Max", "Min", "Sum"})


@dataclass(frozen=True)
class Any:
    """Any value, captured under ``name`` unless that is empty."""

    name: str = ""


@dataclass(frozen=True)
class Const:
    """A value known at compile time, captured under ``name``."""

    name: str = ""
    accept: Callable[[VariableNode], bool] | None = None
    """A further condition on the value."""


@dataclass(frozen=True)
class Scalar:
    """A constant with one element close to ``value`` (any rank, any float or integer type)."""

    value: float
    rtol: float = 1e-3

    def accepts(self, variable: VariableNode) -> bool:
        """Whether ``variable`` is such a constant."""
        constant = variable.constant
        if constant is None or constant.size != 1 or constant.dtype.bits == 0:
            return False
        found = float(np.asarray(constant.numpy(), dtype=np.float64).reshape(()))
        return bool(np.isclose(found, self.value, rtol=self.rtol, atol=0.0))


@dataclass(frozen=True)
class Missing:
    """An optional input that is left out."""


@dataclass(frozen=True, init=False)
class Op:
    """A node of one of ``types`` (``"Add"``, ``"Add|Sub"``, ``"com.microsoft:Gelu"``).

    ``inputs`` match the first inputs; further ones must be absent unless ``open_ended``. Operators
    in ``COMMUTATIVE`` with two inputs match in both orders. ``shared`` allows the node's results to
    be read outside the match: they are then kept.
    """

    types: frozenset[tuple[str, str]]
    inputs: tuple[Pattern, ...]
    name: str
    output: int
    shared: bool
    open_ended: bool
    accept: Callable[[OperatorNode], bool] | None
    depth: int
    """Operators on the longest way from here to a leaf."""
    size: int
    """Operators in the pattern; of alternatives those of the smallest."""

    def __init__(
        self,
        types: str,
        *inputs: Pattern,
        name: str = "",
        output: int = 0,
        shared: bool = False,
        open_ended: bool = False,
        accept: Callable[[OperatorNode], bool] | None = None,
    ) -> None:
        """Describe a node; with no ``inputs`` at all, any inputs match."""
        put = object.__setattr__
        put(self, "types", frozenset(_split(kind) for kind in types.split("|")))
        put(self, "inputs", inputs)
        put(self, "name", name)
        put(self, "output", output)
        put(self, "shared", shared)
        put(self, "open_ended", open_ended or not inputs)
        put(self, "accept", accept)
        put(self, "depth", 1 + max((depth(pattern) for pattern in inputs), default=0))
        put(self, "size", 1 + sum(size(pattern) for pattern in inputs))


@dataclass(frozen=True, init=False)
class OneOf:
    """The first of several alternatives that matches."""

    choices: tuple[Pattern, ...]
    depth: int
    size: int

    def __init__(self, *choices: Pattern) -> None:
        """List the alternatives in order of preference."""
        put = object.__setattr__
        put(self, "choices", choices)
        put(self, "depth", max(depth(choice) for choice in choices))
        put(self, "size", min(size(choice) for choice in choices))


Pattern: TypeAlias = Any | Const | Scalar | Missing | Op | OneOf


def _split(kind: str) -> tuple[str, str]:
    domain, _, op_type = kind.rpartition(":")
    return domain, op_type


def anchors(pattern: Pattern) -> frozenset[tuple[str, str]]:
    """(domain, operator type) of the nodes at which ``pattern`` can match."""
    if isinstance(pattern, Op):
        return pattern.types
    if isinstance(pattern, OneOf):
        return frozenset().union(*(anchors(choice) for choice in pattern.choices))
    raise TypeError("a rule's pattern must start at an operator")


def can_occur(pattern: Pattern, kinds: Set[tuple[str, str]]) -> bool:
    """Whether ``pattern`` may match in a graph whose operators are of ``kinds`` (domain, type)."""
    if isinstance(pattern, OneOf):
        return any(can_occur(choice, kinds) for choice in pattern.choices)
    if not isinstance(pattern, Op):
        return True
    if pattern.types.isdisjoint(kinds):
        return False
    return all(can_occur(wanted, kinds) for wanted in pattern.inputs)


def depth(pattern: Pattern) -> int:
    """Operators on the longest way from the root of ``pattern`` to a leaf."""
    return pattern.depth if isinstance(pattern, (Op, OneOf)) else 0


def size(pattern: Pattern) -> int:
    """Operators in ``pattern``; of alternatives those of the smallest."""
    return pattern.size if isinstance(pattern, (Op, OneOf)) else 0
