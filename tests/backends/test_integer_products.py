"""Products of computed matrices of bytes against sums in 64 bits: every element is to be equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.backends.build import Provenance, build_artifact
from burnish.backends.compile import compile_program
from burnish.ir import Graph
from burnish.passes import get_pass
from burnish.pipeline import PassContext, run_pass
from burnish.target import Target
from tests.backends.test_integers import HOST, SIGNS, different_forms, drawn, forms, runs
from tests.depth import few

ROLE = '"batch-product-bytes"'


@dataclass
class Case:
    """One product of two inputs."""

    a: np.ndarray
    b: np.ndarray
    a_zero: np.ndarray | None = None
    b_zero: np.ndarray | None = None
    turned: bool = False
    """Whether ``b`` is given with its last two axes the other way round."""
    computed: bool = False
    """Whether zero points are inputs too."""

    @property
    def expected(self) -> np.ndarray:
        """The result by sums in 64 bits."""
        zeros = [
            np.int64(0) if z is None else z.astype(np.int64) for z in (self.a_zero, self.b_zero)
        ]
        b = np.swapaxes(self.b, -1, -2) if self.turned else self.b
        return ((self.a.astype(np.int64) - zeros[0]) @ (b.astype(np.int64) - zeros[1])).astype("i4")


def check(cases: Sequence[Case], target: Target) -> int:
    """Compile all into one artifact and run it; how many are multiplied in quads."""
    nodes, inputs, outputs, constants, feeds = [], [], [], [], {}
    for number, case in enumerate(cases):
        arrays = (case.a, case.b, case.a_zero, case.b_zero)
        held = {f"{letter}{number}": array for letter, array in zip("abuv", arrays, strict=True)}
        names = [name if array is not None else "" for name, array in held.items()]
        for place, (name, array) in enumerate(held.items()):
            if array is None:
                continue
            if place < 2 or case.computed:
                kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
                inputs.append(onnx.helper.make_tensor_value_info(name, kind, array.shape))
                feeds[name] = array
            else:
                constants.append(onnx.numpy_helper.from_array(array, name))
        if case.turned:
            order = [*range(case.b.ndim - 2), case.b.ndim - 1, case.b.ndim - 2]
            nodes.append(onnx.helper.make_node("Transpose", [names[1]], [f"t{number}"], perm=order))
            names[1] = f"t{number}"
        result = f"y{number}"
        outputs.append(onnx.helper.make_tensor_value_info(result, 6, case.expected.shape))
        nodes.append(onnx.helper.make_node("MatMulInteger", names, [result]))
    opsets = [onnx.helper.make_opsetid("", 21)]
    made = onnx.helper.make_graph(nodes, "g", inputs, outputs, constants)
    graph = Graph.from_onnx(onnx.helper.make_model(made, opset_imports=opsets, ir_version=10))
    run_pass(graph, get_pass("infer-shapes"), PassContext(target=target))
    lowered, program = compile_program(graph, target)
    if runs(target):
        results = build_artifact([program], target, [], Provenance()).run(feeds)
        for number, case in enumerate(cases):
            np.testing.assert_array_equal(results[f"y{number}"], case.expected, f"case {number}")
    return sum(ROLE in str(kernel.func) for kernel in lowered.kernels)


def products(a: str, b: str) -> list[Case]:
    """Batches and broadcast ones, depths and columns that quads and vectors do not divide."""
    u, v = np.array(7, a), np.array(3, b)
    return [
        Case(drawn(a, 2, 3, 9, 32), drawn(b, 2, 3, 20, 32), u, v, True),
        Case(drawn(a, 2, 3, 9, 20), drawn(b, 2, 3, 20, 32), u, v),
        Case(drawn(a, 3, 5, 21), drawn(b, 21, 37), u, np.array(0, b)),
        Case(drawn(a, 2, 1, 4, 6), drawn(b, 3, 6, 5), None, v),
        Case(drawn(a, 4, 3), drawn(b, 17, 3), u, v, True),
        Case(drawn(a, 1, 2), drawn(b, 2, 2, 16), u, v, False, True),
        Case(drawn(a, 5, 35), drawn(b, 2, 18, 35), u, v, True, True),
    ]


@pytest.mark.parametrize("target", forms(), ids=lambda target: target.name)
def test_every_form_is_exact(target: Target) -> None:
    # Both orders of the second matrix, depths and columns that are whole and that are not.
    taken = products("uint8", "int8")
    cases = [*taken[:3], taken[4]]
    assert check(cases, target) == len(cases)


@pytest.mark.parametrize("signs", SIGNS, ids="-".join)
def test_all_signs_are_exact(signs: tuple[str, str]) -> None:
    first, second, *rest = products(*signs)
    # Each of the others with two of the signs of either matrix.
    cases = [first, second, *rest[sum(name == "int8" for name in signs) % 2 :: 2]]
    assert check(cases, HOST.for_integers()) == len(cases)


@pytest.mark.parametrize("target", different_forms(), ids=lambda target: target.name)
def test_the_largest_sums_do_not_saturate(target: Target) -> None:
    cases = []
    for a, b, u, v in ((255, -128, 0, 127), (255, 127, 0, -128), (0, -128, 255, 127)):
        left, right = np.full((3, 70), a, np.uint8), np.full((70, 18), b, np.int8)
        cases.append(Case(left, right, np.array(u, np.uint8), np.array(v, np.int8)))
    check(cases, target)


def test_a_matrix_times_itself() -> None:
    """One buffer as both operands."""
    x = drawn("uint8", 2, 8, 8)
    inputs = [onnx.helper.make_tensor_value_info("x", 2, x.shape)]
    outputs = [onnx.helper.make_tensor_value_info("y", 6, x.shape)]
    zero = onnx.numpy_helper.from_array(np.array(9, np.uint8), "z")
    node = onnx.helper.make_node("MatMulInteger", ["x", "x", "z", "z"], ["y"])
    made = onnx.helper.make_graph([node], "g", inputs, outputs, [zero])
    graph = Graph.from_onnx(onnx.helper.make_model(made, ir_version=10))
    target = HOST.for_integers()
    _, program = compile_program(graph, target)
    found = build_artifact([program], target, [], Provenance()).run({"x": x})["y"]
    less = x.astype(np.int64) - 9
    np.testing.assert_array_equal(found, (less @ less).astype(np.int32))


def test_zero_points_of_rows_and_columns_are_left_to_plain_sums() -> None:
    rows = Case(drawn("uint8", 5, 6), drawn("int8", 6, 7), np.arange(5, dtype=np.uint8)[:, None])
    columns = Case(
        drawn("uint8", 5, 6),
        drawn("int8", 6, 7),
        np.array(3, np.uint8),
        np.arange(7, dtype=np.int8),
    )
    vector = Case(drawn("uint8", 6), drawn("int8", 6, 7), np.array(3, np.uint8))
    assert check([rows, columns, vector], HOST.for_integers()) == 0


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any two matrices that fit."""
    rows, depth, columns = (draw(st.integers(1, 40)) for _ in range(3))
    lead = draw(st.lists(st.integers(1, 3), max_size=2))
    sides = []
    for _ in range(2):
        own = [n if draw(st.booleans()) else 1 for n in lead]
        sides.append(own[draw(st.integers(0, len(own))) :])
    a, b = (draw(st.sampled_from(["uint8", "int8"])) for _ in range(2))
    turned = draw(st.booleans())
    last = (columns, depth) if turned else (depth, columns)
    zeros = [draw(st.sampled_from([None, 0, 3, 127])) for _ in range(2)]
    computed = draw(st.booleans())
    u, v = (None if z is None else np.array(z, t) for z, t in zip(zeros, (a, b), strict=True))
    return Case(
        drawn(a, *sides[0], rows, depth), drawn(b, *sides[1], *last), u, v, turned, computed
    )


@settings(max_examples=few(2), deadline=None)
@given(st.lists(cases(), min_size=4, max_size=4))
def test_any_product_is_exact(some: list[Case]) -> None:
    target = HOST.for_integers()
    assert check(some, target) == len(some)
