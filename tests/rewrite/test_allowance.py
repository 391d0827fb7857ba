"""Rules that may be applied so many times and no more; searches for the first bad step."""

from __future__ import annotations

import pytest

from burnish.bisection import first_bad
from burnish.ir import Graph
from burnish.ir.clone import CloneMap, clone
from burnish.ir.printer import to_text
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from burnish.rewrite import Allowance, Any, Match, Op, Rewriter, Rule, apply_rules
from burnish.testing import graph


def chain() -> Graph:
    return graph(
        "g (float[4] x) => (float[4] y) "
        "{ a = Identity(x) b = Tanh(a) c = Identity(b) d = Tanh(c) e = Identity(d) y = Tanh(e) }"
    )


def _drop(rw: Rewriter, match: Match, facts: None) -> None:
    rw.replace(match.root.output, match["x"])


RULE = Rule("drop", Op("Identity", Any("x")), _drop)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9])
def test_no_more_than_that_many(count: int) -> None:
    source, allowance = chain(), Allowance(count)
    result = apply_rules(source, [RULE], allowance=allowance)
    assert len(result.fired) == allowance.used == min(count, 3)
    assert sum(node.op_type == "Identity" for node in source) == 3 - min(count, 3)


def test_the_graph_before_the_last() -> None:
    source, one_less = chain(), chain()
    apply_rules(one_less, [RULE], allowance=Allowance(1))
    allowance = Allowance(2, keep=True)
    apply_rules(source, [RULE], allowance=allowance)
    assert allowance.before is not None
    assert to_text(allowance.before) == to_text(one_less)
    (node,) = allowance.place
    assert node.graph is allowance.before
    assert node.output.name == "c"


def test_one_copy_however_many_rules_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[Graph] = []

    def clone_and_note(source: Graph) -> tuple[Graph, CloneMap]:
        copies.append(source)
        return clone(source)

    monkeypatch.setattr("burnish.rewrite.allowance.clone", clone_and_note)
    idle = Rule("idle", Op("Tanh", Any("x")), lambda rw, match, facts: None)
    source, allowance = chain(), Allowance(1, keep=True)
    apply_rules(source, [idle, RULE], allowance=allowance)
    assert len(copies) == allowance.used == 1
    assert [node.op_type for node in allowance.place] == ["Identity"]


def test_the_same_places_in_the_same_order() -> None:
    whole = apply_rules(chain(), [RULE]).fired
    for count in range(4):
        assert apply_rules(chain(), [RULE], allowance=Allowance(count)).fired == whole[:count]


@pytest.mark.parametrize("name", ["fuse-batch-norm", "lower-attention", "lower-exotic"])
def test_passes_that_apply_rules_again_and_again_obey(name: str) -> None:
    text = {
        "fuse-batch-norm": "g (float[3, 2] x) => (float[3, 2] y)"
        "{ k = Constant<value = float[2, 2] {1, 2, 3, 4}>()"
        " s = Constant<value = float[2] {2, 3}>() m = MatMul(x, k) y = Mul(m, s) }",
        "lower-attention": "g (float[1, 4, 8] q, float[1, 4, 8] k, float[1, 4, 8] v) =>"
                           " (float[1, 4, 8] y)"
                           "{ y = Attention<q_num_heads = 2, kv_num_heads = 2>(q, k, v) }",
        "lower-exotic": 'g (float[2, 4] x, float[4, 3] w) => (float[2, 3] y)'
                        '{ y = Einsum<equation = "ij,jk->ik">(x, w) }',
    }[name]  # fmt: skip
    source, same = graph(text, opset=23), graph(text, opset=23)
    for each in (source, same):
        run_pass(each, get_pass("infer-shapes"), PassContext())
    report = run_pass(source, get_pass(name), PassContext(allowance=Allowance(0)))
    assert not report.changed
    assert to_text(source) == to_text(same)
    assert run_pass(source, get_pass(name), PassContext()).fired


@pytest.mark.parametrize("count", range(1, 12))
def test_first_bad(count: int) -> None:
    for bad in range(1, count + 1):
        asked: list[int] = []

        def is_bad(step: int, bad: int = bad, asked: list[int] = asked) -> bool:
            asked.append(step)
            return step >= bad

        assert first_bad(is_bad, count) == bad
        assert 0 not in asked
        assert count not in asked
