"""Outputs of which a run fills a part: cut in Python, told in C."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import burnish
from burnish.backends.artifact import Artifact, load_artifact
from burnish.cli import main
from burnish.errors import GateFailed, InvalidInput
from burnish.testing import graph
from tests.backends.artifact.conftest import RunC

SIZES = (5, 400)


@pytest.fixture(scope="module")
def two() -> Artifact:
    """Where x is above 1, and what it is there; two entries."""
    text = """g (float["n", 6] x) => (int64[2, "k"] places, float["k"] found, float["n", 6] less) {
        one = Constant<value_float = 1.0>() high = Greater(x, one) places = NonZero(high)
        rows = Transpose(places) found = GatherND(x, rows) less = Sub(x, one)
    }"""
    shapes = [{"x": (size, 6)} for size in SIZES]
    return burnish.compile(graph(text), input_shapes=shapes, threads=2, tune="off")


def sample(size: int, above: int) -> np.ndarray:
    """Zeros, but ``above`` elements that count up from 2."""
    x = np.zeros(size * 6, np.float32)
    x[np.linspace(0, x.size - 1, above).astype(int)] = np.arange(2, 2 + above)
    return x.reshape(size, 6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0, 0.03, 0.5, 1])
def test_results_have_the_size_that_they_have(two: Artifact, size: int, share: float) -> None:
    x = sample(size, int(share * size * 6))
    found = two.run({"x": x})
    np.testing.assert_array_equal(found["places"], np.nonzero(x > 1))
    np.testing.assert_array_equal(found["found"], x[x > 1])
    np.testing.assert_array_equal(found["less"], x - 1)
    for array in found.values():
        assert array.flags.c_contiguous
        assert array.flags.writeable


def test_a_small_part_does_not_keep_the_memory_of_all(two: Artifact) -> None:
    found = two.run({"x": sample(400, 3)})["found"]
    owner = found
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    assert owner.nbytes < 400 * 6


def test_the_manifest_says_how_large_they_may_be(two: Artifact) -> None:
    assert two.manifest.native["operators"] == 1
    assert [(port.shape, port.most) for port in two.outputs] == [
        ((2, -1), 30), ((-1,), 30), ((5, 6), None),
    ]  # fmt: skip
    assert [port.most for port in two.manifest.entries[1].outputs] == [2400, 2400, None]


def test_every_entry_tests_itself(two: Artifact, tmp_path: Path) -> None:
    two.save(tmp_path / "two.burnish")
    assert max(each.error for each in load_artifact(tmp_path / "two.burnish").self_test()) == 0
    vector = two.example(1)
    assert vector.outputs["places"].shape[1] < 2400
    wrong = load_artifact(tmp_path / "two.burnish")
    wrong.run = (
        lambda inputs: {  # type: ignore[method-assign]  # stands for a wrong count
            name: array[..., 1:] for name, array in two.run(inputs).items()
        }
    )
    with pytest.raises(GateFailed, match="self-test failed"):
        wrong.self_test()


def test_a_manifest_that_counts_otherwise_is_refused(two: Artifact, tmp_path: Path) -> None:
    saved = tmp_path / "two"
    two.save(saved)
    data = json.loads((saved / "manifest.json").read_text())
    data["entries"][0]["outputs"][0]["most"] = 60
    (saved / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(InvalidInput, match="manifest and library disagree"):
        load_artifact(saved).run({"x": sample(5, 2)})


def test_from_the_command_line(
    two: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two.save(tmp_path / "two.burnish")
    np.save(tmp_path / "x.npy", sample(400, 7))
    run = ["run", str(tmp_path / "two.burnish"), "-i", f"x={tmp_path / 'x.npy'}"]
    assert main([*run, "-o", str(tmp_path / "out.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"]["places"]["shape"] == [2, 7]
    assert np.load(tmp_path / "out.npz")["found"].tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert main(["inspect", str(tmp_path / "two.burnish")]) == 0
    assert "places: int64[2, n], n at most 30" in capsys.readouterr().out


C_PROGRAM = r"""
#include <stdio.h>
#include "burnish.h"
static _Alignas(64) float x[2400], found[2400], less[2400];
static _Alignas(64) int64_t places[2 * 2400];
int main(int argc, char **argv) {
  burnish_model *model = burnish_open(argv[argc - 1], 0);
  const void *inputs[] = {x};
  void *outputs[] = {places, found, less};
  int64_t counts[3];
  burnish_tensor tensor;
  x[7] = 3, x[2399] = 5;
  if (!model || burnish_output(model, 1, 0, &tensor)) return 1;
  if (burnish_run_counted(model, 1, inputs, outputs, counts)) return 2;
  printf("%lld %lld %lld; axes %d %d %d %d; room %lld of %llu bytes\n", (long long)counts[0],
         (long long)counts[1], (long long)counts[2], burnish_counted_axis(model, 1, 0),
         burnish_counted_axis(model, 1, 1), burnish_counted_axis(model, 1, 2),
         burnish_counted_axis(model, 1, 3), (long long)tensor.shape[1],
         (unsigned long long)tensor.bytes);
  for (int64_t i = 0; i < counts[0]; i++) {
    int64_t column = places[tensor.shape[1] + i];
    printf("%lld %lld %g\n", (long long)places[i], (long long)column, found[i]);
  }
  x[7] = 0;
  if (burnish_run_entry(model, 1, inputs, outputs)) return 3; /* the count is not asked for */
  printf("%g\n", found[0]);
  burnish_close(model);
  return 0;
}
"""


def test_from_c(two: Artifact, tmp_path: Path, run_c: RunC) -> None:
    two.save(tmp_path / "two")
    assert run_c(tmp_path / "two", C_PROGRAM).splitlines() == [
        "2 2 -1; axes 1 0 -1 -1; room 2400 of 38400 bytes", "1 1 3", "399 5 5", "5",
    ]  # fmt: skip
