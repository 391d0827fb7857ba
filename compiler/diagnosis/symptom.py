"""Symptoms: what is wrong with a graph, asked of one graph after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from burnish.diagnosis.surviving import killed_by
from burnish.errors import BurnishError
from burnish.ir import Graph
from burnish.ir.verify import verify
from burnish.numerics import Numerics
from burnish.oracle import Oracle, compare
from burnish.oracle.ties import Ties
from burnish.verification import Feeds, Reference

FATAL = "oracle: "
"""How the kinds of failure begin in which the oracle crashes."""
PATIENCE = 60.0
"""Seconds after which it does not matter any more whether the oracle would crash."""
Outputs = Mapping[str, Any]
"""Results by name."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What is wrong."""

    kind: str
    """What tells it from other failures: a search follows one kind and no other."""
    text: str
    feed: int = 0
    """Which of the inputs show it."""


class Symptom(Protocol):
    """How to find out whether a graph is wrong."""

    def of(self, graph: Graph, promise: Numerics) -> Failure | None:
        """What is wrong with ``graph``, which passes made that keep ``promise``."""


@dataclass(frozen=True)
class Agreement:
    """When outputs count as equal."""

    tolerance: float | None = None
    """How far one may be off, relative to its largest value; None for what passes promise."""
    errors: list[float] = field(default_factory=list, compare=False, repr=False)
    """The largest of each output that was looked at, as they came."""

    def failure(
        self, expected: Sequence[Outputs], found: Sequence[Outputs], promise: Numerics
    ) -> Failure | None:
        """How ``found`` differs from ``expected``, output by output for each of the inputs."""
        judged = promise if self.tolerance is None else Numerics.LOSSY
        for feed, (want, have) in enumerate(zip(expected, found, strict=True)):
            if list(want) != list(have) and set(want) == set(have):
                orders = " instead of ".join(", ".join(map(repr, names)) for names in (have, want))
                return Failure("form", f"outputs are in another order: {orders}", feed)
            for each in compare(want, have, judged).outputs:
                self.errors.append(each.error)
                is_off = self.tolerance is not None and not each.error <= self.tolerance
                if each.equal and not is_off:
                    continue
                # A difference in form has no place where it is largest.
                kind = "form" if each.error == float("inf") and each.worst is None else "numerics"
                reason = each.reason or (
                    f"largest error {each.error:.3g} of the largest output; "
                    f"{self.tolerance:.3g} is allowed"
                )
                return Failure(kind, f"output {each.name!r}: {reason}", feed)
        return None


def judged(
    agreement: Agreement,
    ties: Ties | None,
    feeds: Sequence[Feeds],
    expected: Sequence[Outputs],
    found: Sequence[Outputs],
    promise: Numerics,
) -> Failure | None:
    """How ``found`` differs from ``expected`` by more than where ``ties`` of the model fall."""
    wrong = agreement.failure(expected, found, promise)
    if wrong is None or wrong.kind == "form" or ties is None:
        return wrong
    near = [ties.near(*run) for run in zip(feeds, expected, found, strict=True)]
    return agreement.failure(expected, near, promise)


@dataclass(frozen=True)
class OnnxSymptom:
    """Outputs by the oracle that differ from those of the original."""

    reference: Reference
    agreement: Agreement
    fatal: bool = False
    """Whether the oracle may crash."""

    def of(self, graph: Graph, promise: Numerics) -> Failure | None:
        """Run ``graph`` by the oracle, which may refuse it."""
        outcome = run_by_oracle(graph, self.reference.feeds, fatal=self.fatal)
        if isinstance(outcome, Failure):
            return outcome
        reference = self.reference
        return judged(
            self.agreement, reference.ties, reference.feeds, reference.expected, outcome, promise
        )


def run_by_oracle(
    graph: Graph, feeds: Sequence[Feeds], *, fatal: bool = False
) -> list[Outputs] | Failure:
    """The outputs of ``graph`` for all ``feeds``, or why there are none.

    With ``fatal``, a copy of this process tries first, which the oracle may end.
    """
    if fatal:
        ended = killed_by(lambda: run_by_oracle(graph, feeds), PATIENCE)
        if ended is not None:
            return Failure(FATAL + ended, f"ONNX Runtime crashes on what is left ({ended})")
    try:
        verify(graph)
        oracle = Oracle(graph)
        return [oracle.run(each) for each in feeds]
    except BurnishError as error:
        return Failure("invalid", f"the rewritten graph is no model that runs: {error}")
    except Exception as error:  # a graph may be broken in ways that no check foresees
        return Failure(
            "invalid",
            f"the rewritten graph cannot be written as ONNX ({type(error).__name__}: {error})",
        )
