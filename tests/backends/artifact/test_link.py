"""Linking: small, self-contained, for every target, with errors that say what is missing."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

from burnish.backends import link
from burnish.backends.cache import cache_folder
from burnish.backends.driver import DriverOptions, Entry, emit_driver
from burnish.backends.memory_plan import plan_memory
from burnish.backends.program import Program
from burnish.backends.weights import lay_out_weights
from burnish.errors import BurnishError
from burnish.target import Target, resolve
from tests.backends.artifact import toy


def library(program: Program, target: Target) -> bytes:
    weights = lay_out_weights([program])
    entry = Entry(program, plan_memory(program))
    driver = emit_driver([entry], weights, DriverOptions(target.name))
    return link.link_library(program.objects, {"driver.c": driver}, target)


def test_needs_only_the_c_library(kernels: bytes, target: Target, tmp_path: Path) -> None:
    if shutil.which("ldd") is None:
        pytest.skip("needs ldd")
    data = library(toy.make_program(kernels), target)
    (tmp_path / "m.so").write_bytes(data)
    (tmp_path / "m.so").chmod(0o755)
    done = subprocess.run(["ldd", tmp_path / "m.so"], check=True, capture_output=True, text=True)
    names = {line.split()[0].split("/")[-1].split(".")[0] for line in done.stdout.splitlines()}
    assert names <= {"linux-vdso", "libc", "libm", "libpthread", "ld-linux-x86-64"}
    assert len(data) < 60_000


def test_exports_the_c_interface_and_nothing_else(
    kernels: bytes, target: Target, tmp_path: Path
) -> None:
    if shutil.which("nm") is None:
        pytest.skip("needs nm")
    (tmp_path / "m.so").write_bytes(library(toy.make_program(kernels), target))
    done = subprocess.run(
        ["nm", "-D", "--defined-only", tmp_path / "m.so"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    exported = {line.split()[-1] for line in done.stdout.splitlines()}
    declared = (link.RUNTIME / "burnish.h").read_text()
    assert exported
    assert all(f" {name}(" in declared or f"*{name}(" in declared for name in exported)
    functions = [line for line in declared.splitlines() if line.startswith("BURNISH_API")]
    assert len(exported) == len(functions)


def test_the_first_model_for_a_target_tells_its_progress(
    monkeypatch: pytest.MonkeyPatch, target: Target, tmp_path: Path
) -> None:
    monkeypatch.setattr(link, "_FLAGS", (*link._FLAGS, "-DTHE_FIRST_TIME"))
    monkeypatch.setattr(link, "cache_folder", lambda *parts: keep_zig(tmp_path, *parts))
    stages: list[tuple[str, int, int]] = []
    for _ in range(2):
        link._runtime_objects(target, lambda *stage: stages.append(stage))
    count = len(link._runtime_sources())
    assert stages == [("compile the runtime", done, count) for done in range(count)]


@pytest.mark.parametrize("damage", [b"", b"not an object", None])
def test_a_damaged_runtime_is_compiled_again(
    monkeypatch: pytest.MonkeyPatch, target: Target, tmp_path: Path, damage: bytes | None
) -> None:
    monkeypatch.setattr(link, "cache_folder", lambda *parts: keep_zig(tmp_path, *parts))
    source = tmp_path / "one.c"
    source.write_text("int one(void); int one(void) { return 1; }")
    (made,) = link._compiled(target, (source,), ())
    size = made.stat().st_size
    if damage is None:
        made.unlink()
    else:
        made.write_bytes(damage)
    assert link._compiled(target, (source,), ()) == (made,)
    assert made.read_bytes().startswith(b"\x7fELF")
    assert made.stat().st_size == size
    monkeypatch.setattr(link, "_compile", lambda *_: pytest.fail("it is in the cache"))
    assert link._compiled(target, (source,), ()) == (made,)


def keep_zig(folder: Path, *parts: str) -> Path:
    """A fresh cache but for zig's own, which takes long to fill."""
    if parts == ("zig",):
        return cache_folder("zig")
    made = folder.joinpath(*parts)
    made.mkdir(exist_ok=True)
    return made


def test_a_missing_function_is_named(target: Target, tmp_path: Path) -> None:
    source = "int missing_function(void); int f(void); int f(void) { return missing_function(); }"
    with pytest.raises(BurnishError, match="the kernels ask for missing_function, which neither"):
        link.link_kernels([toy.compile_c(source, target, tmp_path)], target)


def test_an_object_that_is_none_is_an_error(target: Target) -> None:
    with pytest.raises(BurnishError, match="cannot link for cpu: "):
        link.link_kernels([b"nonsense"], target)


def test_without_zig_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, target: Target
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    link._zig_version.cache_clear()
    with pytest.raises(BurnishError, match="the linker is missing: pip install ziglang"):
        link.link_kernels([], target)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x86-64-v3", "x86_64-linux-gnu.2.28"),
        ("arm64:cortex-a76", "aarch64-linux-gnu.2.28"),
        ("armv7:cortex-a7", "arm-linux-gnueabihf.2.28"),
        ("riscv64", "riscv64-linux-gnu.2.28"),
    ],
)
def test_names_of_targets(name: str, expected: str) -> None:
    assert link.zig_target(resolve(name)) == expected


CROSS = {
    "arm64:cortex-a76": ("qemu-aarch64", "/usr/aarch64-linux-gnu", 183),
    "armv7:cortex-a7": ("qemu-arm", "/usr/arm-linux-gnueabihf", 40),
    "riscv64": ("qemu-riscv64", "/usr/riscv64-linux-gnu", 243),
}


MAIN = r"""
#include <stdio.h>
#include "burnish.h"
static float x[37 * 53], y[37 * 53];
int main(int argc, char **argv) {
  burnish_model *model = burnish_open(argv[argc - 1], 2);
  const void *inputs[] = {x};
  void *outputs[] = {y};
  for (int i = 0; i < 37 * 53; i++) x[i] = (float)i;
  if (!model || burnish_run(model, inputs, outputs)) {
    return fprintf(stderr, "%s\n", burnish_last_error()), 1;
  }
  printf("%.9g %.9g\n", y[0], y[37 * 53 - 1]);
  burnish_close(model);
  return 0;
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", CROSS)
def test_other_machines(name: str, tmp_path: Path) -> None:
    emulator, root, machine = CROSS[name]
    target = resolve(name)
    program = toy.make_program(toy.compile_c(toy.KERNELS, target, tmp_path))
    assert link._kernel_objects(target, frozenset({"burnish_copy"}))
    data = library(program, target)
    assert int.from_bytes(data[18:20], "little") == machine
    if shutil.which(emulator) is None or not Path(root).is_dir():
        pytest.skip(f"linked, but not run: needs {emulator} and {root}")
    (tmp_path / "model.so").write_bytes(data)
    weights = b"".join(bytes(chunk) for chunk in lay_out_weights([program]).chunks())
    (tmp_path / "weights.bin").write_bytes(weights)
    (tmp_path / "main.c").write_text(MAIN)
    arguments = (
        "cc",
        "main.c",
        "model.so",
        f"-I{link.RUNTIME}",
        "-Wl,-rpath,$ORIGIN",
        "-o",
        "main",
    )
    link._zig(arguments, target, tmp_path)
    done = subprocess.run(
        [emulator, "-L", root, tmp_path / "main", tmp_path / "weights.bin"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    last = 37 * 53 - 1
    expected = (2 * last + toy.weight()[-1, -1], toy.weight()[0, 0])
    assert [float(text) for text in done.stdout.split()] == pytest.approx(expected)
