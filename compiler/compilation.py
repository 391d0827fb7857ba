"""Compiling: passes, verification, code generation, and what is recorded about them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from burnish.entries import (
    Entry,
    Preparation,
    merged,
    passes_of,
    prepare,
    require_distinct,
    samples_of_entries,
)
from burnish.errors import GateFailed, UsageError
from burnish.ir import Graph
from burnish.narrowing import Precision
from burnish.narrowing import describe as describe_precision
from burnish.oracle.comparison import TOLERANCES
from burnish.pipeline import PipelineReport, Progress, Verify
from burnish.selection import Selection
from burnish.suggest import no_input
from burnish.target import Target
from burnish.verification import Feeds

if TYPE_CHECKING:
    from burnish.backends.artifact import Artifact

TUNE = 30.0
"""Seconds spent on timing candidates of kernels unless the user says otherwise."""


@dataclass(frozen=True)
class Request:
    """What to compile for, and how."""

    target: Target
    selection: Selection
    """Its shapes apply where ``shapes`` says nothing."""
    verify: Verify = "end"
    samples: Sequence[Feeds] | None = None
    tune: float | str = TUNE
    """Seconds for timing candidates of kernels, or "off"."""
    winograd: bool = True
    """Whether convolutions may be computed by minimal filtering."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """What the manifest says about where the model came from."""
    precision: Precision = field(default_factory=Precision)
    shapes: Sequence[Mapping[str, Sequence[int]]] = ()
    """Sets of input shapes, of which each becomes an entry of the artifact."""

    def selections(self) -> list[Selection]:
        """The options of each entry."""
        sets = self.shapes or [self.selection.input_shapes or {}]
        return [replace(self.selection, input_shapes=shapes) for shapes in sets]


@dataclass(frozen=True)
class Tuning:
    """How far tuning came in its time."""

    seconds: float
    """The time that it was given."""
    tuned: int
    """Kernels that are tuned, now or before."""
    kernels: int
    """Kernels that can be tuned."""
    stopped: bool = False
    """Whether the user stopped it."""

    def __str__(self) -> str:
        if self.stopped:
            return f"tuning was stopped at {self.tuned} of {self.kernels} kernels"
        limit = f"the {self.seconds:g} s that all compiles of this model have together"
        return f"tuned {self.tuned} of {self.kernels} kernels in {limit}"


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


_SHARES = (1.0, 0.7, 0.4)
"""Of the tolerance, what rounding may use up by the oracle's reckoning: compiled code sums in
another order, which bfloat16 may round to another number, and so may be farther off."""


def compile_model(graph: Graph, request: Request, progress: Progress | None = None) -> Compilation:
    """Compile ``graph``, which stays as it is.

    Raises:
        UsageError: an option does not exist or does not fit, or an input has no fixed shape.
        UnsupportedModel: something in it cannot be compiled for the target.
        GateFailed: on this machine, the result does not answer what the original does.
    """
    started = time.perf_counter()
    target = request.precision.suited(request.target)
    selections = request.selections()
    for name in request.precision.passes:
        if name in request.selection.skip:
            raise UsageError(
                f"--skip {name} contradicts {request.precision.options}: leave one of them out"
            )
    for selection in selections:
        require_shapes(graph, selection.input_shapes or {})
    tuning_seconds(request.tune)
    is_judged = not request.precision.is_full and target.is_host and request.verify != "off"
    failure: GateFailed | None = None
    spent: dict[str, float] = {}
    for share in _SHARES if is_judged else (1.0,):
        try:
            made = _compile(graph, request, target, share, spent, progress)
        except GateFailed as error:
            failure = failure or error
        else:
            made.seconds = time.perf_counter() - started
            return made
    assert failure is not None
    raise failure


def _compile(
    graph: Graph,
    request: Request,
    target: Target,
    share: float,
    spent: dict[str, float],
    progress: Progress | None,
) -> Compilation:
    """Compile, rounding what moves outputs by ``share`` of the tolerance by the oracle's reckoning.

    Tuning has the seconds that are not ``spent`` yet, and adds to them.

    Raises:
        BurnishError: as `compile_model`.
    """
    selections = request.selections()
    samples = samples_of_entries(request.samples, selections)
    precision = replace(request.precision, tolerance=share * request.precision.tolerance)
    how = Preparation(request.target, request.verify, precision, progress)
    entries = [
        prepare(graph, selection, own, how)
        for selection, own in zip(selections, samples, strict=True)
    ]
    require_distinct([entry.graph for entry in entries])
    tolerance = max((TOLERANCES.get(v.dtype, 0.0) for v in graph.outputs), default=0.0)
    if not request.precision.is_full:
        tolerance = max(tolerance, request.precision.tolerance)
    provenance = {
        "model": dict(request.source),
        "passes": passes_of(entries),
        "tolerance": tolerance,
    }
    made = _generate(entries, target, request, provenance, spent, progress)
    if not request.precision.is_full:
        made.precision = _measure(made.artifact, entries, request)
    elif target.is_host and request.verify != "off":
        for entry in entries:
            entry.reference.check_compiled(made.artifact.run)
    coarse = [notice for entry in entries for notice in entry.reference.ties.notices()]
    made.notices = (*made.notices, *dict.fromkeys(coarse))
    return made


def _generate(
    entries: Sequence[Entry],
    target: Target,
    request: Request,
    provenance: dict[str, Any],
    spent: dict[str, float],
    progress: Progress | None,
) -> Compilation:
    """Code for all entries; how long all of it took is still to be said."""
    from burnish.backends.compile import CompileOptions, compile_graphs
    from burnish.backends.self_test import Vector

    seconds = tuning_seconds(request.tune)
    tuning: list[Tuning] = []
    notices: list[str] = []
    graphs = [entry.graph for entry in entries]
    references = [entry.reference for entry in entries]
    vectors = [Vector(each.feeds[0], each.expected[0], each.leeway(0)) for each in references]
    options = CompileOptions(
        tune=seconds,
        progress=progress,
        tuned=lambda outcome: tuning.append(
            Tuning(seconds, outcome.tuned, outcome.kernels, outcome.stopped)
        ),
        winograd=request.winograd,
        notice=notices.append,
        spent=spent,
    )
    artifact = compile_graphs(graphs, target, vectors, provenance, options)
    last = tuning[-1] if tuning else None
    report = merged([entry.report for entry in entries])
    return Compilation(artifact, report, graphs[0], 0.0, last, tuple(notices))


def _measure(artifact: Artifact, entries: Sequence[Entry], request: Request) -> dict[str, Any]:
    """State in ``artifact`` how far it is from the original, by running it where that is possible.

    Raises:
        GateFailed: that is farther than is allowed.
    """
    from burnish.backends.build import state_precision

    narrowed = [entry.narrowed for entry in entries if entry.narrowed is not None]
    found = [each.errors for each in narrowed]
    if request.target.is_host:
        found = [entry.reference.errors_of(artifact.run) for entry in entries]
    errors: dict[str, float] = {}
    for name, error in (item for each in found for item in each.items()):
        errors[name] = max(error, errors.get(name, 0.0))
    least = min(narrowed, key=lambda each: each.rounded)
    precision = describe_precision(least, request.precision, errors)
    worst = max(errors, key=lambda name: errors[name], default=None)
    if worst is not None and not errors[worst] <= request.precision.tolerance:
        raise GateFailed(
            f"compiled with {request.precision.options}, the output {worst!r} is off by "
            f"{errors[worst]:.2g} of its largest value, where {request.precision.tolerance:.2g} is "
            "allowed; raise --tolerance, or leave the option out"
        )
    state_precision(artifact, precision)
    return precision


def require_shapes(
    graph: Graph, given: Mapping[str, Sequence[int]], purpose: str = "compiling"
) -> None:
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
            f"{purpose} needs fixed shapes, and the model leaves some open; give "
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
