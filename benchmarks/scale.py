"""How time and memory of ``burnish optimize`` grow with the number of nodes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from benchmarks.compiling import CommandFailed, last_message
from benchmarks.generated import GENERATORS, count_nodes
from burnish.bench.environment import machine_to_ourselves

SMALLEST = 100
"""Nodes of the graph that shows what the command costs whatever the size."""


@dataclass(frozen=True, slots=True)
class Sized:
    """One graph, optimized."""

    kind: str
    nodes: int
    seconds: float
    """Wall clock of the whole command: start, load, optimize, save."""
    peak_mib: float
    """Largest resident memory."""
    ratio: float | None = None
    """Time per node, without what the smallest graph took, as a multiple of the size before."""

    def __str__(self) -> str:
        """One line for people."""
        ratio = "" if self.ratio is None else f", {self.ratio:.2f} of linear"
        return f"{self.kind} {self.nodes}: {self.seconds:.1f} s, {self.peak_mib:.0f} MiB{ratio}"


def measure_scale(kinds: Sequence[str], sizes: Sequence[int]) -> Iterator[Sized]:
    """Optimize a generated graph of each of ``kinds`` in each of ``sizes``, smallest first.

    Raises:
        CommandFailed: burnish refused a graph.
    """
    for kind in kinds:
        with TemporaryDirectory() as folder, machine_to_ourselves():
            fixed = _optimize(kind, SMALLEST, Path(folder))
            before: Sized | None = None
            for size in sorted(sizes):
                found = _optimize(kind, size, Path(folder))
                ratio = None if before is None else _ratio(fixed, before, found)
                before = Sized(kind, found.nodes, found.seconds, found.peak_mib, ratio)
                yield before


def _ratio(fixed: Sized, before: Sized, after: Sized) -> float:
    grown = (after.seconds - fixed.seconds) / max(before.seconds - fixed.seconds, 1e-9)
    return grown / (after.nodes / before.nodes)


def _optimize(kind: str, size: int, folder: Path) -> Sized:
    model = GENERATORS[kind](size)
    source = folder / f"{kind}-{size}.onnx"
    source.write_bytes(model.SerializeToString())
    command = [
        str(Path(sys.executable).with_name("burnish")), "optimize", str(source), "--quiet",
        "-o", str(folder / "optimized.onnx"), "--preset", "default", "--verify", "off",
    ]  # fmt: skip
    errors = folder / "errors.txt"
    with errors.open("w") as stream:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stderr=stream)
        # Waiting for this one process tells its own peak, not that of all so far.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise CommandFailed(f"{kind} of {size} nodes: {last_message(errors.read_text('utf-8'))}")
    return Sized(kind, count_nodes(model.graph), seconds, usage.ru_maxrss / 1024)


def scale_table(rows: Sequence[Sized]) -> Table:
    """The measurements as a table."""
    table = Table()
    for title in ("graph", "nodes", "seconds", "peak MiB", "of linear"):
        table.add_column(title, justify="left" if title == "graph" else "right")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        table.add_row(row.kind, str(row.nodes), f"{row.seconds:.1f}", f"{row.peak_mib:.0f}", ratio)
    return table
