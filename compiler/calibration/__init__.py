"""Calibration: what values a model takes on data that it is meant for.

    calibration = Calibration(feeds, samples=128)
    seen = Range()
    calibration.collect(graph, {value: [seen]})

`store` has the data and runs graphs over it, `probe` lets values of a graph be seen, `checks` says
what is wrong with data. `collectors` and `grams` hold what is kept of the values of one tensor.
"""

from burnish.calibration.collectors import Histogram, Range
from burnish.calibration.moments import Channels, Tokens
from burnish.calibration.probe import is_observable
from burnish.calibration.store import Calibration, Collector, require

__all__ = [
    "Calibration",
    "Channels",
    "Collector",
    "Histogram",
    "Range",
    "Tokens",
    "is_observable",
    "require",
]
