"""Generate the C of a model: tables that say which kernels to call on which memory.

The runtime (`runtime/`) does the rest. All that differs between models is here, so that the
runtime is compiled once for a target.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from burnish.backends.memory_plan import MemoryPlan
from burnish.backends.program import Buffer, BufferKind, Call, Program
from burnish.backends.weights import Weights

_SPACES = {
    BufferKind.INPUT: "BURNISH_INPUT",
    BufferKind.OUTPUT: "BURNISH_OUTPUT",
    BufferKind.CONSTANT: "BURNISH_CONSTANT",
    BufferKind.TEMPORARY: "BURNISH_ARENA",
}

_TYPE_CODES = (("int", 0), ("uint", 1), ("float", 2), ("bfloat", 4), ("bool", 6))
"""DLPack's."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Entry:
    """A program for one set of input shapes, with its memory."""

    program: Program
    plan: MemoryPlan


@dataclass(frozen=True)
class DriverOptions:
    """What the driver says about the machine."""

    target: str
    """As named on the command line, for messages."""
    features: tuple[str, ...] = ()
    """Instruction sets without which the model must not start."""
    threads: int = 1
    """The default number, the caller's included."""


def emit_driver(entries: Sequence[Entry], weights: Weights, options: DriverOptions) -> str:
    """Return the C source of the tables of a model, the same text for the same arguments.

    Raises:
        ValueError: a program cannot be expressed: a kernel name that is no C identifier, an
            input or output of the wrong kind, a buffer that no part of the memory holds.
    """
    kernels = sorted({name for each in entries for name in kernel_names(each.program)})
    for kernel in kernels:
        if not _IDENTIFIER.fullmatch(kernel):
            raise ValueError(f"kernel name {kernel!r} is not a C identifier")
    parts = ['#include "internal.h"\n']
    parts += [
        f"int32_t __tvm_ffi_{kernel}(void *, const burnish_any *, int32_t, burnish_any *);"
        for kernel in kernels
    ]
    for number, entry in enumerate(entries):
        parts.append(_EntryTables(number, entry, weights).emit())
    parts.append(_emit_program(entries, weights, options))
    return "\n".join(parts) + "\n"


def native_calls(program: Program) -> list[Call]:
    """Return the calls that are kernels or jumps, not regions."""
    return [call for call in program.calls if call.region is None]


def kernel_names(program: Program) -> set[str]:
    """Return the names of the kernels that are called."""
    return {call.kernel for call in native_calls(program) if call.jump is None}


def number_buffers(program: Program) -> dict[Buffer, int]:
    """Number every buffer with a fixed size, as the driver's tables and the manifest do."""
    ports = (*program.inputs, *program.outputs)
    args = (buffer for call in program.calls for buffer in call.args)
    distinct = dict.fromkeys(b for b in (*ports, *args) if b.is_static)
    return {buffer: number for number, buffer in enumerate(distinct)}


