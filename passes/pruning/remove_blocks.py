"""Delete residual blocks as a whole, and let what comes behind make up for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.analysis.axis_graph import axis_graph
from burnish.calibration import Calibration
from burnish.calibration.moments import Channels
from burnish.errors import UsageError
from burnish.ir import Graph
from burnish.ir.clone import clone
from burnish.numerics import Numerics
from burnish.passes.pruning.blocks import Block, blocks
from burnish.passes.pruning.fitting import fit_layers
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Rewriter, RewriteResult
from burnish.suggest import unknown


@dataclass(frozen=True)
class RemoveBlocks(Pass):
    """Put the mean of what a residual block adds in place of it, and refit what comes behind.

    A block is what is computed of a value, or of a normalization of it, and added to that value:
    an attention, a feed-forward network, the convolutions of a residual network. Means are taken
    on calibration data, one for each channel; ridge regression then makes each layer behind give
    what it gave before as nearly as it can. Blocks are called as the sum is, with ``:block``
    behind it; none goes that is not named.

    Before:
        f = Conv(Relu(Conv(s, w, b)), v, c)
        y = Conv(Add(s, f), u, d)

    After:
        y = Conv(Add(s, [E[f]]), u', d')

    As networks with residual connections bear it (Veit et al., "Residual networks behave like
    ensembles of relatively shallow networks", 2016, arXiv 1605.06431).
    """

    names: tuple[str, ...] = ()
    """Blocks to remove."""

    name: ClassVar[str] = "remove-blocks"
    numerics: ClassVar[Numerics] = Numerics.LOSSY

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Remove the blocks that are named.

        Raises:
            UsageError: there is no such block.
            BurnishError: the calibration data do not fit the graph.
        """
        result, rewriter = RewriteResult(), Rewriter(graph)
        if not self.names:
            return result
        if context.calibration is None:
            result.notes.append("left alone: there is no calibration data to take means of")
            return result
        found = {block.name: block for block in blocks(graph, axis_graph(graph))}
        for name in self.names:
            if name not in found:
                raise UsageError(f"{self.name}.names: {unknown('block', name, list(found))}")
        chosen = [found[name] for name in dict.fromkeys(self.names)]
        before, made = clone(graph)
        result.fired += [Firing(self.name, block.sum.provenance) for block in chosen]
        _replace(rewriter, graph, chosen, context.calibration)
        fit_layers(rewriter, graph, {}, context.calibration, before=(before, made.nodes))
        result.edits = rewriter.edits
        return result


def _replace(
    rewriter: Rewriter, graph: Graph, chosen: Sequence[Block], calibration: Calibration
) -> None:
    """Let sums read the means of what they read."""
    means = {block: Channels(block.axis) for block in chosen}
    calibration.collect(graph, {block.result: [mean] for block, mean in means.items()})
    for block, mean in means.items():
        if block.sum.graph is None:  # It went with a block around it.
            continue
        rank, dtype = block.result.rank, block.result.dtype
        assert rank is not None
        assert dtype is not None
        constant = mean.mean.reshape(-1, *[1] * (rank - 1 - block.axis)).astype(dtype.numpy)
        rewriter.set_input(block.sum, block.place, rewriter.constant(constant))
        rewriter.erase_unused(block.nodes)
