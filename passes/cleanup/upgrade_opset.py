"""Write the model in a newer version of the standard operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from burnish.errors import UsageError
from burnish.ir import Graph, OperatorNode
from burnish.numerics import Numerics
from burnish.passes.cleanup.opset_rules import UPGRADES, Upgrade
from burnish.pipeline import Pass, PassContext
from burnish.rewrite import Firing, Rewriter, RewriteResult

NEWEST_OPSET = 26
"""The newest opset that the oracle runs; onnx itself knows later ones."""

OLDEST_OPSET = 13
"""The oldest to upgrade to: the one that moved the last axes of squeezes to inputs."""

LAST_RUN = dict.fromkeys(
    (
        "GlobalLpPool", "MaxRoiPool", "Multinomial", "RandomNormal", "RandomNormalLike",
        "RandomUniform", "RandomUniformLike", "RoiAlign",
    ),
    21,
)  # fmt: skip
"""The last opset in which the oracle has kernels for an operator, where that is not the newest."""


@dataclass(frozen=True)
class UpgradeOpset(Pass):
    """Bring every operator to the form it has in a newer opset.

    If one operator cannot be, the whole model stays as it is, and a note says why.

    Before:
        opset 10: y = Softmax(Clip(Squeeze[axes=(0)](x))[max=6.0])

    After:
        opset 26: y = Softmax[axis=-1](Clip(Squeeze(x, {0}), , 6.0))
    """

    name: ClassVar[str] = "upgrade-opset"
    # The oracle has other kernels for some operators of later opsets, with other rounding.
    numerics: ClassVar[Numerics] = Numerics.REASSOCIATES

    version: int = NEWEST_OPSET
    """The opset to reach; a model that is there or beyond stays."""

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        """Upgrade ``graph`` in place, or leave it whole.

        Raises:
            UsageError: ``version`` is out of range.
        """
        if not OLDEST_OPSET <= self.version <= NEWEST_OPSET:
            raise UsageError(
                f"opset {self.version} cannot be written: give {OLDEST_OPSET} to {NEWEST_OPSET}"
            )
        result = RewriteResult()
        version = self._reachable(graph, result)
        if graph.opset >= version:
            return result
        work = [(node, _pending(node, graph.opset, version)) for node in graph.walk()]
        refusals = [
            f"{node.op_type} {node.name or '(unnamed)'}: {reason}"
            for node, upgrades in work
            for upgrade in upgrades
            if (reason := upgrade.check(node)) is not None
        ]
        if refusals:
            result.notes = [f"kept opset {graph.opset}: {reason}" for reason in refusals]
            return result
        rewriter = Rewriter(graph)
        for node, upgrades in work:
            for upgrade in upgrades:
                upgrade.apply(rewriter, node)
            if upgrades:
                result.fired.append(Firing(f"{self.name}:{node.op_type}", node.provenance))
        graph.opsets[""] = version
        result.edits = rewriter.edits
        result.edits["opset"] += 1
        return result

    def _reachable(self, graph: Graph, result: RewriteResult) -> int:
        """``version``, or the last one that the oracle runs; says so if it is not ``version``."""
        version = self.version
        for node in graph.walk():
            last = LAST_RUN.get(node.op_type, version) if node.domain == "" else version
            if last < version:
                version = last
                result.notes.append(
                    f"stopped at opset {last}: ONNX Runtime has no kernel for {node.op_type} of "
                    "later ones, so results could not be checked"
                )
        return version


def _pending(node: OperatorNode, opset: int, version: int) -> list[Upgrade]:
    """Changes that concern ``node`` on the way from ``opset`` to ``version``, oldest first."""
    if node.domain != "":
        return []
    return [entry for entry in UPGRADES.get(node.op_type, ()) if opset < entry.version <= version]
