"""The library of an artifact as programs in C use it."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from burnish.backends.artifact import LIBRARY, WEIGHTS
from burnish.backends.build import Provenance, build_artifact
from burnish.backends.program import Buffer, BufferKind, Call, Program
from burnish.target import Target
from tests.backends.artifact import toy
from tests.backends.artifact.conftest import RunC

C_PROGRAM = r"""
#include <stdio.h>
#include "burnish.h"
static _Alignas(64) float x[37 * 53], y[37 * 53];
int main(int argc, char **argv) {
  burnish_model *model = burnish_open(argv[argc - 1], 0);
  const void *inputs[] = {x};
  void *outputs[] = {y};
  burnish_tensor tensor;
  if (!model || burnish_output(model, 0, 0, &tensor) || burnish_run(model, inputs, outputs)) {
    return fprintf(stderr, "%s\n", burnish_last_error()), 1;
  }
  printf("%s %s %d %lld %.9g\n", tensor.name, tensor.dtype, (int)tensor.rank,
         (long long)tensor.shape[1], y[0]);
  burnish_close(model);
  return 0;
}
"""


def test_from_c(saved: Path, run_c: RunC) -> None:
    name, dtype, rank, width, first = run_c(saved, C_PROGRAM).split()
    assert (name, dtype, rank, width) == ("y", "float32", "2", "53")
    assert float(first) == pytest.approx(toy.weight()[-1, -1])


def test_what_is_null_in_c_is_an_error(saved: Path) -> None:
    c = ctypes.CDLL(str(saved / LIBRARY))
    c.burnish_last_error.restype = ctypes.c_char_p
    for name in ("open", "begin", "buffer"):
        getattr(c, f"burnish_{name}").restype = ctypes.c_void_p
    model = ctypes.c_void_p(c.burnish_open(str(saved / WEIGHTS).encode(), 1))
    assert model
    memory = (ctypes.c_void_p * 1)(ctypes.addressof(ctypes.create_string_buffer(1)))
    calls = [
        (c.burnish_run, (None, memory, memory), 1, "the model is NULL"),
        (c.burnish_run, (model, None, memory), 1, "the array of inputs is NULL"),
        (c.burnish_run, (model, memory, None), 1, "the array of outputs is NULL"),
        (c.burnish_open, (None, 0), None, "the name of the weights file is NULL"),
        (c.burnish_begin, (None, 0, memory, memory), None, "the model is NULL"),
        (c.burnish_threads, (None,), -1, "the model is NULL"),
        (c.burnish_entry_count, (None,), -1, "the model is NULL"),
        (c.burnish_input_count, (None, 0), -1, "the model is NULL"),
        (c.burnish_input, (model, 0, 0, None), 1, "the place for a tensor's description is NULL"),
        (c.burnish_choose_entry, (None, memory), -1, "the model is NULL"),
        (c.burnish_choose_entry, (model, None), -1, "the array of shapes is NULL"),
        (c.burnish_range, (None, 0, 1), 1, "the context is NULL"),
        (c.burnish_buffer, (None, 0, memory), None, "the context is NULL"),
        (c.burnish_end, (None,), 1, "the context is NULL"),
        (c.burnish_profile_read, (model, 0, None), 1, "the place for times is NULL"),
        (c.burnish_profile_rounds, (model, 0, None), 1, "the place for counts is NULL"),
    ]
    for function, arguments, answer, message in calls:
        assert function(*arguments) == answer
        assert c.burnish_last_error().decode() == message
    c.burnish_profile(None, 1)
    c.burnish_close(None)
    c.burnish_close(model)


TWO_MODELS = """
import ctypes, sys
import numpy as np
libraries = [ctypes.CDLL(f"{folder}/model.so", ctypes.RTLD_GLOBAL) for folder in sys.argv[1:]]
models = []
for folder, c in zip(sys.argv[1:], libraries):
    c.burnish_open.restype = ctypes.c_void_p
    c.burnish_last_error.restype = ctypes.c_char_p
    model = c.burnish_open(f"{folder}/weights.bin".encode(), 1)
    assert model, c.burnish_last_error()
    models.append(ctypes.c_void_p(model))
for size, c, model in zip((7, 500), libraries, models):
    x, y = np.ones(size, np.float32), np.zeros(size, np.float32)
    inputs, outputs = (ctypes.c_void_p * 1)(x.ctypes.data), (ctypes.c_void_p * 1)(y.ctypes.data)
    assert c.burnish_run(model, inputs, outputs) == 0, c.burnish_last_error()
    print(y[-1])
"""


def test_two_models_in_one_process(kernels: bytes, target: Target, tmp_path: Path) -> None:
    for size in (7, 500):
        w = Buffer("w", (size,), "float32", BufferKind.CONSTANT, np.full(size, size, np.float32))
        x = Buffer("x", (size,), "float32", BufferKind.INPUT)
        y = Buffer("y", (size,), "float32", BufferKind.OUTPUT)
        program = Program([x], [y], [Call("add", (x, w, y))], [kernels])
        build_artifact([program], target, [], Provenance()).save(tmp_path / str(size))
    command = [sys.executable, "-c", TWO_MODELS, str(tmp_path / "7"), str(tmp_path / "500")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["8.0", "501.0"]
