"""Saves a graph to a file: whole or not at all, the same bytes for the same graph."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from onnx import StringStringEntryProto, TensorProto

from burnish.ir.assembly import Skeleton, fill
from burnish.ir.external_data import put, stored
from burnish.ir.graph import Graph
from burnish.ir.onnx_io import skeleton
from burnish.output import staged

EXTERNAL_ABOVE = 1_800_000_000
"""Bytes of weights from which on they go to a file beside the model; messages end at 2 GB."""

INLINE_BELOW = 1024
"""Tensors smaller than this stay in the model file: shapes and scalars are needed to read it."""

ALIGNMENT = 4096
"""Offsets are multiples of a page, so that readers can map tensors."""


def save(graph: Graph, path: str | os.PathLike[str], *, external: bool | None = None) -> None:
    """Write ``graph`` as ONNX.

    Args:
        graph: what to save; its regions are expanded.
        path: the file to write. It appears when it is complete, never before.
        external: whether weights go to ``<name>.onnx.data`` beside it; by default when they are
            larger than ``EXTERNAL_ABOVE`` bytes.

    Raises:
        UsageError: no file can be written at ``path``.
        CannotWrite: the disk is full or refuses.
        UnsupportedModel: the model cannot be expressed in ONNX.
    """
    path = Path(path)
    parts = skeleton(graph)
    if external is None:
        external = parts.nbytes > EXTERNAL_ABOVE
    if external:
        data = path.with_name(f"{path.name}.data")
        # Both are complete before the first takes its place, the data before the model.
        with staged(path) as model_draft, staged(data) as data_draft:
            with data_draft.open("wb") as file:
                _write_data(parts, file, data.name)
            model_draft.write_bytes(parts.model.SerializeToString(deterministic=True))
    else:
        content = fill(parts).SerializeToString(deterministic=True)
        with staged(path) as draft:
            draft.write_bytes(content)


def _write_data(parts: Skeleton, file: IO[bytes], location: str) -> None:
    """Write the large tensors to ``file`` and point the model at them."""
    offset = 0
    for tensor in parts.initializers():
        constant = parts.constants[tensor.name]
        if constant.nbytes < INLINE_BELOW:
            put(tensor, constant)
            continue
        data = stored(constant)
        aligned = -(-offset // ALIGNMENT) * ALIGNMENT
        file.write(b"\0" * (aligned - offset))
        file.write(data.data)
        _point(tensor, location, aligned, data.nbytes)
        offset = aligned + data.nbytes


def _point(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.append(StringStringEntryProto(key=key, value=str(value)))
