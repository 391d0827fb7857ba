"""Reads .npz files that anybody may have written: sizes are checked before memory is taken."""

from __future__ import annotations

import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from burnish.bench.task import TaskFailed

MAX_BYTES = 1 << 30
"""Of all arrays in one file, unpacked."""
UNREADABLE = (
    OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
    # Of archives with passwords and of methods that are not known; of headers that nest too deeply.
    RuntimeError, MemoryError,
    # Of headers: they are Python's literals.
    SyntaxError, TypeError, tokenize.TokenError,
)  # fmt: skip
"""What reading a file raises that is not what it says it is."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name.

    Raises:
        TaskFailed: it cannot be read, holds something else than arrays of numbers or strings, or
            more than `MAX_BYTES`.
    """
    arrays = {}
    with _opened(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as file:
                dtype, shape, is_fortran = _header(path, info, file)
                data = file.read(math.prod(shape) * dtype.itemsize)
            flat = np.frombuffer(data, dtype)
            array = flat.reshape(shape[::-1]).T if is_fortran else flat.reshape(shape)
            arrays[_name(info)] = np.array(array, order="C")
    return arrays


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays of a file by name, without reading these.

    Raises:
        TaskFailed: as of `read_arrays`.
    """
    shapes = {}
    with _opened(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as file:
                shapes[_name(info)] = _header(path, info, file)[1]
    return shapes


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
            if size > MAX_BYTES:
                raise TaskFailed(
                    f"{path} holds {size} bytes of arrays; split it into files of at most "
                    f"{MAX_BYTES}"
                )
            yield archive
    except TaskFailed:
        raise
    except UNREADABLE as error:
        raise TaskFailed(
            f"{path} cannot be read as .npz ({error}); write it with numpy.savez"
        ) from error


def _header(
    path: Path, info: zipfile.ZipInfo, file: IO[bytes]
) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """The dtype, shape and order of an array, whose elements come next in ``file``."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise TaskFailed(f"{path}: {info.filename} is in a version of numpy's format not known")
    shape, is_fortran, dtype = read(file)
    if dtype.hasobject:
        raise TaskFailed(f"{path}: array {_name(info)!r} holds objects; give numbers or strings")
    if math.prod(shape) * dtype.itemsize != info.file_size - file.tell():
        raise TaskFailed(f"{path}: array {_name(info)!r} of shape {shape} is cut short")
    return dtype, shape, is_fortran


def _name(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(".npy")
