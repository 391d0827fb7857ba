"""The helpers that tests use."""

from __future__ import annotations

import pytest

from burnish.errors import GateFailed
from burnish.numerics import Numerics
from burnish.testing import assert_equivalent, graph

ADD = """g (float["N", 2] x) => (float["N", 2] y) {
  w = Constant <value = float[2] {1, 2}> ()  y = Add(x, w) }"""


def test_equal() -> None:
    assert assert_equivalent(graph(ADD), graph(ADD), Numerics.EXACT).error == 0


def test_different() -> None:
    other = graph(ADD.replace("{1, 2}", "{1, 3}"))
    with pytest.raises(GateFailed, match="not equivalent"):
        assert_equivalent(graph(ADD), other, Numerics.REASSOCIATES)


def test_bad_text() -> None:
    with pytest.raises(ValueError, match="bad graph text"):
        graph("g (float x) => { }")


def test_whole_model_as_text() -> None:
    text = '<ir_version: 9, opset_import: ["": 17]> g (float x) => (float y) { y = Neg(x) }'
    assert graph(text).opset == 17
