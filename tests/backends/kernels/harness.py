"""Fuse, schedule, compile and run a few kernels at once, as the compiler does."""

from collections.abc import Callable, Sequence

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax, tirx

from burnish.backends.cpu.schedule import anchored
from burnish.backends.cpu.schedule.tiling import TileConfig
from burnish.target import Target

Array = NDArray[np.float32]
Build = Callable[..., relax.Expr]

AVX512 = Target(
    "test", "x86_64", "x86_64-linux-gnu", "x86-64-v3", vector_bits=512, registers=32, threads=2
)
"""Wide vectors in code that any x86-64-v3 machine runs."""
SERIAL = Target(
    "test", "x86_64", "x86_64-linux-gnu", "x86-64-v3", vector_bits=256, registers=16, threads=1
)
TARGETS = {"wide": AVX512, "serial": SERIAL}


def fuse(build: Build, shapes: Sequence[tuple[int, ...]]) -> tirx.PrimFunc:
    """The one function that `build(builder, *variables)` fuses to."""
    builder = relax.BlockBuilder()
    variables = [relax.Var(f"a{i}", relax.TensorType(s, "float32")) for i, s in enumerate(shapes)]
    with builder.function("main", variables):
        with builder.dataflow():
            result = builder.emit_output(build(builder, *variables))
        builder.emit_func_output(result)
    passes = [
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(),
    ]
    module = tvm.transform.Sequential(passes)(builder.get())
    (func,) = (f for f in module.functions.values() if isinstance(f, tirx.PrimFunc))
    return func.with_attr("global_symbol", "main")


def run(
    func: tirx.PrimFunc,
    inputs: Sequence[Array],
    shapes: Sequence[tuple[int, ...]],
    target: Target = SERIAL,
    config: TileConfig | None = None,
) -> list[Array]:
    """Schedule and run `func`; results have the given shapes and begin as NaN."""
    scheduled = anchored.schedule(func, target, config)
    compiled = tvm.compile(
        tvm.IRModule({"main": scheduled}), tvm.target.Target(target.tvm_target())
    )
    outputs = [tvm.runtime.tensor(np.full(s, np.nan, np.float32)) for s in shapes]
    compiled["main"](*(tvm.runtime.tensor(np.ascontiguousarray(x)) for x in inputs), *outputs)
    return [output.numpy() for output in outputs]


def error(result: Array, expected: Array) -> float:
    """Largest difference relative to the largest expected magnitude."""
    return float(np.abs(result - expected).max() / np.abs(expected).max())


def randoms(*shapes: tuple[int, ...]) -> list[Array]:
    """Standard normal numbers, the same each time."""
    generator = np.random.default_rng(7)
    return [generator.standard_normal(shape).astype(np.float32) for shape in shapes]
