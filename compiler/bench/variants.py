"""Variants of a pipeline: which passes are left out to tell what each is worth, in three views.

``alone`` adds a pass to cleanup only, ``cumulative`` adds passes one by one in the order of their
first turns, ``without`` leaves one out of all. A pass has all its turns in a variant, or none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

from burnish.bench.document import View
from burnish.bench.ladder import Ladder
from burnish.errors import BurnishError
from burnish.passes.presets import minimal
from burnish.pipeline import Pass

NEEDED = {"ort": ("freeze-input-shapes",),
          "tvm": ("freeze-input-shapes", "infer-shapes", "upgrade-opset")}  # fmt: skip
"""Passes that are in every variant but those about them, by engine: it takes few models without."""
DIGITS = 12
"""Of a hash that stand for a variant."""
Names = frozenset[str]


@dataclass(frozen=True)
class Question:
    """A pass in a view: the passes with it, and those without it."""

    view: View
    name: str
    having: Names
    lacking: Names

    @property
    def shown(self) -> Names:
        """The passes of the variant that the view is about."""
        return self.lacking if self.view == "without" else self.having

    @property
    def against(self) -> Names:
        """Those of the variant that it is compared with."""
        return self.having if self.view == "without" else self.lacking


@dataclass(frozen=True)
class Pipeline:
    """Passes in order, some of which no variant can do without."""

    steps: Sequence[Pass]
    needed: Names
    base: Names | None = None
    """What the view ``alone`` starts from on top of what is needed, and what comes first in the
    cumulative one; None for cleanup."""

    @property
    def names(self) -> list[str]:
        """Each pass once, in the order of first turns."""
        return list(dict.fromkeys(step.name for step in self.steps))

    @property
    def studied(self) -> list[str]:
        """The passes that questions are about, in the order in which they are added."""
        if self.base is None:
            return self.names
        names = [name for name in self.names if name not in self.needed]
        return sorted(names, key=lambda name: name not in (self.base or ()))

    @property
    def cleanup(self) -> Names:
        """What the view ``alone`` starts from."""
        base = frozenset(minimal()) if self.base is None else self.base
        return self.needed | base & frozenset(self.names)

    def only(self, names: Names) -> list[Pass]:
        """The steps of those passes."""
        return [step for step in self.steps if step.name in names]

    def questions(self) -> list[Question]:
        """Every pass in every view, view by view."""
        everything = frozenset(self.names)
        found: dict[View, list[Question]] = {view: [] for view in get_args(View)}
        before = self.needed
        for name in self.studied:
            start = self.needed if name in self.cleanup else self.cleanup
            after = before | {name}
            for view, having, lacking in (
                ("alone", start | {name}, start - {name}),
                ("cumulative", after, before),
                ("without", everything, everything - {name}),
            ):
                found[view].append(Question(view, name, having, lacking))  # type: ignore[index,arg-type]
            before = after
        return [question for view in found.values() for question in view]


@dataclass
class Form:
    """A graph that pipelines lead to; without a digest, one that they do not arrive at."""

    id: str
    passes: list[str]
    """The first pipeline that led to it."""
    digest: str | None = None
    failure: str | None = None
    """Why a pass refused to go on."""


@dataclass
class Forms:
    """The graphs that selections of a pipeline's passes lead to, each once."""

    pipeline: Pipeline
    ladder: Ladder
    by_id: dict[str, Form] = field(default_factory=dict)
    """In the order in which they were found."""

    def __post_init__(self) -> None:
        self._found: dict[Names, Form] = {}

    def of(self, names: Names) -> Form:
        """The graph that the passes ``names`` lead to."""
        if names not in self._found:
            form = self._climb(names)
            self._found[names] = self.by_id.setdefault(form.id, form)
        return self._found[names]

    def knows(self, question: Question) -> bool:
        """Whether the graphs that answer it are known already."""
        return {question.having, question.lacking} <= self._found.keys()

    @property
    def whole(self) -> Form:
        """What all passes lead to."""
        return self.of(frozenset(self.pipeline.names))

    @property
    def cleanup(self) -> Form:
        """What the view ``alone`` starts from."""
        return self.of(self.pipeline.cleanup)

    @property
    def original(self) -> Form:
        """What no variant can do without leads to."""
        return self.of(self.pipeline.needed)

    def _climb(self, names: Names) -> Form:
        listed = [name for name in self.pipeline.names if name in names]
        try:
            digest = self.ladder.climb(self.pipeline.only(names))
        except BurnishError as refusal:
            made_up = hashlib.sha256(" ".join(listed).encode()).hexdigest()
            notes = "".join(f" ({note})" for note in getattr(refusal, "__notes__", ()))
            return Form(made_up[:DIGITS], listed, failure=f"{refusal}{notes}")
        return Form(digest[:DIGITS], listed, digest)
