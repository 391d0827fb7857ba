"""Pairs of texts that belong together: docstrings of Python's standard library."""

import ast
import inspect
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

LEAST = 40
"""Letters that either part has at least; shorter ones say too little."""
SEED = 3
OTHERS = {
    "site-packages", "dist-packages", "test", "tests", "encodings", "ensurepip", "idlelib",
    "lib2to3", "pydoc_data", "turtledemo",
}  # fmt: skip
"""Folders that hold something else than the library, or no docstrings to speak of."""


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """The first sentence of a docstring, and what follows."""

    sentence: str
    rest: str


def split_docstring(text: str) -> Pair | None:
    """Return both parts of a docstring, None if one of them says too little."""
    paragraph, _, rest = inspect.cleandoc(text).partition("\n\n")
    first, *more = re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split()), maxsplit=1)
    after = " ".join([*more, *rest.split()])
    pair = Pair(first, after)
    return pair if min(len(pair.sentence), len(pair.rest)) >= LEAST else None


@cache
def pairs() -> tuple[Pair, ...]:
    """Return all pairs of the running Python's library, in an order that is always the same.

    A sentence or a rest that occurs twice occurs once here: which pair it belongs to were open.
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    found: dict[str, Pair] = {}
    for path in sorted(folder.rglob("*.py")):
        if OTHERS.isdisjoint(path.relative_to(folder).parts):
            for text in _docstrings(path):
                pair = split_docstring(text)
                if pair is not None:
                    found.setdefault(pair.sentence, pair)
    distinct = sorted({pair.rest: pair for pair in found.values()}.values())
    order = np.random.default_rng(SEED).permutation(len(distinct))
    return tuple(distinct[index] for index in order)


def _docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # such as templates
        return
    # Statements only: most nodes of a tree are parts of expressions.
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        left += [one for one in getattr(node, "body", ()) if isinstance(one, ast.stmt)]
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text:
                yield text
