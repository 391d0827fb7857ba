"""What each layer gains by integers: kernels of both models timed on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from burnish.analysis.cost import node_flops
from burnish.backends.artifact import load_artifact
from burnish.backends.profiling import profile_entry
from burnish.backends.roofline_probe import machine_roofline
from burnish.compilation import Request, compile_model
from burnish.ir import Graph
from burnish.pipeline import Progress


def measured_gains(
    before: Graph,
    after: Graph,
    layers: Sequence[str],
    request: Request,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Seconds that each layer takes less in ``after`` than in ``before``.

    Args:
        before: the model in float.
        after: the same, quantized.
        layers: names of products and convolutions.
        request: what to compile both for, the machine that this runs on; nothing is tuned.
        progress: as for compiling.

    Raises:
        BurnishError: one cannot be compiled.
    """
    first, second = (_times(graph, layers, request, progress) for graph in (before, after))
    return {name: first.get(name, 0.0) - second.get(name, 0.0) for name in layers}


def estimated_gains(graph: Graph, layers: Sequence[str]) -> dict[str, float]:
    """Multiply-adds of each layer: what stands for time where there is no machine to measure on."""
    wanted, found = set(layers), dict.fromkeys(layers, 0.0)
    for node in graph.walk():
        for name in wanted.intersection((*node.provenance, node.name)):
            found[name] += float(node_flops(node) or 0)
    return found


def _times(
    graph: Graph, layers: Sequence[str], request: Request, progress: Progress | None
) -> Mapping[str, float]:
    """Seconds of the kernels of each layer, of the conversions around them as well.

    A kernel of several layers counts for each with an equal share. One of none, such as a
    conversion, counts for the layer that ran before it, whose results it reads more often than not.
    """
    with tempfile.TemporaryDirectory(prefix="burnish-gains-") as folder:
        path = Path(folder, "model")
        compile_model(graph, request, progress).artifact.save(path)
        artifact = load_artifact(path)
        calls = profile_entry(artifact, 0, machine_roofline(artifact.manifest.threads)).calls
    wanted, found = set(layers), dict[str, float]()
    latest: list[str] = []
    for call in sorted(calls, key=lambda one: one.number):
        sources = call.spec.sources if call.spec is not None else ()
        latest = [name for name in dict.fromkeys(sources) if name in wanted] or latest
        for name in latest:
            found[name] = found.get(name, 0.0) + call.seconds / len(latest)
    return found
