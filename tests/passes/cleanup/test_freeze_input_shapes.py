"""freeze-input-shapes: given sizes are bound everywhere, and must fit what is declared."""

from __future__ import annotations

import re

import pytest

from burnish.errors import UsageError
from burnish.ir import Graph
from burnish.passes.cleanup.freeze_input_shapes import FreezeInputShapes
from burnish.pipeline import PassContext
from burnish.testing import graph

TEXT = """
g (int64["batch", "seq"] ids, int64["batch", "seq"] mask, float[3, "w"] x, float free)
    => (int64["batch", "seq"] y, float["2*w", 3] z)
{
    y = Mul(ids, mask)
    t = Transpose(x)
    z = Concat<axis = 0>(t, t)
}
"""


def freeze(model: Graph, **shapes: tuple[int, ...]) -> bool:
    return FreezeInputShapes(shapes).run(model, PassContext()).changed


def test_a_name_has_one_size_wherever_it_occurs() -> None:
    model = graph(TEXT)
    assert freeze(model, ids=(2, 5))
    assert [value.shape for value in model.inputs] == [(2, 5), (2, 5), (3, "w"), ()]
    assert model.outputs[0].shape == (2, 5)
    assert model.outputs[1].shape == ("2*w", 3)
    assert not freeze(model, ids=(2, 5))


def test_sizes_in_products() -> None:
    model = graph(TEXT)
    freeze(model, x=(3, 7))
    assert model.outputs[1].shape == (14, 3)


def test_unknown_sizes_are_not_one_name() -> None:
    model = graph(TEXT)
    model.inputs[0].shape = ("?", -1)
    model.inputs[1].shape = ("?", None)
    assert freeze(model, ids=(2, 5), mask=(3, 6))
    assert [value.shape for value in model.inputs[:2]] == [(2, 5), (3, 6)]


def test_nothing_given_nothing_changed() -> None:
    assert not freeze(graph(TEXT))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"idx": (1, 2)}, "unknown input 'idx'; did you mean ids or x"),
        ({"ids": (1, 2, 3)}, "3 sizes, but the model declares ids[batch, seq]: give 2"),
        ({"x": (4, 7)}, "axis 0 is fixed at 3"),
        ({"ids": (1, 2), "mask": (1, 3)}, "makes dimension 'seq' 3, but input ids makes it 2"),
        ({"ids": (1, -1)}, "sizes must be integers >= 0"),
        ({"free": (1,)}, "give 0"),
    ],
)
def test_refusals(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    model = graph(TEXT)
    with pytest.raises(UsageError, match=re.escape(message)):
        freeze(model, **shapes)
    assert model.inputs[0].shape == ("batch", "seq")
