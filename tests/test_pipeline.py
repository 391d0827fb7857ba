"""Running passes: what is checked, what is undone, and who gets the blame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from burnish.errors import UnsupportedModel, UsageError
from burnish.ir import Constant, DType, Graph, VariableNode
from burnish.numerics import Numerics, loosest
from burnish.pipeline import (
    Pass,
    PassContext,
    PipelineReport,
    RulePass,
    run_pipeline,
)
from burnish.rewrite import Any, Op, Rewriter, RewriteResult, Rule
from burnish.testing import graph
from burnish.verification import Reference
from tests.depth import every_other

CONTEXT = PassContext()
Edit = Callable[[Graph], None]


def sample() -> Graph:
    return graph(
        """
        g (float[2, "N"] x) => (float[2, "N"] y, float[2, "N"] z) {
            a = Mul(x, x)
            y = Sigmoid(a)
            b = Identity(a)
            z = Neg(b)
        }
        """
    )


@dataclass(frozen=True)
class Custom(Pass):
    """A pass whose name, promise and edit a test chooses."""

    name: str = "custom"  # type: ignore[misc]
    numerics: Numerics = Numerics.EXACT  # type: ignore[misc]
    edit: Edit = lambda graph: None

    def run(self, graph: Graph, context: PassContext) -> RewriteResult:
        self.edit(graph)
        return RewriteResult(Counter(update=1))


def node(graph: Graph, op_type: str):
    return next(found for found in graph if found.op_type == op_type)


def add(graph: Graph, amount: float) -> None:
    """Add ``amount`` to what Mul computes."""
    rewriter = Rewriter(graph)
    mul = node(graph, "Mul")
    old = mul.output
    rewriter.anchor = mul.next
    new = VariableNode("", old.dtype, old.shape)
    uses = list(old.uses)
    inserted = rewriter.op("Add", [old, rewriter.constant(np.float32([amount]))], like=new)
    for use in uses:
        use.user.replace_input(use.index, inserted)


def drop_identity(graph: Graph) -> None:
    identity = node(graph, "Identity")
    rewriter = Rewriter(graph)
    rewriter.replace(identity.output, identity.inputs[0])
    rewriter.erase(identity)


def change_dtype(graph: Graph) -> None:
    sigmoid = node(graph, "Sigmoid")
    old = sigmoid.output
    rewriter = Rewriter(graph)
    rewriter.anchor = sigmoid.next
    cast = rewriter.op("Cast", [old], {"to": int(DType.DOUBLE)})
    cast.dtype, cast.shape, cast.name, old.name = DType.DOUBLE, old.shape, old.name, "was"
    graph.replace_output(0, cast)
    graph.output_names = ("y", "z")


def drop_output(graph: Graph) -> None:
    graph.outputs = graph.outputs[:1]


def break_links(graph: Graph) -> None:
    """Read a value that nothing defines."""
    node(graph, "Neg").replace_input(0, VariableNode("ghost", DType.FLOAT, (2, 2)))


def crash(graph: Graph) -> None:
    node(graph, "Neg").op_type = "Abs"
    raise IndexError("tuple index out of range")


def refuse(graph: Graph) -> None:
    raise UsageError("axis 7 is too much")


GOOD = Custom("drop-identity", edit=drop_identity)
NOTHING = Custom("nothing")
NUDGE = Custom("nudge", Numerics.REASSOCIATES, lambda graph: add(graph, 1e-8))

WRONG = {
    "wrong-numerics": lambda graph: add(graph, 0.5),
    "wrong-dtype": change_dtype,
    "drops-an-output": drop_output,
    "breaks-links": break_links,
    "crashes": crash,
}


@dataclass(frozen=True)
class Spin(RulePass):
    """A pass whose rule undoes itself for ever."""

    name: ClassVar[str] = "spin"
    numerics: ClassVar[Numerics] = Numerics.EXACT

    def rules(self, context: PassContext) -> tuple[Rule, ...]:
        def turn(rewriter: Rewriter, match, facts) -> None:
            root = match.root
            rewriter.replace(root.output, rewriter.op("Neg", [match["x"]], like=root.output))

        return (Rule("turn", Op("Neg", Any("x")), turn),)


def names(report: PipelineReport) -> list[str]:
    return [entry.name for entry in report.rolled_back]


def agrees(before: Graph, after: Graph) -> bool:
    Reference(before).check(after, Numerics.REASSOCIATES)
    return True


@pytest.mark.parametrize("verify", ["each", "end", "off"])
def test_good_passes_are_kept(verify: str) -> None:
    before = sample()
    after, report = run_pipeline(before, [GOOD, NUDGE], CONTEXT, verify=verify)
    assert names(report) == []
    assert [entry.nodes_after for entry in report] == [3, 4]
    assert len(before) == 4, "the graph passed in stays as it is"
    assert agrees(before, after)


@pytest.mark.parametrize(
    ("verify", "kind", "place"), every_other(["each", "end"], list(WRONG), [0, 1, 2])
)
def test_the_guilty_pass_is_undone_and_named(verify: str, kind: str, place: int) -> None:
    passes: list[Pass] = [GOOD, NUDGE]
    passes.insert(place, Custom("guilty", edit=WRONG[kind]))
    before = sample()
    after, report = run_pipeline(before, passes, CONTEXT, verify=verify)
    assert names(report) == ["guilty"]
    assert not report[place].changed
    assert [entry.name for entry in report] == [step.name for step in passes]
    assert "Identity" not in {found.op_type for found in after}, "the good pass is kept"
    assert "Abs" not in {found.op_type for found in after}, "half an edit is undone too"
    assert agrees(before, after)


@pytest.mark.parametrize("verify", ["each", "end"])
def test_several_guilty_passes(verify: str) -> None:
    first = Custom("first", edit=WRONG["wrong-numerics"])
    second = Custom("second", edit=WRONG["drops-an-output"])
    third = Custom("third", edit=WRONG["crashes"])
    passes = [NOTHING, first, GOOD, second, NUDGE, third]
    before = sample()
    after, report = run_pipeline(before, passes, CONTEXT, verify=verify)
    assert names(report) == ["first", "second", "third"]
    assert agrees(before, after)


@pytest.mark.parametrize("verify", ["each", "end", "off"])
def test_a_looping_rule_is_undone(verify: str) -> None:
    after, report = run_pipeline(sample(), [GOOD, Spin()], CONTEXT, verify=verify)
    assert names(report) == ["spin"]
    assert "turn" in report[1].rolled_back
    assert len(after) == 3


@pytest.mark.parametrize("verify", ["each", "end", "off"])
def test_a_crash_is_kept_for_the_curious(verify: str) -> None:
    passes = [Custom("guilty", edit=crash), GOOD]
    after, report = run_pipeline(sample(), passes, CONTEXT, verify=verify)
    assert names(report) == ["guilty"]
    assert "IndexError: tuple index out of range" in report[0].rolled_back
    assert "in crash" in report[0].traceback
    assert "Neg" in {found.op_type for found in after}


@pytest.mark.parametrize("verify", ["each", "end", "off"])
def test_a_refusal_reaches_the_user(verify: str) -> None:
    with pytest.raises(UsageError, match="axis 7") as caught:
        run_pipeline(sample(), [Custom("refuses", edit=refuse)], CONTEXT, verify=verify)
    assert caught.value.__notes__ == ["in pass refuses"]


@pytest.mark.parametrize("verify", ["each", "end"])
def test_exact_means_exact(verify: str) -> None:
    liar = Custom("liar", Numerics.EXACT, lambda graph: add(graph, 1e-6))
    _, report = run_pipeline(sample(), [GOOD, liar], CONTEXT, verify=verify)
    assert names(report) == ["liar"]
    assert "0 is allowed" in report[1].rolled_back


def test_exact_after_other_rounding_has_the_tolerance() -> None:
    _, report = run_pipeline(sample(), [NUDGE, GOOD], CONTEXT, verify="each")
    assert names(report) == []
    assert report[1].error is not None
    assert report[1].error > 0


def test_errors_are_reported() -> None:
    _, each = run_pipeline(sample(), [GOOD, NUDGE], CONTEXT, verify="each")
    assert each[0].error == 0
    assert 0 < each[1].error < 1e-6
    assert each.error == each[1].error
    assert each.feeds == 3
    _, end = run_pipeline(sample(), [GOOD, NUDGE], CONTEXT, verify="end")
    assert end.error == each.error
    assert end[0].error is None
    _, off = run_pipeline(sample(), [GOOD], CONTEXT, verify="off")
    assert (off.error, off.feeds) == (None, 0)


def test_without_verification_nothing_is_found() -> None:
    wrong = Custom("wrong", edit=WRONG["wrong-numerics"])
    _, report = run_pipeline(sample(), [wrong], CONTEXT, verify="off")
    assert names(report) == []


def test_two_sizes_are_tried() -> None:
    def freeze(graph: Graph) -> None:
        shape = Constant.of(np.array([24], np.int64))
        neg = node(graph, "Neg")
        rewriter = Rewriter(graph)
        rewriter.anchor = neg
        flat = rewriter.op("Reshape", [neg.inputs[0], VariableNode.of(shape)])
        same = rewriter.op("Shape", [neg.inputs[0]])
        neg.replace_input(0, rewriter.op("Reshape", [flat, same]))

    _, report = run_pipeline(sample(), [Custom("one-size", edit=freeze)], CONTEXT, verify="end")
    assert names(report) == ["one-size"]


def test_samples_are_used() -> None:
    zero = {"x": np.zeros((2, 5), np.float32)}
    double = Custom("double", edit=lambda graph: add_doubling(graph))
    _, report = run_pipeline(sample(), [double], CONTEXT, verify="end", samples=[zero])
    assert names(report) == [], "twice nothing is nothing"
    one = {"x": np.ones((2, 5), np.float32)}
    _, report = run_pipeline(sample(), [double], CONTEXT, verify="end", samples=[zero, one])
    assert names(report) == ["double"]


def add_doubling(graph: Graph) -> None:
    mul = node(graph, "Mul")
    rewriter = Rewriter(graph)
    rewriter.anchor = mul
    x = mul.inputs[0]
    mul.replace_input(1, rewriter.op("Add", [x, x], like=x))


def test_samples_must_fit() -> None:
    with pytest.raises(UsageError, match="missing: x"):
        run_pipeline(sample(), [GOOD], CONTEXT, samples=[{"X": np.zeros((2, 2), np.float32)}])


@pytest.mark.parametrize("verify", ["each", "end"])
def test_a_random_model_blames_nobody(verify: str) -> None:
    random = graph(
        """
        g (float[4] x) => (float[4] y) {
            r = RandomNormal<shape = [4]>()
            m = Mul(x, r)
            y = Neg(m)
        }
        """
    )
    suspect = Custom("suspect", edit=lambda graph: add(graph, 0.5))
    with pytest.raises(UnsupportedModel, match="differently each time"):
        run_pipeline(random, [NOTHING, suspect], CONTEXT, verify=verify)
    _, report = run_pipeline(random, [NOTHING, suspect], CONTEXT, verify="off")
    assert names(report) == []


def test_a_model_that_no_input_suits() -> None:
    picky = graph(
        """
        g (float["A", "B"] x) => (float y) {
            s = Constant<value = int64[2] {7, 11}>()
            y = Reshape(x, s)
        }
        """
    )
    with pytest.raises(UnsupportedModel, match="--input-shape"):
        run_pipeline(picky, [NOTHING], CONTEXT, verify="end")


def test_progress() -> None:
    seen: list[tuple[str, int, int]] = []
    run_pipeline(
        sample(), [GOOD, NUDGE], CONTEXT, verify="end", progress=lambda *step: seen.append(step)
    )
    assert seen == [("drop-identity", 0, 2), ("nudge", 1, 2), ("verifying", 2, 2)]


def test_loosest() -> None:
    assert loosest([]) is Numerics.EXACT
    assert loosest([Numerics.REASSOCIATES, Numerics.EXACT]) is Numerics.REASSOCIATES
    assert loosest([Numerics.REASSOCIATES, Numerics.LOSSY]) is Numerics.LOSSY
