"""From a graph to an artifact: lower, schedule, generate code, build, check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from burnish.analysis.cost import node_flops
from burnish.backends.artifact import Artifact
from burnish.backends.build import Provenance, build_artifact, relink
from burnish.backends.cpu import codegen
from burnish.backends.cpu.candidates import candidates
from burnish.backends.cpu.objects import KernelObjects, Variant, is_parallel
from burnish.backends.cpu.schedule import anchored
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.backends.cpu.sharing_trial import SharingTrial
from burnish.backends.cpu.tuner import Budget, Outcome, Task, residence, tune
from burnish.backends.kernels.winograd import OUTPUTS
from burnish.backends.link import silent
from burnish.backends.lowering.join import join, share_constants, split
from burnish.backends.lowering.kernel import Kernel
from burnish.backends.lowering.lower import KernelFailed, Lowered, lower
from burnish.backends.lowering.work import INTEGER
from burnish.backends.program import BufferKind, Call, Program
from burnish.backends.schedule_cache import ScheduleCache
from burnish.backends.self_test import Vector
from burnish.errors import GateFailed, UnsupportedModel
from burnish.ir import Graph, OperatorNode
from burnish.target import Target, last_level_cache

_MARGIN = 0.5
"""Share of the tolerance that convolutions by minimal filtering may use up."""


@dataclass(frozen=True)
class CompileOptions:
    """What code generation may do."""

    tune: float = 0.0
    """Seconds to spend on timing candidates; 0 takes the first choice of each."""
    progress: Callable[[str, int, int], None] | None = None
    """Called with a stage's name, how many steps of it are done, and of how many."""
    tuned: Callable[[Outcome], None] | None = None
    """Called after tuning with how far it came."""
    winograd: bool = True
    """Whether convolutions may be computed by minimal filtering, which rounds differently."""
    notice: Callable[[str], None] | None = None
    """Called with what a user should know of how the artifact came to be."""
    spent: dict[str, float] = field(default_factory=dict)
    """Seconds that tuning has spent on each set of kernels, kept here for a later compilation
    that is to have what is left of them."""


def compile_graphs(
    graphs: Sequence[Graph],
    target: Target,
    vectors: Sequence[Vector],
    provenance: dict[str, Any],
    options: CompileOptions = CompileOptions(),
) -> Artifact:
    """Compile a model to one artifact with an entry for each of ``graphs``.

    Args:
        graphs: the model for each set of input shapes, after the passes of the ``compile`` preset.
        target: what to generate code for.
        vectors: inputs and the outputs expected for them, for the self-test of each entry.
        provenance: what the manifest records of the model, passes and native share.
        options: tuning and progress.

    Raises:
        UnsupportedModel: an operator has no kernel and the target is not this machine.
        GateFailed: on this machine, the result does not answer what ``vectors`` expect.
    """
    target = suited(graphs, target)
    trial = SharingTrial(target, ScheduleCache(target), options.tune)
    seconds = options.tune - trial.seconds
    budget = Budget(seconds, options.spent, options.progress or silent)
    for winograd in filters(target, options):
        models, programs = compile_programs(graphs, target, options, winograd, budget)
        programs = trial.first_plans(programs)
        lowered = join(models)
        native = _native_share(graphs, lowered)
        artifact = build_artifact(
            programs,
            target,
            vectors,
            Provenance(**{**provenance, "native": native}),
            options.progress or silent,
        )
        if not target.is_host or _agrees(artifact, lowered, target, winograd):
            break
        if options.notice:
            options.notice(
                f"Winograd convolutions of {winograd}x{winograd} outputs round too coarsely for "
                "this model; compiled it again with more exact ones"
            )
    better = trial.better_plans(programs, artifact.path)
    if better != programs:
        relink(artifact, better, target)
        # What is handed out is what was checked.
        artifact.self_test()
    return artifact


def suited(graphs: Sequence[Graph], target: Target) -> Target:
    """``target`` with what it has for integers, if ``graphs`` multiply any or round to them."""
    types = {node.op_type for graph in graphs for node in graph.walk()}
    return target.for_integers() if types & {*INTEGER, "QuantizeLinear"} else target


def filters(target: Target, options: CompileOptions) -> tuple[int, ...]:
    """Outputs along an axis that may share products, in the order in which to try them.

    Where the result cannot be checked, only what rounds no more than a direct sum.
    """
    if not options.winograd:
        return (1,)
    return (*sorted(OUTPUTS, reverse=True), 1) if target.is_host else (min(OUTPUTS),)


def _agrees(artifact: Artifact, lowered: Lowered, target: Target, winograd: int) -> bool:
    """Whether the artifact passes its self-test, by a margin if more exact kernels are left.

    Raises:
        GateFailed: it does not, and there are none.
    """
    try:
        worst = max((each.error for each in artifact.self_test()), default=0.0)
    except GateFailed:
        if winograd > 1 and is_filtered(lowered, target):
            return False
        raise
    within = worst <= _MARGIN * artifact.manifest.tolerance
    return within or winograd == 1 or not is_filtered(lowered, target)


def is_filtered(lowered: Lowered, target: Target) -> bool:
    """Whether some convolution may have been computed by minimal filtering."""
    return any(
        config.tile > 1
        for kernel in lowered.kernels
        if anchored.applies(kernel.func)
        for config in candidates(kernel.func, target)
    )


