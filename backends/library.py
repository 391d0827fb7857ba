"""Load a shared library from memory, after a look at what machine it is for."""

from __future__ import annotations

import _ctypes
import ctypes
import os
import platform
import struct
import tempfile
import weakref
from pathlib import Path

from burnish.errors import InvalidInput, UnsupportedModel

_MACHINES = {62: "x86_64", 183: "aarch64", 40: "armv7l", 243: "riscv64"}
"""ELF's numbers, and what `platform.machine` says there."""

_SAME = {"arm64": "aarch64", "amd64": "x86_64", "armv8l": "armv7l"}


class SharedLibrary:
    """A library that is loaded until it is closed or forgotten."""

    def __init__(self, data: bytes, name: str) -> None:
        """Load the bytes `data`.

        Args:
            data: The library. Loading from a path would return what was loaded from that path
                before, even if the file has been replaced since.
            name: What to call it in messages.

        Raises:
            UnsupportedModel: it is for another machine.
            InvalidInput: it is no library.
        """
        check_machine(data, name)
        descriptor, path = _expose(data)
        try:
            self.handle = ctypes.CDLL(path)
        except OSError as error:
            os.close(descriptor)
            raise InvalidInput(f"cannot load {name}: {error}") from error
        # The descriptor stays open: its number is the library's name while it is loaded.
        self.close = weakref.finalize(self, _unload, self.handle._handle, descriptor)
        self.close.atexit = False


def check_machine(data: bytes, name: str) -> None:
    """Check that the library `data` is for this machine.

    Raises:
        UnsupportedModel: it is for another one.
        InvalidInput: it is no ELF library.
    """
    if len(data) < 64 or data[:4] != b"\x7fELF":
        raise InvalidInput(f"{name} is not a shared library of this system (ELF)")
    (number,) = struct.unpack_from("<H", data, 18)
    made_for = _MACHINES.get(number, f"machine {number}")
    here = platform.machine().lower()
    here = _SAME.get(here, here)
    if made_for != here:
        raise UnsupportedModel(
            f"this artifact is for {made_for}, and this machine is {here}: "
            "run it there, or compile the model with --target cpu"
        )


def _expose(data: bytes) -> tuple[int, str]:
    """Return an open descriptor of a nameless file that holds `data`, and a path to it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("burnish", os.MFD_CLOEXEC)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        return descriptor, f"/proc/self/fd/{descriptor}"
    descriptor, path = tempfile.mkstemp(prefix="burnish-", suffix=".so")
    Path(path).write_bytes(data)
    return descriptor, path


def _unload(handle: int, descriptor: int) -> None:
    _ctypes.dlclose(handle)
    os.close(descriptor)
