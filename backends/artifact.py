"""A compiled model: load it, run it, check it, save it.

This and what it imports is all that running a model needs: numpy and the standard library.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from burnish.backends.archive import Files, open_files, write_files
from burnish.backends.arrays import CountedAxes, InputArrays, OutputArrays, numpy_dtype
from burnish.backends.calls import NAME as CALLS
from burnish.backends.calls import CallSpec, unpack_calls
from burnish.backends.manifest import NAME as MANIFEST
from burnish.backends.manifest import Manifest, Port
from burnish.backends.native import CallTime, NativeModel
from burnish.backends.regions import RegionEngine
from burnish.backends.self_test import NAME as SELF_TEST
from burnish.backends.self_test import Deviation, Example, Tensors, unpack_vector
from burnish.errors import GateFailed, InvalidInput, UsageError

if TYPE_CHECKING:
    from burnish.gates import Gate

LIBRARY = "model.so"
WEIGHTS = "weights.bin"
HEADER = "burnish.h"
REPORT = "report.json"
"""Measured figures; the one file outside every hash."""


@dataclass(frozen=True)
class CallTiming:
    """How long one call took, over several runs; all its rounds together if it is in a loop."""

    name: str
    seconds: float
    """The median."""
    fastest: float
    rounds: int | None
    """How often a run made it, the median; None in an artifact that does not count."""


def call_timings(runs: Sequence[Sequence[CallTime]]) -> list[CallTiming]:
    """Return how long each call took in several runs."""
    return [_timing(call) for call in zip(*runs, strict=True)]


def _timing(runs: Sequence[CallTime]) -> CallTiming:
    seconds = [run.seconds for run in runs]
    rounds = [run.rounds for run in runs if run.rounds is not None]
    often = statistics.median_low(rounds) if rounds else None
    return CallTiming(runs[0].name, statistics.median(seconds), min(seconds), often)


class Artifact:
    """A compiled model. It may be run from several threads at once."""

    def __init__(self, files: Files, manifest: Manifest, threads: int | None) -> None:
        """Use `load_artifact` instead.

        Args:
            files: Where it lies.
            manifest: What it says about itself.
            threads: How many to use; None for the number it was compiled for.
        """
        self.manifest = manifest
        self._files = files
        self._threads = threads or 0
        self._opening = threading.Lock()
        self._native: NativeModel | None = None
        self.budgets: Sequence[Gate] = ()
        """What it was held against when it was compiled, and holds; empty if it was loaded."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._files.path

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The inputs of the first entry: name, dtype and shape of each."""
        return self.manifest.entries[0].inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        """The outputs of the first entry; -1 is a size that only running tells."""
        return self.manifest.entries[0].outputs

    def run(self, inputs: Tensors) -> dict[str, np.ndarray]:
        """Run the model.

        Args:
            inputs: An array for each input, by name, in the model's own layout.

        Returns:
            An array for each output, by name.

        Raises:
            UsageError: an input is missing, unknown, or has another dtype or shape.
            BurnishError: the artifact cannot run here, or a kernel failed.
        """
        # The arrays that pointers are to are kept here as long as the library uses them.
        number, (_kept, given) = self._match(inputs)
        # Before memory is made: opening the library checks what the manifest says of sizes.
        native, engine = self._native or self.native, self._engine
        names, memory, counted = self._results[number]
        made = outputs, pointers = memory.make()
        if engine is not None:
            outputs = engine.run(native, (number, self.manifest.entries[number]), given, made)
        elif counted is not None:
            counted.cut(outputs, native.run_counted(number, given, pointers, len(outputs)))
        else:
            native.run(number, given, pointers)
        return dict(zip(names, outputs))  # noqa: B905 (there is one for each; to check takes time)

    def example(self, entry: int = 0) -> Example:
        """The golden vector of an entry: inputs, and what is kept of the outputs for them.

        Raises:
            InvalidInput: the artifact has no vectors.
        """
        spec = self.manifest.entries[entry]
        data = self._files.read(SELF_TEST)
        return unpack_vector(data, entry, spec.inputs, spec.outputs)

    def self_test(self) -> list[Deviation]:
        """Run the golden vectors and return how far each output is from what is expected.

        Raises:
            GateFailed: an output is farther than the manifest's tolerance.
            InvalidInput: the artifact has no vectors.
        """
        found = []
        for number in range(len(self.manifest.entries)):
            vector = self.example(number)
            given = self.run(vector.inputs)
            found += [
                replace(each.deviation(name, given[name]), entry=number)
                for name, each in vector.outputs.items()
            ]
        # Written so that an error that is not a number fails too.
        bad = [each for each in found if not each.error <= self.manifest.tolerance]
        if bad:
            worst = max(bad, key=lambda each: each.error)
            where = f" of entry {worst.entry}" if len(self.manifest.entries) > 1 else ""
            raise GateFailed(
                f"self-test failed: output {worst.output}{where} is off by {worst.error:.2g} of "
                f"its largest magnitude, where {self.manifest.tolerance:.2g} is allowed"
            )
        return found

    def profile(self, inputs: Tensors, repeat: int) -> list[CallTiming]:
        """Run the model `repeat` times and return how long each call took, in seconds.

        What ONNX Runtime runs counts as nothing. No other run may be in progress.
        """
        runs = []
        for _ in range(repeat):
            # Threads that fell asleep while times were read are awake after an untimed run.
            self.run(inputs)
            runs.append(self.profile_run(inputs))
        return call_timings(runs)

    def profile_run(self, inputs: Tensors) -> list[CallTime]:
        """Run the model once and return how long each call took. No other run may be in progress.

        A caller that goes over to `run` and back can tell times of calls from those of whole runs
        that are not slowed by looking at the clock.
        """
        number, _ = self._match(inputs)
        self.native.profile(True)
        try:
            self.run(inputs)
            return self.native.call_times(number)
        finally:
            self.native.profile(False)

    def calls(self, entry: int = 0) -> list[CallSpec] | None:
        """What each call of an entry does; None if the artifact does not say so.

        Raises:
            InvalidInput: it cannot be read.
        """
        if CALLS not in self.manifest.files:
            return None
        entries = unpack_calls(self._files.read(CALLS))
        if len(entries) != len(self.manifest.entries):
            raise InvalidInput(f"{self.path}: {CALLS} describes {len(entries)} entries")
        return entries[entry]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the artifact to `path`: one zip if it ends in .burnish, else a folder.

        An artifact that is there already is replaced, at the very end.

        Raises:
            UsageError: something else is there.
            BurnishError: it cannot be written.
        """
        names = [MANIFEST, *self.manifest.files]
        names += [name for name in self._files.names() if name == REPORT]
        write_files(Path(path), {name: partial(self._files.chunks, name) for name in names})

    def reopen(self) -> None:
        """Use the library that lies there now; no run may be in progress."""
        with self._opening:
            self._native = None

    @property
    def native(self) -> NativeModel:
        """The kernels, opened at first use: an artifact can be inspected where it cannot run."""
        with self._opening:
            if self._native is None:
                path, offset, _ = self._files.locate(WEIGHTS)
                model = NativeModel(self._files.read(LIBRARY), path, offset, self._threads)
                self._check_ports(model)
                self._native = model
            return self._native

    @cached_property
    def _engine(self) -> RegionEngine | None:
        segments = (s for entry in self.manifest.entries for s in entry.segments)
        names = dict.fromkeys(s.region for s in segments if s.region is not None)
        if not names:
            return None
        return RegionEngine({n: self._files.read(n) for n in names}, self.native.threads)

    def _check_ports(self, model: NativeModel) -> None:
        """Check that the library reads and writes just the memory that the manifest describes."""
        entries = self.manifest.entries
        if model.entry_count != len(entries):
            raise InvalidInput(f"{self.path}: manifest and library disagree about the entries")
        for number, spec in enumerate(entries):
            for known, said in zip(model.ports(number), (spec.inputs, spec.outputs), strict=True):
                if known != tuple(_seen_by_c(port) for port in said):
                    raise InvalidInput(
                        f"{self.path}: manifest and library disagree about the inputs and outputs"
                    )

    def _match(self, inputs: Tensors) -> tuple[int, tuple[list[np.ndarray], bytes]]:
        """Return the entry that takes arrays like these, them in its order, and pointers to them.

        The pointers are good for as long as the arrays are kept.
        """
        try:
            for number, ports in enumerate(self._expected):
                fitting = ports.fit(inputs)
                if fitting is not None:
                    return number, fitting
        except (AttributeError, TypeError):
            # Asked only now, because the question takes time.
            if isinstance(inputs, Mapping):
                raise
        if not isinstance(inputs, Mapping):
            kind = type(inputs).__name__
            raise UsageError(f"inputs are a mapping of names to arrays, not one {kind}")
        raise UsageError(_mismatch([entry.inputs for entry in self.manifest.entries], inputs))

    @cached_property
    def _expected(self) -> list[InputArrays]:
        """What the inputs of each entry must be."""
        return [InputArrays(entry.inputs) for entry in self.manifest.entries]

    @cached_property
    def _results(self) -> list[tuple[list[str], OutputArrays, CountedAxes | None]]:
        """Names and memory of the outputs of each entry, and what counts some of them, if any."""
        return [
            ([port.name for port in ports], OutputArrays(ports), CountedAxes(ports) or None)
            for ports in (entry.outputs for entry in self.manifest.entries)
        ]


