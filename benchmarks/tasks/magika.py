"""File types by Magika: generated files of 37 kinds."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.builders.packaged import package_folder
from benchmarks.tasks.batching import batches, first_output
from benchmarks.tasks.binary_files import BINARY_FILES
from benchmarks.tasks.text_files import TEXT_FILES, Author
from burnish.bench.task import Feeds, Run, Scores

KINDS = (*TEXT_FILES, *BINARY_FILES)
MODEL = "models/standard_v3_3"
"""The folder of the model in the package."""
END, BLOCK, FILLER = 1024, 4096, 256
"""Bytes that the model sees of either end of a file, after white space among so many is left out;
and what stands for bytes that a short file lacks. As the package's config.min.json has them."""
FRAGMENT = (60, 400)
"""Bytes in a fragment of a text file."""
SEEDS = {"evaluation": 1, "calibration": 2}


@dataclass(frozen=True)
class MagikaTask:
    """Whether the likeliest kind is the one that a file was generated as."""

    each: int = 20
    """Files of each kind."""
    batch: int = 20
    name: str = "magika"

    @property
    def input_shapes(self) -> tuple[Mapping[str, tuple[int, ...]], ...]:
        """One set: batches of both ends of files."""
        return ({"bytes": (self.batch, 2 * END)},)

    def calibration(self) -> Iterator[Feeds]:
        """Yield other files, of each kind four, int32 [batch, 2048]; full batches only."""
        features, _ = files("calibration", 4)
        for feeds, count in batches({"bytes": features}, self.batch):
            if count == self.batch:
                yield feeds

    def evaluate(self, run: Run) -> dict[str, Scores]:
        """Score probabilities [batch, kinds] of all files: right or wrong."""
        features, kinds = files("evaluation", self.each)
        found = np.concatenate(list(first_output(run, {"bytes": features}, self.batch))).argmax(1)
        known = labels()
        return {
            "accuracy": Scores.of(
                known[one] == kind for one, kind in zip(found, kinds, strict=True)
            )
        }


@cache
def files(split: str, each: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return what the model sees of files, int32 [files, 2048], and of which kind they are."""
    features, kinds = [], []
    for index, kind in enumerate(KINDS):
        for number in range(each):
            features.append(as_input(generate(kind, (SEEDS[split], index, number))))
            kinds.append(kind)
    return np.stack(features), tuple(kinds)


def generate(kind: str, seed: tuple[int, ...]) -> bytes:
    """Return the content of a file, always the same for a kind and a seed.

    Half of the text files are short fragments, where the kind is not that plain.
    """
    author = Author(np.random.default_rng(seed))
    if kind in BINARY_FILES:
        return BINARY_FILES[kind](author)
    lines = TEXT_FILES[kind](author).splitlines(keepends=True)
    if author.number(0, 2):
        start = author.number(0, max(1, len(lines) // 2))
        return "".join(lines[start:]).encode()[: author.number(*FRAGMENT)]
    return "".join(lines).encode()


def as_input(content: bytes) -> np.ndarray:
    """Return both ends of a file, int32 [2048]: bytes, and `FILLER` where there are too few."""
    first = np.frombuffer(content[:BLOCK].lstrip()[:END], np.uint8)
    last = np.frombuffer(content[-BLOCK:].rstrip()[-END:], np.uint8)
    features = np.full(2 * END, FILLER, np.int32)
    features[: first.size] = first
    features[2 * END - last.size :] = last
    return features


@cache
def labels() -> tuple[str, ...]:
    """Return the names of the kinds that the model knows, in the order of its output."""
    config = package_folder("magika") / MODEL / "config.min.json"
    return tuple(json.loads(config.read_text("utf-8"))["target_labels_space"])


TASK = MagikaTask()
