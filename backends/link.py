"""Make one shared library of kernels, generated tables and the C runtime, with zig.

zig comes from pip and compiles for every target. The runtime is compiled once for each target
and kept in the cache; a model costs one compilation of its tables and one link.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

from burnish.backends.cache import cache_folder
from burnish.errors import BurnishError
from burnish.target import Target

RUNTIME = Path(__file__).parent / "runtime"

GLIBC = "2.28"
"""The oldest C library that an artifact runs on."""

_ZIG_ARCH = {"arm": "arm"}
"""Where zig's name of an architecture is not the first part of LLVM's triple."""

_FLAGS = (
    *("-std=gnu11", "-O2", "-fPIC", "-fvisibility=hidden", "-D_FILE_OFFSET_BITS=64"),
    *("-Wall", "-Wextra", "-Werror"),
)
_LINK_FLAGS = (
    *("-shared", "-s", "-Wl,--build-id=none", "-Wl,-z,defs", "-Wl,-z,noexecstack"),
    # In a process with several models each calls its own functions. It has no SONAME, by which a
    # loader would take the second library for the first.
    "-Wl,-Bsymbolic",
)

_DEFINED = re.compile(r"\b__tvm_ffi_(\w+)\([^;{]*\{")


Progress: TypeAlias = Callable[[str, int, int], None]


def silent(stage: str, done: int, of: int) -> None:
    """Tell nobody."""


def link_library(
    objects: Sequence[bytes],
    c_sources: Mapping[str, str],
    target: Target,
    kernels: frozenset[str] = frozenset(),
    progress: Progress = silent,
) -> bytes:
    """Return the bytes of a shared library; the same arguments give the same bytes.

    Args:
        objects: Object files for `target` that export kernels.
        c_sources: C text by file name, compiled against the runtime's headers.
        target: What the library is to run on.
        kernels: Names of the kernels that are called; those that the runtime has are linked in.
        progress: Called with a stage's name, how many steps of it are done, and of how many. The
            first model for a target takes up to a minute, others a fraction of a second.

    Raises:
        BurnishError: zig is missing, the disk is full, or something that the objects ask for
            exists nowhere.
    """
    runtime = _runtime_objects(target, progress) + _kernel_objects(target, kernels)
    progress("link", 0, 1)
    return _linked(_Parts(objects, c_sources, runtime, "burnish_*;"), target)


def link_kernels(objects: Sequence[bytes], target: Target) -> bytes:
    """Return a shared library that exports single kernels, to be timed by `bench_kernels`.

    Raises:
        BurnishError: as for `link_library`.
    """
    runtime = _compiled(target, (*_runtime_sources(), RUNTIME / "bench" / "bench.c"), ())
    tables = '#include "internal.h"\nconst burnish_program burnish_the_program = {0};\n'
    parts = _Parts(objects, {"driver.c": tables}, runtime, "burnish_*; __tvm_ffi_*;")
    return _linked(parts, target)


def probe_objects(target: Target) -> list[bytes]:
    """Return object files of the kernels that measure a machine; see `roofline_probe`.

    Raises:
        BurnishError: as for `link_library`.
    """
    flags = [*_cpu_flags(target)]
    if target.arch == "x86_64":
        # Otherwise clang would compute with half of a register of 512 bits.
        flags.append(f"-mprefer-vector-width={target.vector_bits}")
    paths = _compiled(target, (RUNTIME / "bench" / "roofline.c",), flags)
    return [path.read_bytes() for path in paths]


def zig_target(target: Target) -> str:
    """Return `target` as zig spells it, with the C library's version."""
    arch, _, system = target.triple.partition("-")
    return f"{_ZIG_ARCH.get(target.arch, arch)}-{system}.{GLIBC}"


def runtime_kernels() -> dict[str, str]:
    """Return the kernels written in C, and the file in `runtime/kernels` that has each."""
    return {
        kernel: path.name
        for path in sorted((RUNTIME / "kernels").glob("*.c"))
        for kernel in _DEFINED.findall(path.read_text())
    }


@dataclass(frozen=True)
class _Parts:
    """What goes into a library."""

    objects: Sequence[bytes]
    c_sources: Mapping[str, str]
    runtime: Sequence[Path]
    exports: str
    """Patterns of the symbols that stay visible."""


def _linked(parts: _Parts, target: Target) -> bytes:
    try:
        with tempfile.TemporaryDirectory(prefix="burnish-link-") as folder:
            return _link(parts, target, Path(folder))
    except OSError as error:
        raise _disk_error(error) from error


