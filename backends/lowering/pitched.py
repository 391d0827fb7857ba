"""Kernels over buffers whose rows lie farther apart than they are long."""

from collections.abc import Mapping

import tvm_ffi
from tvm import tirx
from tvm.ir import Var
from tvm.tirx import PrimFunc


def pitched(func: PrimFunc, within: Mapping[int, tuple[int, ...]]) -> PrimFunc:
    """``func``, some of whose parameters are parts of something larger.

    Args:
        func: not yet scheduled.
        within: sizes of what a parameter is a part of, by its number; it begins where the parameter
            does, and elements beyond the parameter's own sizes are neither read nor written.
    """
    if not within:
        return func
    wider = {
        param: tirx.decl_buffer(within[number], param.dtype, name=param.name)
        for number, param in enumerate(func.params)
        if number in within
    }
    body = tvm_ffi.structural_map(
        func.body, ((Var, lambda variable: wider.get(variable, variable)),), order="post"
    )
    params = [wider.get(param, param) for param in func.params]
    return PrimFunc(params, body, func.ret_type, attrs=func.attrs)
