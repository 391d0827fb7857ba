"""What a report computes before it draws."""

from __future__ import annotations

import pytest

from burnish.bench.document import Interval, Node
from burnish.bench.report import graphs, text
from burnish.bench.report.facts import Facts
from burnish.bench.report.headline import comparison, sentence
from burnish.bench.report.layers import layers, size_chart
from burnish.bench.report.palette import FAMILIES, LIGHT, MARKERS, SHAPES, family
from burnish.bench.report.strips import COLUMNS, FAMILY_CLASSES, LANES, depths, edges, places
from burnish.wording import duration
from tests.bench.documents import synthetic


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"), (5e-10, "0.50 ns"), (9.996e-7, "1.00 µs"), (8.213e-3, "8.21 ms"),
        (0.09996, "100 ms"), (11.04e-3, "11.0 ms"), (99.0, "99.0 s"), (412.0, "6.9 min"),
        (None, "–"), (float("nan"), "–"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_changes_of_time_share_one_unit() -> None:
    assert text.change_of_time(-0.42e-3, text.unit_of(11e-3)) == "−0.42 ms"
    assert text.change_of_time(9e-6, text.unit_of(11e-3)) == "+0.01 ms"
    assert text.change_of_time(9e-7, text.unit_of(11e-3)) == "0.00 ms"
    assert text.change_of_time(-23.78e-6, text.unit_of(624e-6)) == "−23.8 µs"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [(100, 82, "−18.0%"), (100, 100, "same"), (0, 5, ""), (None, 5, ""), (100, None, ""),
     (100, 150, "+50.0%")],
)  # fmt: skip
def test_relative_changes(before: float | None, after: float | None, words: str) -> None:
    assert text.relative(before, after) == words


def test_an_inverse_turns_its_ends() -> None:
    found = text.inverse(Interval(value=0.5, low=0.4, high=0.8))
    assert found == Interval(value=2.0, low=1.25, high=2.5)
    assert text.inverse(Interval(value=0.5, low=0.0, high=0.8)) is None


def test_invisible_characters_are_shown() -> None:
    assert text.visible("a\u202eb\x1b\n") == "a\\u202eb\\x1b\\n"
    assert text.visible("a\uffffb\ufdd0") == "a\\uffffb\\ufdd0"
    assert text.visible("größe/卷积") == "größe/卷积"


def node(name: str, inputs: str, outputs: str, size: int = 0, sources: str = "") -> Node:
    return Node(name=name, op_type="Conv", inputs=inputs.split(), outputs=outputs.split(),
                constant_bytes=size, sources=sources.split() or [name])  # fmt: skip


def with_graphs(before: list[Node], after: list[Node]) -> Facts:
    return Facts(synthetic(8, 2).model_copy(update={"before": before, "after": after}))


def test_bytes_of_what_merged_several_layers_are_shared() -> None:
    before = [node("q", "x", "a", 300), node("k", "x", "b", 100), node("relu", "a", "y")]
    after = [node("q", "x", "a b", 200, "q k"), node("made", "a", "y", 8, "unknown")]
    found = {each.name: (each.before, each.after)
             for each in layers(with_graphs(before, after).document)}  # fmt: skip
    assert found == {"q": (300, 150.0), "k": (100, 50.0), "made by passes": (0, 8.0)}


@pytest.mark.parametrize(
    ("names", "shown"),
    [("/net/body/a/Conv /net/body/b/Conv", "…a/Conv"), ("/a/Conv /a/b/Conv", "/a/Conv"),
     ("/net/body/a/Conv", "/net/body/a/Conv"), ("/net/body/Conv /net/body/Conv2", "…Conv")],
)  # fmt: skip
def test_scopes_of_all_layers_are_left_out(names: str, shown: str) -> None:
    graph = [node(name, "x", name, 100) for name in names.split()]
    chart = size_chart(layers(with_graphs(graph, graph).document))
    assert chart is not None
    assert f"The largest: {shown} 100 B" in chart.label


def test_layers_keep_the_sum() -> None:
    document = synthetic(70, 3)
    found = layers(document)
    assert sum(each.before for each in found) == sum(n.constant_bytes for n in document.before)
    assert sum(each.after for each in found) == pytest.approx(
        sum(n.constant_bytes for n in document.after)
    )


def test_depth_is_the_longest_path() -> None:
    graph = [node("a", "x", "1"), node("b", "1", "2"), node("c", "1 2", "3"), node("d", "", "4")]
    assert depths(graph) == [0, 1, 2, 0]
    assert edges(graph) == [(0, 1), (0, 2), (1, 2)]


def test_nodes_may_come_in_any_order() -> None:
    graph = [node("c", "1 2", "3"), node("b", "1", "2"), node("a", "x", "1")]
    assert depths(graph) == [2, 1, 0]


