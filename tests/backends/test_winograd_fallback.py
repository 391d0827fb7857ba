"""How a compilation gives up what rounds too coarsely for a model."""

import numpy as np
import pytest

import burnish
from burnish.backends import compile as compilation
from burnish.backends.artifact import Artifact
from burnish.backends.compile import CompileOptions, compile_graphs
from burnish.backends.lowering.lower import Lowered
from burnish.backends.self_test import Deviation, Vector
from burnish.errors import GateFailed
from burnish.ir import Constant, DType, Graph, OperatorNode, VariableNode
from burnish.target import resolve


def _convolution() -> Graph:
    """A convolution that is worth minimal filtering."""
    weights = np.random.default_rng(1).standard_normal((32, 32, 3, 3)).astype(np.float32)
    model = Graph(opsets={"": 21})
    x = VariableNode("x", DType.FLOAT, (1, 32, 24, 24))
    y = VariableNode("y", DType.FLOAT, (1, 32, 24, 24))
    operands = [x, VariableNode.of(Constant.of(weights))]
    model.append(OperatorNode("Conv", operands, [y], {"pads": [1, 1, 1, 1]}))
    model.inputs, model.outputs = [x], [y]
    return model


@pytest.mark.parametrize(("errors", "tried"), [
    ([1e-5], [4]),
    ([8e-5, 4e-5], [4, 2]),
    ([1.0, 8e-5, 9e-5], [4, 2, 1]),
])  # fmt: skip
def test_more_exact_kernels_follow_a_deviation_above_half_the_tolerance(
    errors: list[float], tried: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, notices, left = [], [], list(errors)
    lower = compilation.lower

    def spy(*args: object) -> Lowered:
        seen.append(args[-1])
        return lower(*args)  # type: ignore[arg-type]  # as given

    def measured(_: Artifact) -> list[Deviation]:
        error = left.pop(0)
        if error > 1e-4:
            raise GateFailed("too far")
        return [Deviation("y", error)]

    monkeypatch.setattr(compilation, "lower", spy)
    monkeypatch.setattr(Artifact, "self_test", measured)
    zeros = np.zeros((1, 32, 24, 24), np.float32)
    vector = Vector({"x": zeros}, {"y": zeros})
    options = CompileOptions(notice=notices.append)
    compile_graphs([_convolution()], resolve("cpu", 1), [vector], {}, options)
    assert seen == tried
    assert len(notices) == len(tried) - 1


def test_without_winograd_and_where_nothing_can_be_checked() -> None:
    assert compilation.filters(resolve("cpu"), CompileOptions(winograd=False)) == (1,)
    assert compilation.filters(resolve("arm64:cortex-a76"), CompileOptions()) == (2,)


def test_results_agree_with_and_without() -> None:
    artifacts = [
        burnish.compile(_convolution(), threads=1, tune="off", winograd=w) for w in (True, False)
    ]
    x = np.random.default_rng(2).standard_normal((1, 32, 24, 24)).astype(np.float32)
    filtered, direct = (artifact.run({"x": x})["y"] for artifact in artifacts)
    assert not np.array_equal(filtered, direct)
    assert np.abs(filtered - direct).max() < 1e-5 * np.abs(direct).max()
