"""What a tuner may choose between."""

from tvm.tirx import PrimFunc

from burnish.backends.cpu.schedule import anchored
from burnish.backends.cpu.schedule.fused import ScheduleMiss
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.target import Target


def candidates(func: PrimFunc, target: Target) -> list[TileConfig]:
    """Configurations of a fused kernel, best guess first; none where there is nothing to choose.

    The first is what `schedule` takes when it is given none.
    """
    try:
        return anchored.candidates(func, target)
    except ScheduleMiss:
        return []
