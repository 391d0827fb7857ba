"""Several sets of input shapes in one artifact, sharing weights."""

from __future__ import annotations

import numpy as np
import pytest

from burnish.backends.artifact import Artifact
from burnish.backends.build import Provenance, build_artifact
from burnish.backends.program import Buffer, BufferKind, Call, Program
from burnish.backends.self_test import Vector
from burnish.errors import UsageError
from burnish.target import Target


def program(kernels: bytes, size: int) -> Program:
    """y = x + (the first elements of w)."""
    data = np.arange(1000, dtype=np.float32)
    w = Buffer("w", (1000,), "float32", BufferKind.CONSTANT, data)
    part = Buffer("part", (size,), "float32", BufferKind.CONSTANT, alias_of=w)
    x = Buffer("x", (size,), "float32", BufferKind.INPUT)
    y = Buffer("y", (size,), "float32", BufferKind.OUTPUT)
    return Program([x], [y], [Call("add", (x, part, y))], [kernels])


@pytest.fixture(scope="module")
def two(kernels: bytes, target: Target) -> Artifact:
    sizes = (7, 500)
    vectors = [
        Vector({"x": np.ones(size, np.float32)}, {"y": np.arange(1, size + 1, dtype=np.float32)})
        for size in sizes
    ]
    programs = [program(kernels, size) for size in sizes]
    return build_artifact(programs, target, vectors, Provenance())


@pytest.mark.parametrize("size", [7, 500])
def test_the_shape_picks_the_entry(two: Artifact, size: int) -> None:
    x = np.full(size, 2, np.float32)
    np.testing.assert_array_equal(two.run({"x": x})["y"], np.arange(2, size + 2))


def test_weights_are_shared(two: Artifact) -> None:
    assert two.manifest.files["weights.bin"].bytes < 4200


def test_every_entry_tests_itself(two: Artifact) -> None:
    assert [each.error for each in two.self_test()] == [0, 0]


def test_another_shape_is_refused_with_those_there_are(two: Artifact) -> None:
    message = (
        r"no entry takes x: float32\[8\]; this model takes x: float32\[7\]; or x: float32\[500\]"
    )
    with pytest.raises(UsageError, match=message):
        two.run({"x": np.zeros(8, np.float32)})