def _link(parts: _Parts, target: Target, folder: Path) -> bytes:
    for name, text in parts.c_sources.items():
        (folder / name).write_text(text)
        _compile(name, (f"-I{RUNTIME}",), target, folder)
    for number, data in enumerate(parts.objects):
        (folder / f"kernels{number}.o").write_bytes(data)
    (folder / "exports.map").write_text(f"{{ global: {parts.exports} local: *; }};\n")
    linked = (
        *(f"kernels{number}.o" for number in range(len(parts.objects))),
        *(str(Path(name).with_suffix(".o")) for name in parts.c_sources),
        *map(str, parts.runtime),
    )
    flags = (*_LINK_FLAGS, "-Wl,--version-script=exports.map")
    _zig(("cc", *flags, *linked, "-o", "model.so", "-lm", "-lpthread"), target, folder)
    return (folder / "model.so").read_bytes()


def _runtime_objects(target: Target, progress: Progress) -> tuple[Path, ...]:
    """Compile the runtime for the plainest processor of the architecture of `target`."""
    return _compiled(target, _runtime_sources(), (), progress)


def _runtime_sources() -> tuple[Path, ...]:
    return tuple(sorted(RUNTIME.glob("*.c")))


def _kernel_objects(target: Target, kernels: frozenset[str]) -> tuple[Path, ...]:
    """Compile those C kernels that are called, for the processor of `target` itself."""
    files = sorted({name for kernel, name in runtime_kernels().items() if kernel in kernels})
    if not files:
        return ()
    sources = tuple(RUNTIME / "kernels" / name for name in files)
    return _compiled(target, sources, _cpu_flags(target))


def _cpu_flags(target: Target) -> tuple[str, ...]:
    """Name the processor to zig; a generic RISC-V has no float registers, but our ABI does."""
    extensions = "+m+a+f+d+c" if target.arch == "riscv64" else ""
    return (f"-mcpu={target.mcpu.replace('-', '_')}{extensions}",)


def _compiled(
    target: Target, sources: Sequence[Path], flags: Sequence[str], progress: Progress = silent
) -> tuple[Path, ...]:
    """Return an object for each of `sources`, from the cache if it has them."""
    key = hashlib.sha256(repr((zig_target(target), flags, _FLAGS, _zig_version())).encode())
    for path in (*sources, *sorted(RUNTIME.glob("*.h"))):
        key.update(path.name.encode() + path.read_bytes())
    folder = cache_folder("runtime") / key.hexdigest()[:32]
    objects = tuple(folder / f"{path.stem}.o" for path in sources)
    try:
        if all(_is_whole(path) for path in objects):
            return objects
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new-") as made:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                jobs = [pool.submit(_compile, str(p), flags, target, Path(made)) for p in sources]
                for done, job in enumerate(jobs):
                    progress("compile the runtime", done, len(jobs))
                    job.result()
            folder.mkdir(exist_ok=True)
            for path in objects:
                draft = Path(made, path.name)
                _checksum(draft).write_bytes(_digest(draft))
                os.replace(draft, path)
                os.replace(_checksum(draft), _checksum(path))
    except OSError as error:
        raise _disk_error(error) from error
    return objects


def _is_whole(path: Path) -> bool:
    """Whether a cached object is there and is what was once compiled."""
    recorded = _checksum(path)
    return path.is_file() and recorded.is_file() and recorded.read_bytes() == _digest(path)


def _checksum(path: Path) -> Path:
    """The file next to an object that has its checksum."""
    return path.with_suffix(".sha256")


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).hexdigest().encode()


def _compile(source: str, flags: Sequence[str], target: Target, folder: Path) -> None:
    """Compile one file; the object takes its name. zig takes no more than one at a time."""
    made = f"{Path(source).stem}.o"
    _zig(("cc", "-c", *_FLAGS, *flags, source, "-o", made), target, folder)


@cache
def _zig_version() -> str:
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise BurnishError("the linker is missing: pip install ziglang")
    return importlib.metadata.version("ziglang")


def _zig(arguments: Sequence[str], target: Target, folder: Path, system: str | None = None) -> None:
    """Run zig in `folder`; what it makes lands there."""
    _zig_version()
    environment = os.environ | {
        # The C library's parts last; what belongs to this one call goes with its folder.
        "ZIG_GLOBAL_CACHE_DIR": str(cache_folder("zig")),
        "ZIG_LOCAL_CACHE_DIR": str(folder / "zig-cache"),
    }
    command = [sys.executable, "-m", "ziglang", *arguments, "-target", zig_target(target)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BurnishError(_explain(done.stderr, target))


def _explain(message: str, target: Target) -> str:
    missing = sorted(set(re.findall(r"undefined symbol: (\S+)", message)))
    if missing:
        return (
            f"cannot link for {target.name}: the kernels ask for {', '.join(missing)}, "
            "which neither the C library nor the runtime has"
        )
    lines = [line for line in message.splitlines() if "error" in line.lower()] or [message.strip()]
    return f"cannot link for {target.name}: " + "; ".join(lines[:3])


def _disk_error(error: OSError) -> BurnishError:
    if error.errno == errno.ENOSPC:
        return BurnishError(
            "the disk is full; make room in the cache folder "
            f"{cache_folder()} and in {tempfile.gettempdir()}"
        )
    return BurnishError(f"cannot write while linking: {error}")
