"""The cases: a model each, with inputs and the outputs that the standard gives for them."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.inputs import Array


@dataclass
class Case:
    """A model with inputs and the outputs that they must give.

    Inputs and outputs are arrays, or what stands for sequences and optionals.
    """

    name: str
    model: onnx.ModelProto
    inputs: list[Any]
    outputs: list[Any]
    rtol: float
    atol: float

    @property
    def is_of_tensors(self) -> bool:
        """Whether all inputs and outputs are tensors."""
        return all(isinstance(value, np.ndarray) for value in (*self.inputs, *self.outputs))

    @property
    def feeds(self) -> dict[str, Any]:
        """The inputs by name."""
        held = {tensor.name for tensor in self.model.graph.initializer}
        names = [value.name for value in self.model.graph.input if value.name not in held]
        return dict(zip(names, self.inputs, strict=False))


def node_cases() -> list[Case]:
    """All cases that the onnx package makes, in the order of their names."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        collected = collect_testcases(None)
    cases = []
    for case in collected:
        assert case.model is not None and case.data_sets
        inputs, outputs = case.data_sets[0]
        arrays = [_array(value) for value in inputs], [_array(value) for value in outputs]
        cases.append(Case(case.name, case.model, *arrays, case.rtol, case.atol))
    return sorted(cases, key=lambda case: case.name)


def _array(value: Any) -> Any:
    """An operand as an array; sequences and the like stay what they are."""
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic | float | int) else value


SIZED = ("Resize", "Upsample", "Range")
"""Operators whose float operands settle the shape of the result."""


def bound(case: Case) -> Case | None:
    """The case with inputs that settle shapes made constant, None if it has none of those.

    These are the integers of at most one axis and the scales of Resize, beyond the first input.
    """
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    keep: list[Any] = []
    arrays = []
    for index, (value, array) in enumerate(zip(case.model.graph.input, case.inputs, strict=True)):
        settles = isinstance(array, np.ndarray) and array.ndim <= 1 and index > 0
        op_type = case.model.graph.node[0].op_type
        weighs = index > 0 and op_type in ("LSTM", "GRU", "RNN")
        if weighs or (settles and (array.dtype == np.int64 or op_type in SIZED)):
            model.graph.initializer.append(numpy_helper.from_array(array, value.name))
        else:
            keep.append(value)
            arrays.append(array)
    if len(keep) == len(case.inputs):
        return None
    del model.graph.input[:]
    model.graph.input.extend(keep)
    return Case(f"{case.name}/bound", model, arrays, case.outputs, case.rtol, case.atol)


def differences(case: Case, found: Sequence[Array]) -> Iterator[str]:
    """How ``found`` differs from the outputs that the standard gives; nothing if it does not."""
    for index, (expected, result) in enumerate(zip(case.outputs, found, strict=True)):
        if expected.shape != result.shape:
            yield f"output {index}: shape {result.shape}, not {expected.shape}"
        elif expected.dtype != result.dtype and expected.dtype.kind != "O":
            yield f"output {index}: {result.dtype}, not {expected.dtype}"
        elif expected.dtype.kind in "OSU":
            if expected.astype(str).tolist() != result.astype(str).tolist():
                yield f"output {index}: other text"
        elif not _close(case, result, expected):
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                off = np.abs(result.astype(np.float64) - expected.astype(np.float64))
            yield f"output {index}: off by {np.nanmax(off):.3g}"


def _close(case: Case, result: Array, expected: Array) -> bool:
    """Whether they agree as far as the type and the largest magnitude let them."""
    a, b = result.astype(np.float64), expected.astype(np.float64)
    finite = np.abs(b[np.isfinite(b)])
    scale = float(finite.max()) if finite.size else 0.0
    coarse = {"float16": 2e-3, "bfloat16": 2e-2}.get(expected.dtype.name, 2e-6)
    rtol = max(case.rtol, coarse)
    return np.allclose(a, b, rtol, max(case.atol, coarse * scale), equal_nan=True)
