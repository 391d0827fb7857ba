"""Where calibration data comes from: files of arrays, or Python code of the user's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from burnish.backends.child import Child, ChildFailed
from burnish.calibration.cutting import NAMELESS, Cut
from burnish.errors import InvalidInput, UsageError
from burnish.ir import Array
from burnish.npz import read_array, read_arrays

WORKER = "burnish.data_worker"
LIMIT = 600.0
"""Seconds that the user's code has for loading, and for each sample."""
SUFFIXES = (".npz", ".npy")


class Source(Protocol):
    """Samples that can be read again and again."""

    cut: ClassVar[Cut]
    """What the first axes of its arrays are."""

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """Read from the beginning."""


def load_data(text: str, limit: float = LIMIT) -> Source:
    """Return the data that ``text`` names.

    Args:
        text: a folder or file (see `Files`), or ``module:NAME``, ``file.py:NAME`` or ``file.py``
            (see `UserData`).
        limit: seconds that code of the user's has for loading, and for each sample.

    Raises:
        UsageError: ``text`` names no data.
        InvalidInput: the folder has no arrays.
    """
    path = Path(text)
    if path.is_dir() or (path.suffix in SUFFIXES and path.is_file()):
        return Files(path)
    place, _, name = text.rpartition(":")
    if (place and name.isidentifier()) or text.endswith(".py"):
        return UserData(text, limit)
    raise UsageError(
        f"--calibration {text}: no folder or file of that name; give a folder of .npz or .npy "
        "files, or Python code that gives dicts of arrays as module:function"
    )


class FileArrays(dict[str, Array]):
    """What a file holds, and which it is, for messages."""

    def __init__(self, arrays: Mapping[str, Array], file: Path) -> None:
        super().__init__(arrays)
        self.origin = str(file)


class Files:
    """Arrays in files, many items in each, along the first axis.

    FOLDER/*.npz               arrays by input name; `labels` are left out
    FOLDER/*.npy               one array each, for a model with one input
    FOLDER/calibration/...     these, if there is such a folder: the rest is for evaluation
    """

    cut: ClassVar[Cut] = Cut.TO_ITEMS

    def __init__(self, path: Path) -> None:
        """Look at which files there are.

        Args:
            path: a folder, or one file.

        Raises:
            InvalidInput: there are none, they are of both kinds, or one is a broken link.
        """
        folder = path / "calibration" if (path / "calibration").is_dir() else path
        found = [path] if path.is_file() else sorted(
            file for suffix in SUFFIXES for file in folder.glob(f"*{suffix}")
        )  # fmt: skip
        for file in found:
            if file.is_symlink() and not file.exists():
                raise InvalidInput(f"{file} is a link that leads to no file; remove or mend it")
        self._files = [file for file in found if file.is_file()]
        kinds = {file.suffix for file in self._files}
        if not kinds:
            raise InvalidInput(
                f"{folder} holds no .npz or .npy file; write items for calibration with "
                "numpy.savez, arrays by input name"
            )
        if len(kinds) > 1:
            raise InvalidInput(
                f"{folder} holds .npz and .npy files; keep those that are the calibration data"
            )

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """Yield what each file holds.

        Raises:
            InvalidInput: a file cannot be read.
        """
        for file in self._files:
            if file.suffix == ".npz":
                yield FileArrays(read_arrays(file), file)
            else:
                yield FileArrays({NAMELESS: read_array(file)}, file)


class UserData:
    """What Python code of the user's gives, which runs in a process of its own.

    ``module:NAME`` names a function that returns or yields dicts of arrays by input name, a list
    of such, or a task (`burnish.bench.task.Task`), whose calibration split it is. In a file without
    a name it is the function ``calibration``, else the one task.
    """

    cut: ClassVar[Cut] = Cut.TO_BATCH

    def __init__(self, text: str, limit: float = LIMIT) -> None:
        """Remember what is named; see `load_data`."""
        self._text = text
        self._limit = limit

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """Load the code anew and yield what it gives.

        Raises:
            UsageError: there is no such module, or nothing of that name that gives samples.
            InvalidInput: the code raises, crashes, does not end, or gives something else.
        """
        child: Child | None = None
        try:
            child = Child(WORKER, self._text, self._limit)
            while (answer := self._checked(child.ask("next", self._limit)))[0] != "end":
                yield answer[1]
        except ChildFailed as failure:
            raise InvalidInput(self._complaint(failure)) from failure
        finally:
            if child is not None:
                child.close()

    @staticmethod
    def _checked(answer: tuple[Any, ...]) -> tuple[Any, ...]:
        if answer[0] == "usage":
            raise UsageError(answer[1])
        if answer[0] == "failed":
            raise InvalidInput(answer[1])
        return answer

    def _complaint(self, failure: ChildFailed) -> str:
        if "in time" in str(failure):
            return f"{self._text} did not give a sample within {self._limit:g} s; it hangs"
        return f"{self._text}: its process {failure}"
