"""Lowering of PrimFuncs to what LLVM takes: a short way for kernels that are loops already.

Kernels built from tiles have no blocks, no parallel regions to find and no indices to simplify.
TVM's standard passes would look for all of that, for longer than LLVM then takes.
"""

from math import prod

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.tirx.compilation_pipeline import finalize_device_passes, finalize_host_passes
from tvm.tirx.stmt import AllocBuffer, AttrStmt

NAME = "burnish"
"""Name of the pipeline, for `tirx.build`."""

LOOPS_ONLY = "burnish.loops_only"
"""Attribute of functions without blocks."""

_SHORT = (
    tirx.transform.FlattenBuffer,
    tirx.transform.VectorizeLoop,
    tirx.transform.StorageRewrite,
    tirx.transform.UnrollLoop,
    tirx.transform.StmtSimplify,
    tirx.transform.VerifyMemory,
    tirx.transform.AnnotateEntryFunc,
    tirx.transform.SplitHostDevice,
    tirx.transform.MakePackedAPI,
)


ALIGNMENT = 16
"""Of the memory that kernels are given, in bytes: what any allocator keeps to. Vectors that are
wider are loaded as fast without the promise, where their memory keeps to it all the same."""


def register() -> None:
    """Make the pipeline known to TVM."""
    tirx.register_tir_pipeline(NAME, _pipeline)


def _pipeline() -> tuple[tvm.transform.Pass, object, object]:
    standard, *_ = s_tir.pipeline.default_s_tir_pipeline()
    short = tvm.transform.Sequential([make() for make in _SHORT])

    def lower(module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        functions = module.functions.items()
        loops = {name: func for name, func in functions if LOOPS_ONLY in func.attrs}
        others = {name: func for name, func in functions if LOOPS_ONLY not in func.attrs}
        lowered = tvm.IRModule({}, attrs=module.attrs)
        for part, passes in ((loops, short), (others, standard)):
            if part:
                lowered.update(passes(tvm.IRModule(part, attrs=module.attrs)))
        return tvm.IRModule(
            {name: _settled(func) for name, func in lowered.functions.items()},
            attrs=lowered.attrs,
        )

    return (
        tvm.transform.module_pass(lower, opt_level=0),
        finalize_host_passes,
        finalize_device_passes,
    )


_ON_STACK = 8 * 1024
"""Bytes of local buffers that lie on the stack, where LLVM keeps them in registers."""


def _settled(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """``func`` with no more than `ALIGNMENT` expected of its arguments, and accumulators its own.

    TVM would take memory for these from a workspace, and what is stored there stays stored.
    """

    def relax(node: AttrStmt) -> AttrStmt:
        if node.attr_key != "storage_alignment":
            return node
        return AttrStmt(node.node, node.attr_key, tirx.IntImm("int32", ALIGNMENT), node.body)

    def keep(node: AllocBuffer) -> AllocBuffer:
        buffer = node.buffer
        size = prod(int(extent) for extent in buffer.shape) * buffer.dtype.itemsize
        if buffer.scope() != "local" or size > _ON_STACK:
            return node
        return AllocBuffer(buffer, {"disable_lower_builtin": tirx.IntImm("bool", 1)})

    maps = ((AttrStmt, relax), (AllocBuffer, keep))
    body = tvm_ffi.structural_map(func.body, maps, order="post")
    return tirx.PrimFunc(func.params, body, func.ret_type, attrs=func.attrs)
