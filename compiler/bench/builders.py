"""What engines load: an artifact for burnish's own runtime, an ONNX file for ONNX Runtime."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from burnish.backends.artifact import LIBRARY, WEIGHTS, Artifact
from burnish.backends.compile import CompileOptions, compile_graphs
from burnish.backends.self_test import Vector
from burnish.bench.ladder import digest
from burnish.ir import DType, Graph
from burnish.oracle.exact_products import exact_products
from burnish.pipeline import copy_of
from burnish.target import Target

LEVEL = 6
"""Of DEFLATE, as zip and gzip use it unless told otherwise."""


@dataclass(frozen=True)
class Built:
    """A variant as an engine loads it."""

    path: Path
    seconds: float | None
    """Wall clock of generating code; None where the engine makes what it needs as it loads."""
    files: Sequence[Path]
    content: str
    """Equal for equal programs."""
    arena: int | None = None
    """Bytes for values between operators, where one plan holds them."""
    native: float | None = None
    """Share of operators that run in kernels of burnish."""


class Builder(Protocol):
    """Makes what an engine loads."""

    @property
    def loader(self) -> str:
        """Of the engine, as ``Engine`` takes it."""

    def build(self, graph: Graph, name: str) -> Built:
        """Make it in files called ``name``."""


@dataclass(frozen=True)
class ArtifactBuilder:
    """Compiles with TVM for this machine."""

    folder: Path
    target: Target
    vector: Callable[[str], Vector]
    """By the name of the files: what the self-test expects."""
    tune: float = 0.0
    loader: str = "burnish"
    weights: dict[str, Path] = field(default_factory=dict)
    """Files of weights by hash: equal ones are one file with several names."""

    def build(self, graph: Graph, name: str) -> Built:
        """Compile; kernels that were compiled before are taken from the cache.

        Raises:
            BurnishError: it does not compile, or the result fails its self-test.
        """
        begun = time.perf_counter()
        options = CompileOptions(tune=self.tune)
        artifact = compile_graphs([graph], self.target, [self.vector(name)], {}, options)
        seconds = time.perf_counter() - begun
        path = self.folder / name
        artifact.save(path)
        self._share(path / WEIGHTS, artifact.manifest.files[WEIGHTS].sha256)
        return self._described(artifact, path, seconds)

    def _share(self, file: Path, digest: str) -> None:
        first = self.weights.setdefault(digest, file)
        if first != file:
            file.unlink()
            file.hardlink_to(first)

    @staticmethod
    def _described(artifact: Artifact, path: Path, seconds: float) -> Built:
        manifest = artifact.manifest
        program = "".join(manifest.files[file].sha256 for file in (LIBRARY, WEIGHTS))
        return Built(
            path, seconds, [file for file in sorted(path.rglob("*")) if file.is_file()],
            sha256(program.encode()).hexdigest(), manifest.entries[0].arena_bytes,
            float(manifest.native.get("operators", 1.0)),
        )  # fmt: skip


@dataclass(frozen=True)
class ModelBuilder:
    """Writes ONNX files for ONNX Runtime, which applies all of its own optimizations."""

    folder: Path
    loader: str = "ort"

    def build(self, graph: Graph, name: str) -> Built:
        """Write the file; what takes time is to make a session of it."""
        path = self.folder / f"{name}.onnx"
        exact_products(copy_of(graph), fused=True).save(path)
        files = [file for file in (path, path.with_name(path.name + ".data")) if file.exists()]
        return Built(path, None, files, program(graph))


def program(graph: Graph) -> str:
    """A hash of what ``graph`` computes, equal for graphs that differ only in inferred shapes.

    An engine infers them itself.
    """
    bare = copy_of(graph)
    given = set(bare.inputs)
    for value in bare.variables():
        if value.constant is None and value not in given:
            value.shape, value.dtype = None, DType.UNDEFINED
    return digest(bare)


@dataclass
class Sizes:
    """Bytes of files, raw and compressed; equal contents are compressed once."""

    known: dict[str, int] = field(default_factory=dict)

    def of(self, files: Sequence[Path]) -> tuple[int, int]:
        """Bytes of all files together, and what is left of them after DEFLATE."""
        raw = sum(file.stat().st_size for file in files)
        return raw, sum(self._compressed(file) for file in files)

    def _compressed(self, file: Path) -> int:
        digest = sha256()
        for piece in _pieces(file):
            digest.update(piece)
        key = digest.hexdigest()
        if key not in self.known:
            press, size = zlib.compressobj(LEVEL), 0
            for piece in _pieces(file):
                size += len(press.compress(piece))
            self.known[key] = size + len(press.flush())
        return self.known[key]


def _pieces(file: Path) -> Any:
    with file.open("rb") as stream:
        while piece := stream.read(1 << 22):
            yield piece
