"""Models that an installed package ships as ONNX files."""

import importlib.util
import shutil
from pathlib import Path


def package_folder(package: str) -> Path:
    """Return the folder of an installed top-level package without importing it.

    Raises:
        ModuleNotFoundError: if it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return Path(next(iter(spec.submodule_search_locations)))


def copy(path: Path, *, package: str, file: str) -> None:
    """Copy `file`, relative to the folder of `package`, to `path`."""
    shutil.copyfile(package_folder(package) / file, path)
