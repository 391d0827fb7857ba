"""Quantized models: steps at ties are allowed for, mistakes are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from burnish.ir import Constant, Graph, OperatorNode, VariableNode
from burnish.ir.clone import clone
from burnish.numerics import Numerics
from burnish.oracle import Oracle
from burnish.oracle.spread import Spread
from burnish.oracle.ties import KEPT, RUNS, Ties, moved
from burnish.passes.presets import preset
from burnish.pipeline import PassContext, run_pipeline
from burnish.target import resolve
from burnish.testing import graph
from burnish.verification import Disagreement, Reference

RNG = np.random.default_rng(2)


def network(layers: int = 6, channels: int = 16) -> Graph:
    """Convolutions of numbers of 8 bits one after the other, as a quantizer writes them."""
    lines, previous = [], "xq"
    constants: dict[str, np.ndarray] = {"z": np.array(0, np.uint8), "s": np.array(0.02, np.float32)}
    for n in range(layers):
        weights = RNG.integers(-127, 128, (channels, channels, 3, 3)).astype(np.int8)
        scales = np.float32(RNG.uniform(0.5, 1.5, channels) * 2.4 / 127 / np.sqrt(channels * 9))
        bias = RNG.normal(0, 0.5, channels).astype(np.float32)
        constants |= {f"w{n}": weights, f"t{n}": scales, f"b{n}": bias}
        lines += [
            f"d{n} = DequantizeLinear({previous}, s, z)",
            f"v{n} = DequantizeLinear<axis = 0>(w{n}, t{n})",
            f"c{n} = Conv<pads = [1, 1, 1, 1]>(d{n}, v{n}, b{n})",
            f"q{n} = QuantizeLinear(c{n}, s, z)",
        ]
        previous = f"q{n}"
    text = " ".join(lines)
    size = f"[1, {channels}, 12, 12]"
    declared = ", ".join(
        f"{'float' if v.dtype == np.float32 else v.dtype}{list(v.shape) if v.ndim else ''} {k}"
        for k, v in constants.items()
    )
    made = graph(
        f"g (float{size} x, {declared}) => (float{size} y) {{ xq = QuantizeLinear(x, s, z) "
        f"{text} y = DequantizeLinear({previous}, s, z) }}"
    )
    for value in made.inputs[1:]:
        constant = VariableNode.of(Constant.of(constants[value.name]), value.name)
        for use in list(value.uses):
            assert isinstance(use.user, OperatorNode)
            use.user.replace_input(use.index, constant)
    del made.inputs[1:]
    return made


NETWORK = network()
FEEDS = [{"x": RNG.uniform(0, 5, (1, 16, 12, 12)).astype(np.float32)} for _ in range(2)]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(NETWORK, FEEDS)


def compiled(model: Graph) -> Graph:
    context = PassContext(target=resolve("x86-64-v3"))
    return run_pipeline(model, preset("compile"), context, verify="off")[0]


def test_integers_agree_up_to_ties(reference: Reference) -> None:
    after = compiled(NETWORK)
    assert "ConvInteger" in {node.op_type for node in after}
    reference.check(after, Numerics.REASSOCIATES)


def test_ties_move_something(reference: Reference) -> None:
    """Otherwise the test before this one would say nothing."""
    (spread,) = reference.ties.spread(FEEDS[0], reference.expected[0]).values()
    assert 0 < spread.mean < spread.largest


def convolution(model: Graph, number: int) -> OperatorNode:
    return [node for node in model if node.op_type == "Conv"][number]


def change(node: OperatorNode, index: int, edit: Callable[[np.ndarray], np.ndarray]) -> None:
    constant = node.constant_input(index)
    assert constant is not None
    edited = np.asarray(edit(constant.numpy().copy()))
    node.replace_input(index, VariableNode.of(Constant.of(edited)))


def source(node: OperatorNode, index: int) -> OperatorNode:
    value = node.input(index)
    assert value is not None and value.producer is not None
    return value.producer


def zero_point(model: Graph) -> None:
    change(source(convolution(model, 3), 0), 2, lambda z: z + np.uint8(1))


def zero_point_of_weights(model: Graph) -> None:
    node = source(convolution(model, 0), 1)
    node.inputs = (*node.inputs[:2], VariableNode.of(Constant.of(np.full(16, 1, np.int8))))


def scale_of_one_channel(model: Graph) -> None:
    change(source(convolution(model, 4), 1), 1, lambda s: s * np.float32([1.3] + [1] * 15))


def scale_of_the_result(model: Graph) -> None:
    (node,) = convolution(model, 2).output.consumers
    change(node, 1, lambda s: s * np.float32(1.05))


def padding(model: Graph) -> None:
    convolution(model, 1).attributes["pads"] = (0, 0, 2, 2)


def border(model: Graph) -> None:
    """Borders filled with a number that is not the zero point."""
    node = convolution(model, 5)
    data = source(node, 0)
    assert data.graph is not None
    pads = VariableNode.of(Constant.of(np.array([0, 0, 1, 1, 0, 0, 1, 1])))
    three = VariableNode.of(Constant.of(np.array(3, np.uint8)))
    padded = OperatorNode("Pad", [data.input(0), pads, three], [VariableNode()])
    data.graph.insert_before(data, padded)
    data.replace_input(0, padded.output)
    node.attributes["pads"] = (0, 0, 0, 0)


def bias(model: Graph) -> None:
    change(convolution(model, 0), 2, lambda b: np.roll(b, 1))


def one_input_channel(model: Graph) -> None:
    def edit(w: np.ndarray) -> np.ndarray:
        w[:, 0] = -w[:, 0]
        return w

    change(source(convolution(model, 3), 1), 0, edit)


def border_at_the_end(model: Graph) -> None:
    convolution(model, -1).attributes["pads"] = (0, 0, 2, 2)


def tail_of_sums_at_the_end(model: Graph) -> None:
    def edit(w: np.ndarray) -> np.ndarray:
        w[:, -1, 2, 2] = 0
        return w

    change(source(convolution(model, -1), 1), 0, edit)


MISTAKES = [
    zero_point, zero_point_of_weights, scale_of_one_channel, scale_of_the_result, padding, border,
    bias, one_input_channel, border_at_the_end, tail_of_sums_at_the_end,
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_caught(reference: Reference, mistake: Callable[[Graph], None]) -> None:
    wrong, _ = clone(NETWORK)
    mistake(wrong)
    with pytest.raises(Disagreement, match="largest error"):
        reference.check(wrong, Numerics.REASSOCIATES)


DEEP = network(12)
MOST = np.argsort(-np.mean(Oracle(DEEP).run(FEEDS[0])["y"] > 0, axis=(0, 2, 3)))[:2].tolist()
"""The channels of the output that are zero least often: others hide what is wrong."""


@pytest.fixture(scope="module")
def deep() -> Reference:
    return Reference(DEEP, FEEDS[:1])


def shift(model: Graph, channels: list[int], steps: int) -> None:
    moved = np.isin(np.arange(16), channels) * np.float32(0.02 * steps)
    change(convolution(model, -1), 2, lambda b: b + moved.astype(np.float32))


def bias_of_one_channel(model: Graph) -> None:
    shift(model, MOST[:1], 6)


def bias_of_two_channels(model: Graph) -> None:
    shift(model, MOST, 3)


def one_input_channel_of_one(model: Graph) -> None:
    def edit(w: np.ndarray) -> np.ndarray:
        w[MOST[0], 5] = 0
        return w

    change(source(convolution(model, -1), 1), 0, edit)


@pytest.mark.parametrize(
    "mistake", [bias_of_one_channel, bias_of_two_channels, one_input_channel_of_one]
)
def test_mistakes_in_some_channels_of_the_last_layer_are_caught(
    deep: Reference, mistake: Callable[[Graph], None]
) -> None:
    deep.check(compiled(DEEP), Numerics.REASSOCIATES)
    wrong, _ = clone(DEEP)
    mistake(wrong)
    (spread,) = deep.ties.spread(FEEDS[0], deep.expected[0]).values()
    whole, found = Spread(spread.largest, spread.mean), Oracle(wrong).run(FEEDS[0])["y"]
    assert whole.covers(deep.expected[0]["y"], found), "only slices tell"
    with pytest.raises(Disagreement, match="largest error"):
        deep.check(wrong, Numerics.REASSOCIATES)


@pytest.mark.parametrize("mistake", [zero_point, scale_of_one_channel])
def test_mistakes_of_compiled_code_are_caught(
    reference: Reference, mistake: Callable[[Graph], None]
) -> None:
    wrong, _ = clone(NETWORK)
    mistake(wrong)
    with pytest.raises(Disagreement, match="compiled model is wrong"):
        reference.check_compiled(Oracle(wrong).run)
    reference.check_compiled(Oracle(compiled(NETWORK)).run)


def test_leeway_holds_what_is_accepted(reference: Reference) -> None:
    found = Oracle(compiled(NETWORK)).run(FEEDS[0])["y"]
    low, high = reference.leeway(0)["y"]
    assert np.all((low <= found) & (found <= high))


def test_a_user_is_told_where_ties_decide() -> None:
    """The sums are next to nothing, and one step of them is all there is to see."""
    text = """g (float[64] x) => (float[64] y) <float s = {1.0}, uint8 z = {128}, float c = {0.5}> {
        a = Add(x, c) q = QuantizeLinear(a, s, z) y = DequantizeLinear(q, s, z) }"""
    model = graph(text)
    feeds = {"x": np.zeros(64, np.float32)}
    ties, steady = Ties(model), Ties(model)
    assert ties.spread(feeds, Oracle(model).run(feeds))["y"].largest == 1
    assert ties.notices() == []
    feeds = {"x": np.float32([10.2] * 63 + [0])}
    steady.spread(feeds, Oracle(model).run(feeds))
    assert steady.notices() == []
    feeds = {"x": np.ones(64, np.float32)}
    ties.spread(feeds, Oracle(model).run(feeds))
    (notice,) = ties.notices()
    assert "the output 'y' moves by" in notice


@pytest.mark.parametrize("wrong", [-np.inf, np.nan, 1e30])
def test_infinity_stays_what_it_is(wrong: float) -> None:
    spread, expected = Spread(largest=1.0, mean=1.0), np.float32([np.inf, 2])
    assert spread.covers(expected, np.float32([np.inf, 3]))
    assert not spread.covers(expected, np.float32([wrong, 3]))


def test_infinity_beside_what_is_quantized() -> None:
    text = """g (float[4] x) => (float[8] y) <float s = {1.0}, uint8 z = {128}> {
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) l = Log(x)
        y = Concat<axis = 0>(d, l) }"""
    model, feeds = graph(text), {"x": np.float32([0, 0.5, 1.5, 2])}
    ties, expected = Ties(model), Oracle(model).run(feeds)
    assert ties.near(feeds, expected, expected)["y"] is expected["y"]


def test_inputs_are_known_by_what_they_hold_and_not_for_ever() -> None:
    text = """g (float[2] x) => (float[2] y) <float s = {1.0}, uint8 z = {128}> {
        q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"""
    model = graph(text)
    ties = Ties(model)
    feeds = {"x": np.float32([0.5, 1])}
    first = ties.spread(feeds, {"y": np.float32([0, 1])})
    assert ties.spread({"x": feeds["x"].copy()}, {"y": np.float32([0, 1])}) is first
    feeds["x"][1] = 1.5
    assert ties.spread(feeds, {"y": np.float32([0, 2])}) is not first
    for number in range(KEPT):
        ties.spread({"x": np.float32([number, 0])}, {"y": np.float32([number, 0])})
    assert len(ties._known) == KEPT


def test_a_model_of_floats_has_no_ties() -> None:
    ties = Ties(graph("g (float[4] x) => (float[4] y) { y = Round(x) }"))
    assert not ties.spread({"x": np.zeros(4, np.float32)}, {"y": np.zeros(4, np.float32)})


def test_integers_that_come_in_have_no_ties() -> None:
    model = graph("g (uint8[2, 3] a, uint8[3, 2] b) => (int32[2, 2] y) { y = MatMulInteger(a, b) }")
    expected: Mapping[str, Any] = {"y": np.zeros((2, 2), np.int32)}
    assert Ties(model).near({}, expected, {"y": np.ones((2, 2), np.int32)})["y"].all()


@pytest.mark.parametrize(("body", "kind"), [
    ("y = QuantizeLinear(x, s, z)", "uint8[2, 3]"),
    ("y, a, b = DynamicQuantizeLinear(x)", "uint8[2, 3]"),
    ("y = QuantizeLinear<axis = 1>(x, each, zeros)", "uint8[2, 3]"),
    ("q = QuantizeLinear(x, s, z) y = QLinearMatMul(q, s, z, w, h, o, s, z)", "uint8[2, 2]"),
    ("q = QuantizeLinear(x, s, z) y = com.microsoft.QLinearSigmoid(q, s, z, s, z)", "uint8[2, 3]"),
])  # fmt: skip
def test_what_quantizes_is_moved_either_way(body: str, kind: str) -> None:
    model = graph(
        f"""g (float[2, 3] x) => ({kind} y)
        <float s = {{1.0}}, float h = {{0.5}}, uint8 z = {{100}},
         float[3] each = {{0.5, 0.25, 1.0}}, uint8[3] zeros = {{100, 100, 100}},
         int8[3, 2] w = {{1, 0, -1, 1, 0, 1}}, int8 o = {{0}}>
        {{ {body} }}""",
        domains=("com.microsoft",),
    )
    feeds = {"x": np.float32([[0, 255, 0.5], [1.5, 2.5, 100.5]])}
    answers = [Oracle(moved(model, run)).run(feeds)["y"].astype(int) for run in range(RUNS)]
    expected = Oracle(model).run(feeds)
    assert all(np.abs(answer - expected["y"]).max() <= 3 for answer in answers)
    assert any((answer != expected["y"]).any() for answer in answers)
    assert Ties(model).near(feeds, expected, {"y": expected["y"]})["y"] is expected["y"]
