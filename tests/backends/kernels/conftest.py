"""Compile functions for a fixed target and run them on numpy arrays."""

from collections.abc import Callable, Sequence

import numpy
import pytest
import tvm
from tvm import tirx

from burnish.backends.cpu import codegen
from burnish.backends.cpu.schedule import anchored
from burnish.target import Target, resolve

Run = Callable[..., numpy.ndarray]


@pytest.fixture(scope="session")
def target() -> Target:
    """The host with two threads, so that parallel paths run everywhere."""
    return resolve("cpu", threads=2)


@pytest.fixture(autouse=True)
def small_kernels_run_in_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchored, "PARALLEL_STEPS", 0)


@pytest.fixture(scope="session")
def run(target: Target) -> Run:
    """Runs a function whose last parameter is its output, compiled for another target perhaps."""

    def call(
        func: tirx.PrimFunc, arrays: Sequence[numpy.ndarray], target: Target = target
    ) -> numpy.ndarray:
        *inputs, output = func.params
        assert len(inputs) == len(arrays)
        library = codegen.build({"kernel": func}, target)
        result = tvm.runtime.tensor(
            numpy.zeros([int(extent) for extent in output.shape], str(output.dtype))
        )
        library["kernel"](*(tvm.runtime.tensor(array) for array in arrays), result)
        return result.numpy()

    return call
