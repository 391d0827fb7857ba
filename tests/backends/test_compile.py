"""Whole graphs through code generation: places where layouts, sharing and tuning meet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import burnish
import burnish.backends.compile as compile_module
from burnish.backends.artifact import Artifact
from burnish.backends.cpu.sharing import planned
from burnish.backends.cpu.sharing_trial import SharingTrial
from burnish.backends.program import Program
from burnish.backends.self_test import Deviation
from burnish.ir import Constant, Graph, OperatorNode, VariableNode
from burnish.testing import graph
from tests.depth import every_other


def _weights(*shape: int) -> VariableNode:
    values = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    return VariableNode.of(Constant.of(values))


def _compiled(model: Graph) -> None:
    """Compile with the self-test that is part of it; everything must run in kernels."""
    artifact = burnish.compile(model, threads=1, tune="off")
    assert not artifact.manifest.native["refusals"]


@pytest.mark.parametrize(("dtype", "allowed"), [("float16", 1e-2), ("float", 1e-4), ("int32", 0)])
def test_the_self_test_allows_what_the_type_of_the_outputs_allows(
    dtype: str, allowed: float
) -> None:
    model = graph(f"g ({dtype}[3, 4] x) => ({dtype}[3, 4] y) {{ y = Add(x, x) }}")
    artifact = burnish.compile(model, threads=1, tune="off")
    assert artifact.manifest.tolerance == allowed


@pytest.mark.parametrize("tail", ["y = Where(m, a, c)", "y = Max(a, b, c)"])
def test_an_epilogue_in_another_layout_than_its_anchor(tail: str) -> None:
    model = graph(
        "g (float[1, 3, 6, 5] x, float[1, 1, 6, 5] a, float[1, 1, 6, 5] b, bool[1, 1, 6, 5] m)"
        f" => (float[1, 1, 6, 5] y) {{ c = Conv(x, w) {tail} }}".replace(
            "c = Conv(x, w)",
            "k = Constant<value_ints=[1, 3, 1, 1]>() v = Constant<value_floats=[1.0, -2.0, 0.5]>()"
            " w = Reshape(v, k) c = Conv(x, w)",
        )
    )
    _compiled(model)


def test_a_converted_operator_behind_a_free_transpose() -> None:
    _compiled(
        graph(
            "g (double[2, 3, 4] x) => (double[4, 3, 2] y)"
            " { t = Transpose<perm = [2, 1, 0]>(x) y = Softmax<axis = 1>(t) }"
        )
    )


def test_weights_shared_by_convolutions_of_different_groups() -> None:
    weights = _weights(24, 3, 1, 1)
    model = Graph(opsets={"": 21})
    outputs = []
    for groups in (1, 2, 4):
        x = graph(f"g (float[1, {3 * groups}, 4, 4] x) => (float y) {{ y = Relu(x) }}").inputs[0]
        x.uses.clear()
        x.name = f"x{groups}"
        model.inputs.append(x)
        result = VariableNode(f"y{groups}", x.dtype, (1, 24, 4, 4))
        model.append(OperatorNode("Conv", [x, weights], [result], {"group": groups}))
        outputs.append(result)
    model.outputs = outputs
    _compiled(model)


CHAINS = [
    "e = Exp(m) f = Mul(e, e) h = Tanh(f) y = Add(h, e)",
    "e = Sigmoid(m) f = Mish(e) y = Mul(f, e)",
    "e = Exp(m) f = Exp(e) a = Tanh(f) b = Add(a, e) y = Mul(b, f)",
]


@pytest.mark.parametrize(
    ("start", "chain"), every_other(["m = MatMul(x, w)", "m = Mul(x, w)"], CHAINS)
)
def test_functions_read_twice_neither_clash_nor_grow_without_end(start: str, chain: str) -> None:
    _compiled(
        graph(
            "g (float[16, 16] x) => (float[16, 16] y) { s = Constant<value_ints = [16, 16]>()"
            f" h0 = Constant<value_float = 0.02>() w = Expand(h0, s) {start} {chain} }}"
        )
    )


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers_need_nothing_but_kernels(kind: str, gates: int) -> None:
    x = graph("g (float[5, 2, 6] x) => (float y) { y = Relu(x) }").inputs[0]
    x.uses.clear()
    results = [VariableNode("y", x.dtype, (5, 1, 2, 9)), VariableNode("h", x.dtype, (1, 2, 9))]
    inputs = [x, _weights(1, gates * 9, 6), _weights(1, gates * 9, 9)]
    model = Graph(opsets={"": 21}, inputs=[x])
    model.append(OperatorNode(kind, inputs, results, {"hidden_size": 9}))
    model.outputs = results
    _compiled(model)


def test_tuning_a_model() -> None:
    model = graph(
        "g (float[8, 16] x, float[8, 32] z) => (bool[8, 32] y)"
        " { s = Constant<value_ints=[16, 32]>() h = Constant<value_float=0.5>() e = Expand(h, s)"
        " p = MatMul(x, e) y = Greater(p, z) }"
    )
    stages: list[tuple[str, int, int]] = []
    burnish.compile(model, threads=1, tune=5.0, progress=lambda *stage: stages.append(stage))
    assert [done <= total == 50 for stage, done, total in stages if stage == "tune"]


@pytest.mark.parametrize("step", ["Softmax(x)", "Relu(x)", "MatMul(x, w)", "Transpose(x)"])
def test_kernels_take_memory_that_is_aligned_like_any_other(step: str) -> None:
    model = graph(
        f"g (float[48, 48] x, float[48, 48] w) => (float[48, 48] y) {{ t = {step} y = Exp(t) }}"
    )
    artifact = burnish.compile(model, threads=1, tune="off")
    feeds = {"w": np.eye(48, dtype=np.float32)}
    x = np.random.default_rng(0).standard_normal((48, 48)).astype(np.float32)
    expected = artifact.run({"x": x, **feeds})["y"]
    for shift in (4, 16, 48):
        memory = np.empty(x.nbytes + 128, np.uint8)
        start = -memory.ctypes.data % 64 + shift
        shifted = memory[start : start + x.nbytes].view(np.float32).reshape(x.shape)
        shifted[...] = x
        np.testing.assert_array_equal(artifact.run({"x": shifted, **feeds})["y"], expected)


def test_an_input_of_no_elements_has_a_fixed_size() -> None:
    model = graph(
        "g (float[0, 4] x, float[3, 4] z) => (float[3, 4] y) { y = Concat<axis=0>(x, z) }"
    )
    artifact = burnish.compile(model, tune="off")
    assert [port.shape for port in artifact.inputs] == [(0, 4), (3, 4)]
    z = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(artifact.run({"x": np.zeros((0, 4), np.float32), "z": z})["y"], z)


def test_the_self_test_runs_on_what_was_linked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    relink, self_test = compile_module.relink, Artifact.self_test

    def relinking(*args: Any) -> None:
        happened.append("relink")
        relink(*args)

    def testing(artifact: Artifact) -> list[Deviation]:
        happened.append("test")
        return self_test(artifact)

    def other_plans(_: object, programs: list[Program], __: object) -> list[Program]:
        return [planned(each, tuple(not call.alone for call in each.calls)) for each in programs]

    monkeypatch.setattr(compile_module, "relink", relinking)
    monkeypatch.setattr(Artifact, "self_test", testing)
    monkeypatch.setattr(SharingTrial, "better_plans", other_plans)
    burnish.compile(graph("g (float[4] x) => (float[4] y) { y = Exp(x) }"), tune="off")
    assert happened == ["test", "relink", "test"]
