"""Fewer bits on request: what is rounded, and how far that may move the outputs.

All that gains by it is rounded first. Where the outputs then move too far, products are left as
they are, those first that move them the most for the time that they save, until they do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from burnish.analysis.cost import node_flops
from burnish.errors import GateFailed, UnsupportedModel, UsageError
from burnish.ir import Graph, OperatorNode
from burnish.passes import get_pass
from burnish.pipeline import Pass, PassContext, PassReport, Progress, copy_of, run_pass
from burnish.target import BFLOAT16, Target
from burnish.verification import Reference

KINDS = ("f32", "bf16")
TOLERANCE = 1e-2
"""Largest error allowed unless the user says otherwise, relative to the largest output."""

_GROUPS = 16
"""Into how many groups products are put to see which of them move the outputs the most."""
_MARGIN = 0.8
"""Share of the tolerance that errors may add up to by estimate, before they are measured."""
_ATTEMPTS = 4


@dataclass(frozen=True)
class Precision:
    """How many bits the user asks for."""

    products: str = "f32"
    """What products and convolutions multiply."""
    weights: str = "f32"
    """What large weights are stored as where reading them is what takes time."""
    tolerance: float = TOLERANCE

    @classmethod
    def of(cls, products: str | None, weights: str | None, tolerance: float | None) -> Precision:
        """What the options say, None for the default of each.

        Raises:
            UsageError: a value does not exist.
        """
        for option, kind in (("--precision", products), ("--weights", weights)):
            if kind is not None and kind not in KINDS:
                raise UsageError(f"{option} is one of {', '.join(KINDS)}, not {kind!r}")
        made = cls(
            products or "f32", weights or "f32", TOLERANCE if tolerance is None else tolerance
        )
        if tolerance is not None and made.is_full:
            raise UsageError("--tolerance says how far --precision bf16 or --weights bf16 may go")
        if not 0 < made.tolerance <= 1:
            raise UsageError(f"--tolerance is more than 0 and at most 1, not {tolerance:g}")
        return made

    @property
    def is_full(self) -> bool:
        """Whether nothing is to be rounded."""
        return not self.passes

    @property
    def passes(self) -> list[str]:
        """Names of the passes that round."""
        chosen = {"narrow-products": self.products, "narrow-weights": self.weights}
        return [name for name, kind in chosen.items() if kind != "f32"]

    @property
    def options(self) -> str:
        """What the user gave."""
        kinds = {"--precision": self.products, "--weights": self.weights}
        return " ".join(f"{option} {kind}" for option, kind in kinds.items() if kind != "f32")

    def suited(self, target: Target) -> Target:
        """``target`` with the instructions that this asks for.

        Raises:
            UnsupportedModel: it has none.
        """
        if self.products == "f32":
            return target
        if BFLOAT16 not in target.extensions | target.features:
            raise UnsupportedModel(
                f"the target {target.name} has no {BFLOAT16}, which --precision bf16 needs; "
                "compile for cpu on a machine that has it, or leave --precision out "
                "(--weights bf16 needs no such instruction)"
            )
        return target.using(BFLOAT16)


@dataclass
class Narrowed:
    """A graph with some of its numbers rounded."""

    graph: Graph
    steps: list[Pass]
    """The passes that rounded something."""
    reports: list[PassReport]
    """What they did."""
    rounded: int
    """Operators that read rounded numbers for their own sake."""
    eligible: int
    """Those that gain by it."""
    errors: Mapping[str, float] = field(default_factory=dict)
    """Of each output, by the oracle, relative to its largest value; empty if not measured."""


def narrow(
    graph: Graph,
    precision: Precision,
    context: PassContext,
    reference: Reference | None,
    progress: Progress | None = None,
) -> Narrowed:
    """Round what ``precision`` asks for in a copy of ``graph``.

    Args:
        graph: what code would be generated from otherwise.
        precision: how many bits, and how far outputs may move.
        context: for the pass.
        reference: what the original answers; None if nothing is to be compared.
        progress: called with what is done, how many times so far and at most.

    Raises:
        GateFailed: the outputs move too far whatever is rounded.
    """
    return _Narrowing(graph, precision, context, reference, progress).run()


@dataclass
class _Narrowing:
    graph: Graph
    precision: Precision
    context: PassContext
    reference: Reference | None
    progress: Progress | None

    def run(self) -> Narrowed:
        whole = self._attempt(())
        if self.reference is None or self._agrees(whole):
            return whole
        fired = [firing.provenance for report in whole.reports for firing in report.fired]
        groups = _groups(fired)
        errors = self._errors_apart(groups)
        # What costs the most accuracy for what it gains goes first.
        worth = self._flops(groups)
        order = sorted(range(len(groups)), key=lambda i: -(errors[i] ** 2) / worth[i])
        allowed = self.precision.tolerance * _MARGIN
        for _ in range(_ATTEMPTS):
            kept = _drop(order, errors, allowed)
            if len(kept) == len(groups):
                break
            found = self._attempt([name for i in kept for name in groups[i]])
            found.eligible = whole.eligible
            if self._agrees(found):
                return found
            allowed /= 2
        worst = max(whole.errors, key=lambda name: whole.errors[name])
        raise GateFailed(
            f"{self.precision.options} moves the output {worst!r} by {whole.errors[worst]:.2g} of "
            f"its largest value, where {self.precision.tolerance:.2g} is allowed, and leaving some "
            "operators as they are does not help; raise --tolerance, or leave the option out"
        )

    def _attempt(self, keep: Sequence[str]) -> Narrowed:
        """Round all but what is called ``keep``, and measure."""
        graph = copy_of(self.graph)
        found = Narrowed(graph, [], [], 0, 0)
        for name in self.precision.passes:
            step = get_pass(name, keep=tuple(keep))
            report = run_pass(graph, step, self.context)
            if report.fired:
                found.steps.append(step)
                found.reports.append(report)
                found.rounded += len(report.fired)
        found.eligible = found.rounded
        if self.reference is not None and found.reports:
            found.errors = self.reference.errors(graph)
            found.reports[-1].error = max(found.errors.values(), default=0.0)
        return found

    def _agrees(self, found: Narrowed) -> bool:
        return all(error <= self.precision.tolerance for error in found.errors.values())

    def _errors_apart(self, groups: Sequence[Sequence[str]]) -> list[float]:
        """The largest error of any output when one group is rounded alone."""
        errors = []
        for number, group in enumerate(groups):
            if self.progress:
                self.progress(self.precision.passes[0], number, len(groups))
            alone = set(group)
            others = [name for each in groups for name in each if name not in alone]
            errors.append(max(self._attempt(others).errors.values(), default=0.0))
        return errors

    def _flops(self, groups: Sequence[Sequence[str]]) -> list[float]:
        costs: dict[str, OperatorNode] = {
            name: node for node in self.graph for name in node.provenance if node_flops(node)
        }
        return [
            1.0 + sum(float(node_flops(costs[name]) or 0) for name in group if name in costs)
            for group in groups
        ]


def _groups(products: Sequence[tuple[str, ...]]) -> list[list[str]]:
    """Names of products in groups of neighbours; those that share a name are together."""
    size = math.ceil(len(products) / _GROUPS)
    groups: list[list[str]] = []
    for start in range(0, len(products), size):
        names = [name for product in products[start : start + size] for name in product]
        groups.append(list(dict.fromkeys(names)))
    return groups


def _drop(order: Sequence[int], errors: Sequence[float], allowed: float) -> list[int]:
    """As few groups as possible, taken in ``order``, without which errors may be small enough.

    Errors of roundings are independent, so that their squares add up.
    """
    kept: list[int] = []
    for group in order:
        left = sum(errors[i] ** 2 for i in order if i not in kept)
        if left <= allowed**2:
            break
        kept.append(group)
    return kept


def describe(
    narrowed: Narrowed, precision: Precision, errors: Mapping[str, float]
) -> dict[str, Any]:
    """What manifests and reports say; ``errors`` by output, to two digits."""
    return {
        "products": precision.products,
        "weights": precision.weights,
        "rounded": narrowed.rounded,
        "eligible": narrowed.eligible,
        "tolerance": precision.tolerance,
        "errors": {name: float(f"{error:.2g}") for name, error in errors.items()},
    }
