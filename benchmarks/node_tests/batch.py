"""Compile many small models at once and compare their results.

A library costs seconds to link, so a batch of models becomes one model with the inputs and outputs
of all of them. Where a batch fails as a whole, halves are tried until the culprits are alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from benchmarks.inputs import Array
from benchmarks.node_tests.cases import Case, differences
from burnish.backends.build import Provenance, build_artifact
from burnish.backends.compile import compile_program
from burnish.backends.lowering.lower import lower
from burnish.errors import BurnishError
from burnish.ir import Graph, OperatorNode
from burnish.ir.clone import clone
from burnish.onnx_runtime import import_onnx_runtime
from burnish.pipeline import PassContext, run_pipeline
from burnish.selection import Selection, choose
from burnish.target import Target, resolve

NATIVE, REGION, REFUSED, CHANCE, ENGINE, WRONG, CRASH = (
    "native", "region", "refused", "chance", "engine", "wrong", "crash"
)  # fmt: skip
"""What can become of a case. ``chance``: a region draws random numbers, so that no answer is right.
``engine``: a region answers what ONNX Runtime answers to the original model, which is not what the
standard says."""


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
    graphs: dict[str, Graph] = field(default_factory=dict)
    """What code is generated from, by case."""

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
        if not case.is_of_tensors:
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
        self.graphs[case.name] = graph
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
            difference = "; ".join(differences(case, found))
            if difference:
                kind = WRONG if self.outcomes[case.name].kind == NATIVE else _blame(case)
                self._note(case, kind, DRAWN if kind == CHANCE else difference)

    def _execute(self, cases: Sequence[Case]) -> tuple[list[list[Array]], list[str]]:
        graphs = [self.graphs[case.name] for case in cases]
        merged, owners = merge(graphs)
        # Passes drop inputs that nothing reads.
        arrays = [
            case.feeds[value.name]
            for case, graph in zip(cases, graphs, strict=True)
            for value in graph.inputs
        ]
        feeds = {
            value.name: np.asarray(array, order="C")
            for value, array in zip(merged.inputs, arrays, strict=True)
        }
        lowered, program = compile_program(merged, self.target)
        found = build_artifact([program], self.target, [], Provenance()).run(feeds)
        names = iter(merged.output_names)
        results = [[found[next(names)] for _ in case.outputs] for case in cases]
        reasons: list[dict[str, None]] = [{} for _ in cases]
        for node, reason in lowered.refusals.items():
            reasons[owners[node]][reason] = None
        return results, ["; ".join(each) for each in reasons]


DRAWING = frozenset(
    {
        "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
        "RandomUniformLike",
    }
)  # fmt: skip
"""Operators that draw random numbers; the standard names no generator, whatever the seed."""


DRAWN = "it draws random numbers, so that no answer is the right one"


def _blame(case: Case) -> str:
    """Whose fault it is that a region does not answer what the standard says."""
    if any(_draws(node) for node in case.model.graph.node):
        return CHANCE
    onnxruntime = import_onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(case.model.SerializeToString(), options)
        found = session.run(None, case.feeds)
    except Exception:  # onnxruntime's errors share no public base
        return ENGINE
    return ENGINE if any(differences(case, found)) else WRONG


def _draws(node: onnx.NodeProto) -> bool:
    """Whether ``node`` draws random numbers; Dropout does if it is told that it trains."""
    trains = node.op_type == "Dropout" and len(node.input) == 3 and bool(node.input[2])
    return node.op_type in DRAWING or trains


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
