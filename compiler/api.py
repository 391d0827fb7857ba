"""The public functions of burnish; import them from ``burnish`` itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, get_args

from burnish.building.execute import finish
from burnish.building.job import Job
from burnish.building.requests import requests
from burnish.building.workshop import Made, MadeArtifact, MadeOnnx, Workshop
from burnish.compilation import TUNE
from burnish.errors import UsageError
from burnish.gates import Budgets, parse_bytes
from burnish.ir import Graph
from burnish.narrowing import Precision
from burnish.parameters import in_python
from burnish.pipeline import Pass, PipelineReport, Progress, Verify
from burnish.pruning.request import Pruning
from burnish.quantization.request import Quantization, Source
from burnish.selection import Selection, choose
from burnish.shape_sets import distinct
from burnish.source import Model, describe_source, load
from burnish.target import Target, resolve
from burnish.verification import Feeds

if TYPE_CHECKING:
    from burnish.backends.artifact import Artifact
    from burnish.bench.task import Task
    from burnish.diagnosis.clock import Progress as Clock
    from burnish.diagnosis.metric import Wrong
    from burnish.diagnosis.outcome import Diagnosis
    from burnish.explanation import Explanation

logger = logging.getLogger(__name__)

Name = TypeVar("Name", str, str | Pass)
InputShapes: TypeAlias = Mapping[str, Sequence[int]]
"""One shape per input name, in elements."""


def optimize(
    model: Model,
    preset: str = "default",
    *,
    input_shapes: InputShapes | None = None,
    passes: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    set: Mapping[str, Any] | None = None,
    opset: int | None = None,
    verify: Verify = "end",
    samples: Sequence[Feeds] | None = None,
    keep: Sequence[str] = (),
    optional: Mapping[str, float] | Sequence[str] = (),
    quantize: str | Quantization | None = None,
    prune: float | str | Pruning | None = None,
    calibration: Source | None = None,
    budget_size: int | str | None = None,
    min_speedup: float | None = None,
    max_drop: float | None = None,
    eval: Task | str | None = None,
    progress: Progress | None = None,
) -> tuple[Graph, PipelineReport]:
    """Rewrite a model; ``model`` itself stays as it is.

    Args:
        model: a graph, or what ``load`` takes.
        preset: ``minimal``, ``default`` or ``max``.
        input_shapes: shapes to give to inputs that leave them open.
        passes: names of passes to run instead of the preset's, in this order.
        skip: names of passes to leave out.
        set: options of passes, by ``pass.field``.
        opset: version of the standard operators to convert to; None keeps the model's.
        verify: compare outputs with the original's after ``each`` pass, at the ``end``, or ``off``.
        samples: inputs to compare on, arrays by name; by default random ones.
        keep: names of values inside the main graph that the result still computes, under these
            names. Names of inputs and outputs stay anyway.
        optional: passes to keep only if the result without them takes this many times as long,
            measured; a list asks for any gain at all.
        quantize: "int8" for products of 8 bits where these pay; a ``Quantization`` says more.
        prune: how much to remove before that: a share of the operations, as 0.3, or as on the
            command line; a ``Pruning`` says more.
        calibration: data for both: dicts of arrays by input name, or as on the command line.
        budget_size: bytes of the result at most, or a text such as "12MB".
        min_speedup: least time of ONNX Runtime on the original over the result's, both measured.
        max_drop: points, hundredths of the first metric of ``eval``, that may be lost.
        eval: a task with labels, or what the option of the command line takes. Without
            ``max_drop`` its scores are only logged, as information.
        progress: called with a pass name, how many passes are done and how many there are.

    Returns:
        The rewritten graph, and a report that is a sequence of one ``PassReport`` per pass; its
        ``budgets`` are those that hold.

    Raises:
        UsageError: an option does not exist or does not fit the model.
        InvalidInput: the model is no valid ONNX.
        UnsupportedModel: the oracle cannot run it, so that nothing could be verified.
        GateFailed: a budget fails; its ``gates`` are all of them.
    """
    _check(verify, samples)
    graph, shapes = _graph(model), _whole(input_shapes) or {}
    selection = Selection(preset, _names(passes), _names(skip) or (), set, shapes, opset)
    quantization, pruning = requests(quantize, prune, calibration)
    job = Job(
        _path(model), Path("optimized.onnx"), selection, (shapes,), verify=verify, samples=samples,
        keep=tuple(_names(keep) or ()),
        budgets=_budgets(budget_size, None, min_speedup, max_drop), optional=_ratios(optional),
        task=eval, quantization=quantization, pruning=pruning,
    )  # fmt: skip
    made = _made(job, graph, progress)
    assert isinstance(made, MadeOnnx)
    return made.graph, made.report


def compile(
    model: Model,
    target: str | Target = "cpu",
    *,
    input_shapes: InputShapes | Sequence[InputShapes] | None = None,
    preset: str | None = None,
    passes: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    set: Mapping[str, Any] | None = None,
    opset: int | None = None,
    verify: Verify = "end",
    samples: Sequence[Feeds] | None = None,
    threads: int | None = None,
    tune: float | str | None = None,
    winograd: bool = True,
    precision: str | None = None,
    weights: str | None = None,
    tolerance: float | None = None,
    optional: Mapping[str, float] | Sequence[str] = (),
    quantize: str | Quantization | None = None,
    prune: float | str | Pruning | None = None,
    calibration: Source | None = None,
    budget_size: int | str | None = None,
    budget_arena: int | str | None = None,
    min_speedup: float | None = None,
    max_drop: float | None = None,
    eval: Task | str | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Compile a model to an artifact, whose ``budgets`` hold; ``model`` itself stays as it is.

    Args:
        model: a graph, or what ``load`` takes.
        target: a name that ``burnish targets`` lists.
        input_shapes: shapes of the inputs that the model leaves open; a list of several such sets
            gives one artifact for all of them, which shares weights and picks by shape.
        preset: ``minimal``, ``default`` or ``max``, to run before what compiling needs.
        passes: names of passes to run instead of all these, in this order.
        skip: as for ``optimize``.
        set: as for ``optimize``.
        opset: as for ``optimize``; by default the newest.
        verify: as for ``optimize``.
        samples: as for ``optimize``; the first of each set of shapes becomes a self-test.
        threads: of the artifact; by default all cores of this machine, or one elsewhere.
        tune: seconds for timing candidates of kernels, or "off"; None for the default.
        winograd: whether 3x3 convolutions may be filtered minimally: faster, rounded differently.
        precision: "f32", the default, or "bf16": products and convolutions multiply numbers that
            are rounded to bfloat16 where that is faster, and sum in float32.
        weights: "f32", the default, or "bf16", in half the space where reading them takes time.
        tolerance: how far rounding may move any output, relative to its largest value; 0.01 by
            default. Operators are left as they are where it would be more.
        optional: as for ``optimize``.
        quantize: as for ``optimize``.
        prune: as for ``optimize``.
        calibration: as for ``optimize``.
        budget_size: as for ``optimize``.
        budget_arena: bytes of memory between kernels at most.
        min_speedup: as for ``optimize``.
        max_drop: as for ``optimize``.
        eval: as for ``optimize``.
        progress: called with the name of a step, how many are done and how many there are.

    Raises:
        UsageError: an option does not exist, or a shape is missing or does not fit.
        InvalidInput: the model is no valid ONNX.
        UnsupportedModel: an operator, dtype or precision cannot be compiled for the target.
        GateFailed: rounding moves an output farther than ``tolerance``, or a budget fails.
    """
    _check(verify, samples)
    goal = target if isinstance(target, Target) else resolve(target, threads)
    job = Job(
        _path(model), Path("compiled.burnish"),
        Selection(preset, _names(passes), _names(skip) or (), set, None, opset, compiling=True),
        tuple(_sets(input_shapes)), goal, Precision.of(precision, weights, tolerance), verify,
        TUNE if tune is None else tune, winograd, samples, (),
        _budgets(budget_size, budget_arena, min_speedup, max_drop), _ratios(optional), eval,
        describe_source(model), *requests(quantize, prune, calibration),
    )  # fmt: skip
    return cast(MadeArtifact, _made(job, _graph(model), progress)).artifact


