"""merge-slices: fewer copies of the same elements, or a reason why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "merge-slices"
Fires = Callable[..., Graph]
Misses = Callable[..., None]

LISTS = {
    "n1": [-1], "n2": [-2], "n3": [-3], "zero": [0], "one": [1], "two": [2], "three": [3],
    "four": [4], "five": [5], "six": [6], "far": [2**62], "behind": [-(2**62)], "both": [0, 1],
    "triple": [2, 2, 2], "wide": [2, 3, 4],
}  # fmt: skip
CONSTANTS = {name: np.array(values, np.int64) for name, values in LISTS.items()}


def used(body: str) -> dict[str, Any]:
    """The constants that ``body`` names."""
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return {name: array for name, array in CONSTANTS.items() if name in words}


def model(body: str, inputs: str = "float[4, 6, 8] x", outputs: str = "float y") -> str:
    return f"g ({inputs}) => ({outputs}) {{ {body} }}"


def kinds(graph: Graph) -> list[str]:
    return [node.op_type for node in graph.walk()]


THREE = "float[2, 3] a, float[4, 3] b, float[2, 3] c"

MERGED = [
    # Slices of slices.
    ("s = Slice(x, one, four, two) y = Slice(s, zero, two, one)", "slice-of-slice", ["Slice"]),
    ("s = Slice(x, one, five, one) y = Slice(s, one, three, one)", "slice-of-slice", ["Slice"]),
    ("s = Slice(x, zero, far, two, two) y = Slice(s, one, far, two, two)", "slice-of-slice",
     ["Slice"]),
    ("s = Slice(x, n1, behind, two, n1) y = Slice(s, one, three, n1)", "slice-of-slice",
     ["Slice"]),
    ("s = Slice(x, n1, behind, two, n1) y = Slice(s, n1, behind, two, n2)", "slice-of-slice",
     ["Slice"]),
    # Pads.
    ("p = Pad(x, p1) y = Pad(p, p2)", "pad-of-pad", ["Pad"]),
    ("p = Pad(x, p1) y = Slice(p, zero, five, zero)", "slice-of-pad", ["Pad"]),
    ("e = Exp(x) p = Pad(e, p1) y = Slice(p, one, five, zero)", "slice-of-pad", ["Exp"]),
    ("p = Pad(x, p1) y = Slice(p, two, four, zero)", "slice-of-pad", ["Slice"]),
    # Gathers.
    ("y = Gather<axis = 1>(x, both)", "gather-of-steps", ["Slice"]),
    ("y = Gather<axis = -1>(x, two)", "gather-of-steps", ["Slice"]),
    ("s = Gather<axis = 1>(x, odd) y = Gather<axis = 1>(s, swap)", "gather-of-gather", ["Gather"]),
    # Tiles.
    ("t = Tile(x, triple) y = Tile(t, wide)", "tile-of-tile", ["Tile"]),
]  # fmt: skip
MORE = {
    "p1": np.array([1, 0, 0, 1, 0, 2]), "p2": np.array([0, 3, 0, 0, 0, 1]),
    "odd": np.array([5, 1, 0, 3]), "swap": np.array([1, 0, 2]),
}  # fmt: skip


@pytest.mark.parametrize(("body", "rule", "expected"), MERGED)
def test_merged(fires: Fires, body: str, rule: str, expected: list[str]) -> None:
    more = {name: array for name, array in MORE.items() if name in body}
    if rule == "slice-of-pad" and expected == ["Slice"]:
        more = {"p1": np.array([1, 0, 0, 1, 0, 0])}
    if expected == ["Exp"]:
        more = {"p1": np.array([1, 0, 0, 1, 0, 0])}
    after = fires(NAME, model(body), rule, **used(body), **more)
    assert kinds(after) == expected


def test_a_slice_that_several_read(fires: Fires) -> None:
    """Patches are often cut along one axis and then along the other."""
    text = model(
        "s = Slice(x, zero, far, one, two) a = Slice(s, zero, far, two, two) "
        "b = Slice(s, one, far, two, two)", outputs="float[4, 3, 4] a, float[4, 3, 4] b",
    )  # fmt: skip
    after = fires(NAME, text, "slice-of-slice", "slice-of-slice", **used(text))
    assert kinds(after) == ["Slice", "Slice"]
    assert all(node.inputs[0] is after.inputs[0] for node in after)


@pytest.mark.parametrize(
    "body",
    [
        "s = Slice(x, one, far, zero) y = Slice(s, two, far, zero)",
        "s = Slice(x, one, far, zero) y = Slice(s, two, n1, zero)",
        "s = Slice(x, one, far, zero) y = Slice(s, zero, two, zero)",
        "s = Slice(x, one, n1, zero) y = Slice(s, one, far, zero)",
        "s = Slice(x, one, three, zero) y = Slice(s, one, five, zero)",
        "s = Slice(x, one, far, zero) y = Slice(s, n2, far, one)",
    ],
)
def test_slices_of_an_open_axis(fires: Fires, body: str) -> None:
    text = model(body, 'float["n", 3] x')
    after = fires(NAME, text, "slice-of-slice", **used(text))
    assert kinds(after) == ["Slice"]


def test_joined_and_taken_apart(fires: Fires) -> None:
    text = model(
        "p = Exp(a) q = Exp(b) j = Concat<axis = 0>(p, q) u, v = Split(j, parts) "
        "y = Neg(u) z = Neg(v)",
        THREE, "float y, float z",
    )  # fmt: skip
    after = fires(NAME, text, "split-of-concat", parts=np.array([2, 4]))
    assert sorted(kinds(after)) == ["Exp", "Exp", "Neg", "Neg"]


def test_joined_and_partly_taken_apart(fires: Fires) -> None:
    text = model(
        "j = Concat<axis = 0>(a, b, c) u, v = Split(j, parts) y = Neg(u) z = Neg(v)",
        THREE, "float y, float z",
    )  # fmt: skip
    after = fires(NAME, text, "split-of-concat", parts=np.array([6, 2]))
    assert sorted(kinds(after)) == ["Concat", "Neg", "Neg"]


def test_one_part_of_what_is_joined(fires: Fires) -> None:
    text = model("j = Concat<axis = 0>(a, b, c) y = Slice(j, three, five, zero) z = Neg(j)",
                 THREE, "float y, float z")  # fmt: skip
    after = fires(NAME, text, "slice-of-concat", **used(text))
    assert sorted(kinds(after)) == ["Concat", "Neg", "Slice"]
    whole = (
        text.replace("three, five", "two, six")
        .replace("y = ", "w = ")
        .replace("z =", "y = Neg(w) z =")
    )
    after = fires(NAME, whole, "slice-of-concat", **used(whole))
    assert sorted(kinds(after)) == ["Concat", "Neg", "Neg"]


def test_what_is_picked_of_what_is_joined(fires: Fires) -> None:
    text = model("j = Concat<axis = 0>(a, b, c) y = Gather(j, at)", THREE)
    after = fires(NAME, text, "gather-of-concat", at=np.int64(-5))
    assert kinds(after) == ["Gather"]
    assert after.first is not None
    assert after.first.inputs[0] is after.inputs[1]


def test_joined_twice(fires: Fires) -> None:
    text = model("j = Concat<axis = 0>(a, b) y = Concat<axis = -2>(c, j, a)", THREE)
    after = fires(NAME, text, "concat-of-concat")
    assert kinds(after) == ["Concat"]


def test_one_value_joined_twice_over(fires: Fires) -> None:
    text = model("j = Concat<axis = 0>(a, b) y = Concat<axis = 0>(j, j, c)", THREE)
    after = fires(NAME, text, "concat-of-concat")
    assert kinds(after) == ["Concat"]


def test_empty_parts(fires: Fires) -> None:
    """What a decoder has seen before the first word."""
    past = np.zeros((0, 3), np.float32)
    text = model("n = Neg(a) y = Concat<axis = -2>(past, n, c)", THREE)
    assert kinds(fires(NAME, text, "concat-of-nothing", past=past)) == ["Neg", "Concat"]
    text = model("n = Neg(a) y = Concat<axis = 0>(past, n)", "float[2, 3] a")
    assert kinds(fires(NAME, text, "concat-of-nothing", past=past)) == ["Neg"]


def test_split_twice(fires: Fires) -> None:
    text = model("s, t = Split(x, parts) u, v = Split(t, k) y = Neg(v) z = Neg(u) w = Neg(s)",
                 outputs="float y, float z, float w")  # fmt: skip
    after = fires(NAME, text, "split-of-split", parts=np.array([1, 3]), k=np.array([1, 2]))
    assert sorted(kinds(after)) == ["Neg", "Neg", "Neg", "Split"]


def test_pieces_are_put_together_again(fires: Fires) -> None:
    text = model("e = Exp(x) s, t, u = Split<axis = 2>(e, k) y = Concat<axis = 2>(s, t, u)")
    after = fires(NAME, text, "concat-of-pieces", k=np.array([1, 3, 4]))
    assert kinds(after) == ["Exp"]
    text = model("s = Slice(x, zero, two, one) t = Slice(x, two, six, one) n = Neg(x) "
                 "y = Concat<axis = 1>(s, t, n)")  # fmt: skip
    after = fires(NAME, text, "concat-of-pieces", **used(text))
    assert kinds(after) == ["Neg", "Concat"]
    text = text.replace("two, six", "two, four")
    after = fires(NAME, text, "concat-of-pieces", **used(text))
    assert sorted(kinds(after)) == ["Concat", "Neg", "Slice"]


def test_stacked(fires: Fires) -> None:
    text = model("p = Unsqueeze(a, one) q = Unsqueeze(c, one) y = Concat<axis = 1>(p, q)", THREE)
    after = fires(NAME, text, "stack-by-concat", **used(text))
    assert kinds(after) == ["Concat", "Reshape"]


def test_all_in_order(fires: Fires) -> None:
    grid = np.stack(np.meshgrid(range(2), range(3), indexing="ij"), -1)[:, None]
    after = fires(
        NAME, model("y = GatherND(x, at)", "float[2, 3] x"), "gather-nd-in-order", at=grid
    )
    assert kinds(after) == ["Reshape"]
    after = fires(NAME, model("y = Gather(x, at)", "float[4] x"), "gather-in-order",
                  at=np.array([[0, 1], [2, -1]]))  # fmt: skip
    assert kinds(after) == ["Reshape"]
    after = fires(NAME, model("y = Gather<axis = 1>(x, at)", "float[4, 1] x"), "gather-in-order",
                  at=np.int64(0))  # fmt: skip
    assert kinds(after) == ["Reshape"]


def test_expanded_twice(fires: Fires) -> None:
    text = model("e = Expand(x, a) y = Expand(e, b)", "float[1, 1, 4] x")
    after = fires(NAME, text, "expand-of-expand", a=np.array([2, 1, 1]), b=np.array([2, 3, 4]))
    assert kinds(after) == ["Expand"]


def test_old_slices_have_attributes(fires: Fires) -> None:
    text = model("s = Slice<starts = [1], ends = [4], axes = [2]>(x) "
                 "y = Slice<starts = [0, 1], ends = [2, 2]>(s)")  # fmt: skip
    after = fires(NAME, text.replace("[0, 1], ends = [2, 2]>", "[0], ends = [2]>"),
                  "slice-of-slice", opset=9)  # fmt: skip
    assert kinds(after) == ["Slice"]


@pytest.mark.parametrize(
    ("body", "inputs", "reason", "more"),
    [
        ("s = Slice(x, one, b, zero) y = Slice(s, two, far, zero)", "float[9] x, int64[1] b",
         "only when it runs", {}),
        ("s = Slice(x, n3, far, zero) y = Slice(s, one, far, zero)", 'float["n"] x',
         "unknown size", {}),
        ("s = Slice(x, zero, n1, zero) y = Slice(s, zero, four, zero)", 'float["n"] x',
         "unknown size", {}),
        ("j = Concat<axis = 0>(a, b, c) y = Slice(j, one, five, zero)", THREE, "several parts", {}),
        ("j = Concat<axis = 0>(a, b, c) y = Slice(j, one, two, one)", THREE, "another axis", {}),
        ("j = Concat<axis = 0>(a, b) y = Slice(j, n1, far, zero)",
         'float["n", 3] a, float[2, 3] b', "not known which part", {}),
        ("j = Concat<axis = 0>(a, b, c) y, z = Split(j, k)", THREE, "elsewhere",
         {"k": np.array([3, 5])}),
        ("j = Concat<axis = 0>(a, b, c) y, z = Split<axis = 1>(j, k)", THREE, "along another",
         {"k": np.array([1, 2])}),
        ("j = Concat<axis = 0>(a, b, c, a) y, z = Split(j, k)", THREE, "more would have",
         {"k": np.array([6, 4])}),
        ("j = Concat<axis = 0>(a, b) y, z = Split(j, k)", THREE, "its own name",
         {"k": np.array([2, 4])}),
        ("j = Concat<axis = 0>(a, b) y = Concat<axis = 0>(c, j) z = Neg(j)", THREE,
         "read as it is", {}),
        ("j = Concat<axis = 0>(a, b) k = Slice(j, zero, two, one) y = Concat<axis = 1>(k, j)",
         THREE, "another axis", {}),
        ("s, t = Split(x, k) u, v = Split<axis = 1>(t, k) y = Concat<axis = 1>(v, u) z = Neg(s)",
         "float[4, 4] x", "different axes", {"k": np.array([2, 2])}),
        ("s, t = Split(x, k) u, v = Split(t, l) y = Concat<axis = 0>(v, t) z = Neg(u)",
         "float[4, 4] x", "read whole", {"k": np.array([2, 2]), "l": np.array([1, 1])}),
        ("s, t = Split(x, k) y = Concat<axis = 0>(t, s)", "float[4, 4] x", "neighbouring",
         {"k": np.array([2, 2])}),
        ("s, t, u = Split(x, k) y = Concat<axis = 0>(s, t, x)", "float[4, 4] x",
         "read by themselves", {"k": np.array([1, 1, 2])}),
        ("s, t = Split(x, k) y = Concat<axis = 0>(s, t)", "float[4, 4] x", "its own name",
         {"k": np.array([2, 2])}),
        ("y = Concat<axis = 0>(p, a)", 'float[2, 3] a, float["n", 3] p', "known to be empty", {}),
        ("y = Concat<axis = 0>(p, a)", "float[2, 3] a", "its own name",
         {"p": np.zeros((0, 3), np.float32)}),
        ("p = Unsqueeze(a, two) q = Unsqueeze(c, two) y = Concat<axis = 2>(p, q)", THREE,
         "last axis", {}),
        ("p = Unsqueeze(a, one) q = Unsqueeze(c, one) y = Concat<axis = 1>(p, q) z = Neg(p)", THREE,
         "read with the axis", {}),
        ("p = Unsqueeze(a, one) y = Concat<axis = 1>(p, q)", THREE + ", float[2, 1, 3] q",
         "given an axis", {}),
        ("y = Gather(x, at)", "float[4] x", "steps", {"at": np.array([0, 1, 3])}),
        ("y = Gather(x, at)", "float[4] x", "steps", {"at": np.array([1, 1])}),
        ("y = Gather(x, at)", "float[4] x", "steps", {"at": np.array([1, 0])}),
        ("y = Gather(x, at)", 'float["n"] x', "not known", {"at": np.array([0, 1])}),
        ("y = GatherND(x, at)", "float[2, 2] x", "another order",
         {"at": np.array([[0, 0], [1, 0], [0, 1], [1, 1]])}),
        ("p = Pad(x, k) y = Pad(p, k, f)", "float[4] x", "different values",
         {"k": np.array([1, 0]), "f": np.float32(1)}),
        ('p = Pad<mode = "reflect">(x, k) y = Pad(p, k)', "float[4] x", "add a constant",
         {"k": np.array([1, 0])}),
        ("p = Pad(x, k) y = Slice(p, zero, two, zero)", "float[4] x", "some of what was added",
         {"k": np.array([1, 0])}),
        ("e = Expand(x, s) y = Expand(e, t)", "float[1] x, int64[2] s, int64[3] t", "not known",
         {}),
        ("s = Slice(x, one, far, zero) y = Slice(s, b, far, zero)", "float[9] x, int64[1] b",
         "only when it runs", {}),
        ("j = Concat<axis = 0>(a, b) y = Slice(j, k, far, zero)", THREE + ", int64[1] k",
         "only when it runs", {}),
        ("j = Concat<axis = 0>(a, b) y, z = Split<num_outputs = 2>(j)",
         'float["n", 3] a, float[4, 3] b', "sizes along the axis", {}),
        ("j = Concat<axis = 0>(a, b, c) y, z = Split(j, k)", THREE, "elsewhere",
         {"k": np.array([0, 8])}),
        ("s, t = Split<num_outputs = 2>(x) u, v = Split<num_outputs = 2>(t) "
         "y = Concat<axis = 0>(v, u, s)", 'float["n", 4] x', "sizes along the axis", {}),
        ("p = Pad(x, k) y = Pad(p, b)", "float[4] x, int64[2] b", "not constant",
         {"k": np.array([1, 0])}),
        ("p = Pad(x, k, , one) y = Pad(p, k, , one)", "float[4, 4] x", "names axes",
         {"k": np.array([1, 0])}),
        ("p = Pad(x, k) y = Pad(p, l)", "float[4] x", "add a constant",
         {"k": np.array([-1, 0]), "l": np.array([1, 0])}),
        ("p = Pad(x, k) y = Slice(p, zero, two, zero)", 'float["n"] x', "only when it runs",
         {"k": np.array([1, 0])}),
        ("p = Pad(x, k) y = Slice(p, two, one, zero)", "float[4] x", "keeps nothing",
         {"k": np.array([1, 0])}),
        ("y = Concat<axis = 0>(a, b)", THREE, "joined before", {}),
        ("p = Reshape(c, s) y = Concat<axis = 0>(a, p)", THREE + ', int64["k"] s',
         "rank is not known", {}),
        ("p = Reshape(a, s) q = Reshape(b, s) j = Concat<axis = 0>(p, q) "
         "y = Concat<axis = 1>(j, p)", THREE + ', int64["k"] s', "rank is not known", {}),
        ("s = Shape(x) g = Gather(s, both) y = Cast<to = 1>(g)", 'float["n", "m", 2] x',
         "followed by name", {}),
        ("y = Gather(x, at)", "float[4] x", "no short list", {"at": np.zeros(0, np.int64)}),
        ("y = Gather(x, at)", "float[4] x", "some elements only", {"at": np.array([[0, 1]])}),
        ("y = Gather(x, at)", "float[2] x", "another order", {"at": np.array([1, 0])}),
        ("y = GatherND(x, at)", 'float["n", 2] x', "shapes are not known",
         {"at": np.array([[0, 0]])}),
        ("y = GatherND<batch_dims = 1>(x, at)", "float[2, 2] x", "has batches",
         {"at": np.array([[0], [1]])}),
        ("y = GatherND(x, at)", "float[3, 2] x", "some elements only",
         {"at": np.array([[0], [1]])}),
        ("s = Gather<axis = 1>(x, at) y = Gather<axis = 1>(s, swap)", "float[4, 6, 8] x",
         "the first are no", {"at": np.int64(3), "swap": np.array([1, 0])}),
        ("s = Gather<axis = 1>(x, odd) y = Gather<axis = 2>(s, odd)", "float[4, 6, 8] x",
         "different axes", {"odd": np.array([5, 1, 0])}),
        ("j = Concat<axis = 0>(a, b) y = Gather<axis = 1>(j, at)", THREE, "another axis",
         {"at": np.array([1, 0])}),
        ("j = Concat<axis = 0>(a, b) y = Gather(j, at)", THREE, "no short list",
         {"at": np.zeros(0, np.int64)}),
        ("t = Tile(x, triple) y = Tile(t, b)", "float[4, 6, 8] x, int64[3] b", "only when they run",
         {}),
    ],
)  # fmt: skip
def test_stays(misses: Misses, body: str, inputs: str, reason: str, more: dict[str, Any]) -> None:
    outputs = "float y, float z" if " z = " in body or ", z = " in body else "float y"
    misses(NAME, model(body, inputs, outputs), reason, **{**used(body), **more})


MANY = np.arange((1 << 16) + 1)


@pytest.mark.parametrize(
    ("body", "inputs", "more"),
    [
        ("y = Gather(x, many)", "float[65537] x", {}),
        ("s = Gather(x, many) y = Gather(s, at)", "float[65537] x", {"at": np.array([3, 1])}),
        ("s = Gather(x, at) y = Gather(s, many)", "float[4] x",
         {"at": np.array([3, 1]), "many": MANY % 2}),
        ("j = Concat<axis = 0>(a, a) y = Gather(j, many)", "float[65537] a", {}),
    ],
)  # fmt: skip
def test_long_lists_are_data(misses: Misses, body: str, inputs: str, more: dict[str, Any]) -> None:
    misses(NAME, model(body, inputs), "no short list", **{"many": MANY, **more})


def test_old_slices_have_no_steps(misses: Misses) -> None:
    misses(NAME, model("y = Gather(x, at)", "float[8] x"), "needs opset 10", opset=9,
           at=np.array([1, 3, 5]))  # fmt: skip
