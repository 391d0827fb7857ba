"""What rewritten graphs are compared on, and how they fail."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.errors import GateFailed, UnsupportedModel
from burnish.numerics import Numerics
from burnish.testing import graph
from burnish.verification import Disagreement, Reference, random_feeds

TEXT = (
    'g (float["N", 4] x, float["N", "M"] z) => (float y) { a = Relu(x) y = Concat<axis=1>(a, z) }'
)


def shapes(feeds: list) -> list[tuple[tuple[int, ...], ...]]:
    return [tuple(array.shape for array in one.values()) for one in feeds]


def test_open_sizes_take_two_values() -> None:
    feeds = random_feeds(graph(TEXT))
    assert len(feeds) == 3
    assert len(set(shapes(feeds))) == 2
    assert all(x[0] == z[0] for x, z in shapes(feeds)), "one name, one size"


def test_given_shapes_are_kept() -> None:
    feeds = random_feeds(graph(TEXT), {"x": (5, 4)})
    assert {x for x, _ in shapes(feeds)} == {(5, 4)}
    assert {z[0] for _, z in shapes(feeds)} == {5}
    assert len({z[1] for _, z in shapes(feeds)}) == 2


def test_fixed_sizes_differ_in_values() -> None:
    feeds = random_feeds(graph("g (float[3] x) => (float[3] y) { y = Neg(x) }"))
    assert len({one["x"].tobytes() for one in feeds}) == 3


def test_the_same_graph_agrees() -> None:
    model = graph(TEXT)
    assert Reference(model).check(model, Numerics.EXACT) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("g (float[3] x) => (float[3] y) { y = Abs(x) }", "largest error"),
        ("g (float[3] x) => (float[1, 3] y) { a = Constant<value=int64[1]{0}>() n = Neg(x) "
         "y = Unsqueeze(n, a) }", "shape"),
        ("g (float[3] x) => (double[3] y) { n = Neg(x) y = Cast<to=11>(n) }", "dtype"),
        ("g (float[3] x) => (float[3] z) { z = Neg(x) }", "outputs are"),
        ("g (float[3] w) => (float[3] y) { y = Neg(w) }", "inputs are"),
        ("g (float[4] x) => (float[4] y) { y = Neg(x) }", "cannot run"),
    ],
)  # fmt: skip
def test_what_counts_as_disagreement(text: str, reason: str) -> None:
    reference = Reference(graph("g (float[3] x) => (float[3] y) { y = Neg(x) }"))
    with pytest.raises(Disagreement, match=reason):
        reference.check(graph(text), Numerics.REASSOCIATES)
    assert issubclass(Disagreement, GateFailed)


def test_a_model_that_the_oracle_cannot_run() -> None:
    with pytest.raises(UnsupportedModel):
        Reference(graph("g (float[3] x) => (float[3] y) { y = odd.Quux(x) }", domains=("odd",)))


def test_samples_of_the_user() -> None:
    sample = {"x": np.float32([1, 2, 3])}
    reference = Reference(graph("g (float[3] x) => (float[3] y) { y = Neg(x) }"), [sample])
    assert reference.feeds == [sample]
    np.testing.assert_array_equal(reference.expected[0]["y"], [-1, -2, -3])


ROUNDS = "g (float[4] x) => (int64[4] y) { e = Exp(x) y = Cast<to=7>(e) }"


def test_compiled_code_may_round_a_float_next_to_a_boundary_the_other_way() -> None:
    reference = Reference(graph(ROUNDS), [{"x": np.float32([0, 1, 2, 3])}])
    reference.check_compiled(lambda feeds: {"y": np.int64([1, 2, 7, 20])})
    reference.check_compiled(lambda feeds: {"y": np.int64([0, 2, 7, 20])})


@pytest.mark.parametrize("wrong", [[2, 2, 7, 20], [1, 3, 7, 20], [0, 2, 7, 21], [0, 2, 7]])
def test_compiled_code_may_not_round_what_is_far_from_a_boundary(wrong: list[int]) -> None:
    reference = Reference(graph(ROUNDS), [{"x": np.float32([0, 1, 2, 3])}])
    with pytest.raises(Disagreement, match="wrong"):
        reference.check_compiled(lambda feeds: {"y": np.int64(wrong)})