def explain(
    model: Model,
    target: str | None = None,
    *,
    preset: str | None = None,
    input_shapes: InputShapes | None = None,
    passes: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    set: Mapping[str, Any] | None = None,
    opset: int | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Run the passes of ``optimize``, or of ``compile`` for ``target``, and collect near misses.

    Returns:
        What passes did and what they nearly did, and with ``target`` what it has no kernels for.

    Raises:
        UsageError: an option does not exist or does not fit the model.
    """
    from burnish.explanation import explain_model

    goal = None if target is None else resolve(target)
    selection = Selection(
        preset, _names(passes), _names(skip) or (), set, _whole(input_shapes), opset,
        goal is not None,
    )  # fmt: skip
    given = _whole(input_shapes)
    return explain_model(
        _graph(model), choose(selection), goal, shapes=given, progress=progress,
        settle=passes is None and goal is None,
    )  # fmt: skip


def diagnose(
    model: Model,
    *,
    preset: str | None = None,
    input_shapes: InputShapes | None = None,
    passes: Sequence[str | Pass] | None = None,
    skip: Sequence[str] = (),
    set: Mapping[str, Any] | None = None,
    opset: int | None = None,
    samples: Sequence[Feeds] | None = None,
    wrong: Wrong | None = None,
    eval: str | Task | None = None,
    max_drop: float | None = None,
    engine: str | None = None,
    tolerance: float | None = None,
    time: float = 300.0,
    progress: Clock | None = None,
) -> Diagnosis:
    """Find the one rewrite that makes a result wrong, and the smallest model that shows it.

    Args:
        model: a graph, or what ``load`` takes.
        preset: as for ``optimize`` and ``compile``.
        input_shapes: as there; compiled code is only tried where no shape stays open.
        passes: as there, also passes of your own.
        skip: as there.
        set: as there.
        opset: as there.
        samples: inputs that show it, arrays by name; by default random ones.
        wrong: says what is wrong with a graph, None if nothing is. It takes the place of comparing
            outputs.
        eval: a task, whose metric takes their place; as for ``optimize``.
        max_drop: points of it that may be lost, 0 by default.
        engine: "ort" to look at what rewriting leaves, "tvm" at compiled code; by default at the
            second if the first is right.
        tolerance: how far an output may be off, relative to its largest value; by default what the
            passes promise.
        time: seconds after which the search stops.
        progress: called with what is being tried, the seconds that have gone and all there are.

    Returns:
        What was found, which is false if nothing is wrong; its ``save`` writes a folder.

    Raises:
        UsageError: an option does not exist or does not fit the model.
        UnsupportedModel: the oracle cannot run the model, or it answers at random.
        BurnishError: the time was up before anything was found to be wrong.
    """
    from burnish.bench.loading import load_task
    from burnish.diagnosis.diagnose import Request, diagnose_model

    selection = Selection(
        preset, _names(passes), _names(skip) or (), set, _whole(input_shapes), opset,
    )  # fmt: skip
    task = load_task(eval) if isinstance(eval, str) else eval
    request = Request(selection, engine, samples, wrong, task, max_drop or 0.0, tolerance, time)
    return diagnose_model(_graph(model), request, progress)


def _graph(model: Model) -> Graph:
    return model if isinstance(model, Graph) else load(model)


def _path(model: Model) -> Path | None:
    return Path(model) if isinstance(model, str | os.PathLike) else None


def _made(job: Job, graph: Graph, progress: Progress | None) -> Made:
    """What ``job`` comes to; what has no place in an artifact is logged."""
    finished = finish(Workshop(job, graph, progress))
    own = finished.made.report
    own.notices = [in_python(notice) for notice in own.notices]
    notices = [] if job.target is None else own.notices
    dropped = [one for one in finished.verdicts if not one.kept]
    for one in (*dropped, *notices):
        logger.warning("%s", one)
    for line in (*(one for one in finished.verdicts if one.kept), *finished.scores):
        logger.info("%s", line)
    return finished.made


def _budgets(
    size: int | str | None, arena: int | str | None, speedup: float | None, drop: float | None
) -> Budgets:
    return Budgets(_count("--budget-size", size), _count("--budget-arena", arena), drop, speedup)


def _count(where: str, size: int | str | None) -> int | None:
    return parse_bytes(size, where) if isinstance(size, str) else size


def _ratios(optional: Mapping[str, float] | Sequence[str]) -> dict[str, float]:
    named = (
        optional if isinstance(optional, Mapping) else dict.fromkeys(_names(optional) or (), 1.0)
    )
    return dict(named)


def _check(verify: str, samples: Sequence[Feeds] | None) -> None:
    """Refuse what would pass for a verification and is none."""
    if verify not in get_args(Verify):
        raise UsageError(f"verify is one of {', '.join(get_args(Verify))}, not {verify!r}")
    if samples is not None and not samples:
        raise UsageError("samples is empty; leave it out to compare on random inputs")


def _names(names: Sequence[Name] | None) -> Sequence[Name] | None:
    """``names``, where a single text would count as a list of letters."""
    if isinstance(names, str):
        raise UsageError(f"passes, skip, keep and optional take a list of names, not {names!r}")
    return names


def _sets(
    shapes: InputShapes | Sequence[InputShapes] | None,
) -> list[dict[str, tuple[int, ...]]]:
    """One or several sets of shapes, in Python's own integers."""
    if isinstance(shapes, Sequence) and shapes and all(isinstance(s, Mapping) for s in shapes):
        return distinct([_whole(each) or {} for each in shapes])
    # One set, or nothing of the kind.
    return [_whole(shapes) or {}]  # type: ignore[arg-type]


def _whole(shapes: InputShapes | None) -> dict[str, tuple[int, ...]] | None:
    """``shapes`` in Python's own integers, whatever kind of integers they came in."""
    if shapes is None:
        return None
    try:
        whole = {name: tuple(map(index, shape)) for name, shape in shapes.items()}
    except (AttributeError, TypeError):
        raise UsageError(
            f"input_shapes takes one shape per input, {{'x': (1, 3, 224, 224)}}, not {shapes!r}"
        ) from None
    if any(size < 1 for shape in whole.values() for size in shape):
        raise UsageError(f"input_shapes takes sizes of at least 1, not {shapes!r}")
    return whole
