"""The process that compiles for a diagnosis, with a defect that PLANTED names: KIND or KIND:TYPE.

abort, hang and wrong are what the code for an operator of that type does when it runs; segfault is
what the code generator does when it meets one.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from tvm import tirx

from burnish.backends.child import serve
from burnish.backends.lowering import elementwise
from burnish.diagnosis.compile_worker import _begin

KIND, _, TYPE = os.environ["PLANTED"].partition(":")


def defect(node: Any, operands: Any) -> Any:
    """What the operator computes."""
    x = operands[0]
    if KIND == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if KIND == "wrong":
        return x * tirx.const(3.0, "float32")
    return tirx.call_pure_extern("float32", {"abort": "abort", "hang": "pause"}[KIND], x)


elementwise.ELEMENTWISE[TYPE] = defect

if __name__ == "__main__":
    serve(_begin)
