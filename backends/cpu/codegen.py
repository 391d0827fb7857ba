"""Object code for scheduled PrimFuncs."""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

import tvm
import tvm_ffi
from tvm import tirx

from burnish.backends.cpu import tir_pipeline
from burnish.backends.kernels import exact, fast_math, lookup, saturation
from burnish.target import Target

_PASS_OPTIONS = {
    # Kernels are called by a driver generated from the same shapes: checks of every call would
    # only cost time and half of the object's size.
    "tirx.disable_assert": True,
}


def compile_object(symbol: str, func: tirx.PrimFunc, target: Target) -> bytes:
    """Compile a scheduled function to an object file for `target`.

    Returns:
        An object that exports `__tvm_ffi_<symbol>`; the same function gives the same bytes.
    """
    built = build({symbol: func}, target)
    with tempfile.TemporaryDirectory(prefix="burnish-") as folder:
        path = Path(folder) / "kernel.o"
        built.write_to_file(str(path), "o")
        return path.read_bytes()


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
    lowered = {
        name: lookup.expand(
            exact.expand(saturation.expand(fast_math.rewrite(func), target), target)
        )
        for name, func in funcs.items()
    }
    module = tvm.IRModule(
        {name: func.with_attr("global_symbol", name) for name, func in lowered.items()}
    )
    # An expression that is read twice brings the names that it binds twice.
    module = tirx.transform.ConvertSSA()(module)
    tir_pipeline.register()
    with tvm.transform.PassContext(opt_level=3, config=_PASS_OPTIONS):
        tvm_target = tvm.target.Target(target.tvm_target())
        return tirx.build(module, tvm_target, pipeline=tir_pipeline.NAME)
