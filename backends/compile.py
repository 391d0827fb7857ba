"""From a graph to an artifact: lower, schedule, generate code, build."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from burnish.backends.artifact import Artifact
from burnish.backends.build import Provenance, build_artifact
from burnish.backends.cpu import codegen
from burnish.backends.cpu.schedule import schedule_with_rule
from burnish.backends.lowering.emitter import Kernel
from burnish.backends.lowering.lower import Lowered, lower
from burnish.backends.program import Call, Program
from burnish.backends.self_test import Vector
from burnish.errors import UnsupportedModel
from burnish.ir import Array, Graph
from burnish.target import Target


@dataclass(frozen=True)
class CompileOptions:
    """What code generation may do."""

    tune: float = 0.0
    """Seconds to spend on timing candidates; 0 takes the first choice of each."""
    progress: Callable[[str, int, int], None] | None = None
    """Called with a stage's name, how many steps of it are done, and of how many."""


@dataclass
class NativeShare:
    """How much of a model runs in kernels of its own."""

    operators: float
    refusals: dict[str, str] = field(default_factory=dict)
    """Reason for each operator type left to ONNX Runtime."""


def compile_graph(
    graph: Graph,
    target: Target,
    vectors: Vector,
    provenance: dict[str, Any],
    options: CompileOptions = CompileOptions(),
) -> Artifact:
    """Compile ``graph``, whose shapes are static.

    Args:
        graph: after the passes of the ``compile`` preset.
        target: what to generate code for.
        vectors: inputs and the outputs expected for them, for the self-test.
        provenance: what the manifest records of the model, passes and native share.
        options: tuning and progress.

    Raises:
        UnsupportedModel: an operator has no kernel and the target is not this machine.
    """
    lowered = lower(graph, target)
    program = generate(lowered, target, options)
    return build_artifact([program], target, [vectors], Provenance(**provenance))


def generate(lowered: Lowered, target: Target, options: CompileOptions) -> Program:
    """Schedule every distinct kernel and compile them to one object."""
    chosen: dict[str, Any] = {}
    names: dict[str, str] = {}
    for kernel in lowered.kernels:
        key = codegen.structural_key(kernel.func, target)
        if key not in chosen:
            symbol = f"k{len(chosen)}_{kernel.name.split('_', 1)[1]}"
            scheduled = schedule_with_rule(kernel.func, target).func
            chosen[key] = (symbol, scheduled.with_attr("global_symbol", symbol))
        names[kernel.name] = chosen[key][0]
    objects = codegen.compile_objects(dict(chosen.values()), target)
    calls = [
        call if call.region is not None
        else Call(names[call.kernel], call.args, call.outputs, call.inplace)
        for call in lowered.calls
    ]  # fmt: skip
    return Program(lowered.inputs, lowered.outputs, calls, objects)
