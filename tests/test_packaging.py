"""What is installed is what is in the tree."""

from __future__ import annotations

import tomllib
from pathlib import Path

import burnish

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def packages_in_tree() -> set[str]:
    """Import names of all folders that hold an ``__init__.py``."""
    found = set()
    for package, folder in SETUPTOOLS["package-dir"].items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join([package, *parts]))
    return found


def test_every_package_is_listed() -> None:
    # An editable install finds a package that is not listed; the wheel silently lacks it.
    assert set(SETUPTOOLS["packages"]) == packages_in_tree()


def test_every_folder_with_modules_is_a_package() -> None:
    bare = {
        str(path.parent.relative_to(ROOT))
        for folder in SETUPTOOLS["package-dir"].values()
        for path in (ROOT / folder).rglob("*.py")
        if not (path.parent / "__init__.py").is_file()
    }
    assert not bare


def test_every_other_file_is_packaged() -> None:
    packaged = {
        path
        for package, globs in SETUPTOOLS["package-data"].items()
        for glob in globs
        for path in (ROOT / SETUPTOOLS["package-dir"][package]).glob(glob)
    }
    data = {
        path
        for folder in SETUPTOOLS["package-dir"].values()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    assert data == packaged


def test_lists_are_sorted() -> None:
    assert SETUPTOOLS["packages"] == sorted(SETUPTOOLS["packages"])


def test_public_names_are_what_we_meant() -> None:
    assert set(burnish.__all__) == {
        "BurnishError", "Graph", "Pruning", "Quantization", "__version__", "compile", "diagnose",
        "load", "load_artifact", "optimize", "save",
    }  # fmt: skip
    assert burnish.__version__ == PROJECT["project"]["version"]


def test_public_names_resolve() -> None:
    assert all(getattr(burnish, name) is not None for name in burnish.__all__)
