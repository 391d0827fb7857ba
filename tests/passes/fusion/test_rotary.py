"""recognise-rotary: halves, pairs, some channels, where angles come from, which axis is heads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from burnish.ir import Graph

NAME = "recognise-rotary"
X = "float[2, 3, 5, 8] x"
TABLE = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
TWICE, PAIRED = np.concatenate([TABLE, TABLE], -1), np.repeat(TABLE, 2, -1)
NUMBERS = {
    "zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "three": np.array([3]),
    "four": np.array([4]), "six": np.array([6]), "last": np.array([-1]), "end": np.array([1 << 60]),
    "eight": np.array([8]), "full": np.array([2, 3, 5, 8]), "even": np.array([4, 4]),
}  # fmt: skip
DECLARED = ", ".join(f"int64 {name}" for name in NUMBERS)
LOW = "l = Slice(x, zero, four, last, one)"
HIGH = "h = Slice(x, four, end, last, one)"
TURN = "n = Neg(h) t = Concat<axis = -1>(n, l)"
SUM = "a = Mul(x, c) b = Mul(t, s) y = Add(a, b)"
HALVES = f"{LOW} {HIGH} {TURN} {SUM}"
PAIRS = f"""
    l = Slice(x, zero, end, last, two) h = Slice(x, one, end, last, two) n = Neg(h)
    u = Unsqueeze(n, last) v = Unsqueeze(l, last) j = Concat<axis = -1>(u, v)
    t = Reshape(j, full) {SUM}"""


def model(body: str, angles: str = "float c, float s", x: str = X) -> str:
    return f"g ({x}, {angles}, {DECLARED}) => (float y) {{ {body} }}"


def rotation(graph: Graph) -> dict[str, object]:
    """The attributes of the only rotation."""
    (node,) = [n for n in graph if n.op_type == "RotaryEmbedding"]
    return node.attributes


FORMS = {
    "slices": HALVES,
    "a factor of minus one": HALVES.replace("Neg(h)", "Mul(h, minus)"),
    "products the other way round": (
        f"{LOW} {HIGH} {TURN} a = Mul(c, x) b = Mul(s, t) y = Add(b, a)"
    ),
    "a split": f"l, h = Split<axis = -1, num_outputs = 2>(x) {TURN} {SUM}",
    "a split into sizes": f"l, h = Split<axis = 3>(x, even) {TURN} {SUM}",
}


@pytest.mark.parametrize("form", FORMS)
def test_halves(fires: Callable[..., Graph], form: str) -> None:
    text, numbers = model(FORMS[form]), dict(NUMBERS)
    if "minus" in text:
        text, numbers = text.replace("float c,", "float minus, float c,"), {
            **numbers, "minus": np.float32(-1)}  # fmt: skip
    graph = fires(NAME, text, "rotary", opset=23, c=TWICE, s=np.sin(TWICE), **numbers)
    assert rotation(graph) == {}


def test_pairs(fires: Callable[..., Graph]) -> None:
    graph = fires(
        NAME, model(PAIRS), "rotary", opset=23, c=PAIRED, s=np.sin(PAIRED), **NUMBERS)  # fmt: skip
    assert rotation(graph) == {"interleaved": 1}


PARTS = "k = Mul(l, c) m = Mul(h, s) r = Sub(k, m) o = Mul(h, c) p = Mul(l, s) i = Add(o, p)"


def test_both_parts_spelled_out(fires: Callable[..., Graph]) -> None:
    text = model(f"{LOW} {HIGH} {PARTS} y = Concat<axis = -1>(r, i)")
    graph = fires(NAME, text, "rotary-parts", opset=23, c=TABLE, s=np.sin(TABLE), **NUMBERS)
    assert rotation(graph) == {}


def test_both_parts_in_pairs(fires: Callable[..., Graph]) -> None:
    text = model(f"""l = Slice(x, zero, end, last, two) h = Slice(x, one, end, last, two) {PARTS}
        u = Unsqueeze(r, last) v = Unsqueeze(i, last) j = Concat<axis = -1>(u, v)
        y = Reshape(j, full)""")
    graph = fires(NAME, text, "rotary-parts", opset=23, c=TABLE, s=np.sin(TABLE), **NUMBERS)
    assert rotation(graph) == {"interleaved": 1}


COMPUTED = "float[2, 5, 4] f"
ANGLES = """e = Concat<axis = -1>(f, f) o = Cos(e) i = Sin(e)
    c = Unsqueeze(o, one) s = Unsqueeze(i, one)"""


def test_computed_angles(fires: Callable[..., Graph]) -> None:
    graph = fires(NAME, model(f"{ANGLES} {HALVES}", COMPUTED), "rotary", opset=23, **NUMBERS)
    assert "Expand" not in [n.op_type for n in graph]


def test_computed_angles_for_all_of_the_batch(fires: Callable[..., Graph]) -> None:
    text = model(f"{ANGLES} {HALVES}", COMPUTED.replace("[2,", "[1,"))
    graph = fires(NAME, text, "rotary", opset=23, **NUMBERS)
    assert [n.op_type for n in graph].count("Expand") == 2


def test_an_unknown_batch(fires: Callable[..., Graph]) -> None:
    text = model(f"{ANGLES} {HALVES}", COMPUTED.replace("[2,", "[1,"), X.replace("[2,", "[N,"))
    graph = fires(NAME, text, "rotary", opset=23, **NUMBERS)
    assert "Shape" in [n.op_type for n in graph]


def test_scaled_angles(fires: Callable[..., Graph]) -> None:
    angles = ANGLES.replace("i = Sin(e)", "z = Sin(e) i = Mul(z, w)")
    text = model(f"{angles} {HALVES}", f"{COMPUTED}, float w")
    fires(NAME, text, "rotary", opset=23, w=np.float32(1.3), **NUMBERS)


@pytest.mark.parametrize("form", ["halves", "pairs"])
def test_angles_by_position(fires: Callable[..., Graph], form: str) -> None:
    angles = "o = Gather(w, p) c = Unsqueeze(o, one) i = Gather(g1, p) s = Unsqueeze(i, one)"
    table, body = (TWICE, HALVES) if form == "halves" else (PAIRED, PAIRS)
    text = model(f"{angles} {body}", "int64 p, float w, float g1")
    positions = np.array([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]])
    fires(NAME, text, "rotary", opset=23, p=positions, w=table, g1=np.sin(table), **NUMBERS)


def test_pairs_of_angles_by_repetition(fires: Callable[..., Graph]) -> None:
    angles = """u0 = Unsqueeze(f, last) u1 = Expand(u0, wide) c = Reshape(u1, tall)
        v0 = Sin(f) v1 = Unsqueeze(v0, last) v2 = Expand(v1, wide) s = Reshape(v2, tall)"""
    text = model(f"{angles} {PAIRS}", "float[2, 1, 5, 4] f, int64 wide, int64 tall")
    numbers = {"wide": np.array([2, 1, 5, 4, 2]), "tall": np.array([2, 1, 5, 8])}
    graph = fires(NAME, text, "rotary", opset=23, **NUMBERS, **numbers)
    assert rotation(graph) == {"interleaved": 1}


def test_heads_after_positions(fires: Callable[..., Graph]) -> None:
    text = model(HALVES, x="float[2, 5, 3, 8] x")
    graph = fires(
        NAME, text, "rotary", opset=23, c=TWICE[:, None], s=np.sin(TWICE)[:, None], **NUMBERS
    )
    assert rotation(graph) == {"num_heads": 3}


FEW = """
    x = Slice(z, zero, eight, last, one) rest = Slice(z, eight, end, last, one) {}
    w = Concat<axis = -1>(y, rest)"""


@pytest.mark.parametrize("body", [HALVES, PAIRS])
@pytest.mark.parametrize("heads", [1, 2])
def test_some_of_the_channels(fires: Callable[..., Graph], body: str, heads: int) -> None:
    angles = TWICE if body is HALVES else PAIRED
    if heads == 2:
        angles = angles[:, None]
    z = "float[2, 3, 5, 14] z" if heads == 1 else "float[2, 5, 3, 14] z"
    text = model(FEW.format(body), x=z).replace("(float y)", "(float w)")
    numbers = NUMBERS | {"full": np.array([0, 0, 0, 8])}
    rules = ["rotary", "rotary-few-channels"]
    graph = fires(NAME, text, *rules, opset=23, c=angles, s=np.sin(angles), **numbers)
    assert rotation(graph)["rotary_embedding_dim"] == 8


def test_halves_cut_from_further_out(fires: Callable[..., Graph]) -> None:
    """As slices of slices are merged."""
    cut = """x = Slice(z, two, ten, last, one) l = Slice(z, two, six, last, one)
        h = Slice(z, six, ten, last, one) rest = Slice(z, ten, end, last, one)"""
    text = model(f"{cut} {TURN} {SUM} w = Concat<axis = -1>(y, rest)",
                 "float c, float s, int64 ten", "float[2, 3, 5, 14] z")  # fmt: skip
    text = text.replace("(float y)", "(float w)")
    rules, ten = ["rotary", "rotary-few-channels"], np.array([10])
    graph = fires(NAME, text, *rules, opset=23, c=TWICE, s=np.sin(TWICE), ten=ten, **NUMBERS)
    assert rotation(graph)["rotary_embedding_dim"] == 8


DIFFERENT = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
NEAR = {
    "other angles in the second half": (HALVES, X, DIFFERENT, "turn by the same angles"),
    "pairs of angles for halves": (HALVES, X, PAIRED, "turn by the same angles"),
    "halves of angles for pairs": (PAIRS, X, TWICE, "turn by the same angles"),
    "angles of each head": (HALVES, X, np.ones((3, 5, 8), np.float32), "along the positions"),
    "angles of one position": (HALVES, X, TWICE[:1], "along the positions"),
    "parts of other sizes": (
        HALVES.replace("x, zero, four", "x, zero, three").replace("x, four,", "x, three,"), X,
        TWICE, "not cut in halves"),
    "the first half twice": (
        HALVES.replace("x, four, end", "x, zero, four"), X, TWICE, "not cut in halves"),
    "another axis": (
        f"l, h = Split<axis = 1, num_outputs = 2>(x) n = Neg(h) t = Concat<axis = 1>(n, l) {SUM}",
        "float[2, 4, 5, 8] x", TWICE, "not joined along the channels"),
    "three axes": (HALVES, "float[3, 5, 8] x", TWICE, "four known axes"),
    "doubles": (HALVES, "double[2, 3, 5, 8] x", TWICE.astype(np.float64), "no operator"),
    "the other half negative": (
        HALVES.replace("Neg(h)", "Neg(l)").replace("(n, l)", "(h, n)"), X, TWICE, None),
    "no sum": (HALVES.replace("y = Add", "y = Sub"), X, TWICE, None),
    "turned parts that are read": (
        HALVES + " q = ReduceSum<keepdims = 0>(t) y2 = Add(y, q)", X, TWICE, "also read"),
}  # fmt: skip


@pytest.mark.parametrize("case", NEAR)
def test_declines(misses: Callable[..., None], case: str) -> None:
    body, x, angles, reason = NEAR[case]
    text = model(body, x=x)
    if "double" in x:
        text = text.replace("float c, float s", "double c, double s")
        text = text.replace("(float y)", "(double y)")
    if "y2" in body:
        text = text.replace("(float y)", "(float y2)")
    misses(NAME, text, reason, opset=23, c=angles, s=angles, **NUMBERS)


def test_declines_to_rotate_the_last_channels(misses: Callable[..., None]) -> None:
    text = """
    g (float[2, 3, 5, 14] z, float c, float s, int64 zero, int64 six, int64 end, int64 last)
    => (float w) {
        x = Slice(z, six, end, last) rest = Slice(z, zero, six, last)
        y = RotaryEmbedding(x, c, s) w = Concat<axis = -1>(y, rest)
    }"""
    numbers = {name: NUMBERS[name] for name in ("zero", "six", "end", "last")}
    cache = np.broadcast_to(TABLE, (2, 5, 4)).copy()
    misses(NAME, text, "not the first channels", opset=23, c=cache, s=cache, **numbers)


def test_declines_before_opset_23(misses: Callable[..., None]) -> None:
    misses(NAME, model(HALVES), "needs opset 23", opset=22, c=TWICE, s=TWICE, **NUMBERS)
