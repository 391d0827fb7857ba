"""The kernels of the whole pipeline in the document: a profile under the machine's roofline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from burnish.backends.artifact import load_artifact
from burnish.backends.profiling import CallProfile, profile_entry
from burnish.backends.roofline_probe import machine_roofline
from burnish.bench.document import Ceiling, Kernel


@dataclass(frozen=True)
class Profile:
    """The kernels of an artifact, in this process."""

    kernels: list[Kernel]
    """The slowest first."""
    ceiling: Ceiling
    run: float
    """Seconds of a run without timing kernels, the median."""

    @property
    def total(self) -> float:
        """Seconds of all kernels."""
        return sum(kernel.seconds for kernel in self.kernels)


def profiled(path: Path, threads: int) -> Profile:
    """Time each call of an artifact.

    Raises:
        BurnishError: it cannot be run.
    """
    roofline = machine_roofline(threads)
    profile = profile_entry(load_artifact(path), 0, roofline)
    calls = profile.calls
    total = sum(call.seconds for call in calls) or 1.0
    kernels = [_kernel(call, total) for call in calls]
    ceiling = Ceiling(
        threads=roofline.threads,
        peaks=dict(roofline.peaks),
        bandwidths={level.name: level.bandwidth for level in roofline.levels},
    )
    slowest_first = sorted(kernels, key=lambda kernel: -kernel.seconds)
    return Profile(slowest_first, ceiling, profile.seconds)


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
