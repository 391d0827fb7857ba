"""Loops and branches that run as kernels under jumps, and those that cannot."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.lowering.models import check, check_all, lowered, model, normal

X = {"x": normal(3, 4)}


def loop(
    body: str, states: str = "x", results: str = "y", count: str = "n", goes_on: str = ""
) -> str:
    """A model with one Loop over float[3, 4] states."""
    outputs = ", ".join(f"float[3, 4] {name}" for name in results.split(", "))
    given = ", ".join(part or '""' for part in (count, goes_on, states) if part != "-")
    return (
        f"g (float[3, 4] x, int64 n, bool c, float[4, 4] w) => ({outputs}) "
        f"{{ one = Constant<value_int=1>() {results} = Loop({given})<body = b {body}> }}"
    )


PLAIN = "(int64 i, bool t, float[3, 4] v) => (bool u, float[3, 4] r)"
FEEDS = {**X, "c": np.array(True), "w": normal(4, 4, seed=1) / 2}


@pytest.mark.parametrize(
    "text",
    [
        # what is outside is read in another layout, and read again behind the loop
        loop(PLAIN + "{ u = Identity(t) m = MatMul(v, w) r = Tanh(m) }"),
        # states change places: none may be overwritten before it is read
        loop(
            "(int64 i, bool t, float[3, 4] v, float[3, 4] q)"
            " => (bool u, float[3, 4] r, float[3, 4] s)"
            "{ u = Identity(t) r = Identity(q) s = Relu(v) }",
            "x, x",
            "y, z",
        ),
        # a state that never changes, and one that is only counted
        loop(
            "(int64 i, bool t, float[3, 4] v, float[3, 4] q)"
            " => (bool u, float[3, 4] r, float[3, 4] s)"
            "{ u = Identity(t) f = Cast<to=1>(i) s = Add(q, f) r = Mul(v, s) }",
            "x, x",
            "y, z",
        ),
        # the condition says when to stop, sooner than the number
        loop(
            PLAIN + "{ r = Add(v, v) most = ReduceMax<keepdims=0>(r)"
            " b1 = Constant<value_float=20.0>() u = Less(most, b1) }",
            goes_on="c",
        ),
        # a loop in a loop, a branch in a loop
        loop(
            PLAIN + "{ u = Identity(t) r = Loop(i, \"\", v)<body = d (int64 j, bool p, "
            "float[3, 4] a) => (bool q, float[3, 4] o) { q = Identity(p) e = Cast<to=1>(j) "
            "h = Sin(a) o = Add(h, e) }> }"
        ),
        loop(
            PLAIN + "{ u = Identity(t) k = Constant<value_int=2>() z = Mod(i, k) "
            "odd = Cast<to=9>(z)"
            " r = If(odd)<then_branch = d () => (float[3, 4] a) { m = MatMul(v, w) a = Tanh(m) },"
            " else_branch = e () => (float[3, 4] a) { a = Softmax<axis=0>(v) }> }"
        ),
    ],
)  # fmt: skip
def test_loops_run_as_kernels(text: str) -> None:
    assert check_all(model(text), [{"n": np.array(n), **FEEDS} for n in (0, 7, 1, 2)]) == []


def test_a_loop_that_only_its_condition_ends() -> None:
    text = loop(
        PLAIN + "{ r = Add(v, v) most = ReduceMax<keepdims=0>(r)"
        " b1 = Constant<value_float=20.0>() u = Less(most, b1) }",
        count="",
        goes_on="c",
    )
    feeds = [{**FEEDS, "c": np.array(starts), "n": np.array(0)} for starts in (True, False)]
    assert check_all(model(text), feeds) == []


def test_only_the_branch_that_is_taken_runs() -> None:
    # What loops is not computed for nothing, however short it is.
    text = (
        "g (float[3, 4] x, bool[1] c, int64 n) => (float[3, 4] y, float[3, 4] z)"
        " { q = Transpose(x)"
        " y, z = If(c)<then_branch = d () => (float[3, 4] a, float[3, 4] b) { e = Exp(x)"
        ' s = Loop(n, "", e)<body = b (int64 i, bool t, float[3, 4] v)'
        " => (bool u, float[3, 4] r) { u = Identity(t) r = Sin(v) }>"
        " a = Transpose(q) b = Relu(s) },"
        " else_branch = e () => (float[3, 4] a, float[3, 4] b)"
        " { a = Identity(x) p = Transpose(q) b = Neg(p) }> }"
    )
    jumps = [call.kernel for call in lowered(text).calls if call.jump is not None]
    assert jumps.count("unless") == 2, "of the branch and of the loop"
    feeds = [{"c": np.array([taken]), "n": np.array(3), **X} for taken in (True, False)]
    assert check_all(model(text), feeds) == []


def test_copies_made_in_a_body_do_not_serve_behind_it() -> None:
    text = (
        "g (float[1, 3, 4, 5] x, int64 n, float[3, 3, 1, 1] w)"
        " => (float[1, 3, 4, 5] y, float[3, 5] z)"
        ' { h = Conv(x, w) y = Loop(n, "", x)<body = b (int64 i, bool t, float[1, 3, 4, 5] v)'
        " => (bool u, float[1, 3, 4, 5] r) { u = Identity(t) f = Softmax<axis=-1>(h)"
        " r = Add(v, f) }> k = Constant<value_ints=[3, 20]>() s = Reshape(h, k)"
        " l = Constant<value_ints=[20, 5]>() e = Expand(g0, l) z = MatMul(s, e) }"
    ).replace("{ h =", "{ g0 = Constant<value_float=0.5>() h =")
    x, w = normal(1, 3, 4, 5), normal(3, 3, 1, 1, seed=1)
    feeds = [{"n": np.array(rounds), "x": x, "w": w} for rounds in (0, 3)]
    assert check_all(model(text), feeds) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            loop(
                "(int64 i, bool t, float[3, 4] v) => (bool u, float[3, 4] r, float[3, 4] k)"
                "{ u = Identity(t) r = Sin(v) k = Cos(v) }",
                results="y, z",
                count="many",
            )
            .replace("float[3, 4] z", "float[100, 3, 4] z")
            .replace("{ one", "{ many = Constant<value_int=100>() one"),
            "Loop stacks results of its rounds",
        ),
        (
            loop(
                PLAIN.replace("float[3, 4]", "float[a, 4]")
                + "{ u = Identity(t) r = Concat<axis=0>(v, v) }"
            ).replace("(float[3, 4] y)", "(float[b, 4] y)"),
            "Loop has a shape that is known only when it runs",
        ),
        (
            loop(
                PLAIN + "{ u = Identity(t) z = NonZero(v) k = Cast<to=1>(z)"
                " e = ReduceSum<keepdims=0>(k) r = Add(v, e) }"
            ),
            "NonZero",
        ),
    ],
)  # fmt: skip
def test_loops_that_run_on_the_host(text: str, reason: str) -> None:
    refusals = check(model(text), n=np.array(2), **FEEDS)
    assert any(reason in each for each in refusals), refusals
