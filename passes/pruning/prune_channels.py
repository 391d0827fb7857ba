"""Delete the channels that matter least, and let what reads the others make up for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from burnish.analysis.axis_graph import ChannelGroup, axis_graph
from burnish.analysis.axis_graph_edits import delete_together
from burnish.analysis.axis_graph_heads import removal
from burnish.analysis.axis_graph_sizes import keep_some
from burnish.errors import UsageError
from burnish.ir import Array, Graph
from burnish.numerics import Numerics
from burnish.passes.pruning.criteria import CRITERIA
from burnish.passes.pruning.fitting import fit_layers, give_biases, take_biases
from burnish.passes.pruning.gates import UNITS, fisher_information
from burnish.passes.pruning.readings import readings
from burnish.passes.pruning.structures import CHANNELS, Structure, structures
from burnish.passes.pruning.survey import survey
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, NearMiss, Rewriter, RewriteResult
from burnish.suggest import unknown

FISHER = "fisher"
"""The order that takes runs of the model."""
FITS = ("all", "readers", "none")
"""Which layers may be fitted."""


@dataclass(frozen=True)
class PruneChannels(Pass):
    """Keep the channels of hidden values that matter most, and refit what reads them.

    Layer after layer from the first, ridge regression on what the layers before give by now makes
    each give what it gave before as nearly as it can; where its results are added to others, it
    makes up for what those have lost as well. Which channels are kept is compared after readers
    are refitted (`survey`). The graph becomes smaller; its inputs and outputs stay.

    Before:
        h = Relu(Conv(x, w, b))           w: [64, 3, 3, 3]
        y = Conv(h, v, c)                 v: [32, 64, 3, 3]

    After:
        h = Relu(Conv(x, w', b'))         w': [32, 3, 3, 3], rows of w
        y = Conv(h, v', c')               v': [32, 32, 3, 3], fitted

    After Kurtic et al., "GRAIL", 2026, arXiv 2602.23795, and "CORP", 2026, arXiv 2602.05243.
    """

    keep: float = 0.5
    """Share of the channels that is kept where ``kept`` does not say; heads are left alone then."""
    kept: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Units to keep by the name of the structure; where it names any, others stay whole."""
    align: int = 8
    """What is kept is a multiple of this, where the whole was."""
    criterion: str = ""
    """The order in which channels are kept; empty to compare all but ``fisher``."""
    fit: str = "all"
    """Which layers make up for what goes: ``all`` behind it, its ``readers`` only, or ``none``."""

    name: ClassVar[str] = "prune-channels"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    def __post_init__(self) -> None:
        """Check the options, as far as they can be without a graph.

        Raises:
            UsageError: one does not exist.
        """
        if not 0 < self.keep <= 1:
            raise UsageError(f"{self.name}.keep is a share above 0, up to 1, not {self.keep}")
        if self.align < 1:
            raise UsageError(f"{self.name}.align is a number of channels from 1, not {self.align}")
        if self.fit not in FITS:
            raise UsageError(f"{self.name}.fit: {unknown('choice', self.fit, FITS)}")
        if self.criterion and self.criterion not in CRITERIA:
            raise UsageError(f"{self.name}.criterion: {unknown('order', self.criterion, CRITERIA)}")

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Thin out all structures that can be.

        Raises:
            UsageError: ``kept`` names structures or units that the graph does not have.
            BurnishError: the calibration data do not fit the graph.
        """
        result, rewriter = RewriteResult(), Rewriter(graph)
        if context.calibration is None:
            result.notes.append("left alone: there is no calibration data to refit readers on")
            return result
        given = give_biases(graph)
        try:
            self._prune(graph, rewriter, context, result)
        finally:
            take_biases(given)
        return result

    def _prune(
        self, graph: Graph, rewriter: Rewriter, context: PassContext, result: RewriteResult
    ) -> None:
        assert context.calibration is not None
        found = [self._affordable(one) for one in structures(axis_graph(graph))]
        result.missed += [
            NearMiss(self.name, one.reason, one.group.writers[0].node.provenance)
            for one in found if one.reason
        ]  # fmt: skip
        self._require_units(found)
        chosen = self._chosen(graph, [one for one in found if not one.reason], context)
        left = remaining(chosen)
        if left and self.fit != "none":
            only_readers = self.fit == "readers"
            fit_layers(rewriter, graph, left, context.calibration, only_readers=only_readers)
        gone = {group: np.flatnonzero(~mask) for group, mask in left.items()}
        delete_together(rewriter, gone)
        result.fired += [
            Firing(self.name, structure.group.writers[0].node.provenance) for structure in chosen
        ]
        result.edits = rewriter.edits

    def _affordable(self, one: Structure) -> Structure:
        """``one`` with a reason to leave it alone where its order takes too many runs."""
        if self.criterion != FISHER or self.kept or one.reason or len(one.units) <= UNITS:
            return one
        return replace(one, reason=f"{FISHER} runs the model for each unit, {UNITS} at most")

    def _require_units(self, found: list[Structure]) -> None:
        """Refuse names and units in ``kept`` that there are not."""
        counts = {one.name: len(one.units) for one in found}
        for name, units in self.kept.items():
            if name not in counts:
                raise UsageError(f"{self.name}.kept: {unknown('structure', name, counts)}")
            if not units or min(units) < 0 or max(units) >= counts[name]:
                raise UsageError(
                    f"{self.name}.kept: {name} has units 0 to {counts[name] - 1}, of which one at "
                    f"least has to stay, not {tuple(units)}"
                )

    def _chosen(
        self, graph: Graph, found: list[Structure], context: PassContext
    ) -> dict[Structure, Array]:
        """The units to keep of each structure that is thinned out."""
        if self.kept:
            kept = {one: np.unique(self.kept[one.name]) for one in found if one.name in self.kept}
            return {one: units for one, units in kept.items() if len(units) < len(one.units)}
        assert context.calibration is not None
        criteria = {self.criterion: CRITERIA[self.criterion]} if self.criterion else None
        chosen = {}
        channels = [structure for structure in found if structure.kind == CHANNELS]
        for structure, given in readings(graph, channels, context.calibration):
            width = rounded(self.keep * len(structure.units), len(structure.units), self.align)
            if width < len(structure.units):
                information = None
                if self.criterion == FISHER:
                    information = fisher_information(graph, structure, context.calibration)
                chosen[structure] = survey(structure, given, criteria, information).order[:width]
        return chosen


def remaining(chosen: Mapping[Structure, Array]) -> dict[ChannelGroup, Array]:
    """Which channels stay, bool [size], of every group that loses any.

    Heads take along what is theirs in other groups. Where all channels of one of several values
    that are joined would go, one stays.
    """
    left: dict[ChannelGroup, Array] = {}
    for structure, units in chosen.items():
        gone = structure.channels(np.setdiff1d(np.arange(len(structure.units)), units))
        for group, mask in removal(structure.group, gone).items():
            left[group] = mask & left.get(group, True)
    for group, mask in left.items():
        keep_some(group, mask)
    return {group: mask for group, mask in left.items() if not mask.all()}


def rounded(width: float, whole: int, align: int) -> int:
    """The nearest number of units that kernels like: a multiple of ``align`` if ``whole`` is."""
    step = align if whole % align == 0 else 1
    return min(whole, max(step, step * round(width / step)))
