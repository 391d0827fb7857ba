"""Trials of parts of a model: whether the passes in question still make them fail alike."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from burnish.diagnosis.cutting import Part
from burnish.diagnosis.native import Engine, Expectation
from burnish.diagnosis.recording import CRASH, run_some
from burnish.diagnosis.symptom import Agreement, Failure, judged, run_by_oracle
from burnish.errors import UsageError
from burnish.numerics import Numerics, loosest
from burnish.oracle.rounding import Roundings
from burnish.oracle.ties import Ties
from burnish.pipeline import Pass, PassContext, PassReport
from burnish.rewrite import Allowance


@dataclass(frozen=True)
class Trial:
    """What is done to a part, and what has to go wrong then."""

    steps: Sequence[Pass]
    context: PassContext
    kind: str
    rule: str | None
    """The rule that has to be applied, if that is known."""
    agreement: Agreement
    engine: Engine | None = None
    """Compiles and runs what the passes leave; without it, the oracle runs it."""
    seconds: float = 0.0
    """What the oracle takes for a run of the whole model."""
    fatal: bool = False
    """Whether the oracle may crash."""

    def shows(self, part: Part) -> bool:
        """Whether ``part`` fails in the way that is looked for, by the rule that is blamed."""
        failure, rules = self.outcome(part)
        return failure is not None and failure.kind == self.kind and self._involves(rules)

    def _involves(self, rules: Sequence[str]) -> bool:
        return self.rule is None or self.rule in rules

    def outcome(self, part: Part) -> tuple[Failure | None, list[str]]:
        """How ``part`` fails, if it does, and the rules that were applied to it.

        A part that does not run before the passes shows nothing.
        """
        expected = run_by_oracle(part.graph, [part.feeds], fatal=self.fatal)
        if isinstance(expected, Failure):
            return None, []
        allowance = Allowance(sys.maxsize)
        try:
            done = run_some(
                part.graph, self.steps, replace(self.context, allowance=allowance),
                fatal=self.kind.startswith(CRASH),
            )  # fmt: skip
        except UsageError:
            return None, []
        if isinstance(done, Failure):
            return done, [allowance.rule]
        graph, reports = done
        rules = [firing.rule for report in reports for firing in report.fired]
        if self.engine is not None:
            roundings, ties = Roundings(part.graph), Ties(part.graph)
            expectation = Expectation(
                [part.feeds], expected, self.agreement, roundings, self.seconds, ties
            )
            return self.engine.failure(graph, expectation), rules
        found = run_by_oracle(graph, [part.feeds], fatal=self.fatal)
        if isinstance(found, Failure):
            return found, rules
        promise, ties = self._promise(reports), Ties(part.graph)
        return judged(self.agreement, ties, [part.feeds], expected, found, promise), rules

    def _promise(self, reports: Sequence[PassReport]) -> Numerics:
        return loosest(report.numerics for report in reports if report.changed)
