"""What passes did to a graph, one by one, and all of a pipeline together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from burnish.census import Census
from burnish.gates import Gate
from burnish.layer_formats import LayerFormat
from burnish.numerics import Numerics
from burnish.rewrite import Firing, NearMiss

Verify: TypeAlias = Literal["each", "end", "off"]
"""When outputs are compared with the original's: after each pass, after the last, never."""


@dataclass
class PassReport:
    """What one pass did."""

    name: str
    numerics: Numerics
    seconds: float = 0.0
    edits: Counter[str] = field(default_factory=Counter)
    fired: list[Firing] = field(default_factory=list)
    missed: list[NearMiss] = field(default_factory=list)
    nodes_before: int = 0
    nodes_after: int = 0
    census: Census | None = None
    """Of the graph that the pass left."""
    notes: list[str] = field(default_factory=list)
    """What the user should know: sizes guarded, parts left alone."""
    layers: list[LayerFormat] = field(default_factory=list)
    """How layers are computed that are computed otherwise, and why others are not."""
    error: float | None = None
    """Largest error of any output after this pass, relative to that output's largest value.

    None where it was not measured: ``--verify end`` measures once, after the last pass.
    """
    rolled_back: str = ""
    """Why the pass was undone, empty if it was kept."""
    traceback: str = ""
    """Where the pass crashed, if it did."""

    @property
    def changed(self) -> bool:
        """Whether the pass left another graph than it found."""
        return self.edits.total() > 0 and not self.rolled_back


@dataclass
class PipelineReport(Sequence[PassReport]):
    """What a pipeline did: a sequence of what its passes did, in order."""

    passes: list[PassReport] = field(default_factory=list)
    verify: Verify = "off"
    error: float | None = None
    """Largest relative error of any output of the result, None if nothing was compared."""
    feeds: int = 0
    """How many sets of inputs the outputs were compared on."""
    seconds: float = 0.0
    """Wall clock of passes and verification together."""
    notices: list[str] = field(default_factory=list)
    """What a user should know of the model, as that inputs of it became constants."""
    budgets: Sequence[Gate] = ()
    """What the result was held against, and holds."""

    def __getitem__(self, index: Any) -> Any:
        return self.passes[index]

    def __len__(self) -> int:
        return len(self.passes)

    def __iter__(self) -> Iterator[PassReport]:
        return iter(self.passes)

    def __str__(self) -> str:
        """Return a line for each pass that changed something or was undone, and the notices."""
        lines = [
            f"{one.name}: "
            + (f"undone, {one.rolled_back}" if one.rolled_back else f"{one.edits.total()} edits")
            for one in self.passes
            if one.changed or one.rolled_back
        ]
        return "\n".join([*(lines or ["no pass changed anything"]), *self.notices])

    @property
    def rolled_back(self) -> list[PassReport]:
        """The passes that were undone."""
        return [report for report in self.passes if report.rolled_back]
