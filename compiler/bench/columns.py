"""Engines and tools that variants are compared with, on the model as it is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burnish.bench.client import EngineFailed
from burnish.bench.document import BASELINE, Column
from burnish.bench.seats import (
    OPENVINO,
    ORT,
    NoInterpreter,
    NotInstalled,
    PeerEngine,
    Seat,
    interpreters,
    seat,
)
from burnish.bench.sittings import Timings
from burnish.bench.subjects import Keeper, NotEquivalent, Seating, check
from burnish.census import count_operators
from burnish.errors import BurnishError
from burnish.numerics import Numerics
from burnish.source import load
from burnish.verification import Reference

LIMIT = 300.0
"""Seconds after which a tool counts as hanging."""
SLIM = PeerEngine("onnxslim", "onnxslim", "onnxslim")
SIM = PeerEngine("onnxsim", "onnxsim", "onnxsim")


@dataclass
class Rival:
    """What a variant is compared with: how to start it, and what is known of it."""

    name: str
    version: str
    seating: Seating | None = None
    failure: str | None = None
    operators: int | None = None
    files: Sequence[Path] = ()
    resident: int = 0

    @property
    def seat(self) -> str:
        """Its name among variants."""
        return f"against {self.name}"

    def as_column(self, timings: Timings, contrasts: Any) -> Column:
        """Describe it in the document."""
        return Column(
            name=self.name, version=self.version, latency=timings.latency(self.seat),
            ratio=timings.ratio(self.seat, timings.whole, contrasts), operators=self.operators,
            file_bytes=sum(file.stat().st_size for file in self.files) or None,
            failure=self.failure or timings.failures.get(self.seat),
        )  # fmt: skip


@dataclass
class Rivals:
    """Finds what there is to compare with, and checks it before it is timed."""

    model: Path
    reference: Reference
    threads: int
    shapes: Mapping[str, tuple[int, ...]]
    folder: Path
    keeper: Keeper
    notes: list[str] = field(default_factory=list)

    def onnx_runtime(self) -> Rival:
        """ONNX Runtime at its best that is right, on the original."""
        rival = Rival(BASELINE, seat(ORT, interpreters()[:1]).version)
        first = ""
        for loader, title in (("ort", ""), *((level.loader, level.title) for level in ORT.lower)):
            rival.failure = None
            self.seated(rival, Seating(loader, self.model, self.threads, self._sizes()))
            if rival.failure is None:
                if title:
                    self.notes.append(f"onnxruntime has {title}, since with all {first}")
                break
            first = first or rival.failure
        return self._counted(rival, self.model)

    def peers(self) -> list[Rival]:
        """Other tools and engines where they are installed; a missing one is a note."""
        makers: Sequence[tuple[PeerEngine, Callable[[Seat], Rival]]] = (
            (SLIM, self._slimmed), (SIM, self._simplified), (OPENVINO, self._openvino),
        )  # fmt: skip
        found = []
        for peer, make in makers:
            try:
                found.append(make(seat(peer, interpreters())))
            except (NotInstalled, NoInterpreter) as missing:
                self.notes.append(str(missing))
        return found

    def _openvino(self, there: Seat) -> Rival:
        rival = Rival("openvino", there.version)
        seating = Seating("openvino", self.model, self.threads, self._sizes(), python=there.python)
        return self.seated(rival, seating)

    def _slimmed(self, there: Seat) -> Rival:
        out = self.folder / "slim.onnx"
        return self._rewritten("onnxslim", there, out, [str(self.model), str(out),
                               *self._given("--input-shapes")])  # fmt: skip

    def _simplified(self, there: Seat) -> Rival:
        out = self.folder / "sim.onnx"
        return self._rewritten("onnxsim", there, out, [str(self.model), str(out),
                               *self._given("--overwrite-input-shape")])  # fmt: skip

    def _given(self, option: str) -> list[str]:
        shapes = [f"{name}:{','.join(map(str, shape))}" for name, shape in self.shapes.items()]
        return [option, *shapes] if shapes else []

    def _rewritten(self, tool: str, there: Seat, out: Path, arguments: list[str]) -> Rival:
        """The file that another tool writes, run by ONNX Runtime."""
        rival = Rival(tool, there.version)
        command = [str(there.python.with_name(tool)), *arguments]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            rival.failure = f"no end after {LIMIT:.0f} s"
            return rival
        except OSError as error:
            rival.failure = f"{command[0]} cannot be started: {error.strerror}"
            return rival
        if done.returncode or not out.exists():
            lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
            rival.failure = f"exit code {done.returncode}: {lines[-1][:300]}"
            return rival
        self.seated(rival, Seating("ort", out, self.threads, self._sizes()))
        return self._counted(rival, out)

    def seated(self, rival: Rival, seating: Seating) -> Rival:
        """Compare it with the original; a failure is part of the result."""
        try:
            rival.resident = check(
                seating, self.reference, Numerics.REASSOCIATES, self.keeper
            ).resident
            rival.seating = seating
        except (EngineFailed, NotEquivalent) as failure:
            rival.failure = str(failure)
        return rival

    def _counted(self, rival: Rival, path: Path) -> Rival:
        rival.files = [f for f in (path, path.with_name(path.name + ".data")) if f.exists()]
        try:
            rival.operators = count_operators(load(path))
        except BurnishError as error:
            self.notes.append(f"{rival.name}: its operators are not counted: {error}")
        return rival

    def _sizes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all inputs, as they are timed."""
        return {name: tuple(array.shape) for name, array in self.reference.feeds[0].items()}
