"""Compile many small models at once and compare their results.

A library costs seconds to link, so a batch of models becomes one model with the inputs and outputs
of all of them. Where a batch fails as a whole, halves are tried until the culprits are alone.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from burnish.backends.build import Provenance, build_artifact
from burnish.backends.compile import compile_program
from burnish.backends.lowering.lower import lower
from burnish.errors import BurnishError
from burnish.ir import Graph, OperatorNode
from burnish.ir.clone import clone
from burnish.pipeline import PassContext, run_pipeline
from burnish.selection import Selection, choose
from burnish.target import Target, resolve

NATIVE, REGION, REFUSED, WRONG, CRASH = "native", "region", "refused", "wrong", "crash"
"""What can become of a case."""


@dataclass
class Case:
    """A model with inputs and the outputs that they must give."""

    name: str
    model: onnx.ModelProto
    inputs: list[Any]
    outputs: list[Any]
    rtol: float
    atol: float
    graph: Graph | None = None


@dataclass
class Outcome:
    """What became of a case, and why."""

    name: str
    kind: str
    reason: str = ""


@dataclass
class Runner:
    """Runs cases and keeps what became of them."""

    target: Target = field(default_factory=lambda: resolve("cpu", 1))
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def run(self, cases: Sequence[Case], batch: int = 24) -> dict[str, Outcome]:
        """Find out what becomes of every case."""
        ready = [case for case in cases if self._prepare(case)]
        for start in range(0, len(ready), batch):
            self._batch(ready[start : start + batch])
        return self.outcomes

    def _note(self, case: Case, kind: str, reason: object = "") -> None:
        self.outcomes[case.name] = Outcome(case.name, kind, str(reason)[:400])

    def _prepare(self, case: Case) -> bool:
        """Run the passes, and lower alone to learn whether a region is needed."""
        if not all(isinstance(v, np.ndarray) for v in (*case.inputs, *case.outputs)):
            self._note(case, REFUSED, "inputs or outputs are no tensors")
            return False
        try:
            graph = Graph.from_onnx(case.model)
            steps = choose(Selection(None, None, (), None, {}, None, compiling=True))
            graph, _ = run_pipeline(graph, steps, PassContext(self.target), verify="off")
            lowered = lower(graph, self.target)
        except BurnishError as error:
            self._note(case, REFUSED, error)
            return False
        except Exception as error:
            self._note(case, CRASH, f"{type(error).__name__}: {error}")
            return False
        reasons = "; ".join(dict.fromkeys(lowered.refusals.values()))
        self._note(case, REGION if reasons else NATIVE, reasons)
        case.graph = graph
        return True

    def _batch(self, cases: Sequence[Case]) -> None:
        if not cases:
            return
        try:
            results, refusals = self._execute(cases)
        except Exception as error:
            if len(cases) > 1:
                middle = len(cases) // 2
                self._batch(cases[:middle])
                self._batch(cases[middle:])
            elif isinstance(error, BurnishError):
                self._note(cases[0], REFUSED, error)
            else:
                self._note(cases[0], CRASH, f"{type(error).__name__}: {error}")
            return
        for case, found, reason in zip(cases, results, refusals, strict=True):
            if reason and self.outcomes[case.name].kind == NATIVE:
                self._note(case, REGION, reason)
            difference = "; ".join(_differences(case, found))
            if difference and self.outcomes[case.name].kind == REGION and _engine_differs(case):
                self._note(case, REGION, f"ONNX Runtime's own answer differs: {difference}")
            elif difference:
                self._note(case, WRONG, difference)

    def _execute(self, cases: Sequence[Case]) -> tuple[list[list[np.ndarray]], list[str]]:
        merged, owners = merge([case.graph for case in cases if case.graph is not None])
        feeds = {
            value.name: np.asarray(array, order="C")
            for value, array in zip(
                merged.inputs, (array for case in cases for array in _used(case)), strict=True
            )
        }
        lowered, program = compile_program(merged, self.target)
        found = build_artifact([program], self.target, [], Provenance()).run(feeds)
        names = iter(merged.output_names)
        results = [[found[next(names)] for _ in case.outputs] for case in cases]
        reasons: list[dict[str, None]] = [{} for _ in cases]
        for node, reason in lowered.refusals.items():
            reasons[owners[node]][reason] = None
        return results, ["; ".join(each) for each in reasons]


def _used(case: Case) -> list[np.ndarray]:
    """The arrays for the inputs that the graph still has."""
    held = {tensor.name for tensor in case.model.graph.initializer}
    names = [value.name for value in case.model.graph.input if value.name not in held]
    by_name = dict(zip(names, case.inputs, strict=False))
    assert case.graph is not None
    return [by_name[value.name] for value in case.graph.inputs]


def _engine_differs(case: Case) -> bool:
    """Whether ONNX Runtime gives another answer, or none, for the model as it stands."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(case.model.SerializeToString(), options)
        names = [value.name for value in session.get_inputs()]
        found = session.run(None, dict(zip(names, case.inputs, strict=True)))
    except Exception:  # onnxruntime's errors share no public base
        return True
    return any(_differences(case, found))


