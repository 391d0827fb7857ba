"""Topological order and copies."""

from __future__ import annotations

import pytest

from burnish.errors import InvalidInput
from burnish.ir.clone import clone, extract
from burnish.ir.printer import to_text
from burnish.ir.sort import sort
from burnish.ir.verify import verify
from burnish.testing import graph

TEXT = """g (bool c, float[2] x) => (float[2] y) {
  w = Constant <value = float[2] {1, 2}> ()
  a = Add(x, w)
  b = Abs(a)
  y = If (c) <then_branch = p () => (float[2] e) { t = Mul(b, w) e = Neg(t) },
              else_branch = q () => (float[2] f) { f = Neg(a) }>
}"""


def test_sorted_graph_stays_as_it_is() -> None:
    source = graph(TEXT)
    nodes = list(source.walk())
    sort(source)
    assert list(source.walk()) == nodes


def test_sort_sees_captures() -> None:
    source = graph(TEXT)
    branch = next(node for node in source if node.op_type == "If")
    source.unlink(branch)
    source.insert_after(None, branch)
    sort(source)
    verify(source)
    assert to_text(source) == to_text(graph(TEXT))


def test_sort_moves_no_more_than_it_must() -> None:
    source = graph("g (float x) => (float p, float q) { p = Abs(x) a = Neg(x) q = Exp(a) }")
    negate = list(source)[1]
    source.unlink(negate)
    source.append(negate)
    sort(source)
    assert [node.op_type for node in source] == ["Abs", "Neg", "Exp"]


def test_cycle_is_named() -> None:
    source = graph("g (float x) => (float y) { a = Abs(x) b = Neg(a) y = Exp(b) }")
    first, second, _ = source
    first.inputs = (second.output,)
    with pytest.raises(InvalidInput, match=r"cycle .* 'Abs_0'"):
        sort(source)
    assert len(source) == 3


def test_clone_shares_constants_and_nothing_else() -> None:
    source = graph(TEXT)
    copy, made = clone(source)
    assert set(source.walk()).isdisjoint(copy.walk())
    assert set(source.variables()).isdisjoint(copy.variables())
    assert {id(v.constant) for v in source.constants()} == {
        id(v.constant) for v in copy.constants()
    }
    for before, after in made.values.items():
        assert (before.name, before.dtype, before.shape) == (after.name, after.dtype, after.shape)
    next(iter(copy)).attributes["axis"] = 1
    assert "axis" not in next(iter(source)).attributes


def test_clone_of_a_body_still_captures() -> None:
    source = graph(TEXT)
    branch = next(node for node in source if node.op_type == "If")
    copy, _ = clone(branch.subgraphs["then_branch"])
    multiply = copy.first
    assert multiply is not None
    original = branch.subgraphs["then_branch"].first
    assert original is not None
    assert multiply.inputs[0] is original.inputs[0]
    copy.release()
    verify(source)


def test_extract_turns_what_comes_from_elsewhere_into_inputs() -> None:
    source = graph(TEXT)
    nodes = [node for node in source if node.op_type in ("Abs", "If")]
    part, made = extract(nodes)
    part.outputs = (made.values[nodes[1].output],)
    verify(part)
    verify(source)
    assert [value.name for value in part.inputs] == ["a", "c"]
    assert part.opset == 21
