"""Results of a long measurement, kept one by one so that it can be stopped and go on."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import burnish
import burnish.backends
import burnish.passes
from burnish.backends.cache import cache_folder
from burnish.bench.environment import Environment


def fingerprint(environment: Environment) -> str:
    """What results depend on: the sources of burnish and the versions of what it builds on."""
    digest = hashlib.sha256(repr(sorted(environment.versions.items())).encode())
    for package in (burnish, burnish.passes, burnish.backends):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".c", ".h"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def kept_in_cache(name: str, environment: Environment, plan: object) -> "Partial":
    """Results of these sources, versions and options, in the cache.

    Args:
        name: of what is measured.
        environment: where.
        plan: how, with every option that results depend on; its ``repr`` has them.
    """
    digest = hashlib.sha256(f"{fingerprint(environment)} {plan!r}".encode())
    return Partial(cache_folder(name, digest.hexdigest()[:16]))


class Kept(Protocol):
    """A result that can be written as JSON and read again."""

    @property
    def failure(self) -> str | None:
        """Why there is no result; such a one is not kept."""
        ...

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        ...

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `as_json` was called on."""
        ...


Result = TypeVar("Result", bound=Kept)
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Partial:
    """A folder with a file for each result."""

    folder: Path

    def each(
        self,
        part: str,
        items: Mapping[str, Item],
        kind: type[Result],
        gather: Callable[[Item], Result],
    ) -> Iterator[Result]:
        """Yield a result for every item, gathering those that are not there.

        Args:
            part: distinguishes several results of one item.
            items: what to measure, by names that may be part of a file's.
            kind: the class of the results.
            gather: measures one of them.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, item in items.items():
            path = self.folder / f"{part}-{name}.json"
            kept = _read(path, kind)
            if kept is not None:
                yield kept
                continue
            result = gather(item)
            if result.failure is None:
                scratch = path.with_suffix(f".{os.getpid()}")
                scratch.write_text(json.dumps(result.as_json()), encoding="utf-8")
                scratch.replace(path)
            yield result


def _read(path: Path, kind: type[Result]) -> Result | None:
    """Return what is kept there, None if that is nothing or has the fields of another version."""
    try:
        return kind.from_json(json.loads(path.read_text("utf-8")))
    except (FileNotFoundError, KeyError, TypeError):
        return None
