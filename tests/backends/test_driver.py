"""The generated tables: the same text each time, and nothing that C would misread."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.backends.driver import DriverOptions, Entry, emit_driver, number_buffers
from burnish.backends.memory_plan import plan_memory
from burnish.backends.program import Buffer, BufferKind, Call, Program
from burnish.backends.weights import lay_out_weights


def emit(program: Program, **options: object) -> str:
    weights = lay_out_weights([program])
    given = DriverOptions(**({"target": "cpu"} | options))  # type: ignore[arg-type]
    return emit_driver([Entry(program, plan_memory(program))], weights, given)


def small(kernel: str = "relu", name: str = "x") -> Program:
    x = Buffer(name, (2, 3), "float32", BufferKind.INPUT)
    t = Buffer("t", (2, 3), "float32", BufferKind.TEMPORARY)
    y = Buffer("y", (6,), "float32", BufferKind.OUTPUT)
    return Program([x], [y], [Call(kernel, (x, t)), Call("copy", (t, y))])


def test_same_program_same_text() -> None:
    assert emit(small()) == emit(small())


def test_every_buffer_has_a_place() -> None:
    text = emit(small())
    assert "{BURNISH_INPUT, 2, 32, 2, 0, 0, 0u}" in text
    assert "{BURNISH_OUTPUT, 2, 32, 1, 2, 0, 0u}" in text
    assert "{BURNISH_ARENA, 2, 32, 2, 0, 0, 0u}" in text
    assert '{"relu", __tvm_ffi_relu, 0, 2, -1, 0}' in text


@pytest.mark.parametrize(
    ("dtype", "code", "bits"),
    [
        ("bool", 6, 8),
        ("int8", 0, 8),
        ("int64", 0, 64),
        ("uint16", 1, 16),
        ("float16", 2, 16),
        ("float64", 2, 64),
        ("bfloat16", 4, 16),
    ],
)
def test_dtypes_are_those_of_dlpack(dtype: str, code: int, bits: int) -> None:
    x = Buffer("x", (4,), dtype, BufferKind.INPUT)
    y = Buffer("y", (4,), dtype, BufferKind.OUTPUT)
    text = emit(Program([x], [y], [Call("k", (x, y))]))
    assert f"{{BURNISH_INPUT, {code}, {bits}, 1, 0, 0, 0u}}" in text


def test_views_lie_inside_their_owners() -> None:
    w = Buffer("w", (100,), "float32", BufferKind.CONSTANT, np.zeros(100, np.float32))
    first = Buffer("pad", (1,), "float32", BufferKind.CONSTANT, np.ones(1, np.float32))
    view = Buffer("v", (10,), "float32", BufferKind.CONSTANT, alias_of=w, offset=40)
    inner = Buffer("u", (2,), "float32", BufferKind.CONSTANT, alias_of=view, offset=8)
    y = Buffer("y", (2,), "float32", BufferKind.OUTPUT)
    part = Buffer("p", (1,), "float32", BufferKind.OUTPUT, alias_of=y, offset=4)
    text = emit(Program([], [y], [Call("k", (first, inner, part))]))
    assert "{BURNISH_CONSTANT, 2, 32, 1, 0, 0, 112u}" in text
    assert "{BURNISH_OUTPUT, 2, 32, 1, 1, 0, 4u}" in text


def test_names_are_quoted_for_c() -> None:
    text = emit(small(name='a"b\\c\n??/é'))
    assert '"a\\042b\\134c\\012\\077\\077/\\303\\251"' in text


def test_a_kernel_name_that_is_no_identifier_is_an_error() -> None:
    with pytest.raises(ValueError, match="'x; system' is not a C identifier"):
        emit(small(kernel="x; system"))


def test_an_output_that_is_not_the_callers_is_an_error() -> None:
    program = small()
    program.outputs = [program.calls[0].args[1]]
    with pytest.raises(ValueError, match="t is an output but its memory is its own"):
        emit(program)


def test_an_input_that_is_not_listed_is_an_error() -> None:
    program = small()
    program.inputs = []
    with pytest.raises(ValueError, match="relu uses x, no input here"):
        emit(program)


def test_a_scalar_has_rank_zero() -> None:
    x = Buffer("x", (), "int64", BufferKind.INPUT)
    y = Buffer("y", (), "int64", BufferKind.OUTPUT)
    assert '{"x", "int64", 0, &shapes_0[0], 8u}' in emit(Program([x], [y], [Call("k", (x, y))]))


def test_features_and_threads_are_told() -> None:
    text = emit(small(), features=("avx2", "fma"), threads=3)
    assert 'features[] = {"avx2", "fma", 0};' in text
    assert 'features, "cpu", entries, 1, 3,' in text


def test_buffers_without_a_size_have_no_number() -> None:
    unknown = Buffer("n", (-1,), "float32", BufferKind.TEMPORARY)
    x = Buffer("x", (2,), "float32", BufferKind.INPUT)
    program = Program([x], [], [Call("r", (x, unknown), region=b"r")])
    assert number_buffers(program) == {x: 0}
    assert '{"r", 0, 0, 0, -1, 0}' in emit(program)
