"""Compiling: passes, verification, code generation, and what is recorded about them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from burnish.errors import UsageError
from burnish.ir import Graph
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


def compile_model(graph: Graph, request: Request, progress: Progress | None = None) -> Compilation:
    """Compile ``graph``, which stays as it is.

    Raises:
        UsageError: an option does not exist or does not fit, or an input has no fixed shape.
        UnsupportedModel: something in it cannot be compiled for the target.
        GateFailed: on this machine, the result does not answer what the original does.
    """
    from burnish.backends.compile import CompileOptions, compile_graph
    from burnish.backends.self_test import Vector

    started = time.perf_counter()
    steps = choose(request.selection)
    require_shapes(graph, request.selection.input_shapes or {})
    seconds = tuning_seconds(request.tune)
    reference = Reference(graph, request.samples, request.selection.input_shapes)
    static, report = run_pipeline(
        graph, steps, PassContext(request.target), verify=request.verify, reference=reference,
        progress=progress,
    )  # fmt: skip
    undone = {id(entry) for entry in report.rolled_back}
    kept = [step for step, entry in zip(steps, report, strict=True) if id(entry) not in undone]
    provenance = {
        "model": dict(request.source),
        "passes": [describe_pass(step) for step in kept],
        "tolerance": max((TOLERANCES.get(v.dtype, 0.0) for v in graph.outputs), default=0.0),
    }
    tuning: list[Tuning] = []
    notices: list[str] = []
    artifact = compile_graph(
        static,
        request.target,
        Vector(reference.feeds[0], reference.expected[0]),
        provenance,
        CompileOptions(
            tune=seconds,
            progress=progress,
            tuned=lambda tuned, kernels: tuning.append(Tuning(seconds, tuned, kernels)),
            winograd=request.winograd,
            notice=notices.append,
        ),
    )
    if request.target.is_host and request.verify != "off":
        reference.check_compiled(artifact.run)
    last = tuning[-1] if tuning else None
    passed = time.perf_counter() - started
    return Compilation(artifact, report, static, passed, last, tuple(notices))


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
