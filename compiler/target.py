"""Targets: what the machine that runs the result can do."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from burnish.errors import UsageError
from burnish.ir import DType
from burnish.suggest import unknown

MAX_THREADS = 1024
"""Most threads that an artifact may ask for."""

SIZES = {"K": 1024, "M": 1024**2, "G": 1024**3}


@dataclass(frozen=True)
class Target:
    """A processor: instruction set, registers, caches, threads."""

    name: str
    """As given on the command line: ``cpu``, ``x86-64-v3``, ``arm64:cortex-a76``."""
    arch: str
    """``x86_64``, ``aarch64``, ``arm`` or ``riscv64``."""
    triple: str
    """LLVM and zig triple without a libc version."""
    mcpu: str
    """LLVM's name of the processor."""
    features: frozenset[str] = frozenset()
    """Instruction sets that an artifact asks for, in LLVM's names."""
    extensions: frozenset[str] = frozenset()
    """Further ones that the processor has, for what asks for them by `using`."""
    vector_bits: int = 128
    registers: int = 16
    """Vector registers."""
    l1: int = 32 * 1024
    """Bytes of first-level data cache of a core."""
    l2: int = 512 * 1024
    """Bytes of second-level cache of a core."""
    threads: int = 1
    is_host: bool = False

    def lanes(self, dtype: str = "float32") -> int:
        """Elements of numpy type name ``dtype`` in one vector register."""
        bits = {"bool": 8}.get(dtype) or int(dtype.lstrip("abcdefghijklmnopqrstuvwxyz"))
        return max(1, self.vector_bits // bits)

    def tvm_target(self) -> dict[str, object]:
        """The description that TVM's LLVM code generator takes."""
        options: dict[str, object] = {
            "kind": "llvm", "mtriple": self.triple, "mcpu": self.mcpu, "num-cores": self.threads,
        }  # fmt: skip
        used = [f"+{name}" for name in sorted(self.features & self.extensions)]
        if self.arch == "x86_64" and self.vector_bits == 512:
            # LLVM would vectorize plain loops at half the width that our tiles use anyway.
            used.append("-prefer-256-bit")
        if used:
            options["mattr"] = used
        if self.arch == "arm":
            options |= {"mattr": ["+neon"], "mfloat-abi": "hard"}
        if self.arch == "riscv64":
            options |= {"mattr": ["+m", "+a", "+f", "+d", "+c"], "mabi": "lp64d"}
        return options

    def using(self, *names: str) -> Target:
        """The same processor for an artifact that asks for extensions of it as well.

        Raises:
            UsageError: it lacks one.
        """
        for name in names:
            if name not in self.extensions | self.features:
                raise UsageError(f"the target {self.name} has no {name}")
        return replace(self, features=self.features | set(names))

    def for_integers(self) -> Target:
        """The same processor for an artifact that multiplies integers, with all it has for them."""
        return self.using(*self.extensions & _INTEGERS)

    def computes(self, dtype: DType) -> bool:
        """Whether kernels do arithmetic in ``dtype`` itself (else they widen it to float32)."""
        return dtype not in (DType.FLOAT16, DType.BFLOAT16)


_V2 = ("popcnt", "sse3", "sse4.1", "sse4.2", "ssse3")
_V3 = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", *_V2)
_V4 = ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", *_V3)
X86_LEVELS = {"x86-64-v2": (128, 16, _V2), "x86-64-v3": (256, 16, _V3), "x86-64-v4": (512, 32, _V4)}
"""Vector bits, vector registers and LLVM's names of the instruction sets (x86-64 psABI)."""

_ARM_V8_2 = ("dotprod", "fullfp16", "lse")
_ARM_V9 = (*_ARM_V8_2, "bf16", "i8mm", "sve")
ARM64_FEATURES = {
    "cortex-a55": _ARM_V8_2,
    "cortex-a75": _ARM_V8_2,
    "cortex-a76": _ARM_V8_2,
    "cortex-a77": _ARM_V8_2,
    "cortex-a78": _ARM_V8_2,
    "cortex-x1": _ARM_V8_2,
    "neoverse-n1": _ARM_V8_2,
    "neoverse-n2": _ARM_V9,
    "neoverse-v1": _ARM_V9,
    "neoverse-v2": _ARM_V9,
}
"""What code for a processor may use beyond ARMv8.0, by LLVM's name of it."""

ARM64_CPUS = (
    *ARM64_FEATURES,
    *("cortex-a34", "cortex-a35", "cortex-a53", "cortex-a57", "cortex-a65", "cortex-a72"),
    *("cortex-a73", "cortex-a510", "cortex-a520", "cortex-a710", "cortex-a715", "cortex-a720"),
    *("cortex-x2", "cortex-x3", "cortex-x4", "neoverse-e1"),
    *("apple-m1", "apple-m2", "apple-m3", "apple-m4", "generic"),
)
ARMV7_CPUS = (
    *("cortex-a5", "cortex-a7", "cortex-a8", "cortex-a9", "cortex-a15", "cortex-a17"),
    "generic",
)
"""Processors that LLVM and zig both know; LLVM takes any other name for a plain one."""

BFLOAT16 = "avx512bf16"
"""LLVM's name of sums of products of bfloat16 numbers, in pairs, on x86."""
VNNI, AVX_VNNI = "avx512vnni", "avxvnni"
"""The same of products of bytes, four at a time, in vectors of up to 512 and up to 256 bits."""
VBMI = "avx512vbmi"
"""The same of looking bytes up in tables of 128."""
_EXTENSIONS = {
    "x86-64-v3": (AVX_VNNI,),
    "x86-64-v4": (BFLOAT16, VNNI, VBMI),
}
"""Instruction sets beyond a level that kernels exist for."""
_INTEGERS = frozenset({VNNI, AVX_VNNI, VBMI})
"""Those of them that sums of products of integers ask for."""

_CPUINFO_NAMES = {
    "avx512bf16": "avx512_bf16", "avx512vnni": "avx512_vnni", "avxvnni": "avx_vnni",
    "bmi": "bmi1", "lzcnt": "abm", "sse3": "pni",
}  # fmt: skip
"""Linux's names of instruction sets where they differ from LLVM's."""


def resolve(name: str = "cpu", threads: int | None = None) -> Target:
    """The target called ``name``; ``threads`` defaults to the cores at hand for the host, else 1.

    Raises:
        UsageError: there is no such target, or ``threads`` is none of 1 to ``MAX_THREADS``.
    """
    if threads is not None and not 1 <= threads <= MAX_THREADS:
        raise UsageError(f"--threads must be from 1 to {MAX_THREADS}, not {threads}")
    target = _named(name)
    default = len(processors()) if target.is_host else 1
    return replace(target, threads=threads or default)


def processors() -> list[int]:
    """Numbers of the processors that this process may use; all there are where it cannot tell."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def catalogue() -> list[Target]:
    """One target of each kind that ``resolve`` knows, this machine first if it is one of them."""
    names = [*X86_LEVELS, "arm64:cortex-a76", "armv7:cortex-a7", "riscv64"]
    try:
        return [resolve("cpu"), *map(resolve, names)]
    except UsageError:
        return [resolve(name) for name in names]


def _named(name: str) -> Target:
    family, _, cpu = name.partition(":")
    if name == "cpu":
        return _host()
    level, *more = name.split("+")
    if level in X86_LEVELS:
        return replace(_x86(level, name), extensions=frozenset(_extensions(level, more)))
    if family == "arm64":
        mcpu = _checked(cpu or "cortex-a76", family, ARM64_CPUS)
        return Target(
            name, "aarch64", "aarch64-linux-gnu", mcpu,
            frozenset({"neon", *ARM64_FEATURES.get(mcpu, ())}),
            vector_bits=128, registers=32,
        )  # fmt: skip
    if family == "armv7":
        mcpu = _checked(cpu or "cortex-a7", family, ARMV7_CPUS)
        return Target(
            name, "arm", "armv7-linux-gnueabihf", mcpu, frozenset({"neon"}),
            vector_bits=128, registers=16,
        )  # fmt: skip
    if name == "riscv64":
        return Target(name, "riscv64", "riscv64-linux-gnu", "generic-rv64", registers=32)
    known = ", ".join(
        (
            "cpu",
            *(f"{lv}[+<extension>]" for lv in X86_LEVELS),
            "arm64:<cpu>",
            "armv7:<cpu>",
            "riscv64",
        )
    )
    raise UsageError(f"unknown target {name!r}; known targets: {known}")


def _checked(cpu: str, family: str, known: tuple[str, ...]) -> str:
    if cpu not in known:
        raise UsageError(unknown(f"processor of {family}", cpu, known))
    return cpu


def _extensions(level: str, names: Sequence[str]) -> Sequence[str]:
    """``names``, each an extension of ``level``."""
    known = _EXTENSIONS.get(level, ())
    for name in names:
        if name not in known:
            raise UsageError(unknown(f"extension of {level}", name, known))
    return names


def _x86(level: str, name: str | None = None, mcpu: str | None = None) -> Target:
    bits, registers, features = X86_LEVELS[level]
    return Target(
        name or level, "x86_64", "x86_64-linux-gnu", mcpu or level, frozenset(features),
        vector_bits=bits, registers=registers, l1=32 * 1024, l2=1024 * 1024,
    )  # fmt: skip


def _host() -> Target:
    """The machine that this runs on."""
    machine = platform.machine()
    if machine == "aarch64":
        base = replace(_named("arm64:generic"), name="cpu")
    elif machine == "x86_64":
        flags = _cpu_flags()
        level = next(
            (lv for lv in ("x86-64-v4", "x86-64-v3") if _flag_names(X86_LEVELS[lv][2]) <= flags),
            "x86-64-v2",
        )
        more = frozenset(f for f in _EXTENSIONS.get(level, ()) if _flag_names((f,)) <= flags)
        base = replace(_x86(level, "cpu"), extensions=more)
    else:
        raise UsageError(f"this machine ({machine}) is no known target; name one with --target")
    caches = {level: _cache_size(level) for level in (1, 2)}
    return replace(
        base, is_host=True, l1=caches[1] or base.l1, l2=caches[2] or base.l2,
    )  # fmt: skip


def _flag_names(features: Sequence[str]) -> set[str]:
    """Linux's names of instruction sets."""
    return {_CPUINFO_NAMES.get(name, name.replace(".", "_")) for name in features}


def _cpu_flags() -> set[str]:
    """Linux's names of what this processor has; none on another system."""
    with suppress(FileNotFoundError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return set(line.partition(":")[2].split())
    return set()


def last_level_cache() -> int:
    """Bytes of the largest cache of this machine; 0 where that is not known."""
    return max((_cache_size(level) or 0 for level in (2, 3, 4)), default=0)


def _cache_size(level: int) -> int | None:
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (index / "type").read_text().strip() == "Instruction":
            continue
        if int((index / "level").read_text()) == level:
            text = (index / "size").read_text().strip()
            return int(text[:-1]) * SIZES[text[-1]]
    return None
