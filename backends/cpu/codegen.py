"""Object code for scheduled PrimFuncs."""

import hashlib
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tvm
import tvm_ffi
from tvm import tirx

from burnish.backends.cpu import tir_pipeline
from burnish.backends.kernels import fast_math
from burnish.target import Target

_PASS_OPTIONS = {
    # Kernels are called by a driver generated from the same shapes: checks of every call would
    # only cost time and half of the object's size.
    "tirx.disable_assert": True,
}
_COMPILER_THREADS = 2
_CHUNK = 8
"""Kernels that share one object: few enough to balance threads, many enough to share strings."""


def compile_objects(funcs: Mapping[str, tirx.PrimFunc], target: Target) -> list[bytes]:
    """Compile scheduled functions to object files for `target`.

    Args:
        funcs: Functions by symbol; symbol `s` is exported as `__tvm_ffi_s`.
        target: The processor to generate code for.

    Returns:
        Object files; the same functions give the same bytes.
    """
    names = sorted(funcs)
    chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    with ThreadPoolExecutor(_COMPILER_THREADS) as pool:
        return list(pool.map(lambda chunk: _compile({n: funcs[n] for n in chunk}, target), chunks))


def structural_key(func: tirx.PrimFunc, target: Target) -> str:
    """A key equal for functions of equal structure on equal targets, in every process.

    Names of functions, variables and blocks do not count; shapes, dtypes and arithmetic do.
    """
    anonymous = func.without_attr("global_symbol")
    signature = ";".join(f"{param.dtype}{list(param.shape)}" for param in func.params)
    text = f"{tvm_ffi.structural_hash(anonymous)}|{signature}|{sorted(_tvm_target(target))}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _tvm_target(target: Target) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in target.tvm_target().items()]


def build(funcs: Mapping[str, tirx.PrimFunc], target: Target) -> tvm.runtime.Module:
    """Compile scheduled functions for `target`, to be written out or, on the host, run here."""
    module = tvm.IRModule(
        {
            name: fast_math.rewrite(func).with_attr("global_symbol", name)
            for name, func in funcs.items()
        }
    )
    # An expression that is read twice brings the names that it binds twice.
    module = tirx.transform.ConvertSSA()(module)
    tir_pipeline.register()
    with tvm.transform.PassContext(opt_level=3, config=_PASS_OPTIONS):
        tvm_target = tvm.target.Target(target.tvm_target())
        return tirx.build(module, tvm_target, pipeline=tir_pipeline.NAME)


def _compile(funcs: Mapping[str, tirx.PrimFunc], target: Target) -> bytes:
    built = build(funcs, target)
    with tempfile.TemporaryDirectory(prefix="burnish-") as folder:
        path = Path(folder) / "kernels.o"
        built.write_to_file(str(path), "o")
        return path.read_bytes()
