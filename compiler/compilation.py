"""Compiling: passes, verification, code generation, and what is recorded about them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from burnish.errors import GateFailed, UsageError
from burnish.ir import Graph
from burnish.narrowing import Narrowed, Precision, narrow
from burnish.narrowing import describe as describe_precision
from burnish.oracle.comparison import TOLERANCES
from burnish.pipeline import PassContext, PipelineReport, Progress, Verify, run_pipeline
from burnish.report import describe_pass
from burnish.selection import Selection, choose
from burnish.suggest import no_input
from burnish.target import Target
from burnish.verification import Feeds, Reference

if TYPE_CHECKING:
    from burnish.backends.artifact import Artifact

TUNE = 20.0
"""Seconds spent on timing candidates of kernels unless the user says otherwise."""


@dataclass(frozen=True)
class Request:
    """What to compile for, and how."""

    target: Target
    selection: Selection
    verify: Verify = "end"
    samples: Sequence[Feeds] | None = None
    tune: float | str = TUNE
    """Seconds for timing candidates of kernels, or "off"."""
    winograd: bool = True
    """Whether convolutions may be computed by minimal filtering."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """What the manifest says about where the model came from."""
    precision: Precision = field(default_factory=Precision)


@dataclass(frozen=True)
class Tuning:
    """How far tuning came in its time."""

    seconds: float
    """The time that it was given."""
    tuned: int
    """Kernels that are tuned, now or before."""
    kernels: int
    """Kernels that can be tuned."""

    def __str__(self) -> str:
        return f"tuned {self.tuned} of {self.kernels} kernels in {self.seconds:g} s"


@dataclass
class Compilation:
    """An artifact and how it came to be."""

    artifact: Artifact
    report: PipelineReport
    graph: Graph
    """What code was generated from."""
    seconds: float
    """Wall clock of all of it."""
    tuning: Tuning | None = None
    """How far tuning came, if there was any."""
    notices: tuple[str, ...] = ()
    """What a user should know of how the artifact came to be."""
    precision: Mapping[str, Any] | None = None
    """What was rounded, and how far that moves each output; as in the manifest."""


def compile_model(graph: Graph, request: Request, progress: Progress | None = None) -> Compilation:
    """Compile ``graph``, which stays as it is.

    Raises:
        UsageError: an option does not exist or does not fit, or an input has no fixed shape.
        UnsupportedModel: something in it cannot be compiled for the target.
        GateFailed: on this machine, the result does not answer what the original does.
    """
    started = time.perf_counter()
    target = request.precision.suited(request.target)
    steps = choose(request.selection)
    require_shapes(graph, request.selection.input_shapes or {})
    tuning_seconds(request.tune)
    reference = Reference(graph, request.samples, request.selection.input_shapes)
    static, report = run_pipeline(
        graph, steps, PassContext(request.target), verify=request.verify, reference=reference,
        progress=progress,
    )  # fmt: skip
    undone = {id(entry) for entry in report.rolled_back}
    kept = [step for step, entry in zip(steps, report, strict=True) if id(entry) not in undone]
    tolerance = max((TOLERANCES.get(v.dtype, 0.0) for v in graph.outputs), default=0.0)
    narrowed = None
    if not request.precision.is_full:
        narrowed = _narrow(static, request, target, reference, report, progress)
        static = narrowed.graph
        kept += [narrowed.step] if narrowed.step else []
        tolerance = max(tolerance, request.precision.tolerance)
    provenance = {
        "model": dict(request.source),
        "passes": [describe_pass(step) for step in kept],
        "tolerance": tolerance,
    }
    made = _generate(static, target, request, reference, provenance, report, progress)
    if narrowed is not None:
        made.precision = _measure(made.artifact, narrowed, request, reference)
    elif target.is_host and request.verify != "off":
        reference.check_compiled(made.artifact.run)
    made.seconds = time.perf_counter() - started
    return made


def _generate(
    graph: Graph,
    target: Target,
    request: Request,
    reference: Reference,
    provenance: dict[str, Any],
    report: PipelineReport,
    progress: Progress | None,
) -> Compilation:
    """Code for ``graph``; how long all of it took is still to be said."""
    from burnish.backends.compile import CompileOptions, compile_graph
    from burnish.backends.self_test import Vector

    seconds = tuning_seconds(request.tune)
    tuning: list[Tuning] = []
    notices: list[str] = []
    vector = Vector(reference.feeds[0], reference.expected[0])
    options = CompileOptions(
        tune=seconds,
        progress=progress,
        tuned=lambda tuned, kernels: tuning.append(Tuning(seconds, tuned, kernels)),
        winograd=request.winograd,
        notice=notices.append,
    )
    artifact = compile_graph(graph, target, vector, provenance, options)
    last = tuning[-1] if tuning else None
    return Compilation(artifact, report, graph, 0.0, last, tuple(notices))


def _narrow(
    graph: Graph,
    request: Request,
    target: Target,
    reference: Reference,
    report: PipelineReport,
    progress: Progress | None,
) -> Narrowed:
    """Round, and add to ``report`` what that did."""
    judge = None if request.verify == "off" else reference
    narrowed = narrow(graph, request.precision, PassContext(target), judge, progress)
    if narrowed.report is not None:
        report.passes.append(narrowed.report)
    return narrowed


def _measure(
    artifact: Artifact, narrowed: Narrowed, request: Request, reference: Reference
) -> dict[str, Any]:
    """State in ``artifact`` how far it is from the original, by running it where that is possible.

    Raises:
        GateFailed: that is farther than is allowed.
    """
    from burnish.backends.build import state_precision

    errors = dict(narrowed.errors)
    if request.target.is_host:
        errors = reference.errors_of(artifact.run)
    precision = describe_precision(narrowed, request.precision, errors)
    worst = max(errors, key=lambda name: errors[name], default=None)
    if worst is not None and not errors[worst] <= request.precision.tolerance:
        raise GateFailed(
            f"compiled with bf16, the output {worst!r} is off by {errors[worst]:.2g} of its "
            f"largest value, where {request.precision.tolerance:.2g} is allowed; raise "
            "--tolerance, or leave --precision out"
        )
    state_precision(artifact, precision)
    return precision


def require_shapes(graph: Graph, given: Mapping[str, Sequence[int]]) -> None:
    """Make sure that every size of every input will be known.

    Raises:
        UsageError: one is open, and the message has the option to give; or ``given`` names what
            is no input.
    """
    for name in given:
        if graph.input_named(name) is None:
            raise UsageError(no_input(name, {value.name: value.shape for value in graph.inputs}))
    settled = {
        dim
        for value in graph.inputs
        if value.name in given
        for dim in value.shape or ()
        if isinstance(dim, str)
    }
    missing = []
    for value in graph.inputs:
        if value.name in given or value.onnx_type is not None:
            continue
        if value.shape is None or any(
            not isinstance(dim, int) and dim not in settled for dim in value.shape
        ):
            missing.append(_option(value.name, value.shape))
    if missing:
        raise UsageError(
            "compiling needs fixed shapes, and the model leaves some open; give "
            + " ".join(missing)
            + " with numbers in place of the names"
        )


def _option(name: str, shape: Sequence[Any] | None) -> str:
    sizes = "..." if shape is None else ",".join("?" if d is None else str(d) for d in shape)
    return f"--input-shape '{name}={sizes}'"


def tuning_seconds(tune: float | str) -> float:
    """Seconds that may be spent on tuning, 0 for "off".

    Raises:
        UsageError: it is neither a number of at least 0 nor "off".
    """
    try:
        seconds = 0.0 if tune == "off" else float(tune)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"--tune takes off or a number of seconds, not {tune!r}")
    return seconds
