"""Models where they come from and go to: files, bytes, messages."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from onnx import ModelProto

from burnish.ir import Graph
from burnish.output import check_target

Model: TypeAlias = Graph | ModelProto | bytes | str | os.PathLike[str]


def load(source: ModelProto | bytes | str | os.PathLike[str]) -> Graph:
    """Read an ONNX model from a path, bytes or message.

    Raises:
        InvalidInput: it is missing, malformed, truncated or hostile.
        UnsupportedModel: it is valid but cannot be represented.
    """
    return Graph.from_onnx(Path(source) if isinstance(source, os.PathLike) else source)


def save(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write ``graph`` as an ONNX file, whole or not at all.

    Weights beyond 2 GB go to a file beside it, ``<name>.onnx.data``.

    Raises:
        UsageError: there is no such folder.
        BurnishError: the file cannot be written.
    """
    check_target(Path(path))
    graph.save(Path(path))


def describe_source(model: Model) -> dict[str, Any]:
    """What a manifest says about where a model came from: name and SHA-256 of its file.

    A file that cannot be read is none of its business; `load` says what is wrong with it.
    """
    if isinstance(model, str | os.PathLike):
        path, digest = Path(model), hashlib.sha256()
        with suppress(OSError):
            if path.is_file():
                with path.open("rb") as file:
                    hashlib.file_digest(file, lambda: digest)
        return {"name": path.name, "sha256": digest.hexdigest()}
    if isinstance(model, Graph):
        return {"name": model.name}
    data = model if isinstance(model, bytes) else model.SerializeToString(deterministic=True)
    return {"name": "", "sha256": hashlib.sha256(data).hexdigest()}
