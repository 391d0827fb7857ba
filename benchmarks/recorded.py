"""Runs whose figures pages show: what was measured, on which machine, with which versions."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

RESULTS = Path(__file__).resolve().parent / "results"
"""What commands wrote with ``--json``, as ``int8-accuracy.json`` or ``prune-speed.json``."""
PACKAGES = ("burnish", "onnxruntime", "another onnxruntime", "nncf", "openvino", "apache-tvm")


class Readable(Protocol):
    """A row that comes back from JSON."""

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Return what was written."""


Result = TypeVar("Result", bound=Readable)


@dataclass(frozen=True, slots=True)
class Recorded(Generic[Result]):
    """A recorded run."""

    environment: dict[str, Any]
    plan: dict[str, Any]
    rows: tuple[Result, ...]

    @property
    def circumstances(self) -> str:
        """In a line: machine, threads, samples, versions, date."""
        found = self.environment
        versions = ", ".join(
            f"{name} {found['versions'][name]}" for name in PACKAGES if name in found["versions"]
        )
        return (
            f"{found['cores']} cores of {found['cpu']}, {self.plan['threads']} threads, at most "
            f"{self.plan['samples']} calibration samples, {found['date'][:10]}, {versions}; load "
            f"of the machine before: {found['load']:.1f}."
        )


def load_record(name: str, kind: type[Result]) -> Recorded[Result]:
    """Read what a command recorded: of ``int8 accuracy``, ``int8-accuracy``."""
    content = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    rows = tuple(map(kind.from_json, content["rows"]))
    return Recorded(content["environment"], content["plan"], rows)
