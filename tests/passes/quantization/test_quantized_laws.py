"""What every registered pass does to models that are quantized: the same answers, up to ties."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx.parser
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from burnish.ir import Graph
from burnish.ir.printer import to_text
from burnish.ir.verify import verify
from burnish.numerics import Numerics
from burnish.passes import PASSES, get_pass
from burnish.passes.presets import preset
from burnish.pipeline import PassContext, run_pass, run_pipeline
from burnish.target import resolve
from burnish.testing import HEADER, assert_equivalent

NATIVE = PassContext(target=resolve("x86-64-v3"))
LAWFUL = settings(
    max_examples=2, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
NEEDS_DATA = {"quantize-int8"}
"""Passes that act on calibration data alone."""


class Draft:
    """A quantized model in the making: every value is ``float[1, 4, 6, 6]``."""

    def __init__(self, draw: Callable[[int], int]) -> None:
        self.draw = draw
        self.lines: list[str] = []
        self.constants: dict[str, np.ndarray] = {}
        self.values = ["x"]
        self.rng = np.random.default_rng(draw(1000))

    def name(self) -> str:
        return f"v{len(self.lines)}_{len(self.constants)}"

    def add(self, call: str) -> str:
        name = self.name()
        self.lines.append(f"{name} = {call}")
        return name

    def constant(self, array: object, dtype: type) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array, dtype)
        return name

    def parameters(self, dtype: type) -> str:
        """Of few kinds, so that neighbours often agree."""
        low = 128 if dtype is np.int8 else 0
        scale, zero = ((0.05, 128), (0.02, 0), (0.031, 77))[self.draw(3)]
        return f"{self.constant(scale, np.float32)}, {self.constant(zero - low, dtype)}"

    def converted(self, x: str) -> str:
        """Quantized and dequantized."""
        dtype = (np.uint8, np.int8)[self.draw(4) == 0]
        held = self.parameters(dtype)
        return self.add(f"DequantizeLinear({self.add(f'QuantizeLinear({x}, {held})')}, {held})")

    def weights(self, *shape: int, axis: int) -> str:
        numbers = self.constant(self.rng.integers(-127, 128, shape), np.int8)
        count = shape[axis] if self.draw(2) else 0
        scales = self.rng.uniform(0.002, 0.006, count or None)
        held = self.constant(scales, np.float32)
        if self.draw(2):
            zeros = np.zeros(count, np.int8) if count else np.int8(0)
            held += f", {self.constant(zeros, np.int8)}"
        return self.add(f"DequantizeLinear<axis = {axis}>({numbers}, {held})")


def convolution(draft: Draft, x: str) -> str:
    if draft.draw(3) == 0:
        filters = draft.weights(4, 4, 3, 3, axis=1)
        return draft.add(f"ConvTranspose<pads = [1, 1, 1, 1]>({x}, {filters})")
    inputs = f"{x}, {draft.weights(4, 4, 3, 3, axis=0)}"
    if draft.draw(2):
        inputs += f", {draft.constant(draft.rng.normal(0, 1, 4), np.float32)}"
    return draft.add(f"Conv<pads = [1, 1, 1, 1]>({inputs})")


def product(draft: Draft, x: str) -> str:
    if draft.draw(4) == 0:
        return draft.add(f"MatMul({x}, {draft.converted(x)})")
    return draft.add(f"MatMul({x}, {draft.weights(6, 6, axis=1)})")


def movement(draft: Draft, x: str) -> str:
    kind = draft.draw(4)
    if kind == 0:
        x = draft.add(f"Transpose<perm = [0, 2, 3, 1]>({x})")
        x = draft.converted(x) if draft.draw(2) else x
        return draft.add(f"Transpose<perm = [0, 3, 1, 2]>({x})")
    if kind == 1:
        return draft.add(f"MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>({x})")
    if kind == 2:
        a, b = (draft.name() + end for end in "ab")
        draft.lines.append(f"{a}, {b} = Split<axis = 1, num_outputs = 2>({x})")
        a = draft.converted(a) if draft.draw(2) else a
        return draft.add(f"Concat<axis = 1>({b}, {a})")
    flat = draft.constant([1, 4, 36], np.int64)
    back = draft.constant([1, 4, 6, 6], np.int64)
    return draft.add(f"Reshape({draft.add(f'Reshape({x}, {flat})')}, {back})")


def arithmetic(draft: Draft, x: str) -> str:
    other = draft.values[draft.draw(len(draft.values))]
    kind = draft.draw(4)
    if kind == 0:
        return draft.add(f"{('Relu', 'Sigmoid', 'HardSwish', 'Tanh')[draft.draw(4)]}({x})")
    if kind == 1:
        bounds = ", ".join(draft.constant(v, np.float32) for v in (0, 6))
        return draft.add(f"Clip({x}, {bounds})")
    return draft.add(f"{('Add', 'Mul')[draft.draw(4) == 0]}({x}, {other})")


PARTS = (convolution, convolution, product, movement, arithmetic, arithmetic)


@st.composite
def models(draw: st.DrawFn) -> tuple[str, dict[str, np.ndarray]]:
    """Text and constants of a model in which most values are quantized."""
    number = lambda below: draw(st.integers(0, below - 1))  # noqa: E731
    draft = Draft(number)
    draft.values.append(draft.converted("x"))
    for _ in range(draw(st.integers(1, 5))):
        result = PARTS[number(len(PARTS))](draft, draft.values[-1])
        draft.values.append(draft.converted(result) if number(6) else result)
    y = draft.add(f"Identity({draft.values[-1]})")
    text = " ".join(draft.lines)
    shape = "float[1, 4, 6, 6]"
    return f"g ({shape} x) => ({shape} {y}) {{ {text} }}", draft.constants


def build(text: str, constants: dict[str, np.ndarray]) -> Graph:
    declared = "".join(
        f", {'float' if a.dtype == np.float32 else a.dtype.name} {n}" for n, a in constants.items()
    )
    head, _, tail = text.partition(") => (")
    header = HEADER.format(opset=23, domains="")
    model = onnx.parser.parse_model(f"{header}{head}{declared}) => ({tail}")
    del model.graph.input[1:]
    for name, array in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    graph = Graph.from_onnx(model)
    run_pass(graph, get_pass("infer-shapes"), NATIVE)
    return graph


@pytest.mark.parametrize("name", sorted(set(PASSES) - NEEDS_DATA))
def test_every_pass(name: str) -> None:
    @LAWFUL
    @given(models())
    def law(model: tuple[str, dict[str, np.ndarray]]) -> None:
        before, after = build(*model), build(*model)
        text = to_text(after, names=True)
        report = run_pass(after, get_pass(name), NATIVE)
        verify(after)
        assert report.changed == (to_text(after, names=True) != text), "the flag is not honest"
        if report.changed:
            assert_equivalent(before, after, Numerics.REASSOCIATES)
        assert not run_pass(after, get_pass(name), NATIVE).changed

    law()


def test_compiling_leaves_no_product_of_what_is_quantized() -> None:
    @settings(LAWFUL, max_examples=20)
    @given(models())
    def law(model: tuple[str, dict[str, np.ndarray]]) -> None:
        before = build(*model)
        after, _ = run_pipeline(before, preset("compile"), NATIVE, verify="off")
        verify(after)
        assert_equivalent(before, after, Numerics.REASSOCIATES)
        for node in after:
            if node.op_type in ("Conv", "ConvTranspose", "MatMul"):
                made = [None if v is None else v.producer for v in node.inputs[:2]]
                from_bytes = [m is not None and m.op_type == "DequantizeLinear" for m in made]
                assert not all(from_bytes)

    law()