def load_artifact(path: str | Path, threads: int | None = None, verify: bool = True) -> Artifact:
    """Load the artifact at `path`, a folder or a .burnish file.

    Args:
        path: Where it lies; it must stay there while the artifact is in use.
        threads: How many threads to run it with; None for the number it was compiled for.
        verify: Whether to check the hash of every file.

    Raises:
        InvalidInput: there is no artifact, or it is damaged.
        UsageError: `threads` is below 1.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}")
    files = open_files(Path(path))
    manifest = Manifest.from_json(files.read(MANIFEST))
    for name in (LIBRARY, WEIGHTS):
        if name not in manifest.files:
            raise InvalidInput(f"{path}: the manifest lists no {name}")
    for name in manifest.files:
        _check_file(files, manifest, name, verify)
    return Artifact(files, manifest, threads)


def _check_file(files: Files, manifest: Manifest, name: str, verify: bool) -> None:
    wanted = manifest.files[name]
    size = files.locate(name)[2]
    if size != wanted.bytes:
        raise InvalidInput(f"{files.path}: {name} has {size} bytes, not {wanted.bytes}; "
                           "copy the artifact again")  # fmt: skip
    if not verify:
        return
    digest = hashlib.sha256()
    for piece in files.chunks(name):
        digest.update(piece)
    if digest.hexdigest() != wanted.sha256:
        raise InvalidInput(f"{files.path}: {name} is damaged (its hash differs from the "
                           "manifest's); copy the artifact again")  # fmt: skip


def _seen_by_c(port: Port) -> Port:
    """What the library knows of a port."""
    return Port(port.name, port.dtype, port.shape, most=port.most)


def _mismatch(entries: Sequence[Sequence[Port]], inputs: Tensors) -> str:
    """Say what is wrong with `inputs`, which do not fit the inputs of any entry."""
    complaint = _misnamed([port.name for port in entries[0]], inputs)
    if complaint is not None:
        return complaint
    arrays = {name: np.asarray(array) for name, array in inputs.items()}
    for port in entries[0]:
        dtype = arrays[port.name].dtype
        if dtype != numpy_dtype(port.dtype):
            return f"input {port.name!r} is of dtype {dtype}, and {port.dtype} is expected"
    if len(entries) > 1:
        sets = "; ".join(f"({n}) {_shapes(ports)}" for n, ports in enumerate(entries))
        given = ", ".join(f"{name}{list(array.shape)}" for name, array in arrays.items())
        return (
            f"no entry takes {given}: the model was compiled for {len(entries)} sets of input "
            f"shapes, {sets}; compile it for these shapes as well"
        )
    port = next(port for port in entries[0] if port.shape != arrays[port.name].shape)
    shape = list(arrays[port.name].shape)
    return f"input {port.name!r} has shape {shape}, and {list(port.shape)} is expected"


def _misnamed(names: Sequence[str], inputs: Tensors) -> str | None:
    """What is wrong with the names of inputs; entries of a model all have the same."""
    known = ", ".join(names) or "none"
    for name in inputs:
        if name not in names:
            return f"there is no input {name!r}; the inputs are {known}"
    for name in names:
        if name not in inputs:
            return f"input {name!r} is missing; the inputs are {known}"
    return None


def _shapes(ports: Sequence[Port]) -> str:
    return ", ".join(f"{port.name}{list(port.shape)}" for port in ports)
