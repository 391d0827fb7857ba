"""Several sets of input shapes in one artifact, sharing weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from burnish.backends.artifact import Artifact
from burnish.backends.build import Provenance, build_artifact
from burnish.backends.program import Buffer, BufferKind, Call, Program
from burnish.backends.self_test import Vector
from burnish.errors import UsageError
from burnish.target import Target
from tests.backends.artifact.conftest import RunC


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


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"x": np.zeros(8, np.float32)},
            r"no entry takes x\[8\]: .* 2 sets of input shapes, \(0\) x\[7\]; \(1\) x\[500\]",
        ),
        ({"x": np.zeros(7)}, "input 'x' is of dtype float64, and float32 is expected"),
        ({"y": np.zeros(7)}, "there is no input 'y'; the inputs are x"),
        ({}, "input 'x' is missing; the inputs are x"),
    ],
)
def test_what_fits_no_entry_is_refused_with_what_would(
    two: Artifact, inputs: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        two.run(inputs)


C_PROGRAM = r"""
#include <stdio.h>
#include "burnish.h"
static _Alignas(64) float x[500], y[500];
int main(int argc, char **argv) {
  burnish_model *model = burnish_open(argv[argc - 1], 0);
  const void *inputs[] = {x};
  void *outputs[] = {y};
  const int64_t wide[] = {500}, none[] = {8};
  const int64_t *shapes[] = {wide}, *others[] = {none};
  if (!model) return 1;
  int entry = burnish_choose_entry(model, shapes);
  if (burnish_run_entry(model, entry, inputs, outputs)) return 2;
  printf("%d %d %g %d %s\n", burnish_entry_count(model), entry, y[499],
         burnish_choose_entry(model, others), burnish_last_error());
  burnish_close(model);
  return 0;
}
"""


def test_from_c(two: Artifact, tmp_path: Path, run_c: RunC) -> None:
    two.save(tmp_path / "two")
    assert (
        run_c(tmp_path / "two", C_PROGRAM)
        == "2 1 499 -1 none of the 2 entries of this model takes these shapes\n"
    )
