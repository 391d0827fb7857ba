"""The kernels of the whole pipeline in the document: a profile under the machine's roofline."""

from __future__ import annotations

from pathlib import Path

from burnish.backends.artifact import load_artifact
from burnish.backends.profiling import CallProfile, profile_entry
from burnish.backends.roofline_probe import machine_roofline
from burnish.bench.document import Ceiling, Kernel


def profiled(path: Path, threads: int) -> tuple[list[Kernel], Ceiling]:
    """Time each call of an artifact; the slowest comes first.

    Raises:
        BurnishError: it cannot be run.
    """
    roofline = machine_roofline(threads)
    calls = profile_entry(load_artifact(path), 0, roofline).calls
    total = sum(call.seconds for call in calls) or 1.0
    kernels = [_kernel(call, total) for call in calls]
    ceiling = Ceiling(
        threads=roofline.threads,
        peaks=dict(roofline.peaks),
        bandwidths={level.name: level.bandwidth for level in roofline.levels},
    )
    return sorted(kernels, key=lambda kernel: -kernel.seconds), ceiling


def _kernel(call: CallProfile, total: float) -> Kernel:
    flops, moved = call.work or (0, 0)
    return Kernel(
        name=call.kernel,
        operators=list(call.spec.operators) if call.spec else [],
        sources=list(call.spec.sources) if call.spec else [],
        seconds=call.seconds,
        share=call.seconds / total,
        flops=float(flops),
        bytes=float(moved),
        bound_seconds=call.bound.seconds if call.bound else None,
        bound_by=call.bound.by if call.bound else None,
    )
