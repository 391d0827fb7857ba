"""The folder that keeps built models, and the manifest of checksums that guards it."""

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.zoo import Model

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the package of the suite."""
MANIFEST = "manifest.json"
BUILD_PACKAGES = ("torch", "transformers", "onnxscript", "onnx", "numpy")
"""Packages whose versions decide what an export looks like; recorded with every build."""


class ZooError(Exception):
    """A model cannot be built or is not what the manifest says; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the manifest says of one model."""

    files: dict[str, str]
    """File name -> sha256."""
    revision: int
    options: dict[str, str]
    source: str
    licence: str
    built_with: dict[str, str]


def default_folder() -> Path:
    """Return the cache folder: `$BURNISH_ZOO`, else `~/.cache/burnish/zoo`."""
    chosen = os.environ.get("BURNISH_ZOO")
    return Path(chosen) if chosen else Path.home() / ".cache" / "burnish" / "zoo"


class Zoo:
    """Built models in one folder: `NAME.onnx`, external weights beside it, and the manifest."""

    def __init__(self, folder: Path | None = None) -> None:
        """Open the zoo in `folder`, by default `default_folder()`; it need not exist yet."""
        self.folder = folder or default_folder()

    def path(self, model: Model) -> Path:
        """Return the ONNX file of a built model.

        Raises:
            ZooError: if it has not been built, or was built by an older revision.
        """
        if not self.is_built(model):
            raise ZooError(f"{model.name} is not in {self.folder}; run: make zoo")
        return self._file(model)

    def files(self, model: Model) -> list[Path]:
        """Return all files of a built model: the ONNX file and weights beside it.

        Raises:
            ZooError: as for `path`.
        """
        self.path(model)
        return [self.folder / name for name in self._records()[model.name].files]

    def is_built(self, model: Model) -> bool:
        """Whether the manifest knows this revision of the model and its files are there."""
        record = self._records().get(model.name)
        return (
            record is not None
            and record.revision == model.revision
            and record.options == dict(model.options)
            and all((self.folder / name).is_file() for name in record.files)
        )

    def verify(self, model: Model) -> None:
        """Compare the files of a built model with their recorded checksums.

        Raises:
            ZooError: if it is not built, or a file has changed.
        """
        self.path(model)
        for name, expected in self._records()[model.name].files.items():
            if sha256(self.folder / name) != expected:
                raise ZooError(
                    f"{self.folder / name} has changed since it was built; "
                    f"delete it and run: make zoo"
                )

    def build(self, model: Model) -> None:
        """Build one model and record it; an interrupted build leaves nothing behind.

        Raises:
            ZooError: if a package is missing, or a copied file has another checksum than expected.
        """
        missing = [one for one in model.needs if importlib.util.find_spec(one) is None]
        if missing:
            raise ZooError(f"{model.name} needs {', '.join(missing)}; run: pip install -e '.[zoo]'")
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".building-") as scratch:
            run_builder(model, Path(scratch) / f"{model.name}.onnx")
            built = sorted(Path(scratch).iterdir())
            digests = {file.name: sha256(file) for file in built}
            _check_digest(model, digests)
            for file in built:
                os.replace(file, self.folder / file.name)
        self._record(model, digests)

    def clear(self) -> None:
        """Delete the folder and all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, model: Model) -> Path:
        return self.folder / f"{model.name}.onnx"

    def _records(self) -> dict[str, Record]:
        try:
            text = (self.folder / MANIFEST).read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        return {name: Record(**fields) for name, fields in json.loads(text).items()}

    def _record(self, model: Model, digests: dict[str, str]) -> None:
        """Add one model to the manifest, which is replaced as a whole."""
        records = self._records()
        records[model.name] = Record(
            files=digests,
            revision=model.revision,
            options=dict(model.options),
            source=model.source,
            licence=model.licence,
            built_with=_versions(),
        )
        content = {name: asdict(records[name]) for name in sorted(records)}
        scratch = self.folder / f".{MANIFEST}.{os.getpid()}"
        scratch.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        os.replace(scratch, self.folder / MANIFEST)


def sha256(file: Path) -> str:
    """Return the hexadecimal SHA-256 digest of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def find_builder(model: Model) -> Callable[..., None]:
    """Import the builder of a model.

    Raises:
        ImportError: if what it needs is not installed.
    """
    module, _, function = model.builder.partition(":")
    builder: Callable[..., None] = getattr(
        importlib.import_module(f"benchmarks.builders.{module}"), function
    )
    return builder


def run_builder(model: Model, path: Path) -> None:
    """Write the model; exporters print and warn a lot, which is kept for the error message."""
    chatter = io.StringIO()
    arguments: dict[str, Any] = dict(model.options)
    try:
        with contextlib.redirect_stdout(chatter), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            find_builder(model)(path, **arguments)
    except Exception as error:
        error.add_note(f"while building {model.name}; it printed:\n{chatter.getvalue()[-2000:]}")
        raise


def _check_digest(model: Model, digests: dict[str, str]) -> None:
    found = digests[f"{model.name}.onnx"]
    if model.sha256 is not None and found != model.sha256:
        raise ZooError(
            f"{model.name}: expected sha256 {model.sha256}, found {found}; "
            f"is another version installed? {model.source}"
        )


def _versions() -> dict[str, str]:
    found = {}
    for package in BUILD_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
