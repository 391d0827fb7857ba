"""What a kernel's description means, worked out by numpy at some of its outputs.

Candidates are checked against this: it reads the loops as written, before any schedule, shares no
code with the builders of candidates, and sees no compiler. A few hundred outputs cost milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from math import erf, prod
from typing import Any, TypeAlias

import numpy as np
import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr, TensorLoad
from tvm.s_tir import SBlock
from tvm.tirx import Buffer, BufferStore, PrimFunc
from tvm.tirx.stmt import IterVar

from burnish.backends.kernels import exact, lookup, saturation
from burnish.backends.kernels.integers import QUADS
from burnish.backends.kernels.quads import SIZE

Array: TypeAlias = Any
"""Numbers of any dtype."""

Fetch: TypeAlias = Callable[[int, np.ndarray], Array]
"""Elements of a parameter: its number and flat places to values."""

MOST_STEPS = 4096
"""Most terms that are accumulated in turn, where numpy has no reduction of that kind."""

_TWO: Mapping[type, Callable[[Array, Array], Array]] = {
    tirx.Add: np.add, tirx.Sub: np.subtract, tirx.Mul: np.multiply,
    tirx.FloorDiv: np.floor_divide, tirx.FloorMod: np.mod, tirx.Mod: np.fmod,
    tirx.Min: np.minimum, tirx.Max: np.maximum,
    tirx.EQ: np.equal, tirx.NE: np.not_equal, tirx.LT: np.less, tirx.LE: np.less_equal,
    tirx.GT: np.greater, tirx.GE: np.greater_equal,
    tirx.BitwiseAnd: np.bitwise_and, tirx.BitwiseOr: np.bitwise_or,
    tirx.BitwiseXor: np.bitwise_xor, tirx.LShift: np.left_shift, tirx.RShift: np.right_shift,
    tirx.And: np.logical_and, tirx.Or: np.logical_or,
}  # fmt: skip
_CALLS: Mapping[str, Callable[..., Array]] = {
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor,
    "shift_left": np.left_shift, "shift_right": np.right_shift, "bitwise_not": np.invert,
    "fabs": np.abs, "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "pow": np.power,
    "tanh": np.tanh, "sin": np.sin, "cos": np.cos, "tan": np.tan, "floor": np.floor,
    "ceil": np.ceil, "nearbyint": np.rint, "round": np.rint, "trunc": np.trunc, "isnan": np.isnan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "fmod": np.fmod,
    "if_then_else": np.where, "erf": np.vectorize(erf, otypes=[np.float64]),
}  # fmt: skip
_REDUCERS: Mapping[type, np.ufunc] = {
    tirx.Add: np.add, tirx.Max: np.maximum, tirx.Min: np.minimum,
}  # fmt: skip


class Unknown(Exception):
    """A description holds something that has no meaning here."""


class Definition:
    """The blocks of an unscheduled function, by what they make."""

    def __init__(self, func: PrimFunc) -> None:
        """Find the blocks of ``func``.

        Raises:
            Unknown: a block is more than one store.
        """
        self._params = {param: number for number, param in enumerate(func.params)}
        self._blocks: dict[Buffer, SBlock] = {}
        blocks: list[SBlock] = []
        tvm_ffi.structural_walk(func.body, (SBlock, blocks.append), order="pre")
        for block in blocks:
            if len(block.iter_vars):
                if not isinstance(block.body, BufferStore) or block.body.buffer in self._blocks:
                    raise Unknown(f"block {block.name_hint} is more than one store")
                self._blocks[block.body.buffer] = block

    def outputs(self) -> list[int]:
        """Numbers of the parameters that are written."""
        return sorted(self._params[b] for b in self._blocks if b in self._params)

    def extents(self, output: int) -> tuple[int, ...]:
        """How much of output number ``output`` is written, along each axis."""
        block = self._blocks[next(b for b, number in self._params.items() if number == output)]
        return tuple(_extent(i) for i in block.iter_vars if i.iter_type == IterVar.DataPar)

    def quads(self) -> dict[int, int]:
        """How many bytes long weights are that lie in quads, by number of the parameter."""
        found: dict[int, int] = {}
        for block in self._blocks.values():
            if QUADS not in block.annotations:
                continue
            depth = int(block.annotations[QUADS][0])
            for buffer in (region.source for region in block.reads):
                shape = _shape(buffer)
                is_packed = shape[-3::2] == (-(-depth // SIZE), SIZE)
                if buffer in self._params and is_packed:
                    found[self._params[buffer]] = depth
        return found

    def terms(self) -> int:
        """The largest number of terms that one element of any block is made of."""
        return max(
            prod(_extent(i) for i in block.iter_vars if i.iter_type == IterVar.CommReduce)
            for block in self._blocks.values()
        )

    def at(self, output: int, places: np.ndarray, fetch: Fetch) -> np.ndarray:
        """The values of output number ``output`` at flat ``places``, in float64 or as integers.

        Raises:
            Unknown: an expression holds something that has no meaning here.
        """
        buffer = next(b for b, number in self._params.items() if number == output)
        index = np.unravel_index(places, _shape(buffer))
        with np.errstate(all="ignore"):
            return np.asarray(self._made(buffer, index, fetch))

    def _made(self, buffer: Buffer, index: Sequence[np.ndarray], fetch: Fetch) -> Array:
        """What the block of ``buffer`` stores at each of some places."""
        block = self._blocks[buffer]
        spatial = [i for i in block.iter_vars if i.iter_type == IterVar.DataPar]
        reduced = [i for i in block.iter_vars if i.iter_type == IterVar.CommReduce]
        store = block.body
        if len(spatial) != len(store.indices) or not all(
            written.same_as(i.var) for written, i in zip(store.indices, spatial, strict=True)
        ):
            raise Unknown(f"block {block.name_hint} does not write in order")
        known = {i.var: at.reshape(-1, *[1] * len(reduced))
                 for i, at in zip(spatial, index, strict=True)}  # fmt: skip
        if not reduced:
            return _Meaning(self, known, fetch).of(store.value)
        for number, i in enumerate(reduced):
            shape = [1] * (len(reduced) + 1)
            shape[number + 1] = -1
            known[i.var] = np.arange(_extent(i)).reshape(shape)
        return self._reduced(block, known, fetch)

    def _reduced(self, block: SBlock, known: dict[Any, Array], fetch: Fetch) -> Array:
        """All terms of some elements, accumulated at once or, by a rule of its own, in turn."""
        if block.init is None:
            raise Unknown(f"block {block.name_hint} starts from nothing")
        update, total = block.body.value, block.body.buffer
        shape = np.broadcast_shapes(*(at.shape for at in known.values()))
        start = np.broadcast_to(np.reshape(_Meaning(self, known, fetch).of(block.init.value), -1),
                                shape[:1])  # fmt: skip
        reducer = _REDUCERS.get(type(update))
        if reducer is not None and (term := _added(update, total)) is not None:
            terms = np.broadcast_to(_Meaning(self, known, fetch).of(term), shape)
            over_all = reducer.reduce(terms, axis=tuple(range(1, len(shape))))
            return reducer(over_all, start)
        if prod(shape[1:]) > MOST_STEPS:
            raise Unknown(f"block {block.name_hint} reduces by {type(update).__name__}")
        whole = {var: np.broadcast_to(at, shape).reshape(shape[0], -1)
                 for var, at in known.items()}  # fmt: skip
        for step in range(prod(shape[1:])):
            here = {var: at[:, step] for var, at in whole.items()}
            start = _Meaning(self, here, fetch, (total, start)).of(update)
        return start


class _Meaning:
    """The values of expressions where some variables are known."""

    def __init__(
        self, definition: Definition, known: Mapping[Any, Array], fetch: Fetch,
        so_far: tuple[Buffer, Array] | None = None,
    ) -> None:  # fmt: skip
        self._definition, self._known, self._fetch = definition, known, fetch
        self._so_far = so_far
        """An accumulator and what it holds."""

    def of(self, value: Expr) -> Array:
        if isinstance(value, (tirx.IntImm, tirx.FloatImm)):
            return value.value
        if type(value) in _TWO:
            return _TWO[type(value)](self.of(value.a), self.of(value.b))
        for kind, meaning in self._kinds:
            if isinstance(value, kind):
                return meaning(self, value)
        raise Unknown(f"an expression of kind {type(value).__name__}")

    def _variable(self, value: tirx.Var) -> Array:
        if value not in self._known:
            raise Unknown(f"the variable {value}")
        return self._known[value]

    def _select(self, value: tirx.Select) -> Array:
        return np.where(
            self.of(value.condition), self.of(value.true_value), self.of(value.false_value)
        )

    def _divide(self, value: tirx.Div) -> Array:
        a, b = np.asarray(self.of(value.a)), np.asarray(self.of(value.b))
        quotient = np.divide(a, b)
        return quotient if "f" in a.dtype.kind + b.dtype.kind else np.trunc(quotient).astype(int)

    def _cast(self, value: tirx.Cast) -> Array:
        kind = np.dtype(str(value.ty.dtype))
        # Rounding to float32 is left to the tolerance.
        kind = np.dtype(np.float64) if kind == np.float32 else kind
        return np.asarray(self.of(value.value)).astype(kind)

    def _call(self, value: Call) -> Array:
        name = str(getattr(value.op, "name", value.op)).rpartition(".")[2]
        if name == "reinterpret":
            return _reinterpreted(np.asarray(self.of(value.args[0])), np.dtype(str(value.ty.dtype)))
        if exact.unwrapped(value) is not value:
            return self.of(exact.unwrapped(value))
        if (byte := saturation.operands(value)) is not None:
            return self._saturated(byte)
        if (entry := lookup.operands(value)) is not None:
            return self.of(entry.load)
        if name not in _CALLS:
            raise Unknown(f"a call of {name}")
        return _CALLS[name](*map(self.of, value.args))

    def _saturated(self, value: saturation.Saturated) -> Array:
        low, high = saturation.RANGES[value.dtype]
        rounded = np.asarray(np.rint(self.of(value.value)) + self.of(value.middle))
        rounded = np.where(np.isnan(rounded), low, np.clip(rounded, low, high))
        return rounded.astype(value.dtype)

    def _let(self, value: tirx.Let) -> Array:
        known = {**self._known, value.var: self.of(value.value)}
        return _Meaning(self._definition, known, self._fetch, self._so_far).of(value.body)

    def _load(self, value: TensorLoad) -> Array:
        if self._so_far is not None and value.source.same_as(self._so_far[0]):
            return self._so_far[1]
        shape = _shape(value.source)
        index = [np.asarray(self.of(i)) for i in value.indices]
        # What is read outside is not used: the condition that says so has its own branch.
        inside = [np.clip(i, 0, extent - 1) for i, extent in zip(index, shape, strict=True)]
        places = np.broadcast_arrays(*inside) if inside else [np.zeros((), int)]
        definition = self._definition
        if value.source in definition._params and value.source not in definition._blocks:
            flat = reduce(lambda at, axis: at * axis[0] + axis[1],
                          zip(shape, inside, strict=True), np.zeros((), np.int64))  # fmt: skip
            found = self._fetch(definition._params[value.source], flat)
            return found.astype(np.float64) if found.dtype.kind == "f" else found
        if value.source not in definition._blocks:
            raise Unknown(f"the buffer {value.source.name}")
        made = definition._made(value.source, [at.reshape(-1) for at in places], self._fetch)
        return np.broadcast_to(np.reshape(made, -1), places[0].size).reshape(places[0].shape)

    _kinds: tuple[tuple[type, Callable[[_Meaning, Any], Array]], ...] = (
        (tirx.Var, _variable),
        (TensorLoad, _load),
        (tirx.Select, _select),
        (tirx.Cast, _cast),
        (tirx.Let, _let),
        (tirx.Not, lambda self, value: np.logical_not(self.of(value.a))),
        (tirx.Div, _divide),
        (Call, _call),
    )


def _reinterpreted(bits: np.ndarray, kind: np.dtype[Any]) -> np.ndarray:
    """The same bits as another type; float32 numbers are at hand as float64 ones."""
    own = np.dtype(np.float32) if bits.dtype.kind == "f" else kind
    if bits.dtype.kind != "f" and kind == np.float32:
        own = np.dtype(np.uint32)
    if own.itemsize != kind.itemsize:
        raise Unknown(f"bits of {own} as {kind}")
    seen = np.ascontiguousarray(bits.astype(own)).view(kind)
    return seen.astype(np.float64) if kind == np.float32 else seen


def _added(update: Expr, total: Buffer) -> Expr | None:
    """The term in ``total + term``, either way round."""
    for own, term in ((update.a, update.b), (update.b, update.a)):
        if isinstance(own, TensorLoad) and own.source.same_as(total):
            return term
    return None


def _extent(axis: IterVar) -> int:
    return int(axis.dom.extent)


def _shape(buffer: Buffer) -> tuple[int, ...]:
    return tuple(int(extent) for extent in buffer.shape)
