"""Samples that are read once and then kept, as long as they are not too many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from burnish.errors import UsageError

HELD_BYTES = 512 << 20
"""Of samples that are kept for further passes over them."""


class Replay:
    """Gives what a source gives, each time from the beginning.

    The source is read as far as somebody asks. While its samples are small enough to be kept, it is
    read only once: code that draws at random or takes its time does so once.
    """

    def __init__(self, source: Iterable[object]) -> None:
        """Take the source: anything to iterate over, once or several times."""
        self._source = source
        self._kept: list[object] = []
        self._room = HELD_BYTES
        self._rest: Iterator[object] | None = None
        """What reads the source behind what was kept."""

    def __iter__(self) -> Iterator[object]:
        """Give the samples.

        Raises:
            UsageError: they are too large to be kept, and the source gives them only once.
        """
        place = 0
        while self._room >= 0:
            if place == len(self._kept) and not self._read():
                return
            if self._room >= 0:
                yield self._kept[place]
                place += 1
        yield from islice(iter(self._source), place, None)

    def _read(self) -> bool:
        """Keep one sample more, if there is one."""
        try:
            if self._rest is None:
                self._rest = iter(self._source)
            for feeds in self._rest:
                self._kept.append(feeds)
                self._room -= nbytes(feeds)
                break
            else:
                return False
        except BaseException:
            # What failed half-way must not pass for the end.
            self._rest, self._kept, self._room = None, [], HELD_BYTES
            raise
        if self._room < 0:
            self._give_up()
        return True

    def _give_up(self) -> None:
        """Keep nothing, and read the source anew each time."""
        count = len(self._kept)
        self._rest, self._kept = None, []
        if isinstance(self._source, Iterator):
            raise UsageError(
                f"the first {count} samples for calibration take more than {HELD_BYTES} bytes and "
                "come from an iterator, which gives them only once; ask for fewer samples, or give "
                "an object whose __iter__ reads them anew"
            )


def nbytes(feeds: object) -> int:
    """Bytes of the arrays of a sample."""
    arrays = feeds.values() if isinstance(feeds, Mapping) else ()
    return sum(int(getattr(array, "nbytes", 0)) for array in arrays)
