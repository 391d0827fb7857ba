"""Which cuts would make the arena grow, as what they are cut from has to be kept for them.

The memory is planned as it is and as it would be with copies, which needs no other kernels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from burnish.backends.memory_plan import plan_memory
from burnish.backends.program import Buffer, BufferKind, Call, Program
from burnish.ir import OperatorNode


@dataclass(frozen=True)
class Cut:
    """A result that is read within the operand."""

    node: OperatorNode
    """What cuts it out."""
    at: int
    """The call before which a kernel would do that."""
    part: Buffer


def enlarging(program: Program, cuts: Sequence[Cut]) -> set[OperatorNode]:
    """The nodes whose results had better be copied, to keep the arena of ``program`` small."""
    arena = plan_memory(program).arena_bytes
    if not cuts or _arena_with_copies(program, cuts) >= arena:
        return set()
    groups: dict[Buffer, list[Cut]] = {}
    for cut in cuts:
        groups.setdefault(cut.part.root()[0], []).append(cut)
    blamed = [group for group in groups.values() if _arena_with_copies(program, group) < arena]
    return {cut.node for group in blamed or groups.values() for cut in group}


def _arena_with_copies(program: Program, cuts: Collection[Cut]) -> int:
    """Bytes of the arena if ``cuts`` were copied."""
    copies = {
        cut.part: Buffer(cut.part.name, cut.part.shape, cut.part.dtype, BufferKind.TEMPORARY)
        for cut in cuts
    }

    def held(buffer: Buffer) -> Buffer:
        owner: Buffer | None = buffer
        while owner is not None and owner not in copies:
            owner = owner.alias_of
        return buffer if owner is None else copies[owner]

    calls: list[Call] = []
    places: list[int] = []
    for index in range(len(program.calls) + 1):
        places.append(len(calls))
        for cut in cuts:
            if cut.at == index and cut.part.alias_of is not None:
                calls.append(Call("copy", (held(cut.part.alias_of), copies[cut.part])))
        if index < len(program.calls):
            call = program.calls[index]
            calls.append(replace(call, args=tuple(map(held, call.args))))
    calls = [call if call.jump is None else replace(call, jump=places[call.jump]) for call in calls]
    return plan_memory(replace(program, calls=calls)).arena_bytes
