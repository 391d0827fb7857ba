"""What a diagnosis comes to, in words, as plain data, and as a folder."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from burnish.diagnosis.cutting import Part
from burnish.errors import UsageError
from burnish.ir import Array
from burnish.output import CannotWrite
from burnish.pipeline import Pass
from burnish.report import operator_types
from burnish.wording import agreement, counted

VERSION = 1
"""Of the form of report.json."""
TOOLS = ("burnish", "apache-tvm", "onnx", "onnxruntime")
"""Packages whose versions a reader wants to know."""
MODEL, INPUTS, EXPECTED, REPORT = "reproducer.onnx", "inputs.npz", "expected.npz", "report.json"


@dataclass
class Reproducer:
    """A part of the model that fails in the same way."""

    part: Part
    expected: Mapping[str, Array]
    """What it answers before any pass."""
    steps: Sequence[Pass]
    """The passes that make it fail, none if it does so by itself."""
    is_confirmed: bool = True
    """Whether it still fails when it is read again from the file."""
    tolerance: float | None = None
    """How far an output was allowed to be off, None for what the passes promise."""

    @property
    def nodes(self) -> list[str]:
        """Type and name of every operator, in order."""
        return [f"{node.op_type} {node.name}".rstrip() for node in self.part.graph.walk()]


@dataclass(frozen=True)
class Attempt:
    """Something that was tried and found to be right."""

    what: str
    """In words: what was run, and by what."""
    passes: int
    """How many there are in the pipeline, each counted once."""
    effective: int
    """How many of them changed the model."""
    samples: int
    """Sets of inputs that outputs were compared on."""
    error: float | None
    """The largest of any output, relative to its largest value; None where outputs were not
    compared."""

    def __str__(self) -> str:
        error = "" if self.error is None else f": {agreement(self.error)}"
        return (
            f"{self.what}, {self.effective} of {self.passes} passes with an effect, on "
            f"{counted(self.samples, 'set')} of inputs{error}"
        )


@dataclass
class Diagnosis:
    """What is wrong with a model and a pipeline; false if nothing is."""

    kind: str | None = None
    """How it fails: numerics, form, invalid, exception ..., crash: ..., loop, metric, native
    numerics, compiling: ..., running: ...; None if it does not."""
    symptom: str = ""
    """What is wrong, in one sentence."""
    engine: str = "ort"
    """``ort`` if rewriting makes it wrong, ``tvm`` if compiling what was rewritten does."""
    guilty: str | None = None
    """The pass; None if the model fails without any, or the time was up."""
    rule: str | None = None
    number: int | None = None
    """Which application of a rule in that run of the pass it is, from 1 on."""
    count: int | None = None
    """How many applications the pass makes in that run."""
    sources: tuple[str, ...] = ()
    """The nodes of the model that the application concerned."""
    is_model: bool = False
    """Whether the model fails without any optional pass."""
    workaround: str = ""
    reproducer: Reproducer | None = None
    notes: list[str] = field(default_factory=list)
    """What a reader should know: what was not tried, and why."""
    is_complete: bool = True
    """Whether the search ended before its time was up."""
    attempts: list[Attempt] = field(default_factory=list)
    """What was found to be right, in order."""
    tried: int = 0
    """Parts of the model that were tried."""
    seconds: float = 0.0

    def __bool__(self) -> bool:
        """Whether something is wrong."""
        return self.kind is not None

    def command(self, folder: str | os.PathLike[str]) -> str | None:
        """One command that shows the failure on the model in ``folder``; None without one.

        With passes of the user's own, which the command line does not know, it is one of Python.
        """
        if self.reproducer is None:
            return None
        place, steps, tolerance = Path(folder), self.reproducer.steps, self.reproducer.tolerance
        if not _are_registered(steps):
            own = ", ".join(map(repr, steps))
            allowed = "" if tolerance is None else f", tolerance={tolerance!r}"
            return (
                f"burnish.diagnose({str(place / MODEL)!r}, engine={self.engine!r}, "
                f"passes=[{own}], samples=[dict(numpy.load({str(place / INPUTS)!r}))]{allowed})"
            )
        words = ["burnish", "diagnose", str(place / MODEL), "--engine", self.engine, "--passes",
                 ",".join(step.name for step in steps) or "infer-shapes",
                 "--inputs", str(place / INPUTS)]  # fmt: skip
        if tolerance is not None:
            words += ["--tolerance", repr(tolerance)]
        for step in steps:
            words += _settings(step)
        return shlex.join(words)

    def as_json(self) -> dict[str, Any]:
        """Plain data; README.md describes it."""
        found = self.reproducer
        return {
            "version": VERSION,
            "wrong": bool(self),
            "kind": self.kind,
            "symptom": self.symptom or None,
            "engine": self.engine if self else None,
            "pass": self.guilty,
            "rule": self.rule,
            "application": self.number,
            "applications": self.count,
            "nodes": list(self.sources),
            "model_itself": self.is_model,
            "workaround": self.workaround or None,
            "reproducer": None if found is None else {
                "operators": len(found.nodes),
                "types": operator_types(found.part.graph),
                "nodes": found.nodes,
                "inputs": {name: list(array.shape) for name, array in found.part.feeds.items()},
                "outputs": list(found.part.graph.output_names),
                "passes": [step.name for step in found.steps],
                "confirmed": found.is_confirmed,
            },
            "attempts": [asdict(attempt) for attempt in self.attempts],
            "notes": self.notes,
            "tools": _versions(),
            "complete": self.is_complete,
            "tried": self.tried,
            "seconds": round(self.seconds, 3),
        }  # fmt: skip

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write reproducer.onnx, inputs.npz, expected.npz and report.json, all or nothing.

        Raises:
            UsageError: something is at ``folder`` already, or there is no folder around it.
            CannotWrite: the disk is full or refuses.
        """
        target = Path(folder)
        check_folder(target)
        try:
            room = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        except OSError as error:
            raise CannotWrite(f"cannot write {target}: {error.strerror}") from error
        try:
            draft = room / "new"
            draft.mkdir()
            self._write(draft, target)
            if target.is_dir():
                target.rmdir()
            draft.rename(target)
        except OSError as error:
            reason = error.strerror or str(error)
            raise CannotWrite(f"cannot write {target}: {reason}; nothing was changed") from error
        finally:
            shutil.rmtree(room, ignore_errors=True)

    def _write(self, draft: Path, target: Path) -> None:
        if self.reproducer is not None:
            self.reproducer.part.graph.save(draft / MODEL)
            _save_arrays(draft / INPUTS, self.reproducer.part.feeds)
            _save_arrays(draft / EXPECTED, self.reproducer.expected)
        report = {**self.as_json(), "command": self.command(target)}
        (draft / REPORT).write_text(json.dumps(report, indent=2, default=str) + "\n")


