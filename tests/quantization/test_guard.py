from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from burnish.calibration.store import Calibration
from burnish.ir import Graph
from burnish.quantization import guard
from burnish.quantization.guard import FIRST, DistanceGuard
from burnish.testing import graph

SAMPLES = 16


class Counting(guard.Oracle):
    """Counts runs."""

    runs = 0

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: object = None
    ) -> dict[str, np.ndarray]:
        Counting.runs += 1
        return super().run(inputs)


def scaled(factor: float) -> Graph:
    return graph(f"g (float[8] x) => (float[8] y) <float f = {{{factor}}}> {{ y = Mul(x, f) }}")


@pytest.mark.parametrize(("factor", "runs"), [(1.001, FIRST), (1.07, SAMPLES), (5.0, FIRST)])
def test_few_samples_suffice_where_they_are_clear(
    factor: float, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    feeds = [{"x": random.normal(size=8).astype(np.float32)} for _ in range(32)]
    whole = DistanceGuard(scaled(1.0), Calibration(feeds))
    monkeypatch.setattr(guard, "Oracle", Counting)
    for judge, count in ((whole.fewer(SAMPLES), runs), (whole, len(feeds))):
        Counting.runs = 0
        share = judge.loss(scaled(factor)).share
        assert Counting.runs == count
        assert share == pytest.approx((factor - 1) ** 2 / 0.01, rel=1e-2)


def test_fewer_samples_than_come_first_are_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    few = [{"x": np.ones(8, np.float32)}] * 2
    judge = DistanceGuard(scaled(1.0), Calibration(few)).fewer(SAMPLES)
    monkeypatch.setattr(guard, "Oracle", Counting)
    Counting.runs = 0
    assert judge.loss(scaled(1.07)).share == pytest.approx(0.49, rel=1e-2)
    assert Counting.runs == 2