def compile_program(
    graph: Graph,
    target: Target,
    options: CompileOptions = CompileOptions(),
    winograd: int = 1,
    budget: Budget | None = None,
) -> tuple[Lowered, Program]:
    """Lower and generate code; nodes whose kernels cannot be compiled go to the host."""
    lowered, programs = compile_programs([graph], target, options, winograd, budget)
    return lowered[0], programs[0]


def compile_programs(
    graphs: Sequence[Graph],
    target: Target,
    options: CompileOptions = CompileOptions(),
    winograd: int = 1,
    budget: Budget | None = None,
) -> tuple[list[Lowered], list[Program]]:
    """Lower graphs and generate code for all of them together; see ``compile_program``."""
    budget = budget or Budget(options.tune)
    failed: dict[OperatorNode, str] = {}
    while True:
        models = (lower(graph, target, failed, winograd) for graph in graphs)
        lowered = share_constants(models) if len(graphs) > 1 else list(models)
        try:
            return lowered, split(generate(join(lowered), target, options, budget), lowered)
        except KernelFailed as failure:
            if all(node in failed for node in failure.nodes):
                raise UnsupportedModel(str(failure)) from failure
            failed |= dict.fromkeys(failure.nodes, str(failure))


def _native_share(graphs: Sequence[Graph], lowered: Lowered) -> dict[str, Any]:
    """Shares of operators and FLOPs that run in kernels of our own; what does not, and why."""
    nodes = [node for graph in graphs for node in graph.walk() if not node.is_region]
    native = [not _is_refused(node, lowered) for node in nodes]
    costs = [node_flops(node) or 0 for node in nodes]
    flops = sum(cost for cost, is_native in zip(costs, native, strict=True) if is_native)
    return {
        "operators": sum(native) / max(1, len(nodes)),
        "flops": flops / sum(costs) if any(costs) else 1.0,
        "refusals": {node.op_type: reason for node, reason in lowered.refusals.items()},
    }


def _is_refused(node: OperatorNode | None, lowered: Lowered) -> bool:
    """Whether ``node``, or one whose body it is in, runs elsewhere."""
    while node is not None:
        if node in lowered.refusals:
            return True
        node = node.graph.owner if node.graph is not None else None
    return False


def generate(lowered: Lowered, target: Target, options: CompileOptions, budget: Budget) -> Program:
    """Choose a schedule for every distinct kernel and compile them all.

    Raises:
        KernelFailed: TVM cannot schedule or compile a kernel.
    """
    cache = ScheduleCache(target)
    store = KernelObjects(target, cache)
    keys = {kernel.name: codegen.structural_key(kernel.func, target) for kernel in lowered.kernels}
    distinct: dict[str, Kernel] = {}
    for kernel in lowered.kernels:
        distinct.setdefault(keys[kernel.name], kernel)
    configs: dict[str, TileConfig | None] = {}
    if options.tune and target.is_host:
        tasks = _tasks(lowered, distinct, keys, target)
        outcome = tune(tasks, target, budget, cache, store)
        configs = outcome.configs
        if options.tuned:
            options.tuned(outcome)
    variants = {
        key: Variant(key, _label(kernel), kernel.func, configs.get(key))
        for key, kernel in distinct.items()
    }
    objects = _objects(variants, distinct, store, options)
    calls = [
        call if call.region is not None or call.kernel not in keys
        else Call(variants[keys[call.kernel]].symbol, call.args, call.outputs)
        for call in lowered.calls
    ]  # fmt: skip
    symbols = [variant.symbol for variant in variants.values()]
    parallel = {symbol for symbol, data in zip(symbols, objects, strict=True) if is_parallel(data)}
    return Program(
        lowered.inputs, lowered.outputs, calls, objects,
        parallel=frozenset(parallel), work=lowered.work,
    )  # fmt: skip


def _label(kernel: Kernel) -> str:
    return kernel.name.split("_", 1)[1]


def _tasks(
    lowered: Lowered, distinct: dict[str, Kernel], keys: dict[str, str], target: Target
) -> list[Task]:
    """The kernels that have candidates, and how the model calls them."""
    arguments = {call.kernel: call for call in lowered.calls if call.region is None}
    times = Counter(keys[kernel.name] for kernel in lowered.kernels)
    weights = {
        buffer.root()[0] for call in lowered.calls for buffer in call.args
        if buffer.root()[0].kind is BufferKind.CONSTANT
    }  # fmt: skip
    total = sum(buffer.nbytes for buffer in weights)
    found = []
    for key, kernel in distinct.items():
        if anchored.applies(kernel.func):
            own = tuple(
                index for index, buffer in enumerate(arguments[kernel.name].args)
                if buffer.root()[0] in weights
            )  # fmt: skip
            cold = residence(own, total, (target.l2, last_level_cache()))
            found.append(Task(key, _label(kernel), kernel.func, times[key], kernel.flops, cold))
    return found


def _objects(
    variants: dict[str, Variant],
    distinct: dict[str, Kernel],
    store: KernelObjects,
    options: CompileOptions,
) -> list[bytes]:
    """Object code of all kernels.

    Raises:
        KernelFailed: a kernel does not compile.
    """
    progress = options.progress or silent
    made = store.get(list(variants.values()), partial(progress, "generate code"))
    objects = []
    for key, variant in variants.items():
        data = made[variant]
        if isinstance(data, Exception):
            raise KernelFailed(distinct[key].nodes, data) from data
        objects.append(data)
    return objects