def _save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    # Texts are objects for numpy, which are not to be unpickled.
    plain = {name: a.astype(str) if a.dtype.kind == "O" else a for name, a in arrays.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in plain.items():
            # Not numpy.savez, which takes names for its own parameters.
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def check_folder(target: Path) -> None:
    """Complain now rather than after minutes of work.

    Raises:
        UsageError: no folder can be made at ``target``.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UsageError(f"{target} is no folder; name another with --output")
    if target.is_dir() and any(target.iterdir()):
        raise UsageError(
            f"{target} is there already; remove it, or name another folder with --output"
        )
    if not target.parent.is_dir():
        raise UsageError(f"cannot write {target}: there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise UsageError(f"cannot write {target}: {target.parent} is not writable")


def _versions() -> dict[str, str]:
    """Of ``TOOLS``, without those that came in packages of another name."""
    found = {}
    for tool in TOOLS:
        with suppress(metadata.PackageNotFoundError):
            found[tool] = metadata.version(tool)
    return found


def _are_registered(steps: Sequence[Pass]) -> bool:
    from burnish.passes import PASSES

    return all(
        PASSES.get(step.name) == f"{type(step).__module__}:{type(step).__qualname__}"
        for step in steps
    )


def _settings(step: Pass) -> list[str]:
    """Options that set what ``step`` has otherwise than by default, as far as text can."""
    words = []
    for option in fields(step):
        value = getattr(step, option.name)
        if isinstance(value, bool | int | float | str) and value != option.default:
            words += ["--set", f"{step.name}.{option.name}={value}"]
    return words
