"""What variants say about passes: who is timed for whom, what is compared, and how it came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from burnish.bench.contrasts import Contrasts
from burnish.bench.document import Interval, Metric, Step, Verdict
from burnish.bench.paired import describe_metrics
from burnish.bench.scoring import Judgement
from burnish.bench.sittings import Timings
from burnish.bench.subjects import Subject
from burnish.bench.variants import Forms, Names, Question


@dataclass(frozen=True)
class Answers:
    """Questions about passes, and the variants that answer them."""

    questions: Sequence[Question]
    forms: Forms
    subjects: Mapping[str, Subject]

    def seat(self, subject: Subject) -> str:
        """The variant that is timed for it: equal programs are timed once."""
        if subject.built is None:
            return subject.form.id
        return next(
            id for id, each in self.subjects.items()
            if each.built is not None and each.built.content == subject.built.content
        )  # fmt: skip

    def seat_of(self, id: str) -> str:
        """The same by id."""
        return self.seat(self.subjects[id])

    def seated(self) -> list[str]:
        """The variants that are timed, those that are compared near each other."""
        right = [each for each in self.subjects.values() if each.failure is None]
        return list(dict.fromkeys(self.seat(each) for each in right))

    def comparisons(self) -> list[tuple[str, str]]:
        """Pairs of variants whose ratio answers a question, each once."""
        pairs = dict.fromkeys(
            (self._seat(each.lacking), self._seat(each.having)) for each in self.questions
        )
        seated = set(self.seated())
        return [pair for pair in pairs if pair[0] != pair[1] and set(pair) <= seated]

    def fallbacks(self) -> list[str]:
        """Passes without which less of the model has kernels of burnish, and how much less.

        What runs in ONNX Runtime instead is part of what they are worth.
        """
        found: dict[str, tuple[float, float]] = {}
        for each in self.questions:
            lacking, having = (self._native(names) for names in (each.lacking, each.having))
            if lacking is None or having is None or lacking == having:
                continue
            pair = found.setdefault(each.name, (lacking, having))
            found[each.name] = min(pair, (lacking, having))
        return [f"{name} ({less:.0%} to {more:.0%})" for name, (less, more) in found.items()]

    def _native(self, names: Names) -> float | None:
        built = self.subjects[self.forms.of(names).id].built
        return None if built is None else built.native

    def _seat(self, names: Names) -> str:
        return self.seat_of(self.forms.of(names).id)

    def timing(self, subject: Subject, timings: Timings, contrasts: Contrasts) -> dict[str, Any]:
        """Fields of a variant in the document that sittings fill."""
        seat = self.seat(subject)
        failed = {"failure": timings.failures[seat]} if seat in timings.failures else {}
        return {
            "latency": timings.latency(seat),
            "ratio": timings.ratio(timings.whole, seat, contrasts),
            "blocks": timings.blocks(seat),
            **failed,
        }

    def step(
        self, question: Question, timings: Timings, contrasts: Contrasts, judged: Judgement
    ) -> Step:
        """What the pass is worth in the view."""
        having, lacking = (
            self.subjects[self.forms.of(names).id] for names in (question.having, question.lacking)
        )
        speedup = timings.ratio(self.seat(lacking), self.seat(having), contrasts)
        balance = lacking.figures.get("operators", 0) - having.figures.get("operators", 0)
        return Step(
            view=question.view, name=question.name,
            variant=self.forms.of(question.shown).id, against=self.forms.of(question.against).id,
            speedup=speedup,
            operators=balance if having.figures and lacking.figures else 0,
            metrics=self._effect(having, lacking, judged),
            verdict=self.verdict(question, timings, speedup),
        )  # fmt: skip

    @staticmethod
    def _effect(having: Subject, lacking: Subject, judged: Judgement) -> list[Metric]:
        """What the pass does to a task and to distances, where both sides have them."""
        if having is lacking:
            return []
        one, other = (judged.scores.get(each.form.id, {}) for each in (having, lacking))
        found = describe_metrics(one, other) if one and other else []
        if having.distances.keys() == lacking.distances.keys():
            found += describe_metrics(having.distances, lacking.distances)
        return found

    def verdict(self, question: Question, timings: Timings, speedup: Interval | None) -> Verdict:
        """The word for it."""
        if question.having == question.lacking:
            # It is in every variant of this view; whether that is so for nothing, all others tell.
            everything = frozenset(self.forms.pipeline.names)
            question = replace(question, having=everything, lacking=everything - {question.name})
            return "same" if self.verdict(question, timings, None) == "same" else "needed"
        having, lacking = (
            self.subjects[self.forms.of(names).id] for names in (question.having, question.lacking)
        )
        if having.failure or self.seat(having) in timings.failures:
            return "failed"
        if lacking.failure or self.seat(lacking) in timings.failures:
            return "needed"
        if self.seat(having) == self.seat(lacking):
            return "same"
        if speedup is None:
            return "untimed"
        if speedup.low <= 1.0 <= speedup.high:
            return "noise"
        return "faster" if speedup.low > 1.0 else "slower"
