"""Parts of models stand alone, and are made as small as what they are to show allows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from burnish.diagnosis.clock import Clock, OutOfTime
from burnish.diagnosis.cutting import Part, Source, around, at_top
from burnish.diagnosis.shrinking import Shrinking
from burnish.ir import Graph
from burnish.ir.verify import verify
from burnish.oracle import Oracle
from burnish.testing import graph

X = {"x": np.linspace(-1, 1, 4, dtype=np.float32)}


def chain(count: int) -> Graph:
    """``n0`` to ``n<count - 1>``, one after the other."""
    lines = [f"[n{i}] v{i + 1} = Tanh(v{i})" for i in range(count)]
    text = f"g (float[4] v0) => (float[4] v{count}) {{ {' '.join(lines)} }}"
    return graph(text.replace("v0", "x"))


def names(part: Part | None) -> list[str]:
    assert part is not None
    return [node.name for node in part.graph]


def shrinking(*needed: str, seconds: float = 60.0) -> Shrinking:
    return Shrinking(lambda part: set(needed) <= set(names(part)), Clock(seconds))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_exactly_what_is_needed_is_left(count: int) -> None:
    whole = Part(chain(count), X)
    every = [f"n{i}" for i in range(count)]
    for needed in itertools.chain(*(itertools.combinations(every, n) for n in (1, 2, 3))):
        search = shrinking(*needed)
        assert names(search.least(whole, ())) == list(needed)
        assert search.complete


def test_few_trials_for_one_among_many() -> None:
    search = shrinking("n300")
    assert names(search.least(Part(chain(600), X), ())) == ["n300"]
    assert search.tried < 30


def test_the_neighbourhood_comes_first() -> None:
    source = chain(600)
    place = [node for node in source if node.name == "n300"]
    search = shrinking("n299", "n301")
    assert names(search.least(Part(source, X), place)) == ["n299", "n301"]
    assert search.tried < 10


def test_what_nothing_shows() -> None:
    assert shrinking("n9").least(Part(chain(3), X), ()) is None


def test_the_time_ends() -> None:
    search = shrinking("n1", seconds=0.0)
    with pytest.raises(OutOfTime):
        search.least(Part(chain(3), X), ())
    assert search.least(Part(chain(3), X), (), known=True) is not None
    assert not search.complete


def test_outputs_that_do_not_matter_are_left_out() -> None:
    source = graph("g (float[4] x) => (float[4] a, float[4] y) { a = Tanh(x) y = Neg(a) }")
    part = Shrinking(lambda part: len(part.graph) == 2, Clock(60.0)).least(Part(source, X), ())
    assert part is not None
    assert part.graph.output_names == ("y",)


BRANCH = """g (bool c, float[4] x) => (float[4] y, float[4] z) {
    a = Neg(x)
    b = If (c) <then_branch = p () => (float[4] e) { e = Exp(a) },
                else_branch = q () => (float[4] f) { f = Abs(x) }>
    y = Tanh(b)
    s = SequenceConstruct(a, b)
    i = Constant<value = int64 {1}>()
    z = SequenceAt(s, i)
}"""
FEEDS = {"c": np.array(True), **X}


def test_a_part_computes_what_the_model_does_there() -> None:
    source = graph(BRANCH)
    whole = Oracle(source).run(FEEDS)
    for count in range(1, 4):
        for chosen in itertools.combinations(list(source)[:3], count):
            part = Source(source, FEEDS).part(chosen)
            assert part is not None
            verify(part.graph)
            found = Oracle(part.graph).run(part.feeds)
            assert set(found) == set(part.graph.output_names)
            if "y" in found:
                np.testing.assert_array_equal(found["y"], whole["y"])


def test_what_a_branch_captures_comes_in() -> None:
    source = graph(BRANCH)
    (branch,) = (node for node in source if node.op_type == "If")
    part = Source(source, FEEDS).part([branch])
    assert part is not None
    assert sorted(part.feeds) == ["a", "c", "x"]
    np.testing.assert_array_equal(part.feeds["a"], -X["x"])


def test_a_sequence_is_nothing_that_can_be_fed() -> None:
    source = graph(BRANCH)
    *_, make, take = source
    assert Source(source, FEEDS).part([take]) is None
    assert Source(source, FEEDS).part([make]) is None
    assert Source(source, FEEDS).part([make, take]) is not None


def test_nothing_is_no_part() -> None:
    assert Source(chain(2), X).part([]) is None


def test_sizes_have_names_or_numbers() -> None:
    source = graph('g (float["N"] x) => (float["N"] y) { a = Neg(x) y = Tanh(a) }')
    nodes = list(source)[:1]
    named, numbered = (Source(source, X, static=s).part(nodes) for s in (False, True))
    assert named is not None
    assert numbered is not None
    assert named.graph.inputs[0].shape == ("N",)
    assert numbered.graph.inputs[0].shape == (4,)


def test_neighbours_are_found_through_branches() -> None:
    source = graph(BRANCH)
    first, branch, *_ = source
    assert around([first], 0) == {first}
    assert branch in around([first], 1)
    inner = next(iter(branch.subgraphs["then_branch"]))
    assert at_top([inner, first]) == {branch, first}
