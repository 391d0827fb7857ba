"""Data for calibration, and graphs run over it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from burnish.calibration import (
    Calibration,
    Channels,
    Histogram,
    Range,
    is_observable,
    replay,
    require,
)
from burnish.calibration import probe as probing
from burnish.calibration.probe import Probe
from burnish.errors import InvalidInput, UsageError
from burnish.ir import Array, Constant, Graph, VariableNode
from burnish.testing import graph

MODEL = """g (float["n", 3] x) => (float["n", 3] y) {
    one = Constant<value = float[1] {1}>()
    a = Relu(x)
    b = Neg(a)
    unread = Exp(x)
    y = Add(b, one)
}"""


def model() -> Graph:
    return graph(MODEL)


def named(built: Graph, name: str) -> VariableNode:
    return next(value for value in built.variables() if value.name == name)


def rows(*values: float) -> dict[str, Array]:
    return {"x": np.array([[value, -value, 0] for value in values], np.float32)}


class Source:
    """Samples that are read anew each time."""

    def __init__(self, *samples: object) -> None:
        self.samples = samples
        self.passes = 0

    def __iter__(self) -> Iterator[object]:
        self.passes += 1
        return iter(self.samples)


@pytest.mark.parametrize(("asked", "count"), [(1, 1), (2, 2), (9, 3)])
def test_fewer_of_the_samples(asked: int, count: int) -> None:
    every = Calibration(Source(rows(1), rows(2), rows(3), rows(4)), samples=3)
    fewer = every.fewer(asked)
    assert [feeds["x"][0, 0] for feeds in fewer.feeds(model())] == [1, 2, 3][:count]
    assert fewer.samples == count
    assert len(list(every.feeds(model()))) == 3
    assert not fewer.notices


def test_each_sample_gives_the_values_asked_for() -> None:
    built = model()
    a, b = named(built, "a"), named(built, "b")
    calibration = Calibration([rows(1), rows(2, 3)])
    first, second = calibration.stream(built, [a, b])
    assert first[a].tolist() == [[1, 0, 0]]
    assert second[b].tolist() == [[-2, 0, 0], [-3, 0, 0]]


def test_inputs_outputs_and_constants_can_be_asked_for() -> None:
    built = model()
    x, y = built.inputs[0], built.outputs[0]
    one = next(value for value in built.constants())
    (found,) = Calibration([rows(2)]).stream(built, [x, y, one])
    assert found[x].tolist() == [[2, -2, 0]]
    assert found[y].tolist() == [[-1, 1, 1]]
    assert found[one].tolist() == [1]


def test_the_graph_is_left_as_it_is() -> None:
    built = model()
    before = (built.outputs, built.output_names, [str(node) for node in built])
    list(Calibration([rows(1)]).stream(built, [named(built, "a")]))
    assert before == (built.outputs, built.output_names, [str(node) for node in built])


def test_what_is_not_needed_is_not_computed() -> None:
    built = graph("""g (float["n", 3] x) => (float[4] y) {
        a = Relu(x)
        shape = Constant<value = int64[1] {4}>()
        y = Reshape(a, shape)
    }""")
    a = named(built, "a")
    (found,) = Calibration([rows(1)]).stream(built, [a])
    assert found[a].shape == (1, 3)


def test_values_inside_control_flow_are_not_observable() -> None:
    built = graph("""g (float[2] x, bool c) => (float[2] y) {
        y = If (c) <
            then_branch = t () => (float[2] yt) { yt = Neg(x) },
            else_branch = e () => (float[2] ye) { ye = Abs(x) }
        >
    }""")
    (node,) = built
    inner = next(iter(node.subgraphs["then_branch"])).output
    assert is_observable(built, built.outputs[0])
    assert not is_observable(built, inner)
    feeds = {"x": np.zeros(2, np.float32), "c": np.array(True)}
    with pytest.raises(ValueError, match="no tensor that each run"):
        list(Calibration([feeds]).stream(built, [inner]))


def test_sequences_cannot_be_asked_for() -> None:
    built = graph("""g (float[2] x) => (float[2] y) {
        s = SequenceConstruct(x)
        i = Constant<value = int64 {0}>()
        y = SequenceAt(s, i)
    }""")
    made = next(node for node in built if node.op_type == "SequenceConstruct").output
    with pytest.raises(ValueError, match="no tensor"):
        list(Calibration([{"x": np.zeros(2, np.float32)}]).stream(built, [made]))


def test_a_value_of_another_graph_is_refused() -> None:
    built, other = model(), model()
    assert not is_observable(built, named(other, "a"))


def test_collectors_see_every_sample() -> None:
    built = model()
    a, b = Range(), Range()
    Calibration([rows(1), rows(2, 3)]).collect(built, {named(built, "a"): [a, b]})
    assert (a.low, a.high, a.count) == (0, 3, 9) == (b.low, b.high, b.count)


def test_large_values_are_computed_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    built = model()
    values = [named(built, name) for name in ("a", "b", "y")]
    feeds = rows(1, 2)
    size = feeds["x"].nbytes
    assert [len(g) for g in Probe(built, values, limit=2 * size).groups(feeds)] == [2, 1]
    assert [len(g) for g in Probe(built, values, limit=1).groups(feeds)] == [1, 1, 1]
    monkeypatch.setattr(probing, "RESULT_BYTES", 1)
    monkeypatch.setattr(Probe.__init__, "__kwdefaults__", {"threads": 0, "limit": 1})
    seen = [Range(), Range(), Range()]
    collectors = {value: [one] for value, one in zip(values, seen, strict=True)}
    Calibration([feeds]).collect(built, collectors)
    assert [(one.low, one.high) for one in seen] == [(0, 2), (-2, 0), (-1, 1)]


def test_sizes_that_are_not_known_beforehand_are_learnt() -> None:
    built = graph(
        """g (float["n", 3] x) => (float["m", 3] y) {
        zero = Constant<value = int64[1] {0}>()
        one = Constant<value = int64[1] {1}>()
        k = NonZero(x)
        first = Slice(k, zero, one, zero)
        i = Squeeze(first, zero)
        y = Gather(x, i)
    }"""
    )
    probe = Probe(built, [built.outputs[0], named(built, "k")], limit=100)
    feeds = {"x": np.ones((8, 3), np.float32)}
    assert len(probe.groups(feeds)) <= 2
    probe.all(feeds)
    assert len(probe.groups(feeds)) == 2


def test_an_iterator_is_kept_for_further_passes() -> None:
    built = model()
    calibration = Calibration(iter([rows(1), rows(2)]))
    for _ in range(2):
        assert len(list(calibration.stream(built, [named(built, "a")]))) == 2
    assert calibration.samples == 2


def test_a_source_is_read_once_if_it_can_be_kept() -> None:
    source = Source(rows(1), rows(2))
    calibration = Calibration(source)  # type: ignore[arg-type]
    assert calibration.samples is None
    for _ in range(2):
        assert len(list(calibration.feeds(model()))) == 2
    assert (calibration.samples, source.passes) == (2, 1)


def test_a_source_that_is_too_large_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "HELD_BYTES", 30)
    source = Source(*(rows(number) for number in range(5)))
    calibration = Calibration(source)  # type: ignore[arg-type]
    for _ in range(2):
        found = [feeds["x"][0, 0] for feeds in calibration.feeds(model())]
        assert found == [0, 1, 2, 3, 4]
    assert source.passes == 3


def test_a_source_is_read_as_far_as_it_is_needed() -> None:
    def endless() -> Iterator[dict[str, Array]]:
        while True:
            yield rows(1)

    calibration = Calibration(endless(), samples=3)
    assert len(list(calibration.feeds(model()))) == 3 == calibration.samples


def test_what_failed_half_way_is_no_end() -> None:
    class Failing:
        def __iter__(self) -> Iterator[dict[str, Array]]:
            yield rows(1)
            raise InvalidInput("the disk is gone")

    calibration = Calibration(Failing())
    for _ in range(2):
        with pytest.raises(InvalidInput, match="disk"):
            list(calibration.feeds(model()))


def test_an_iterator_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "HELD_BYTES", 30)
    with pytest.raises(UsageError, match=r"first 3 samples .* only once"):
        list(Calibration(iter([rows(1)] * 5)).feeds(model()))
    assert len(list(Calibration(iter([rows(1)] * 5), samples=2).feeds(model()))) == 2
    assert len(list(Calibration([rows(1)] * 5).feeds(model()))) == 5


def test_only_so_many_samples_are_used() -> None:
    calibration = Calibration([rows(1), rows(2), rows(3)], samples=2)
    assert len(list(calibration.feeds(model()))) == 2 == calibration.samples
    assert calibration.notices == []


def test_fewer_samples_than_the_most_are_no_notice() -> None:
    assert Calibration([rows(1), rows(2)], most=8).notices == []
    assert len(list(Calibration([rows(1), rows(2)], most=1).feeds(model()))) == 1
    assert len(list(Calibration([rows(1), rows(2)], samples=2, most=1).feeds(model()))) == 2


def test_how_much_ranges_still_grew_is_a_notice() -> None:
    built = model()
    calibration = Calibration([rows(1), rows(4)])
    a, b = named(built, "a"), named(built, "b")
    calibration.collect(built, {a: [Channels()]})
    assert calibration.notices == []
    shared = Histogram()
    calibration.collect(built, {a: [shared], b: [shared]})
    (notice,) = calibration.notices
    assert "the first 1 of 2 samples are up to" in notice
    assert "75.0% narrower than from all, that of 'a'" in notice


def test_large_weights_are_lent_and_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "COPIED_BYTES", 0)
    built = graph("""g (float["n", 256] x) => (float["n", 256] y) {
        w = Constant<value = float[1] {2}>()
        y = Mul(x, w)
    }""")
    weight = np.eye(256, dtype=np.float32)
    (node,) = built
    node.op_type = "MatMul"
    node.inputs = (node.inputs[0], VariableNode.of(Constant.of(weight), "w"))
    feeds = {"x": np.ones((2, 256), np.float32)}
    (found,) = Calibration([feeds]).stream(built, [built.outputs[0]])
    assert np.array_equal(found[built.outputs[0]], feeds["x"])


def test_fewer_samples_than_asked_are_noted() -> None:
    calibration = Calibration(Source(rows(1), rows(2)), samples=8)  # type: ignore[arg-type]
    assert calibration.notices == []
    list(calibration.feeds(model()))
    list(calibration.feeds(model()))
    (notice,) = calibration.notices
    assert "2 samples, as there are no 8" in notice


def test_progress_counts_samples() -> None:
    told: list[tuple[str, int, int]] = []
    calibration = Calibration([rows(1), rows(2)], progress=lambda *what: told.append(what))
    list(calibration.feeds(model()))
    assert told == [("calibrating", 1, 2), ("calibrating", 2, 2)]


@pytest.mark.parametrize("count", [0, -3])
def test_no_samples_asked_for(count: int) -> None:
    with pytest.raises(UsageError, match="at least one"):
        Calibration([rows(1)], samples=count)


@pytest.mark.parametrize(
    ("sample", "kind", "message"),
    [
        ([1, 2], InvalidInput, "sample 0 .* is a list; it has to be a dict"),
        ({"z": np.zeros((1, 3), np.float32)}, UsageError, "unknown input 'z'"),
        ({"xx": np.zeros((1, 3), np.float32)}, UsageError, "did you mean x"),
        ({}, UsageError, "nothing for input 'x'; the model takes x"),
        ({"x": np.zeros((1, 3))}, UsageError, "float64, and the model takes float32; convert"),
        ({"x": np.zeros((1, 3), np.int64)}, UsageError, "int64"),
        ({"x": np.zeros((1, 4), np.float32)}, UsageError, r"\(1, 4\), and the model takes \[n, 3"),
        ({"x": np.zeros(3, np.float32)}, UsageError, r"\(3,\)"),
        ({"x": np.float32([[0, np.nan, np.inf]])}, InvalidInput, r"\[0, 1\] is nan, and 2 of 3"),
        ({"x": np.float32([[0, 1, -np.inf]])}, InvalidInput, r"\[0, 2\] is -inf, and 1 of 3"),
    ],
)
def test_a_sample_that_does_not_fit(sample: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        list(Calibration([sample]).feeds(model()))  # type: ignore[list-item]


def test_no_sample_at_all() -> None:
    with pytest.raises(InvalidInput, match="is empty"):
        list(Calibration([]).feeds(model()))


def test_which_sample_is_wrong_is_said() -> None:
    good, bad = rows(1), {"x": np.zeros((1, 4), np.float32)}
    with pytest.raises(UsageError, match="sample 1 "):
        list(Calibration([good, bad]).feeds(model()))


def test_who_needs_data_and_has_none_says_what_to_give() -> None:
    with pytest.raises(UsageError, match=r"quantize-int8 needs data .* --calibration") as caught:
        require(None, "quantize-int8")
    assert caught.value.exit_code == 2
    calibration = Calibration([rows(1)])
    assert require(calibration, "quantize-int8") is calibration
