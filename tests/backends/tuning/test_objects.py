"""Object code of kernels: what is interrupted ends."""

from __future__ import annotations

import time

import pytest

from burnish.backends.cpu.objects import KernelObjects, Variant
from burnish.backends.schedule_cache import ScheduleCache
from burnish.target import resolve

HERE = resolve()


def test_an_interrupt_waits_for_no_kernel_that_has_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[Variant] = []

    def compile_slowly(_: KernelObjects, variant: Variant) -> bytes:
        begun.append(variant)
        time.sleep(0.01)
        return b""

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(KernelObjects, "_one", compile_slowly)
    variants = [Variant(str(number), "interrupted", None) for number in range(100)]
    with pytest.raises(KeyboardInterrupt):
        KernelObjects(HERE, ScheduleCache(HERE)).get(variants, interrupt)
    assert len(begun) < len(variants)
