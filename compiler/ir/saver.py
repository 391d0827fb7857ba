"""Saves a graph to a file: whole or not at all, the same bytes for the same graph."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from onnx import StringStringEntryProto, TensorProto

from burnish.errors import InvalidInput
from burnish.ir.assembly import Skeleton, fill
from burnish.ir.external_data import put, stored
from burnish.ir.graph import Graph
from burnish.ir.onnx_io import skeleton

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
        InvalidInput: the file cannot be written.
        UnsupportedModel: the model cannot be expressed in ONNX.
    """
    path = Path(path)
    parts = skeleton(graph)
    if external is None:
        external = parts.nbytes > EXTERNAL_ABOVE
    try:
        if external:
            data = path.with_name(f"{path.name}.data")
            with _replacing(data) as file:
                _write_data(parts, file, data.name)
                file.flush()
                with _replacing(path) as target:
                    target.write(parts.model.SerializeToString(deterministic=True))
        else:
            content = fill(parts).SerializeToString(deterministic=True)
            with _replacing(path) as target:
                target.write(content)
    except OSError as error:
        raise InvalidInput(
            f"cannot write {path}: {error.strerror or error}; give a path that can be written"
        ) from error


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of ``path`` when the block ends well, and else vanishes."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _umask() -> int:
    """The bits that new files go without; reading them means setting them for a moment."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


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
