"""Running passes until none changes anything, and none in vain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from burnish.ir import Graph
from burnish.numerics import Numerics
from burnish.pipeline import MAX_ROUNDS, Pass, PassContext, PipelineReport, run_pipeline
from burnish.rewrite import Rewriter, RewriteResult
from burnish.testing import graph

CONTEXT = PassContext()


@dataclass(frozen=True)
class Peel(Pass):
    """Removes one Identity, of many."""

    name: ClassVar[str] = "peel"
    numerics: ClassVar[Numerics] = Numerics.EXACT
    calls: ClassVar[list[str]] = []

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        self.calls.append(self.name)
        rewriter = Rewriter(graph)
        found = next((n for n in graph if n.op_type == "Identity"), None)
        if found is not None:
            rewriter.replace(found.output, found.inputs[0])
            rewriter.erase(found)
        return RewriteResult(rewriter.edits)


@dataclass(frozen=True)
class Idle(Peel):
    """Changes nothing."""

    name: ClassVar[str] = "idle"

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        self.calls.append(self.name)
        return RewriteResult()


@dataclass(frozen=True)
class Spoil(Pass):
    """Takes another operator once no Identity is left."""

    name: ClassVar[str] = "late"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        rewriter = Rewriter(graph)
        last = graph.first
        if len(graph) == 1 and last is not None and last.op_type == "Neg":
            rewriter.anchor = last
            rewriter.replace(last.output, rewriter.op("Abs", last.inputs, like=last.output))
            rewriter.erase(last)
        return RewriteResult(rewriter.edits)


def wrapped(count: int) -> Graph:
    lines = " ".join(f"i{n + 1} = Identity(i{n})" for n in range(count))
    return graph(f"g (float[2] i0) => (float[2] y) {{ {lines} y = Neg(i{count}) }}")


def calls(
    source: Graph, passes: list[Pass], **options: bool
) -> tuple[list[str], Graph, PipelineReport]:
    Peel.calls.clear()
    after, report = run_pipeline(source, passes, CONTEXT, verify="off", **options)
    return list(Peel.calls), after, report


def test_passes_that_have_nothing_to_do_are_not_run() -> None:
    ran, after, report = calls(wrapped(1), [Idle(), Idle(), Peel(), Idle(), Idle()])
    assert ran == ["idle", "peel", "idle"]
    assert [entry.name for entry in report] == ["idle", "idle", "peel", "idle", "idle"]
    assert [entry.nodes_after for entry in report] == [2, 2, 1, 1, 1]
    assert len(after) == 1


def test_a_pipeline_settles() -> None:
    ran, after, report = calls(wrapped(3), [Idle(), Peel(), Idle()], settle=True)
    assert [node.op_type for node in after] == ["Neg"]
    assert ran == ["idle", "peel"] * 4
    # Runs after the first are told of where they changed something.
    assert [entry.name for entry in report] == ["idle", "peel", "idle", "peel", "peel"]
    assert not any(entry.notes for entry in report)


def test_one_round_is_all_that_is_made_otherwise() -> None:
    ran, after, _ = calls(wrapped(3), [Peel()])
    assert ran == ["peel"]
    assert len(after) == 3


def test_what_does_not_settle_is_told() -> None:
    ran, after, report = calls(wrapped(MAX_ROUNDS + 3), [Peel()], settle=True)
    assert len(ran) == MAX_ROUNDS
    assert len(after) == 4
    assert "still change it" in report[-1].notes[0]


def test_a_guilty_pass_is_found_in_a_later_round() -> None:
    guilty = Spoil()
    for verify in ("each", "end"):
        Peel.calls.clear()
        after, report = run_pipeline(
            wrapped(2), [Peel(), guilty], CONTEXT, verify=verify, settle=True
        )
        assert [entry.name for entry in report.rolled_back] == ["late"]
        assert [found.op_type for found in after] == ["Neg"]
