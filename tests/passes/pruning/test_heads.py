"""Heads are deleted as a whole, or get narrower together."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.analysis.axis_graph import axis_graph
from burnish.ir import Graph
from burnish.passes import get_pass
from burnish.passes.pruning.structures import HEADS, WIDTH, Structure, structures
from burnish.pipeline import PassContext, run_pass
from tests.passes.conftest import build
from tests.passes.pruning.test_rotate_heads import FORMS, SHARED, model
from tests.passes.pruning.thinned import data, noise, prune


def graph_of(body: str, **changed: np.ndarray) -> Graph:
    text, weights = model(body)
    graph = build(text, 23, {**weights, **changed})
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    return graph


def of_kind(graph: Graph, kind: str) -> list[Structure]:
    return [one for one in structures(axis_graph(graph)) if one.kind == kind]


@pytest.mark.parametrize("form", FORMS)
def test_a_head_that_nothing_reads_goes_exactly(form: str) -> None:
    wo = model(FORMS[form])[1]["wo"].copy()
    wo[4:8] = 0
    before, after = graph_of(FORMS[form], wo=wo), graph_of(FORMS[form], wo=wo)
    (heads,) = of_kind(after, HEADS)
    assert not heads.reason
    assert prune(after, kept={heads.name: (0, 2)}).fired
    assert noise(before, after, data(before, 4, seed=3)) < 1e-8
    sizes = {value.constant.shape for value in after.constants() if value.constant}
    assert (8, 4) in sizes


@pytest.mark.parametrize("form", FORMS)
def test_places_that_are_zero_in_every_head_go_exactly(form: str) -> None:
    body = FORMS[form]
    given = model(body)[1]
    quiet = {name: given[name].copy() for name in given}
    for name in {"w", "bias", "wq", "wk", "wv", "bk"} & quiet.keys():
        quiet[name][..., 3::4] = 0
    before, after = graph_of(body, **quiet), graph_of(body, **quiet)
    kept = {one.name: (0, 1, 2) for one in of_kind(after, WIDTH)}
    assert prune(after, kept=kept).fired
    assert noise(before, after, data(before, 4, seed=3)) < 1e-8


@pytest.mark.parametrize("form", FORMS)
def test_rotated_heads_get_narrower_at_less_loss(form: str) -> None:
    fresh = data(graph_of(FORMS[form]), 4, seed=3)
    lost = []
    for is_rotated in (True, False):
        graph = graph_of(FORMS[form])
        if is_rotated:
            run_pass(graph, get_pass("rotate-heads"), PassContext())
        kept = {one.name: (0, 1, 2) for one in of_kind(graph, WIDTH)}
        prune(graph, kept=kept)
        lost.append(noise(graph_of(FORMS[form]), graph, fresh))
    assert lost[0] < lost[1] < 1


@pytest.mark.parametrize("form", FORMS)
def test_fewer_and_narrower_heads_at_once(form: str) -> None:
    graph = graph_of(FORMS[form])
    kept = {one.name: (0, 2) for one in (*of_kind(graph, HEADS), *of_kind(graph, WIDTH))}
    prune(graph, kept=kept)
    sizes = {value.constant.shape for value in graph.constants() if value.constant}
    assert (4, 4) in sizes


def test_keys_that_several_heads_share_stay() -> None:
    graph = graph_of(SHARED)
    assert all(one.reason for one in of_kind(graph, HEADS))


def test_queries_and_keys_that_go_are_not_fitted_back() -> None:
    """Layers before are thinned out as well, so that what makes queries is fitted anew."""
    body = "h = MatMul(x, w1)  x2 = MatMul(h, w2)  " + FORMS["apart"].replace(
        "MatMul(x,", "MatMul(x2,"
    )
    random = np.random.default_rng(0)
    text, weights = model(body)
    text = text.replace("float[2, 5, 6] x", "float[2, 5, 6] x, float[6, 16] w1, float[16, 6] w2", 1)
    weights |= {
        name: random.normal(size=size).astype(np.float32) / 4
        for name, size in {"w1": (6, 16), "w2": (16, 6)}.items()
    }
    graph = build(text, 23, weights)
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    before = build(text, 23, weights)
    wide = [one for one in structures(axis_graph(graph)) if len(one.units) == 16]
    kept = {one.name: (0, 1, 2) for one in of_kind(graph, WIDTH)}
    prune(graph, kept={**kept, wide[0].name: tuple(range(8))})
    assert noise(before, graph, data(before, 4, seed=3)) < 1


def test_masks_that_hide_tokens_from_heads_stay_numbers() -> None:
    """What is added to the scores of a head that goes may be infinite."""
    body = (
        FORMS["apart"]
        .replace("Softmax(l)", "Softmax(masked)")
        .replace("p = Softmax", "masked = Add(l, mask)  p = Softmax")
    )
    text, weights = model(body)
    text = text.replace("float[2, 5, 6] x", "float[2, 5, 6] x, float[1, 3, 5, 5] mask", 1)
    mask = np.zeros((1, 3, 5, 5), np.float32)
    mask[:, :, np.triu_indices(5, 1)[0], np.triu_indices(5, 1)[1]] = -np.inf
    graph = build(text, 23, {**weights, "mask": mask})
    run_pass(graph, get_pass("infer-shapes"), PassContext())
    (heads,) = of_kind(graph, HEADS)
    assert not heads.reason
    before = build(text, 23, {**weights, "mask": mask})
    assert prune(graph, kept={heads.name: (0, 2)}).fired
    assert noise(before, graph, data(before, 4, seed=3)) < 2
