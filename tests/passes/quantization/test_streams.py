"""Streams: whatever the symmetry classes let be scaled is scaled without effect, nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.analysis.symmetry import Transform
from burnish.ir import Graph
from burnish.passes.folding.weights import NewWeights
from burnish.passes.quantization.streams import Stream, streams
from burnish.rewrite import Rewriter
from tests.analysis.test_symmetry import LAW, ROW, build, evaluate, weights

NORMS = {"layer-norm", "rms-norm", "layer-norm-folded", "rms-norm-folded", "group-norm"}
"""Rows whose norm gives what comes out of it a scale of its own, whatever goes in."""


def written_by(graph: Graph, writer: str) -> list[Stream]:
    """The streams that the weight called ``writer`` writes."""
    return [
        stream
        for stream in streams(graph)
        if any(e.member.value.name == writer and e.member.axes != (0,) for e in stream.ends)
        or any(e.member.value.name == writer and e.node.op_type == "Conv" for e in stream.forward)
    ]


@pytest.mark.parametrize("row", ROW)
def test_any_scale_of_what_may_be_scaled_changes_nothing(row: str) -> None:
    (text, shapes), *_ = ROW[row]

    @LAW
    @given(st.integers(0, 1000))
    def law(seed: int) -> None:
        graph = build(text, weights(shapes, seed))
        wanted = evaluate(graph, seed)
        rng = np.random.default_rng(seed)
        changed = NewWeights()
        found = [stream for stream in streams(graph) if stream.problem() is None]
        for stream in found:
            stream.scale(changed, 0.5 + rng.random(stream.size))
        assert changed.write(Rewriter(graph)) is None
        for a, b in zip(wanted, evaluate(graph, seed), strict=True):
            assert np.abs(a - b).max() <= 1e-9 * max(np.abs(a).max(), 1)

    law()


@pytest.mark.parametrize("row", ROW)
def test_the_class_decides(row: str) -> None:
    (text, shapes), kind, _, writer = ROW[row]
    found = written_by(build(text, weights(shapes, 0)), writer)
    if kind >= Transform.POSITIVE:
        assert [stream.scalable for stream in found] == [True] * len(found)
        assert found
    else:
        assert not any(stream.scalable for stream in found)
        assert all(stream.problem() is not None for stream in found)


@pytest.mark.parametrize("row", sorted(NORMS))
def test_the_result_of_a_norm_has_a_scale_of_its_own(row: str) -> None:
    (text, shapes), *_ = ROW[row]
    graph = build(text, weights(shapes, 0))
    norm = next(node for node in graph if "Normalization" in node.op_type)
    found = [s for s in streams(graph) if any(end.node is norm for end in s.forward)]
    assert [stream.scalable for stream in found] == [True]


def test_a_depthwise_convolution_ends_one_stream_and_starts_another() -> None:
    (text, shapes), *_ = ROW["depthwise"]
    graph = build(text, weights(shapes, 0))
    names = [
        ({e.member.value.name for e in s.forward}, {e.member.value.name for e in s.backward})
        for s in streams(graph)
        if s.is_closed
    ]
    assert names == [({"w", "b"}, {"d"}), ({"d", "e"}, {"v"})]


def test_clip_bounds_only_where_they_can_be_scaled() -> None:
    (text, shapes), *_ = ROW["clip"]
    graph = build(text, weights(shapes, 0))
    shut, (opened, *_) = streams(graph)[0], streams(graph, clips=True)
    assert not shut.scalable
    assert "Clip" in (shut.problem() or opened).reason  # type: ignore[union-attr]
    assert opened.scalable
    assert [node.op_type for node in opened.clips] == ["Clip"]
