"""Asking for cache lines ahead of their use."""

import tvm_ffi
from tvm import ir, tirx
from tvm.ir import Expr, StringImm
from tvm.tirx import Buffer, BufferLoad, Stmt
from tvm.tirx.stmt import AttrStmt

from burnish.backends.cpu.schedule.build import Index, index

CACHE_LINE = 64
"""Bytes that a prefetch brings."""

_NEAR, _FAR = "burnish_prefetch_near", "burnish_prefetch_far"
_IR = "\n".join(
    f"define void @{name}(ptr %p) alwaysinline {{\n"
    f"  call void @llvm.prefetch.p0(ptr %p, i32 0, i32 {locality}, i32 1) #0\n"
    "  ret void\n}"
    for name, locality in ((_NEAR, 3), (_FAR, 2))
)
_IR += """
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
attributes #0 = { memory(inaccessiblemem: readwrite) }
"""
"""As text, to say that no memory of ours changes: beside a plain prefetch LLVM would keep sums in
memory, and store them in every step."""


def prefetch(buffer: Buffer, place: Index, near: bool = True) -> Stmt:
    """Bring the cache line of an element closer, `near` the core or into its second-level cache.

    The element need not exist. `declared` has to be applied to what this is a part of.
    """
    address = tirx.address_of(BufferLoad(buffer, [index(place)]))
    return tirx.Evaluate(tirx.call_extern("int32", _NEAR if near else _FAR, address))


def declared(body: Stmt) -> Stmt:
    """`body` with what its prefetches call, if it has any."""
    found = False

    def visit(call: Expr) -> None:
        nonlocal found
        found = found or any(
            isinstance(arg, StringImm) and arg.value in (_NEAR, _FAR) for arg in call.args
        )

    tvm_ffi.structural_walk(body, (ir.Call, visit), order="pre")
    return AttrStmt(index(0), "pragma_import_llvm", StringImm(_IR), body) if found else body
