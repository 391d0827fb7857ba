"""Calibration: what values a model takes on data that it is meant for.

    calibration = Calibration(feeds, samples=128)
    seen = Range()
    calibration.collect(graph, {value: [seen]})

`store` has the data and runs graphs over it, `probe` lets values of a graph be seen, `checks` says
what is wrong with data. What is kept of the values of one tensor is in `collectors` (ranges,
histograms), `moments` (channels, tokens) and `grams` (rows that operators multiply with weights, as
`geometry` takes them). `ranges` chooses what an integer format (`formats`) covers, `sufficiency`
says whether more samples would matter. Data come from `data`, code of the user's through
`burnish.data_worker`; `cutting` makes samples of them, `replay` keeps these.
"""

from burnish.calibration.collectors import Histogram, Range
from burnish.calibration.data import Source, load_data
from burnish.calibration.formats import S8, S8_SYMMETRIC, U7, U8, Format, Interval
from burnish.calibration.geometry import Contraction, Geometry, Windows, geometry_of
from burnish.calibration.grams import CrossGram, Gram, Rows
from burnish.calibration.moments import Channels, Tokens
from burnish.calibration.probe import is_observable
from burnish.calibration.ranges import METHODS, Choice, best_range
from burnish.calibration.store import Calibration, Collector, PairCollector, require
from burnish.calibration.sufficiency import Sufficiency, calibration_note

__all__ = [
    "METHODS",
    "S8",
    "S8_SYMMETRIC",
    "U7",
    "U8",
    "Calibration",
    "Channels",
    "Choice",
    "Collector",
    "Contraction",
    "CrossGram",
    "Format",
    "Geometry",
    "Gram",
    "Histogram",
    "Interval",
    "PairCollector",
    "Range",
    "Rows",
    "Source",
    "Sufficiency",
    "Tokens",
    "Windows",
    "best_range",
    "calibration_note",
    "geometry_of",
    "is_observable",
    "load_data",
    "require",
]
