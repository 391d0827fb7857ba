"""What is returned is the very model that was judged to hold."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.calibration.store import Calibration
from burnish.ir import Constant, Graph, VariableNode
from burnish.quantization import quantize
from burnish.quantization.guard import Loss
from burnish.quantization.quantize import quantize_model
from burnish.testing import graph

LAYERS = 4


class Watch:
    """Time that passes only when a model is judged."""

    seconds = 0.0


class Judge:
    """Says what it is told to, in order, and takes its time."""

    bound = "a bound"
    is_asked = True

    def __init__(self, watch: Watch, *shares: float) -> None:
        self._watch, self._shares, self.judged = watch, list(shares), list[tuple[Graph, float]]()

    def loss(self, model: Graph) -> Loss:
        self._watch.seconds += 25
        share = self._shares.pop(0) if self._shares else 2.0
        self.judged.append((model, share))
        return Loss(share, f"{share:g}")


def network() -> Graph:
    random = np.random.default_rng(3)
    names = [f"w{at}" for at in range(LAYERS)]
    made = graph(
        f"g (float[4,8] x, {', '.join(f'float[8,8] {name}' for name in names)}) => (float[4,8] y) "
        "{ a = MatMul(x,w0) b = Relu(a) c = MatMul(b,w1) d = Relu(c) e = MatMul(d,w2) f = Relu(e) "
        "y = MatMul(f,w3) }"
    )
    for value in made.inputs[1:]:
        weights = random.standard_t(2, size=(8, 8)).astype(np.float32)
        constant = VariableNode.of(Constant.of(weights), value.name)
        for use in list(value.uses):
            use.user.replace_input(use.index, constant)
    del made.inputs[1:]
    return made


@pytest.mark.parametrize("shares", [(0.5,), (2.0, 0.5), (2.0, 0.5, 0.4), (2.0, 2.0, 0.5)])
def test_the_model_that_was_judged_to_hold_is_returned(
    monkeypatch: pytest.MonkeyPatch, shares: tuple[float, ...]
) -> None:
    watch = Watch()
    monkeypatch.setattr(quantize, "Stopwatch", lambda: watch)
    random = np.random.default_rng(0)
    feeds = [{"x": random.normal(size=(4, 8)).astype(np.float32)} for _ in range(4)]
    judge = Judge(watch, *shares)
    found = quantize_model(
        network(), Calibration(feeds), target=None, guard=judge, seconds=100,
        progress=lambda *_: None,
    )  # fmt: skip
    latest = [model for model, share in judge.judged if share <= 1][-1]
    assert found.graph is latest
    assert found.decision.chosen is not None
    steps = sum(node.op_type == "QuantizeLinear" for node in found.graph)
    assert steps > 0
    assert [one.name for one in found.reports].count("quantize-int8") == 1