def _differences(case: Case, found: Sequence[np.ndarray]) -> Iterator[str]:
    for index, (expected, result) in enumerate(zip(case.outputs, found, strict=True)):
        if expected.shape != result.shape:
            yield f"output {index}: shape {result.shape}, not {expected.shape}"
        elif expected.dtype != result.dtype:
            yield f"output {index}: {result.dtype}, not {expected.dtype}"
        elif not _close(case, result, expected):
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                off = np.abs(result.astype(np.float64) - expected.astype(np.float64))
            yield f"output {index}: off by {np.nanmax(off):.3g}"


def _close(case: Case, result: np.ndarray, expected: np.ndarray) -> bool:
    """Whether they agree as far as the type and the largest magnitude let them."""
    a, b = result.astype(np.float64), expected.astype(np.float64)
    finite = np.abs(b[np.isfinite(b)])
    scale = float(finite.max()) if finite.size else 0.0
    coarse = {"float16": 2e-3, "bfloat16": 2e-2}.get(expected.dtype.name, 2e-6)
    rtol = max(case.rtol, coarse)
    return np.allclose(a, b, rtol, max(case.atol, coarse * scale), equal_nan=True)


def _array(value: Any) -> Any:
    """An operand as an array; sequences and the like stay what they are."""
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic | float | int) else value


def merge(graphs: Sequence[Graph]) -> tuple[Graph, dict[OperatorNode, int]]:
    """One graph that does what all of ``graphs`` do, and from which of them each node is.

    Its inputs and outputs are numbered.
    """
    owners: dict[OperatorNode, int] = {}
    result = Graph("merged", dict(graphs[0].opsets))
    outputs = []
    for number, graph in enumerate(graphs):
        copy, _ = clone(graph)
        result.opsets |= copy.opsets
        for index, value in enumerate(copy.inputs):
            value.name = f"in{number}_{index}"
            result.inputs.append(value)
        made = copy.outputs
        copy.outputs = ()
        for node in list(copy):
            owners[result.append(copy.unlink(node))] = number
        outputs += list(made)
    result.outputs = tuple(outputs)
    result.output_names = tuple(f"out{index}" for index in range(len(outputs)))
    return result, owners


def node_cases() -> list[Case]:
    """ONNX's own cases, one operator each."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        collected = collect_testcases(None)
    cases = []
    for case in collected:
        inputs, outputs = case.data_sets[0]
        cases.append(
            Case(
                case.name,
                case.model,
                [*map(_array, inputs)],
                [*map(_array, outputs)],
                case.rtol,
                case.atol,
            )
        )
    return sorted(cases, key=lambda case: case.name)


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


def summary(outcomes: Mapping[str, Outcome]) -> dict[str, int]:
    """How many cases came to each end."""
    kinds = [outcome.kind for outcome in outcomes.values()]
    return {kind: kinds.count(kind) for kind in (NATIVE, REGION, REFUSED, WRONG, CRASH)}
