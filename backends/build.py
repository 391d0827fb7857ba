"""From programs to an artifact: plan, generate, link, write."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx

from burnish.backends.archive import Chunks, write_files
from burnish.backends.artifact import HEADER, LIBRARY, WEIGHTS, Artifact, load_artifact
from burnish.backends.calls import JUMP, KERNEL, REGION, CallSpec, Operand, pack_calls
from burnish.backends.calls import NAME as CALLS
from burnish.backends.driver import (
    DriverOptions,
    Entry,
    emit_driver,
    kernel_names,
    number_buffers,
)
from burnish.backends.link import RUNTIME, Progress, link_library, silent
from burnish.backends.manifest import NAME as MANIFEST
from burnish.backends.manifest import EntrySpec, FileSpec, Manifest, Port, Segment, TargetSpec
from burnish.backends.memory_plan import plan_memory
from burnish.backends.program import Buffer, BufferKind, Call, Program, Work
from burnish.backends.self_test import NAME as SELF_TEST
from burnish.backends.self_test import Vector, pack_vectors
from burnish.backends.weights import Weights, lay_out_weights
from burnish.errors import UnsupportedModel
from burnish.target import Target

_TOOLS = ("apache-tvm", "burnish", "onnx", "onnxruntime", "ziglang")


@dataclass(frozen=True)
class Provenance:
    """What an artifact records about how it came to be; see `Manifest` for the fields."""

    model: Mapping[str, Any] = field(default_factory=dict)
    passes: Sequence[Mapping[str, Any]] = ()
    native: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-4


def build_artifact(
    programs: Sequence[Program],
    target: Target,
    vectors: Sequence[Vector],
    provenance: Provenance,
    progress: Progress = silent,
) -> Artifact:
    """Make an artifact of `programs`, one for each set of input shapes.

    It lies in a temporary folder that goes when the artifact is forgotten; `save` keeps it.

    Args:
        programs: Lowered programs; constants with equal bytes are stored once.
        target: What they were compiled for.
        vectors: Inputs, and the outputs expected for them, for each program.
        provenance: What to record.
        progress: Called with a stage's name, how many steps of it are done, and of how many.

    Raises:
        UnsupportedModel: a program has regions, which need ONNX Runtime, and the target is not
            this machine.
        BurnishError: linking or writing failed.
    """
    regions = _regions(programs, target)
    weights = lay_out_weights(programs)
    entries = [Entry(program, plan_memory(program)) for program in programs]
    library = _library(entries, weights, target, progress)
    features = tuple(sorted(target.features))
    manifest = Manifest(
        target=TargetSpec(target.name, target.arch, target.triple, features),
        threads=target.threads,
        entries=tuple(_describe(entry, regions) for entry in entries),
        model=provenance.model,
        passes=tuple(provenance.passes),
        tools={tool: metadata.version(tool) for tool in _TOOLS},
        native=provenance.native,
        tolerance=provenance.tolerance,
    )
    contents: dict[str, Callable[[], Chunks]] = {
        LIBRARY: partial(_whole, library),
        WEIGHTS: weights.chunks,
        SELF_TEST: partial(_whole, pack_vectors(vectors)),
        HEADER: partial(_whole, (RUNTIME / HEADER).read_bytes()),
        CALLS: partial(_whole, pack_calls([_calls(entry, weights) for entry in entries])),
    }
    contents |= {name: partial(_whole, model) for model, name in regions.items()}
    return _write(manifest, contents)


def relink(artifact: Artifact, programs: Sequence[Program], target: Target) -> None:
    """Make a new ``artifact`` of `programs` instead, which differ in how calls run only.

    Raises:
        BurnishError: linking or writing failed.
    """
    entries = [Entry(program, plan_memory(program)) for program in programs]
    library = _library(entries, lay_out_weights(programs), target)
    files = {**artifact.manifest.files, LIBRARY: _sign((library,))}
    artifact.manifest = replace(artifact.manifest, files=files)
    (artifact.path / LIBRARY).write_bytes(library)
    (artifact.path / MANIFEST).write_bytes(artifact.manifest.to_json().encode())
    artifact.reopen()


def _library(
    entries: Sequence[Entry], weights: Weights, target: Target, progress: Progress = silent
) -> bytes:
    options = DriverOptions(target.name, tuple(sorted(target.features)), target.threads)
    programs = [entry.program for entry in entries]
    return link_library(
        list(dict.fromkeys(data for program in programs for data in program.objects)),
        {"driver.c": emit_driver(entries, weights, options)},
        target,
        frozenset(name for program in programs for name in kernel_names(program)),
        progress,
    )


def _write(manifest: Manifest, contents: Mapping[str, Callable[[], Chunks]]) -> Artifact:
    signed = replace(manifest, files={name: _sign(chunks()) for name, chunks in contents.items()})
    folder = Path(tempfile.mkdtemp(prefix="burnish-"))
    try:
        path = folder / "artifact"
        write_files(path, {MANIFEST: partial(_whole, signed.to_json().encode()), **contents})
        artifact = load_artifact(path, verify=False)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(artifact, shutil.rmtree, folder, ignore_errors=True)
    return artifact


def state_precision(artifact: Artifact, precision: Mapping[str, Any]) -> None:
    """Record in the manifest of a new ``artifact`` what measuring it has shown."""
    _state(artifact, replace(artifact.manifest, precision=precision))


def state_changes(
    artifact: Artifact,
    *,
    quantization: Mapping[str, Any] | None,
    pruning: Mapping[str, Any] | None,
) -> None:
    """Record in the manifest of a new ``artifact`` how much is quantized and pruned."""
    _state(artifact, replace(artifact.manifest, quantization=quantization, pruning=pruning))


def _state(artifact: Artifact, manifest: Manifest) -> None:
    artifact.manifest = manifest
    (artifact.path / MANIFEST).write_bytes(manifest.to_json().encode())


def _whole(data: bytes) -> Chunks:
    return (data,)


def _sign(chunks: Chunks) -> FileSpec:
    digest, size = hashlib.sha256(), 0
    for piece in chunks:
        digest.update(piece)
        size += len(piece)
    return FileSpec(size, digest.hexdigest())


def _regions(programs: Sequence[Program], target: Target) -> dict[bytes, str]:
    """Name the file of each distinct region."""
    calls = [call for program in programs for call in program.calls if call.region is not None]
    if calls and not target.is_host:
        names = ", ".join(dict.fromkeys(call.kernel for call in calls))
        raise UnsupportedModel(
            f"no kernels for {names}: on this machine ONNX Runtime could run them, "
            f"but not on {target.name}"
        )
    models = dict.fromkeys(call.region for call in calls if call.region is not None)
    return {model: f"regions/{number}.onnx" for number, model in enumerate(models)}


def _port_names(region: bytes) -> list[str]:
    """Return the names of the inputs, then the outputs, of a serialized ONNX model."""
    graph = onnx.load_model_from_string(region).graph
    held = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in held]
    return inputs + [value.name for value in graph.output]


_SPACES = {
    BufferKind.INPUT: "input",
    BufferKind.OUTPUT: "output",
    BufferKind.CONSTANT: "weights",
    BufferKind.TEMPORARY: "arena",
}


def _calls(entry: Entry, weights: Weights) -> list[CallSpec]:
    """What profiling needs to know of each call."""
    program = entry.program
    work = program.work or [Work()] * len(program.calls)
    jumps = [(number, call.jump) for number, call in enumerate(program.calls)]
    backward = [(end, head) for end, head in jumps if head is not None and head < end]
    return [
        CallSpec(
            call.kernel, does.flops, does.arithmetic, does.operators, does.sources,
            tuple(_operands(call, does, entry, weights)), _kind(call),
            any(head <= number < end for end, head in backward),
        )
        for number, (call, does) in enumerate(zip(program.calls, work, strict=True))
    ]  # fmt: skip


def _kind(call: Call) -> str:
    if call.region is not None:
        return REGION
    return KERNEL if call.jump is None else JUMP


def _operands(call: Call, work: Work, entry: Entry, weights: Weights) -> Iterator[Operand]:
    """The memory of the arguments of `call`, as far as it is the artifact's or the caller's."""
    most = sum(buffer.nbytes for buffer in call.writes if buffer.is_static)
    for number, buffer in enumerate(call.args):
        if not buffer.is_static:
            continue
        owner, start = buffer.root()
        if owner.kind is BufferKind.CONSTANT:
            start += weights.offsets[owner]
        elif owner.kind is BufferKind.TEMPORARY:
            start += entry.plan.offsets[owner]
        else:
            ports = entry.program.inputs, entry.program.outputs
            start = ports[owner.kind is BufferKind.OUTPUT].index(owner)
        written = number >= len(call.args) - call.outputs
        touched = min(buffer.nbytes, most) if work.selects else buffer.nbytes
        yield Operand(_SPACES[owner.kind], start, buffer.nbytes, touched, written)


def _describe(entry: Entry, regions: Mapping[bytes, str]) -> EntrySpec:
    program = entry.program
    numbers = number_buffers(program)
    open_sized = dict.fromkeys(
        buffer for call in program.calls for buffer in call.args if not buffer.is_static
    )
    values = {buffer: number for number, buffer in enumerate(open_sized)}

    def port(buffer: Buffer, name: str | None = None) -> Port:
        shown = name or buffer.name
        if not buffer.is_static:
            return Port(shown, buffer.dtype, buffer.shape, value=values[buffer])
        if buffer.count is not None:
            axis = buffer.count.axis
            shape = tuple(-1 if i == axis else size for i, size in enumerate(buffer.shape))
            return Port(shown, buffer.dtype, shape, most=buffer.shape[axis])
        number = numbers[buffer] if name else None
        return Port(shown, buffer.dtype, buffer.shape, buffer=number)

    segments: list[Segment] = []
    numbered = enumerate(program.calls)
    for is_region, group in itertools.groupby(numbered, key=lambda c: c[1].region is not None):
        calls = list(group)
        if not is_region:
            segments.append(Segment(calls[0][0], calls[-1][0] + 1))
            continue
        for index, call in calls:
            assert call.region is not None
            ports = tuple(map(port, call.args, _port_names(call.region)))
            split = len(ports) - call.outputs
            segments.append(
                Segment(index, index + 1, regions[call.region], ports[:split], ports[split:])
            )
    return EntrySpec(
        tuple(map(port, program.inputs)),
        tuple(map(port, program.outputs)),
        tuple(segments),
        entry.plan.arena_bytes,
    )
