"""Whether samples differ: ranges of data that never change say nothing of other data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from burnish.ir import Array
from burnish.wording import counted


class Variety:
    """Compares samples with the first as they come."""

    def __init__(self) -> None:
        """Begin without any."""
        self._count = 0
        self._first: Mapping[str, Array] = {}
        self._are_equal = True
        self._constant: dict[str, float] = {}
        """Float inputs that have been one number throughout."""

    def add(self, sample: Mapping[str, Array]) -> None:
        """Take in one more, which is finite."""
        if not self._count:
            self._first = sample
            self._constant = {
                name: float(array.flat[0]) for name, array in sample.items()
                if array.dtype.kind == "f" and array.size > 1
            }  # fmt: skip
        elif self._are_equal:
            self._are_equal = all(
                np.array_equal(array, self._first[name]) for name, array in sample.items()
            )
        for name, number in list(self._constant.items()):
            if not (sample[name] == number).all():
                del self._constant[name]
        self._count += 1

    @property
    def monotony(self) -> str:
        """That nothing differs, in one sentence; empty where something does."""
        several = [name for name, array in self._first.items() if array.size > 1]
        if self._constant and len(self._constant) == len(several):
            return (
                f"{self._constants} in the calibration data: ranges fit no other data; give "
                "samples that the model is meant for"
            )
        if self._count > 1 and self._are_equal:
            return (
                f"all {counted(self._count, 'sample')} for calibration are equal: ranges fit no "
                "other data; give samples that differ"
            )
        return ""

    @property
    def constants(self) -> str:
        """That some inputs are one number where others differ; empty where none is."""
        if not self._constant or self.monotony:
            return ""
        return (
            f"{self._constants} in the calibration data: if that is not so where the model is "
            "used, give samples that are as there"
        )

    @property
    def _constants(self) -> str:
        return " and ".join(
            f"input {name!r} is {number:g} everywhere" for name, number in self._constant.items()
        )
