"""A pytest plugin that runs the tests with one guard removed.

The guard is named by `BURNISH_MUTANT=FILE:LINE`; the file on disk stays as it is.
"""

import os
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

from tests.mutation.guards import without

FILE, _, LINE = os.environ["BURNISH_MUTANT"].rpartition(":")
TARGET = Path(FILE).resolve()

_get_code = SourceFileLoader.get_code


def get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
    """The code of a module, with the guard removed if it is the one that has it."""
    if Path(self.path).resolve() != TARGET:
        return _get_code(self, fullname)
    tree = without(TARGET.read_text(encoding="utf-8"), int(LINE))
    return compile(tree, self.path, "exec")


SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
