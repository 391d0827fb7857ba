"""Runs models over many items, in batches of one size, as compiled models want them."""

from collections.abc import Iterator, Mapping

import numpy as np

from burnish.bench.task import Feeds, Run


def batches(feeds: Feeds, size: int) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """Yield batches of exactly `size` rows, and how many of them are items.

    Args:
        feeds: arrays whose first axis is that of the items, equally long.
        size: rows of a batch; the last one is filled up with zeros.
    """
    (count,) = {len(array) for array in feeds.values()}
    for start in range(0, count, size):
        items = min(size, count - start)
        yield (
            {name: _filled(array[start : start + size], size) for name, array in feeds.items()},
            (items),
        )


def first_output(run: Run, feeds: Feeds, size: int) -> Iterator[np.ndarray]:
    """Run a model batch by batch; yield the rows of its first output that belong to items."""
    for batch, items in batches(feeds, size):
        outputs: Mapping[str, np.ndarray] = run(batch)
        yield next(iter(outputs.values()))[:items]


def _filled(rows: np.ndarray, size: int) -> np.ndarray:
    if len(rows) == size:
        return rows
    return np.concatenate([rows, np.zeros((size - len(rows), *rows.shape[1:]), rows.dtype)])