def _quote(text: str) -> str:
    """Write `text` as a C string; bytes beyond ASCII as octal escapes."""
    escaped = (
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{"".join(escaped)}"'


def _type_code(dtype: str) -> tuple[int, int]:
    """Return DLPack's code and the bits of `dtype`."""
    letters = dtype.rstrip("0123456789")
    return dict(_TYPE_CODES)[letters], int(dtype[len(letters) :] or 8)


@dataclass
class _EntryTables:
    """The tables of one entry under way."""

    number: int
    entry: Entry
    weights: Weights
    shapes: list[int] = field(default_factory=list)
    shape_at: dict[tuple[int, ...], int] = field(default_factory=dict)

    def emit(self) -> str:
        program = self.entry.program
        _check_ports(program)
        numbers = number_buffers(program)
        places = [self._place(buffer) for buffer in numbers]
        args: list[int] = []
        calls = [self._call(call, numbers, args) for call in program.calls]
        ports = [
            self._ports("inputs", program.inputs),
            self._ports("outputs", program.outputs),
            self._array("burnish_count", "counts", [_count(b, numbers) for b in program.outputs]),
        ]
        tables = [
            self._array("int64_t", "shapes", map(str, self.shapes)),
            *ports,
            self._array("burnish_place", "places", places),
            self._array("uint32_t", "args", map(str, args)),
            self._array("burnish_call", "calls", calls),
        ]
        return "\n".join(tables)

    def _array(self, ctype: str, name: str, rows: Sequence[str] | map[str]) -> str:
        body = ",\n  ".join(rows) or "0"
        return f"\nstatic const {ctype} {name}_{self.number}[] = {{\n  {body}\n}};"

    def _shape(self, shape: tuple[int, ...]) -> int:
        if shape not in self.shape_at:
            self.shape_at[shape] = len(self.shapes)
            self.shapes += shape or (0,)
        return self.shape_at[shape]

    def _place(self, buffer: Buffer) -> str:
        owner, offset = buffer.root()
        slot = 0
        if owner.kind is BufferKind.INPUT:
            slot = self.entry.program.inputs.index(owner)
        elif owner.kind is BufferKind.OUTPUT:
            slot = self.entry.program.outputs.index(owner)
        elif owner.kind is BufferKind.CONSTANT:
            offset += self.weights.offsets[owner]
        else:
            offset += self.entry.plan.offsets[owner]
        code, bits = _type_code(buffer.dtype)
        shape = self._shape(buffer.shape)
        rank = len(buffer.shape)
        return f"{{{_SPACES[owner.kind]}, {code}, {bits}, {rank}, {shape}, {slot}, {offset}u}}"

    def _call(self, call: Call, numbers: dict[Buffer, int], args: list[int]) -> str:
        if call.region is not None:
            return f"{{{_quote(call.kernel)}, 0, 0, 0, -1, 0}}"
        first = len(args)
        args += [numbers[buffer] for buffer in call.args]
        if call.jump is not None:
            return f'{{"{call.kernel}", 0, {first}, {len(call.args)}, {call.jump}, 0}}'
        row = f"__tvm_ffi_{call.kernel}, {first}, {len(call.args)}, -1, {int(call.alone)}"
        return f'{{"{call.kernel}", {row}}}'

    def _ports(self, name: str, buffers: Sequence[Buffer]) -> str:
        rows = []
        for buffer in buffers:
            shape = f"&shapes_{self.number}[{self._shape(buffer.shape)}]"
            size = buffer.nbytes if buffer.is_static else 0
            strings = f"{_quote(buffer.name)}, {json.dumps(buffer.dtype)}"
            rows.append(f"{{{strings}, {len(buffer.shape)}, {shape}, {size}u}}")
        return self._array("burnish_tensor", name, rows)


def _count(output: Buffer, numbers: dict[Buffer, int]) -> str:
    """Which axis of an output is counted, and the number of the buffer that has the count."""
    if output.count is None:
        return "{-1, 0}"
    return f"{{{output.count.axis}, {numbers[output.count.buffer]}}}"


def _check_ports(program: Program) -> None:
    """Check that the caller's memory is what the program lists, neither more nor less."""
    listed = {BufferKind.INPUT: program.inputs, BufferKind.OUTPUT: program.outputs}
    for kind, ports in listed.items():
        for buffer in ports:
            if buffer.kind is not kind or buffer.alias_of is not None:
                raise ValueError(f"{buffer.name} is an {kind.value} but its memory is its own")
    for call in program.calls:
        for buffer in call.args:
            owner, _ = buffer.root()
            if owner.kind in listed and owner not in listed[owner.kind]:
                raise ValueError(f"{call.kernel} uses {owner.name}, no {owner.kind.value} here")


def _emit_program(entries: Sequence[Entry], weights: Weights, options: DriverOptions) -> str:
    rows = []
    for n, entry in enumerate(entries):
        program = entry.program
        args = sum(len(call.args) for call in native_calls(program))
        rows.append(
            f"{{inputs_{n}, outputs_{n}, counts_{n}, places_{n}, calls_{n}, args_{n}, shapes_{n}, "
            f"{len(program.inputs)}, {len(program.outputs)}, {len(number_buffers(program))}, "
            f"{len(program.calls)}, {args}, {entry.plan.arena_bytes}u}}"
        )
    features = "".join(f"{_quote(name)}, " for name in options.features)
    digest = ", ".join(str(byte) for byte in weights.digest)
    return (
        "\nstatic const burnish_entry entries[] = {\n  " + ",\n  ".join(rows) + "\n};\n"
        f"\nstatic const char *const features[] = {{{features}0}};\n"
        "\nconst burnish_program burnish_the_program = {\n"
        f"  features, {_quote(options.target)}, entries, {len(entries)}, {options.threads},\n"
        f"  {weights.payload_bytes}u,\n  {{{digest}}}\n}};"
    )
