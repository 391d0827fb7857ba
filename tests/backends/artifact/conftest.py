"""The toy model, compiled once."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from burnish.backends.artifact import LIBRARY, WEIGHTS, Artifact
from burnish.backends.build import Provenance, build_artifact
from burnish.backends.self_test import Vector
from burnish.target import Target, resolve
from tests.backends.artifact import toy


@pytest.fixture(scope="session")
def target() -> Target:
    return replace(resolve("cpu"), threads=2)


@pytest.fixture(scope="session")
def kernels(target: Target, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return toy.compile_c(toy.KERNELS, target, tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="session")
def artifact(kernels: bytes, target: Target) -> Artifact:
    vector = Vector({"x": toy.sample()}, {"y": toy.answer(toy.sample())})
    provenance = Provenance(model={"name": "toy"}, native={"operators": 1.0})
    return build_artifact([toy.make_program(kernels)], target, [vector], provenance)


@pytest.fixture
def saved(artifact: Artifact, tmp_path: Path) -> Path:
    artifact.save(tmp_path / "model")
    return tmp_path / "model"


RunC = Callable[[Path, str], str]


@pytest.fixture
def run_c(tmp_path: Path) -> RunC:
    """Compile a program against an artifact, run it with the weights, return what it prints."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")

    def run(saved: Path, program: str) -> str:
        (tmp_path / "main.c").write_text(program)
        command = ["cc", "main.c", f"-I{saved}", str(saved / LIBRARY), "-o", "main"]
        subprocess.run(command, cwd=tmp_path, check=True)
        command = ["./main", str(saved / WEIGHTS)]
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout

    return run
