"""Reads .npz and .npy files that anybody wrote: sizes are checked before memory is taken."""

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

from burnish.errors import InvalidInput

MAX_BYTES = 1 << 30
"""Of all arrays in one file, unpacked."""
LABELS = "labels"
"""The array of an .npz file with what the others are of."""
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
        InvalidInput: it cannot be read, holds something else than arrays of numbers or strings, or
            more than `MAX_BYTES`.
    """
    arrays = {}
    with _opened(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as file:
                arrays[_name(info)] = _array(f"{path}: array {_name(info)!r}", info.file_size, file)
    return arrays


def read_array(path: Path) -> np.ndarray:
    """Return the array of an .npy file.

    Raises:
        InvalidInput: as of `read_arrays`.
    """
    with _explained(path, "numpy.save"):
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InvalidInput(_too_large(path, size))
        with path.open("rb") as file:
            return _array(f"{path}: the array", size, file)


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays of a file by name, without reading these.

    Raises:
        InvalidInput: as of `read_arrays`.
    """
    shapes = {}
    with _opened(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as file:
                where = f"{path}: array {_name(info)!r}"
                shapes[_name(info)] = _header(where, info.file_size, file)[1]
    return shapes


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with _explained(path, "numpy.savez"), zipfile.ZipFile(path) as archive:
        size = sum(info.file_size for info in archive.infolist())
        if size > MAX_BYTES:
            raise InvalidInput(_too_large(path, size))
        yield archive


@contextmanager
def _explained(path: Path, writer: str) -> Iterator[None]:
    """Say of which file it is that something could not be read."""
    try:
        yield
    except InvalidInput:
        raise
    except UNREADABLE as error:
        raise InvalidInput(
            f"{path} cannot be read as {path.suffix} ({error}); write it with {writer}"
        ) from error


def _too_large(path: Path, size: int) -> str:
    return f"{path} holds {size} bytes of arrays; split it into files of at most {MAX_BYTES}"


def _array(where: str, size: int, file: IO[bytes]) -> np.ndarray:
    """The array that ``file`` has, with its header ``size`` bytes."""
    dtype, shape, is_fortran = _header(where, size, file)
    flat = np.frombuffer(file.read(math.prod(shape) * dtype.itemsize), dtype)
    array = flat.reshape(shape[::-1]).T if is_fortran else flat.reshape(shape)
    return np.array(array, order="C")


def _header(where: str, size: int, file: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """The dtype, shape and order of an array, whose elements come next in ``file``."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise InvalidInput(f"{where} is in a version of numpy's format not known")
    shape, is_fortran, dtype = read(file)
    if dtype.hasobject:
        raise InvalidInput(f"{where} holds objects; give numbers or strings")
    if math.prod(shape) * dtype.itemsize != size - file.tell():
        raise InvalidInput(f"{where} of shape {shape} is cut short")
    return dtype, shape, is_fortran


def _name(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(".npy")
