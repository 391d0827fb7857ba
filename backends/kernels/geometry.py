"""How positions of an output reach positions of an input, one axis at a time.

Convolutions, transposed convolutions and pooling windows share this description: kernels are
defined by it, it travels on the kernel's block, and schedules split loops by it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from math import gcd

from tvm import tirx
from tvm.ir import Expr


@dataclass(frozen=True)
class Taps:
    """Kernel positions that one output position reads, and where.

    Tap ``j`` of output ``t`` of a phase is kernel position ``kernel + j * kernel_step`` and reads
    input ``t * input_step + offset + j * step``, if that lies within the input.
    """

    count: int
    kernel: int
    kernel_step: int
    offset: int
    step: int
    """Above 0."""


@dataclass(frozen=True)
class Phase:
    """Output positions ``first + t * output_step`` for ``t < count``, which share their taps."""

    first: int
    output_step: int
    count: int
    input_step: int
    taps: Taps

    def source(self, t: Expr | int, tap: Expr | int) -> Expr | int:
        """The input position that tap number ``tap`` of output number ``t`` reads."""
        return t * self.input_step + self.taps.offset + tap * self.taps.step

    def interior(self, inputs: int) -> tuple[int, int]:
        """The half-open range of ``t`` whose taps all lie within ``inputs`` positions."""
        reach = inputs - 1 - self.taps.offset - (self.taps.count - 1) * self.taps.step
        low = min(self.count, max(0, -(self.taps.offset // self.input_step)))
        high = max(low, min(self.count, reach // self.input_step + 1))
        return low, high

    def valid(self, t: int, inputs: int) -> range:
        """The taps of output number ``t`` that lie within ``inputs`` positions."""
        start = t * self.input_step + self.taps.offset
        low = max(0, -(start // self.taps.step))
        high = min(self.taps.count, (inputs - 1 - start) // self.taps.step + 1)
        return range(low, max(low, high))


@dataclass(frozen=True)
class Axis:
    """One axis of a window operator."""

    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    pad: int = 0
    """Positions before the first input."""
    transposed: bool = False
    """Whether outputs scatter from inputs (transposed convolution) instead of gathering."""
    merged: bool = False
    """Whether all inputs that an output reads count as one, which must then exist: at borders those
    nearest to it are read, with weights of its own (see `shifts`). Dilation is 1."""

    @classmethod
    def gathering(
        cls, inputs: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int]
    ) -> "Axis":
        """The axis of a convolution with ``pads`` positions before and after its input.

        Raises:
            ValueError: the window is longer than the padded input.
        """
        outputs = (inputs + sum(pads) - dilation * (kernel - 1) - 1) // stride + 1
        if outputs < 1:
            raise ValueError(f"a window of {kernel} does not fit {inputs} positions, pads {pads}")
        return cls(inputs, outputs, kernel, stride, dilation, pads[0])

    def mirrored(self) -> "Axis":
        """This axis of a transposed convolution with stride 1, as one that gathers.

        Kernel positions count from the other end.
        """
        reach = (self.kernel - 1) * self.dilation
        return replace(self, pad=reach - self.pad, transposed=False)

    @property
    def is_pointwise(self) -> bool:
        """Whether each output reads exactly the input of the same position."""
        same = self.kernel == 1 and self.stride == 1 and self.pad == 0
        return same and self.inputs == self.outputs

    @property
    def taps(self) -> int:
        """Kernel positions that are counted apart."""
        return 1 if self.merged else self.kernel

    @property
    def shifts(self) -> list[int]:
        """Of a merged axis: by how many positions what is read lies behind where the kernel begins.

        First of outputs that read as they are (0), then of each other one in order.
        """
        borders = [o for o in range(self.outputs) if o not in self._inside]
        return [0, *(self._nearest(o) - (o * self.stride - self.pad) for o in borders)]

    @property
    def _inside(self) -> range:
        """Outputs of which all kernel positions exist."""
        low = min(self.outputs, -(-self.pad // self.stride))
        high = (self.inputs - self.kernel + self.pad) // self.stride + 1
        return range(low, max(low, min(self.outputs, high)))

    def _nearest(self, output: int) -> int:
        return min(max(0, output * self.stride - self.pad), self.inputs - self.kernel)

    def _merged_phases(self) -> Iterator[Phase]:
        inside = self._inside
        if inside:
            taps = Taps(1, 0, 0, inside.start * self.stride - self.pad, 1)
            yield Phase(inside.start, 1, len(inside), self.stride, taps)
        borders = [o for o in range(self.outputs) if o not in inside]
        for number, output in enumerate(borders, 1):
            yield Phase(output, 1, 1, self.stride, Taps(1, number, 0, self._nearest(output), 1))

    def phases(self) -> tuple[Phase, ...]:
        """The output positions, grouped by the kernel positions that they read."""
        if self.merged:
            return tuple(self._merged_phases())
        if not self.transposed:
            taps = Taps(self.kernel, 0, 1, -self.pad, self.dilation)
            return (Phase(0, 1, self.outputs, self.stride, taps),)
        count = min(self.stride, self.outputs)
        return tuple(
            Phase(first, self.stride, -(-(self.outputs - first) // self.stride), 1, taps)
            for first, taps in ((f, self._scattered(f)) for f in range(count))
        )

    def _scattered(self, first: int) -> Taps:
        reached = [
            k
            for k in range(self.kernel)
            if (first + self.pad - k * self.dilation) % self.stride == 0
        ]
        step = self.stride // gcd(self.stride, self.dilation)
        # Counted from the last kernel position, so that input positions rise.
        last = reached[-1] if reached else 0
        offset = (first + self.pad - last * self.dilation) // self.stride
        return Taps(len(reached), last, -step, offset, step * self.dilation // self.stride)

    def source(self, output: Expr, tap: Expr) -> tuple[Expr, list[Expr]]:
        """The input position for kernel position ``tap``, and what must hold for it to exist."""
        if self.merged:
            position = output * self.stride - self.pad
            return tirx.max(0, tirx.min(position, self.inputs - self.kernel)), []
        if not self.transposed:
            position = output * self.stride + tap * self.dilation - self.pad
            guarded = self.pad > 0 or self._overhangs
            return position, [position >= 0, position < self.inputs] if guarded else []
        numerator = output + self.pad - tap * self.dilation
        position = tirx.floordiv(numerator, self.stride)
        aligned = [tirx.floormod(numerator, self.stride) == 0] if self.stride > 1 else []
        return position, [*aligned, numerator >= 0, position < self.inputs]

    def tap(self, output: Expr, tap: Expr) -> Expr:
        """The kernel position, among those of weights, of number ``tap`` of an output."""
        if not self.merged:
            return tap
        inside, last = self._inside, output - len(self._inside) + 1
        border = tirx.Select(output < inside.start, output + 1, last)
        is_inside = tirx.all(output >= inside.start, output < inside.stop)
        return tirx.Select(is_inside, 0, border)

    @property
    def meeting(self) -> int:
        """Kernel positions of a transposed convolution that may reach one output."""
        return -(-self.kernel // self._meeting_step)

    def met(self, output: Expr, number: Expr) -> tuple[Expr, Expr, list[Expr]]:
        """A kernel position, the input it meets ``output`` from, what must hold for them to exist.

        ``number`` counts the positions that may. ``output + pad - position * dilation`` has to be a
        multiple of the stride: divided by what dilation and stride share, the first such position
        is a product modulo the rest of the stride.
        """
        shared, step = gcd(self.stride, self.dilation), self._meeting_step
        inverse = pow(self.dilation // shared, -1, step) if step > 1 else 0
        place = output + self.pad
        first = tirx.floormod(inverse * tirx.floormod(tirx.floordiv(place, shared), step), step)
        position = first + number * step
        numerator = place - position * self.dilation
        source = tirx.floordiv(numerator, self.stride)
        aligned = [tirx.floormod(place, shared) == 0] if shared > 1 else []
        inside = [position < self.kernel, numerator >= 0, source < self.inputs]
        return position, source, [*aligned, *inside]

    @property
    def _meeting_step(self) -> int:
        """From one kernel position that reaches an output to the next."""
        return self.stride // gcd(self.stride, self.dilation)

    @property
    def _overhangs(self) -> bool:
        last = (self.outputs - 1) * self.stride + (self.kernel - 1) * self.dilation - self.pad
        return last >= self.inputs

    def encode(self) -> list[int]:
        """As integers, to travel in a block's attributes."""
        return [int(value) for value in astuple(self)]

    @classmethod
    def decode(cls, values: Sequence[int]) -> "Axis":
        """The inverse of `encode`."""
        inputs, outputs, kernel, stride, dilation, pad, *flags = (int(v) for v in values)
        return cls(inputs, outputs, kernel, stride, dilation, pad, *map(bool, flags))
