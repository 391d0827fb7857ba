"""Builds the wheel, compares its contents with the tree, and starts what it holds."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
STARTS = (
    "import burnish.cli, sys; sys.exit(burnish.cli.main(['passes']))",
    "import burnish.cli, sys; sys.exit(burnish.cli.main(['targets']))",
)


def main() -> None:
    """Exit with a message if the wheel is not what it should be."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        build(folder, folder / "source")
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            packed = {name for name in archive.namelist() if ".dist-info/" not in name}
            compare(packed, folder / "source")
            archive.extractall(folder / "installed")
        for statement in STARTS:
            start(statement, folder / "installed")
        print(f"{wheel.name}: {wheel.stat().st_size / 1000:.0f} kB, contents as in the tree")


def build(folder: Path, source: Path) -> None:
    """Write the wheel to ``folder`` by way of ``source``, a copy of what git tracks."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, "--no-deps", "-w", str(folder), str(source)], check=True)


def compare(packed: set[str], source: Path) -> None:
    """Exit if the wheel lacks a file of the three folders, or holds another one."""
    wanted = {
        f"{package.replace('.', '/')}/{path.relative_to(source / place)}"
        for package, place in SETUPTOOLS["package-dir"].items()
        for path in (source / place).rglob("*")
        if path.is_file()
    }
    if packed != wanted:
        sys.exit(f"missing: {sorted(wanted - packed)}; unwanted: {sorted(packed - wanted)}")


def start(statement: str, installed: Path) -> None:
    """Run a statement with the packages of the wheel; exit if it fails or loads others."""
    code = f"import burnish; assert burnish.__file__.startswith({str(installed)!r}); {statement}"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=installed, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{statement}\n{done.stderr}")


if __name__ == "__main__":
    main()