def test_a_graph_out_of_order_is_as_long_as_one_in_order() -> None:
    chain = [node(f"n{n}", f"v{n}", f"v{n + 1}") for n in range(50)]
    assert max(column for column, _ in places(chain[::-1])) == 49


def test_graphs_that_are_none_are_placed() -> None:
    # A loop, a value written twice, and a node that reads itself.
    graph = [node("a", "2", "1"), node("b", "1", "2"), node("c", "3", "3"), node("d", "1", "1")]
    assert len(set(places(graph))) == 4


def test_no_two_operators_stand_at_one_place() -> None:
    wide = [node(f"n{n}", "x", f"{n}") for n in range(3 * LANES + 1)]
    found = places([*wide, node("end", "0 7 20", "y")])
    assert len(set(found)) == len(found)
    assert max(lane for _, lane in found) < LANES
    assert found[-1][0] == 4
    assert COLUMNS > 4


def test_families_have_hues_and_shapes() -> None:
    assert set(FAMILIES) == set(SHAPES) == set(MARKERS) == set(FAMILY_CLASSES)
    assert set(FAMILIES.values()) <= set(LIGHT)
    assert len(set(SHAPES.values())) == len(SHAPES)
    # A drawing replaces colours by name: no two may be the same.
    assert len(set(LIGHT.values())) == len(LIGHT)


@pytest.mark.parametrize(
    ("op_type", "kind"),
    [("Conv", "convolution"), ("com.microsoft:FusedMatMul", "product"), ("Relu", "element-wise"),
     ("SkipLayerNormalization", "normalization"), ("ReduceMean", "reduction"), ("If", "other"),
     ("Softmax", "normalization"), ("Reshape", "moves data"), ("", "element-wise")],
)  # fmt: skip
def test_families(op_type: str, kind: str) -> None:
    assert family(op_type) == kind


@pytest.mark.parametrize(
    ("ratio", "words"),
    [((0.5, 0.4, 0.6), "2.00× as fast"), ((2.0, 1.8, 2.2), "makes recogniser.onnx slower"),
     ((1.0, 0.9, 1.1), "no difference to the speed")],
)  # fmt: skip
def test_the_headline_follows_the_interval(ratio: tuple[float, float, float], words: str) -> None:
    document = synthetic(21, 8)
    value, low, high = ratio
    interval = Interval(value=value, low=low, high=high)
    variants = [
        variant.model_copy(update={"ratio": interval})
        if variant.id == document.original
        else variant
        for variant in document.variants
    ]
    assert words in sentence(Facts(document.model_copy(update={"variants": variants})))


def test_engines_without_an_optimizer_stand_apart() -> None:
    facts = Facts(synthetic(21, 8))
    assert [column.name for column in facts.ablated] == ["onnxruntime without ConvActivationFusion"]
    assert [column.name for column in facts.engines] == [
        "onnxruntime", "openvino", "onnxslim", "onnxsim",
    ]  # fmt: skip
    assert "without" not in comparison(facts)


def test_operators_merged_into_one_are_told_apart() -> None:
    document = synthetic(21, 8)
    merged = document.after[0].model_copy(update={"op_type": "burnish.region:Swish"})
    after = [merged, *document.after[1:]]
    variants = [
        variant.model_copy(update={"operators": len(after) + 1}) for variant in document.variants
    ]
    facts = Facts(document.model_copy(update={"after": after, "variants": variants}))
    found = graphs.after(facts)
    assert found.lines[0].op_type == "Swish"
    assert (found.operators, found.expanded) == (len(after), len(after) + 1)


def test_times_compare_as_their_ratios_do() -> None:
    document = synthetic(21, 8)
    variants = [
        variant.model_copy(update={
            "latency": Interval(value=1.0, low=0.9, high=1.1),
            "ratio": Interval(value=0.5, low=0.5, high=0.5),
        }) if variant.id == document.original else variant
        for variant in document.variants
    ]  # fmt: skip
    facts = Facts(document.model_copy(update={"variants": variants}))
    assert facts.whole is not None
    assert facts.whole.latency is not None
    assert facts.time(document.original) == pytest.approx(2 * facts.whole.latency.value)
    assert facts.time("absent") is None


def test_a_ratio_within_noise_is_called_that() -> None:
    document = synthetic(8, 2)
    wide = [
        column.model_copy(update={"ratio": Interval(value=1.2, low=0.9, high=1.5)})
        if column.name == "openvino" else column
        for column in document.columns
    ]  # fmt: skip
    words = comparison(Facts(document.model_copy(update={"columns": wide})))
    assert "openvino 1.23.2 takes 1.20× as long (within noise)" in words
    assert words.count("within noise") == 1
